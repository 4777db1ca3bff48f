//! What `cargo xtask setup`, `env` and `bench` say when something is wrong. Nothing here downloads.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A machine with the programs of our choice, an empty cache and no XLA.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// A machine with these programs of the real one.
    fn with(programs: &[&str]) -> Self {
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.path("bin")).unwrap();
        for program in programs {
            let path = std::env::var_os("PATH").unwrap();
            let real =
                std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.exists());
            symlink(real.expect(program), machine.path("bin").join(program)).unwrap();
        }
        machine
    }

    /// A machine that could be set up if there were a network.
    fn complete() -> Self {
        let machine = Machine::with(&["c++", "getconf", "sh", "touch"]);
        machine.program("python3", "[ \"$3\" = --version ] && { echo pip 99.0; exit; }\nexit 1");
        machine
    }

    /// Adds a program: a shell script.
    fn program(&self, name: &str, script: &str) {
        // A shell writes it. A file that this process had open for writing could not be run while
        // the fork of another test's thread holds it open too.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod +x \"$0\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", write]).arg(self.path("bin").join(name)).arg(script);
        assert!(shell.status().unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn xtask(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("ONETRACE_CACHE", self.path("cache"));
        command
    }

    /// Runs `setup --dir xla`, which must fail, and gives what it says.
    fn refusal(&self, arguments: &[&str]) -> String {
        let mut command = self.xtask(&["setup", "--dir", "xla"]);
        let said = failure(command.args(arguments).output().unwrap());
        assert!(!self.path("xla").join("set-up.txt").exists());
        said
    }
}

fn failure(output: Output) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && !said.contains("panicked"), "{said}");
    said
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

fn fake_xla(dir: &Path) {
    fs::create_dir_all(dir.join("include/xla")).unwrap();
    fs::create_dir_all(dir.join("lib")).unwrap();
    fs::write(dir.join("lib/libxla_extension.so"), "").unwrap();
}

#[test]
fn an_old_glibc() {
    let machine = Machine::complete();
    fs::remove_file(machine.path("bin/getconf")).unwrap();
    machine.program("getconf", "echo glibc 2.17");
    assert_says(&machine.refusal(&[]), &["needs glibc 2.27 or later, but this system has 2.17"]);
}

#[test]
fn no_compiler() {
    let machine = Machine::with(&["getconf"]);
    let said = machine.refusal(&[]);
    assert_says(&said, &["there is no C++ compiler: `c++` does not run", "apt install g++"]);

    let mut command = machine.xtask(&["setup", "--dir", "xla"]);
    let said = failure(command.env("CXX", "ccache my-c++").output().unwrap());
    assert_says(&said, &["`ccache my-c++` does not run"]);
}

#[test]
fn no_pip() {
    let machine = Machine::with(&["getconf", "c++"]);
    let said = machine.refusal(&[]);
    assert_says(&said, &["there is no pip", "`python3 -m pip`", "python3-pip", "--from-wheel"]);
}

#[test]
fn no_network() {
    let machine = Machine::complete();
    let script = "[ \"$3\" = --version ] && { echo pip 23.0; exit; }\n\
                  echo 'ERROR: No matching distribution found for tensorflow-cpu' >&2; exit 1";
    machine.program("python3", script);
    assert_says(
        &machine.refusal(&[]),
        &[
            "download tensorflow-cpu 2.21.0 (274 MB) ...",
            "pip could not download tensorflow-cpu==2.21.0",
            "ERROR: No matching distribution found",
            "pip config list",
            "--platform manylinux_2_27_x86_64 tensorflow-cpu==2.21.0",
        ],
    );
}

#[test]
fn another_file_than_the_pinned_one() {
    let machine = Machine::complete();
    let script = "[ \"$3\" = --version ] && { echo pip 23.0; exit; }\n\
                  while [ $# -gt 0 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
                  touch \"$dest/tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl\"";
    machine.program("python3", script);
    let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_says(&machine.refusal(&[]), &["has the SHA-256", of_nothing, "is pinned to 2b847d21"]);
}

#[test]
fn a_wheel_on_disk_that_is_not_pinned() {
    let machine = Machine::complete();
    fs::write(machine.path("tensorflow_cpu-2.20.0.whl"), "").unwrap();
    assert_says(
        &machine.refusal(&["--from-wheel", "tensorflow_cpu-2.20.0.whl"]),
        &["tensorflow_cpu-2.20.0.whl is another wheel", "e3b0c442", "2b847d21", "pip download"],
    );
    assert_says(&machine.refusal(&["--from-wheel", "none.whl"]), &["cannot read none.whl"]);
}

#[test]
fn an_archive_that_is_none() {
    let machine = Machine::complete();
    fs::write(machine.path("xla.tar.gz"), "not a tar").unwrap();
    assert_says(
        &machine.refusal(&["--from-archive", "xla.tar.gz"]),
        &["xla.tar.gz is not a whole tar.gz archive"],
    );
    assert_says(&machine.refusal(&["--from-archive", "no.tar.gz"]), &["cannot read no.tar.gz"]);
}

#[test]
fn places_that_cannot_be_written() {
    let machine = Machine::complete();
    fs::write(machine.path("file"), "").unwrap();

    let mut command = machine.xtask(&["setup", "--dir", "xla"]);
    command.env("ONETRACE_CACHE", machine.path("file/cache"));
    let said = failure(command.output().unwrap());
    assert_says(&said, &["cannot write the cache ($ONETRACE_CACHE)", "file/cache"]);

    let said = failure(machine.xtask(&["setup", "--dir", "file/xla"]).output().unwrap());
    assert_says(&said, &["file/xla"]);

    let mut command = machine.xtask(&["setup", "--dir", "xla"]);
    let said = failure(command.env_remove("ONETRACE_CACHE").output().unwrap());
    assert_says(&said, &["set ONETRACE_CACHE"]);
}

#[test]
fn a_directory_with_files_of_the_user() {
    let machine = Machine::complete();
    fs::create_dir(machine.path("xla")).unwrap();
    fs::write(machine.path("xla/thesis.tex"), "").unwrap();
    assert_says(&machine.refusal(&[]), &["xla has files that set-up did not make"]);
    assert!(machine.path("xla/thesis.tex").exists());
}

#[test]
fn an_extension_of_the_users_own_is_left_alone() {
    let machine = Machine::complete();
    let own = machine.path("own");
    let setup = |arguments: &[&str]| {
        let mut command = machine.xtask(&["setup"]);
        command.env("XLA_EXTENSION_DIR", &own).args(arguments).output().unwrap()
    };
    let said = failure(setup(&[]));
    assert_says(&said, &["XLA_EXTENSION_DIR is set to", "own/include/xla is missing\n"]);

    fake_xla(&own);
    let output = setup(&[]);
    assert!(output.status.success());
    assert_says(&String::from_utf8(output.stderr).unwrap(), &["left alone"]);
    assert!(!machine.path("cache").exists());

    let said = failure(setup(&["--from-archive", "xla.tar.gz"]));
    assert_says(&said, &["builds would use that", "--dir"]);
}

#[test]
fn a_python_without_what_the_reference_needs() {
    let machine = Machine::with(&["sh"]);
    let bench = |more: &[&str]| failure(machine.xtask(&["bench"]).args(more).output().unwrap());
    assert_says(&bench(&[]), &["Python 3.11 or later, but `python3` does not run", "--python"]);
    machine.program("python3", "echo 3 8 of the test");
    assert_says(&bench(&[]), &["Python 3.11 or later, but `python3` is 3.8"]);
    machine.program("python3.13", "[ \"$1\" = -c ] && echo 3 13 of the test");
    assert_says(&bench(&["--python", "python3.13"]), &["but `python3.13 -m pip` does not run"]);
    assert!(!machine.path("cache").exists(), "nothing is made");
}

#[test]
fn the_environment_of_a_dependent_crate() {
    let machine = Machine::complete();
    let said = failure(machine.xtask(&["env", "--dir", "xla"]).output().unwrap());
    assert_says(&said, &["there is no XLA in", "cargo xtask setup --dir"]);

    let dir = machine.path("it's here");
    fake_xla(&dir);
    fs::create_dir(dir.join("libclang")).unwrap();
    let output = machine.xtask(&["env", "--dir", "it's here"]).output().unwrap();
    let script = String::from_utf8(output.stdout).unwrap();
    let echo = "echo \"$XLA_EXTENSION_DIR|$LIBCLANG_PATH|$CLANG_PATH|$LD_LIBRARY_PATH\"";
    let shell = Command::new("sh")
        .args(["-c", &format!("{script}{echo}")])
        .env("LD_LIBRARY_PATH", "/before")
        .output()
        .unwrap();
    let dir = dir.display();
    assert_eq!(
        String::from_utf8(shell.stdout).unwrap().trim(),
        format!("{dir}|{dir}/libclang/lib|{dir}/libclang/bin/clang|{dir}/lib:/before"),
    );

    let output = machine.xtask(&["env", "--cargo", "--dir", "it's here"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert_says(&table, &["[env]\n", &format!("XLA_EXTENSION_DIR = \"{dir}\"\n")]);
}
