//! What set-up needs of the machine, checked before any work.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::megabytes;

/// The oldest glibc that the pinned wheel runs on.
const GLIBC: (u32, u32) = (2, 27);

/// Checks that XLA's binaries can run here.
pub fn platform() -> Result<()> {
    let getconf = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let glibc = getconf.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    check_platform(env::consts::OS, env::consts::ARCH, &glibc.unwrap_or_default())
}

fn check_platform(os: &str, arch: &str, glibc: &str) -> Result<()> {
    let own =
        "XLA for other machines: build xla_extension for yours and set XLA_EXTENSION_DIR to it";
    if (os, arch) != ("linux", "x86_64") {
        bail!("set-up knows XLA for x86_64 Linux, but this machine is {arch} {os}.\n{own}");
    }
    let Some(version) = glibc.trim().strip_prefix("glibc ") else {
        bail!("XLA needs glibc {}.{} or later, and this system has none.\n{own}", GLIBC.0, GLIBC.1);
    };
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < GLIBC {
        let (major, minor) = GLIBC;
        bail!("XLA needs glibc {major}.{minor} or later, but this system has {version}.\n{own}");
    }
    Ok(())
}

/// The C++ compiler, as the `cc` crate would choose it.
pub struct Compiler {
    command: Vec<String>,
}

impl Compiler {
    pub fn find() -> Result<Self> {
        let chosen = env::var("CXX").unwrap_or_default();
        let mut command: Vec<_> = chosen.split_whitespace().map(str::to_owned).collect();
        if command.is_empty() {
            command.push("c++".into());
        }
        let compiler = Compiler { command };
        match compiler.command().arg("--version").output() {
            Ok(output) if output.status.success() => Ok(compiler),
            _ => bail!(
                "there is no C++ compiler: `{}` does not run.\n\
                 Install one (`apt install g++`, `dnf install gcc-c++`), or set CXX to yours",
                compiler.command.join(" "),
            ),
        }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }
}

/// Makes a directory and checks that a file system with room for `needed` bytes is under it.
pub fn room(dir: &Path, needed: u64, purpose: &str) -> Result<()> {
    let how = format!(
        "cannot write {purpose} {}; make it writable, or choose another (see `cargo xtask setup --help`)",
        dir.display()
    );
    fs::create_dir_all(dir).with_context(|| how.clone())?;
    let probe = dir.join(".writable");
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).context(how)?;

    let space = rustix::fs::statvfs(dir)
        .with_context(|| format!("cannot ask for the free space of {}", dir.display()))?;
    check_room(dir, needed, space.f_bavail * space.f_frsize)
}

fn check_room(dir: &Path, needed: u64, free: u64) -> Result<()> {
    if free < needed {
        bail!(
            "not enough disk space at {}: set-up needs about {} there, and {} are free.\n\
             Make room, or choose another place (see `cargo xtask setup --help`)",
            dir.display(),
            megabytes(needed),
            megabytes(free),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<()>) -> String {
        result.expect_err("must be refused").to_string()
    }

    #[test]
    fn platforms() {
        assert!(check_platform("linux", "x86_64", "glibc 2.27\n").is_ok());
        assert!(check_platform("linux", "x86_64", "glibc 3.0").is_ok());
        let arm = message(check_platform("linux", "aarch64", "glibc 2.36"));
        assert!(arm.contains("this machine is aarch64 linux"), "{arm}");
        let mac = message(check_platform("macos", "x86_64", ""));
        assert!(mac.contains("this machine is x86_64 macos"), "{mac}");
        let old = message(check_platform("linux", "x86_64", "glibc 2.17"));
        assert!(old.contains("needs glibc 2.27 or later, but this system has 2.17"), "{old}");
        let musl = message(check_platform("linux", "x86_64", ""));
        assert!(musl.contains("this system has none"), "{musl}");
    }

    #[test]
    fn disk_space() {
        let dir = Path::new("/somewhere");
        assert!(check_room(dir, 2_000_000, 2_000_000).is_ok());
        let full = message(check_room(dir, 2_000_000_000, 15_000_000));
        assert!(
            full.contains("at /somewhere: set-up needs about 2000 MB there, and 15 MB are free")
        );
    }
}
