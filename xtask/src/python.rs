//! Private Python environments with the reference, JAX and Flax, and other peers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::Stage;
use crate::{fetch, hash, preflight, setup, unpack};

/// The oldest Python that the pinned packages are made for.
const OLDEST: (u32, u32) = (3, 11);

/// What the environment weighs, and what pip needs besides while it makes it.
const ROOM: u64 = 1_500_000_000;

/// Prints the version in two words, then what tells this Python from others.
const IDENTITY: &str = "import sys; print(*sys.version_info[:2], sys.version, sys.executable)";

/// A Python that can make environments.
pub struct Python {
    command: Vec<String>,
    identity: String,
}

impl Python {
    /// Checks that `command`, a program and perhaps arguments, is a Python that is new enough and
    /// has pip.
    pub fn find(command: &str) -> Result<Self> {
        let words = command.split_whitespace().map(str::to_owned).collect();
        let mut python = Python { command: words, identity: String::new() };
        let (major, minor) = OLDEST;
        let Some(identity) = python.answer(&["-c", IDENTITY]) else {
            bail!(
                "the reference needs Python {major}.{minor} or later, but `{command}` does not run.\n\
                 Install it (`apt install python3-pip`, `dnf install python3-pip`), or give yours \
                 with --python"
            );
        };
        let mut numbers = identity.split_whitespace().map(|word| word.parse().unwrap_or(0));
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found < OLDEST {
            bail!(
                "the reference needs Python {major}.{minor} or later, but `{command}` is {}.{}.\n\
                 Give a newer one with --python",
                found.0,
                found.1,
            );
        }
        if python.answer(&["-m", "pip", "--version"]).is_none() {
            bail!(
                "the reference is installed by pip, but `{command} -m pip` does not run.\n\
                 Install it (`apt install python3-pip`, `dnf install python3-pip`, \
                 `{command} -m ensurepip`), or give another Python with --python"
            );
        }
        python.identity = identity;
        Ok(python)
    }

    fn command(&self) -> Command {
        let mut words = self.command.iter();
        let mut command = Command::new(words.next().map_or("python3", String::as_str));
        command.args(words).stdin(Stdio::null());
        command
    }

    /// What it prints, if it succeeds.
    fn answer(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command().args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The interpreter of an environment with what `requirements` lists, made if the cache lacks
    /// it.
    ///
    /// The environment appears in the cache whole or not at all. Another list, or another Python,
    /// gets another one.
    pub fn environment(&self, requirements: &Path, cache: &Path) -> Result<PathBuf> {
        let list = fs::read(requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let key = hash::of_parts([&list[..], self.identity.as_bytes()]);
        let place = cache.join("python").join(key);
        let interpreter = place.join("bin/python");
        if place.exists() {
            return Ok(interpreter);
        }
        preflight::room(cache, ROOM, "the cache ($ONETRACE_CACHE)")?;
        let _lock = setup::lock(cache)?;
        // Another run may have made it while this one waited.
        if place.exists() {
            return Ok(interpreter);
        }
        let partial = setup::empty_partial(cache)?;
        let tree = partial.join("python");
        let stage = Stage::spinner("install JAX, Flax and what goes with them (pip)".to_owned());
        // An interpreter finds its packages beside itself, so that the tree can be moved. It gets
        // no pip of its own, which Debian's Python could not give it.
        self.make(&["-m", "venv", "--without-pip"], &tree, &partial)?;
        let mut pip = vec!["-m", "pip", "--no-input", "--disable-pip-version-check"];
        let (made, list) = (tree.join("bin/python"), requirements);
        let (made, list) = (made.to_string_lossy(), list.to_string_lossy());
        pip.extend(["--no-cache-dir", "--python", &made, "install", "--only-binary=:all:"]);
        pip.push("--requirement");
        self.make(&pip, Path::new(list.as_ref()), &partial)?;
        stage.finish();
        unpack::publish(&tree, &place)?;
        Ok(interpreter)
    }

    /// Runs Python quietly; what it said counts when it fails.
    fn make(&self, arguments: &[&str], last: &Path, partial: &Path) -> Result<()> {
        let log_file = partial.join("python.log");
        let log = File::create(&log_file).context("cannot write Python's log")?;
        let status = self
            .command()
            .args(arguments)
            .arg(last)
            .env("TMPDIR", partial)
            .stdout(log.try_clone().context("cannot write Python's log")?)
            .stderr(log)
            .status()
            .context("cannot start Python")?;
        if !status.success() {
            let said = fs::read_to_string(&log_file).unwrap_or_default();
            bail!(
                "`{} {} {}` failed ({status}). Its last words:\n{}\n\
                 Check the network and pip's configuration (`pip config list`), or give another \
                 Python with --python",
                self.command.join(" "),
                arguments.join(" "),
                last.display(),
                fetch::last_lines(&said),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for a Python; its pip fails while there is a file `offline` beside it.
    const PYTHON: &str = r#"
case "$1 $2" in
    "-c "*) echo 3 99 of the test ;;
    "-m venv") mkdir -p "$4/bin" && echo made > "$4/bin/python" ;;
    "-m pip") [ ! -e "$(dirname "$0")/offline" ] || { echo no network; exit 1; } ;;
esac
"#;

    #[test]
    fn an_environment_is_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let (script, list) = (dir.path().join("python.sh"), dir.path().join("requirements.txt"));
        fs::write(&script, PYTHON).unwrap();
        fs::write(&list, "jax==1").unwrap();
        let (cache, offline) = (dir.path().join("cache"), dir.path().join("offline"));
        let python = Python::find(&format!("sh {}", script.display())).unwrap();

        fs::write(&offline, "").unwrap();
        let error = python.environment(&list, &cache).unwrap_err().to_string();
        assert!(error.contains("no network"), "{error}");
        assert!(!cache.join("python").exists());

        fs::remove_file(&offline).unwrap();
        let made = python.environment(&list, &cache).unwrap();
        assert_eq!(fs::read_to_string(&made).unwrap(), "made\n");

        // What is there is taken; another list gets another environment.
        fs::write(&offline, "").unwrap();
        assert_eq!(python.environment(&list, &cache).unwrap(), made);
        fs::write(&list, "jax==2").unwrap();
        assert!(python.environment(&list, &cache).is_err());
    }
}
