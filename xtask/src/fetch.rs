//! Wheels, from the cache or by pip.
//!
//! pip itself goes on with a download that breaks off, where it can (25.1 or later). A run that is
//! killed loses the wheel that it was in the middle of, and only that one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::hash;
use crate::progress::Stage;
use crate::wheels::Wheel;

/// The commands under which pip may be found, best first.
pub const PIPS: [&str; 4] = ["python3 -m pip", "python -m pip", "pip3", "pip"];

/// The first pip release that can go on with a broken download.
const RESUMES: (u32, u32) = (25, 1);

/// A way to get wheels that are not in the cache.
pub struct Pip {
    command: String,
    resumes: bool,
}

impl Pip {
    /// The first of `candidates` that runs.
    pub fn find(candidates: &[String]) -> Result<Self> {
        for candidate in candidates {
            let mut pip = Pip { command: candidate.clone(), resumes: false };
            if let Ok(output) = pip.command().arg("--version").output()
                && output.status.success()
            {
                let version = version(&String::from_utf8_lossy(&output.stdout));
                pip.resumes = version >= RESUMES;
                return Ok(pip);
            }
        }
        bail!(
            "there is no pip to download XLA with (tried `{}`).\n\
             Install it (`apt install python3-pip`, `dnf install python3-pip`), or take the wheels \
             from elsewhere and give them with --from-wheel",
            candidates.join("`, `"),
        )
    }

    fn command(&self) -> Command {
        let mut words = self.command.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("pip"));
        command.args(words);
        command
    }

    /// Downloads a wheel into `dir`, which also takes pip's own temporary files.
    fn download(&self, wheel: &Wheel, dir: &Path) -> Result<()> {
        let log_file = dir.join("pip.log");
        let log = File::create(&log_file).context("cannot write pip's log")?;
        let mut command = self.command();
        command
            .args(wheel.pip_arguments())
            .args(["--no-input", "--disable-pip-version-check", "--progress-bar", "off"])
            // The wheel goes into our cache; pip's would hold it a second time.
            .arg("--no-cache-dir")
            .arg("--dest")
            .arg(dir)
            .env("TMPDIR", dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot write pip's log")?)
            .stderr(log);
        if self.resumes {
            command.args(["--resume-retries", "20"]);
        }
        let mut child = command.spawn().context("cannot start pip")?;

        let stage = Stage::bytes(format!("download {} {}", wheel.name, wheel.version), wheel.bytes);
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for pip")? {
                break status;
            }
            stage.set(bytes_under(dir));
            thread::sleep(Duration::from_millis(100));
        };
        if !status.success() {
            let log = fs::read_to_string(&log_file).unwrap_or_default();
            bail!(
                "pip could not download {}=={} ({status}). Its last words:\n{}\n\
                 Check the network and pip's configuration (`pip config list`), or take the wheel from \
                 elsewhere (`pip {}`) and give it with --from-wheel",
                wheel.name,
                wheel.version,
                last_lines(&log),
                wheel.pip_arguments().join(" "),
            );
        }
        stage.finish();
        Ok(())
    }
}

/// Where the cache holds a wheel.
pub fn place(wheel: &Wheel, cache: &Path) -> PathBuf {
    cache.join("wheels").join(wheel.file)
}

/// The path of a whole, verified wheel, downloaded if the cache lacks it.
pub fn wheel(wheel: &Wheel, cache: &Path, partial: &Path, pips: &[String]) -> Result<PathBuf> {
    let whole = place(wheel, cache);
    if whole.exists() {
        match verify(wheel, &whole) {
            Ok(()) => return Ok(whole),
            Err(error) => eprintln!("{error:#}\nit is downloaded again"),
        }
    }
    let dir = partial.join(wheel.name);
    fs::create_dir_all(&dir).context("cannot write the cache")?;
    Pip::find(pips)?.download(wheel, &dir)?;

    let arrived = dir.join(wheel.file);
    if !arrived.exists() {
        bail!("pip downloaded something else than {}: see {}", wheel.file, dir.display());
    }
    verify(wheel, &arrived).context(
        "pip downloaded another file than set-up is pinned to, or it was damaged on the way.\n\
         Run set-up again, check pip's configuration (`pip config list`), or take the wheel from \
         elsewhere and give it with --from-wheel.\nThe cause",
    )?;
    fs::create_dir_all(cache.join("wheels")).context("cannot write the cache")?;
    fs::rename(&arrived, &whole).context("cannot write the cache")?;
    Ok(whole)
}

/// Checks a wheel against its pin.
fn verify(wheel: &Wheel, file: &Path) -> Result<()> {
    let found = hash::of_file(file)?;
    if found != wheel.sha256 {
        bail!(
            "{} has the SHA-256 {found}, but {} {} is pinned to {}",
            file.display(),
            wheel.name,
            wheel.version,
            wheel.sha256,
        );
    }
    Ok(())
}

/// The release in `pip 23.2.1 from …`.
fn version(line: &str) -> (u32, u32) {
    let mut numbers = line.split_whitespace().nth(1).unwrap_or_default().split('.');
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (next(), next())
}

/// pip says at the end what went wrong, after many retries.
pub fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown: Vec<_> =
        lines[lines.len().saturating_sub(4)..].iter().map(|l| format!("  {l}")).collect();
    shown.join("\n")
}

/// Files come and go under a running pip: those that cannot be seen count nothing.
fn bytes_under(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_versions() {
        assert_eq!(version("pip 23.2.1 from /usr/lib (python 3.11)"), (23, 2));
        assert_eq!(version("pip 25.1 from /usr/lib"), (25, 1));
        assert_eq!(version(""), (0, 0));
    }
}
