//! `onetrace devices`, and devices that commands are told to use, end to end.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use expect_test::expect;
use serde_json::Value;
use tempfile::TempDir;

/// A machine without plugins: the environment says where they would be.
fn command(home: &Path, arguments: &str) -> Command {
    let mut command = common::command(home, arguments);
    for name in [
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "PYTHONPATH",
        "PJRT_NAMES_AND_LIBRARY_PATHS",
        "ONETRACE_DEVICE",
        "XLA_FLAGS",
    ] {
        command.env_remove(name);
    }
    command.env("PATH", home).env("HOME", home);
    command
}

/// The exit status and both outputs, with the directory's name taken out.
fn outcome(home: &Path, command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let plain = |bytes| String::from_utf8(bytes).unwrap().replace(home.to_str().unwrap(), "HOME");
    (status.code().expect("the command ended by itself"), plain(stdout), plain(stderr))
}

/// What a command that succeeds prints, where how much memory there is stands as `N`.
fn listing(home: &Path, command: &mut Command) -> String {
    let (status, stdout, stderr) = outcome(home, command);
    assert_eq!((status, &*stderr), (0, ""));
    let line = |line: &str| match line.split_once(" GiB of memory") {
        Some((start, rest)) => {
            let name = start.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
            format!("{name}N GiB of memory{rest}\n")
        }
        None => format!("{line}\n"),
    };
    stdout.lines().map(line).collect()
}

/// A shared library of C source, where pip puts the plugin of `package`.
fn installed(home: &Path, package: &str, source: &str) -> PathBuf {
    let directory = home.join("env/lib/python3.12/site-packages/jax_plugins").join(package);
    fs::create_dir_all(&directory).unwrap();
    let c = home.join(package).with_extension("c");
    fs::write(&c, source).unwrap();
    let library = directory.join("plugin.so");
    let mut cc = Command::new("cc");
    let status = cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&c).status().unwrap();
    assert!(status.success());
    library
}

/// A machine with plugins of pip, none of which can be used.
fn machine() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    installed(at, "xla_cuda13", "int nothing;");
    installed(at, "crashing", "#include <stdlib.h>\nvoid *GetPjrtApi(void) { abort(); }");
    installed(at, "missing", "void *nobody(void); void *GetPjrtApi(void) { return nobody(); }");
    installed(
        at,
        "old",
        "static struct { long n; void *p; struct { long n; void *p; int major, minor; } v; } api = \
         {40, 0, {24, 0, 0, 7}}; void *GetPjrtApi(void) { return &api; }",
    );
    fs::write(at.join("garbage.so"), [7; 5000]).unwrap();
    let library = fs::read(at.join("env/lib/python3.12/site-packages/jax_plugins/old/plugin.so"));
    fs::write(at.join("short.so"), &library.unwrap()[..8000]).unwrap();
    fs::create_dir(at.join("directory.so")).unwrap();
    home
}

#[test]
fn devices_of_a_machine_without_plugins() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    expect![[r#"
        cpu
          cpu      N GiB of memory
        no PJRT plugin was found in the Python environments on the path
    "#]]
    .assert_eq(&listing(home, &mut command(home, "devices")));
    let three = "devices --xla-flag xla_force_host_platform_device_count=3";
    expect![[r#"
        cpu
          cpu      N GiB of memory
          cpu:1    N GiB of memory
          cpu:2    N GiB of memory
        no PJRT plugin was found in the Python environments on the path
    "#]]
    .assert_eq(&listing(home, &mut command(home, three)));
}

#[test]
fn plugins_that_cannot_be_used_are_listed_with_the_reason() {
    let home = machine();
    let home = home.path();
    let mut devices = command(home, "devices --plugin Mine=garbage.so");
    devices.env("VIRTUAL_ENV", home.join("env"));
    devices.env("PJRT_NAMES_AND_LIBRARY_PATHS", "a:short.so,b:none.so");
    expect![[r#"
        cpu
          cpu      N GiB of memory
        a: cannot be used
          from short.so
          the file is cut short: it has 8000 of the 12360 bytes that it says it has
        b: cannot be used
          from none.so
          No such file or directory (os error 2)
        crashing: cannot be used
          from HOME/env/lib/python3.12/site-packages/jax_plugins/crashing/plugin.so
          the plugin ended the process that loaded it with signal: 6 (SIGABRT)
        missing: cannot be used
          from HOME/env/lib/python3.12/site-packages/jax_plugins/missing/plugin.so
          the library cannot be loaded: HOME/env/lib/python3.12/site-packages/jax_plugins/missing/plugin.so: undefined symbol: nobody
          install what it needs, or say in LD_LIBRARY_PATH where that is
        old: cannot be used
          from HOME/env/lib/python3.12/site-packages/jax_plugins/old/plugin.so
          the plugin speaks version 0.7 of PJRT's interface, and this build version 0.90: install a plugin with version 0.90 or a later one of 0.x
        cuda: cannot be used
          from HOME/env/lib/python3.12/site-packages/jax_plugins/xla_cuda13/plugin.so
          it is not a PJRT plugin: it exports no GetPjrtApi
        mine: cannot be used
          from garbage.so
          it is not a shared library: it is no 64-bit ELF file
    "#]]
    .assert_eq(&listing(home, &mut devices));

    devices.arg("--json");
    let (_, stdout, _) = outcome(home, &mut devices);
    let object: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(object["platforms"][0]["devices"][0]["device"], "cpu");
    assert!(object["platforms"][0]["devices"][0]["memory_bytes"].as_u64().unwrap() > 0);
    assert_eq!(object["unusable"].as_array().unwrap().len(), 7);
    assert_eq!(object["unusable"][0]["library"], "short.so");
}

/// No other device takes the place of one that cannot be used.
#[test]
fn devices_that_cannot_be_used_are_refused() {
    let home = machine();
    let home = home.path();
    let mut transcript = String::new();
    let mut refuse = |arguments: &str, variable: Option<(&str, &str)>| {
        let mut run = command(home, &format!("run --hidden 4 --random 5x3 {arguments}"));
        run.env("VIRTUAL_ENV", home.join("env")).envs(variable);
        let (status, stdout, stderr) = outcome(home, &mut run);
        assert_eq!((status, &*stdout), (2, ""), "{arguments}: {stderr}");
        let stderr = stderr.split("\n\nFor more information").next().unwrap();
        let variable = variable.map_or(String::new(), |(name, value)| format!("{name}={value} "));
        let command = format!("{variable}run {arguments}");
        transcript += &format!("$ {}\n{}\n", command.trim_end(), stderr.trim_end());
    };
    for arguments in [
        "--device cpu:1",
        "--device gpu",
        "--device rocm:0",
        "--device quantum",
        "--device plugin:mine=none.so",
        "--device plugin:mine=directory.so",
        "--device plugin:mine=garbage.so",
        "--device plugin:mine=short.so",
        "--device plugin:mine=env/lib/python3.12/site-packages/jax_plugins/crashing/plugin.so",
        "--device old:0",
        "--xla-flag xla_nonsense=1",
        "--xla-flag xla_cpu_enable_fast_math=perhaps",
        "--xla-flag xla_force_host_platform_device_count=1000000",
        "--xla-flag xla_dump_to",
    ] {
        refuse(arguments, None);
    }
    refuse("", Some(("ONETRACE_DEVICE", "quantum")));
    refuse("", Some(("XLA_FLAGS", "--xla_nonsense=1")));
    refuse("", Some(("XLA_FLAGS", "none.txt")));
    expect![[r#"
        $ run --device cpu:1
        error: --device: there is no cpu:1: this process has cpu
          XLA makes as many CPU devices as its option xla_force_host_platform_device_count says: set it to 2 (`XlaOptions::cpu_devices`, `--xla-flag NAME=VALUE` on the command line)
        $ run --device gpu
        error: --device: there is no GPU to be used:
          plugin: cuda in HOME/env/lib/python3.12/site-packages/jax_plugins/xla_cuda13/plugin.so: it is not a PJRT plugin: it exports no GetPjrtApi
        $ run --device rocm:0
        error: --device: there is no rocm to be used:
          no PJRT plugin for it was found in the Python environments on the path: `pip install "jax[cuda13]"` installs the one for NVIDIA's GPUs, and plugin:NAME=PATH names one elsewhere
        $ run --device quantum
        error: --device: "quantum" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        $ run --device plugin:mine=none.so
        error: --device: mine in none.so: No such file or directory (os error 2)
        $ run --device plugin:mine=directory.so
        error: --device: mine in directory.so: it is not a file
        $ run --device plugin:mine=garbage.so
        error: --device: mine in garbage.so: it is not a shared library: it is no 64-bit ELF file
        $ run --device plugin:mine=short.so
        error: --device: mine in short.so: the file is cut short: it has 8000 of the 12360 bytes that it says it has
        $ run --device plugin:mine=env/lib/python3.12/site-packages/jax_plugins/crashing/plugin.so
        error: --device: the plugin ended the process that loaded it with signal: 6 (SIGABRT)
        $ run --device old:0
        error: --device: there is no old to be used:
          plugin: old in HOME/env/lib/python3.12/site-packages/jax_plugins/old/plugin.so: the plugin speaks version 0.7 of PJRT's interface, and this build version 0.90: install a plugin with version 0.90 or a later one of 0.x
        $ run --xla-flag xla_nonsense=1
        error: --xla-flag: this version of XLA has no option "xla_nonsense"
        $ run --xla-flag xla_cpu_enable_fast_math=perhaps
        error: --xla-flag: "perhaps" is not a value of the option xla_cpu_enable_fast_math
        $ run --xla-flag xla_force_host_platform_device_count=1000000
        error: --device: the CPU cannot be used: INVALID_ARGUMENT: xla_force_host_platform_device_count must be from 1 to 1024, but it is 1000000
        $ run --xla-flag xla_dump_to
        error: invalid value 'xla_dump_to' for '--xla-flag <NAME=VALUE>': must be a name, '=' and a value
        $ ONETRACE_DEVICE=quantum run
        error: ONETRACE_DEVICE: "quantum" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        $ XLA_FLAGS=--xla_nonsense=1 run
        error: XLA_FLAGS: this version of XLA has no option "xla_nonsense"
        $ XLA_FLAGS=none.txt run
        error: XLA_FLAGS: "none.txt" begins with no hyphen, and so names a file, which cannot be read: No such file or directory (os error 2)
    "#]]
    .assert_eq(&transcript);
}

/// The first device of several, and the last one, named in both ways.
#[test]
fn a_run_on_one_of_several_devices() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let run = "run --hidden 4 --random 5x3 --json \
               --xla-flag xla_force_host_platform_device_count=2";
    let carry = |command: &mut Command| {
        let (status, stdout, stderr) = outcome(home, command);
        assert_eq!(status, 0, "{stderr}");
        serde_json::from_str::<Value>(&stdout).unwrap()["final_carry"].clone()
    };
    let first = carry(&mut command(home, run));
    assert_eq!(carry(&mut command(home, &format!("{run} --device cpu:1"))), first);
    assert_eq!(carry(command(home, run).env("ONETRACE_DEVICE", "cpu:1")), first);
}

#[test]
fn help() {
    expect![[r#"
        List the devices that programs can run on

        These are the CPU devices and those of the PJRT plugins that are found: in the packages
        jax_plugins/* of the Python environments on the path, where pip puts them, and in the environment
        variable PJRT_NAMES_AND_LIBRARY_PATHS (NAME:PATH between commas). For a plugin that cannot be used,
        the reason is given.

        Each plugin is tried in a process of its own: one that crashes does no harm.

        Usage: onetrace devices [OPTIONS]

        Options:
              --plugin <NAME=PATH>
                  List the devices of the plugin in a file as well; can be given several times

              [--xla-flag]

              --json
                  Print one JSON object instead

                  Its members are platforms, each with name, version, library (of a plugin) and devices
                  (device, kind, memory_bytes, memory_in_use_bytes), and unusable, plugins with name,
                  library and reason.

          -h, --help
                  Print help (see a summary with '-h')

        The names in the first column are those that --device and ONETRACE_DEVICE take.

        Examples:
          onetrace devices
          onetrace devices --xla-flag xla_force_host_platform_device_count=4
          onetrace devices --plugin mine=/opt/mine/pjrt_plugin.so --json | jq .unusable
    "#]]
    .assert_eq(&common::help("devices --help"));
}

/// Parameters, too, are made on the device that is named, and not on that of the environment.
#[test]
fn the_argument_stands_above_the_environment() {
    let home = TempDir::new().unwrap();
    for arguments in ["run --hidden 4 --random 3x2", "stats gru", "diff gru simple", "dump gru"] {
        let (status, _, stderr) =
            outcome(home.path(), command(home.path(), arguments).env("ONETRACE_DEVICE", "gpu"));
        assert_eq!(status, 2, "{arguments}: {stderr}");
        assert!(stderr.starts_with("error: ONETRACE_DEVICE: "), "{stderr}");
        let named = format!("{arguments} --device cpu");
        let (status, _, stderr) =
            outcome(home.path(), command(home.path(), &named).env("ONETRACE_DEVICE", "gpu"));
        assert_eq!(status, 0, "{named}: {stderr}");
    }
}
