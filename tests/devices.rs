//! Several devices: where data is, what runs where, and what is refused. They are CPUs, of which XLA
//! makes as many as an option of the process says, so that each test here begins with `devices`.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use expect_test::expect;
use onetrace::prelude::*;
use onetrace::{ErrorKind, Plugin, XlaOptions};

/// Four CPU devices.
fn devices() -> [Device; 4] {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| XlaOptions::new().cpu_devices(4).apply().unwrap());
    Device::cpus().unwrap().try_into().unwrap()
}

fn numbers() -> Tensor {
    Tensor::new(&[1.0f32, -2.0, 3.5], [3])
}

/// The message of a value that must not be.
fn message<T>(result: Result<T>, kind: ErrorKind) -> String {
    let error = result.err().expect("this is refused");
    assert_eq!(error.kind(), kind, "{error}");
    error.message().to_owned()
}

#[test]
fn devices_are_printed_as_they_are_parsed() {
    let devices = devices();
    for (device, name) in devices.iter().zip(["cpu", "cpu:1", "cpu:2", "cpu:3"]) {
        assert_eq!(device.to_string(), name);
        assert_eq!(name.parse::<Device>().unwrap(), *device);
    }
    assert_eq!("cpu:0".parse::<Device>().unwrap(), Device::cpu().unwrap());
    assert_eq!("CPU:2".parse::<Device>().unwrap(), devices[2]);
    assert_ne!(devices[0], devices[1]);
    assert_eq!(devices[3].ordinal(), 3);
    assert_eq!(devices[3].platform(), "cpu");
    assert!(devices[3].memory().unwrap().limit > 1 << 20);
    assert!(Device::all().unwrap().starts_with(&devices));
    assert_eq!(Device::default_device().unwrap(), devices[0]);
}

#[test]
fn names_of_no_device() {
    devices();
    let mut transcript = String::new();
    for name in [
        "cpu:4",
        "cpu:-1",
        "cpu:",
        "cpu:99999999999999999999",
        "quantum",
        "quantum:1",
        "",
        "plugin:",
        "plugin:mine",
        "plugin:mine=",
        "plugin:=mine.so",
        "plugin:cpu=mine.so",
        "plugin:a b=mine.so",
        "plugin:mine=none.so",
        "plugin:mine=none.so:1",
    ] {
        let error = name.parse::<Device>().unwrap_err();
        transcript += &format!("{name:?}: {}\n", error.message());
    }
    expect![[r#"
        "cpu:4": device: there is no cpu:4: this process has cpu, cpu:1, cpu:2, cpu:3
          XLA makes as many CPU devices as its option xla_force_host_platform_device_count says: set it to 5 (`XlaOptions::cpu_devices`, `--xla-flag NAME=VALUE` on the command line)
        "cpu:-1": device: "cpu:-1" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "cpu:": device: "cpu:" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "cpu:99999999999999999999": device: "cpu:99999999999999999999" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "quantum": device: "quantum" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "quantum:1": device: "quantum:1" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "": device: "" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "plugin:": device: "plugin:" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "plugin:mine": device: "plugin:mine" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "plugin:mine=": device: "plugin:mine=" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        "plugin:=mine.so": plugin: the name "" must be letters, digits, '-' and '_'
        "plugin:cpu=mine.so": plugin: cpu cannot be the name of a plugin: it has a meaning of its own
        "plugin:a b=mine.so": plugin: the name "a b" must be letters, digits, '-' and '_'
        "plugin:mine=none.so": plugin: mine in none.so: No such file or directory (os error 2)
        "plugin:mine=none.so:1": plugin: mine in none.so: No such file or directory (os error 2)
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn tensors_know_their_device() {
    let [_, first, second, _] = devices();
    let x = numbers();
    assert_eq!(x.device(), None);
    let on_first = x.to_device(&first).unwrap();
    assert_eq!(on_first.device(), Some(first.clone()));
    assert_eq!(x.device(), None, "the original is left as it is");

    // What is computed of it stays there.
    let y = &on_first * 2.0 + &x;
    assert_eq!(y.device(), Some(first.clone()));
    let on_second = y.to_device(&second).unwrap();
    assert_eq!(on_second.device(), Some(second));
    assert_eq!(on_second.to_vec::<f32>().unwrap(), [3.0, -6.0, 10.5]);
    assert_eq!(y.to_vec::<f32>().unwrap(), [3.0, -6.0, 10.5]);
    assert_eq!(y.to_device(&first).unwrap().device(), Some(first));
}

/// What was computed of no data that is tied to a device goes where it is needed.
#[test]
fn data_that_is_not_tied_goes_anywhere() {
    let [cpu, first, ..] = devices();
    let free = numbers() * 2.0;
    assert_eq!(free.device(), Some(cpu.clone()));
    let sum = numbers().to_device(&first).unwrap() + &free;
    assert_eq!(sum.device(), Some(first.clone()));
    assert_eq!(sum.to_vec::<f32>().unwrap(), [3.0, -6.0, 10.5]);

    // It can be tied to the device it is on already.
    let tied = free.to_device(&cpu).unwrap();
    assert!((&tied + &sum).check().is_err());
    assert!((&free + &sum).check().is_ok());

    // A device that a program was compiled for was chosen.
    let double = jit(|x: Tensor| x * 2.0);
    let chosen = double.lower(numbers()).unwrap().compile_for(&cpu).unwrap().call(numbers());
    assert!((chosen.unwrap() + &sum).check().is_err());
    assert!((double.call(numbers()).unwrap() + &sum).check().is_ok());
}

/// Every dtype, and shapes without elements and without axes, survive a trip over two devices.
#[test]
fn transfers_keep_every_bit() {
    let [_, first, second, _] = devices();
    for dtype in DType::ALL {
        for shape in [&[][..], &[0], &[2, 0, 3], &[2, 3]] {
            let count: isize = shape.iter().product();
            let x = Tensor::arange(count as usize, DType::I32).reshape(shape).astype(dtype);
            let there = x.to_device(&first).unwrap().to_device(&second).unwrap();
            assert_eq!(format!("{there:?}"), format!("{x:?}"), "{dtype} {shape:?}");
        }
    }
}

#[test]
fn what_cannot_be_moved_says_why() {
    let [_, first, ..] = devices();
    let wrong = numbers() + Tensor::ones([2], DType::F32);
    assert!(message(wrong.to_device(&first), ErrorKind::Shape).contains("f32[3]"));
    let traced = jit(|x: Tensor| {
        let error = x.to_device(&first).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Escaped);
        x
    });
    traced.call(numbers()).unwrap();
}

#[test]
fn different_devices_do_not_mix() {
    let [_, first, second, _] = devices();
    let (a, b) = (numbers().to_device(&first).unwrap(), numbers().to_device(&second).unwrap());
    let error = (&a + &b).check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert_eq!(error.location().unwrap().file(), file!());
    expect!["the arguments are on different devices, cpu:1 and cpu:2: bring them to one with `to_device`"]
        .assert_eq(error.message());

    let add = jit(|(x, y): (Tensor, Tensor)| x + y);
    assert!(message(add.call((a.clone(), b.clone())), ErrorKind::Device).contains("to_device"));
    assert!(add.call((a.clone(), b.to_device(&first).unwrap())).is_ok());

    let compiled = add.lower((numbers(), numbers())).unwrap().compile_for(&first).unwrap();
    assert_eq!(*compiled.device(), first);
    expect!["a compiled function takes data of its own device: it was compiled for cpu:1, but arg.1 is on cpu:2: bring it there with `to_device`"]
        .assert_eq(&message(compiled.call((a.clone(), b)), ErrorKind::Device));
    // Data of no device yet goes where it is needed.
    assert_eq!(compiled.call((a, numbers())).unwrap().device(), Some(first));
}

#[test]
fn jitted_functions_run_where_their_arguments_are() {
    let devices = devices();
    let traces = Cell::new(0);
    let double = jit(|x: Tensor| {
        traces.set(traces.get() + 1);
        x * 2.0
    });
    for device in devices.iter().chain(&devices) {
        let y = double.call(numbers().to_device(device).unwrap()).unwrap();
        assert_eq!(y.device().as_ref(), Some(device));
        assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, -4.0, 7.0]);
    }
    assert_eq!(traces.get(), devices.len(), "one program for each device");
    assert_eq!(double.call(numbers()).unwrap().device(), Some(Device::cpu().unwrap()));
}

#[test]
fn captured_tensors_are_copied_to_the_device() {
    let [_, first, second, _] = devices();
    let w = numbers().to_device(&first).unwrap();
    let x = numbers().to_device(&second).unwrap();
    let constant = jit(|x: Tensor| x * &w);
    let argument = jit(|x: Tensor| x * &w).captures_as_arguments();
    for y in [constant.call(&x).unwrap(), argument.call(&x).unwrap()] {
        assert_eq!(y.device(), Some(second.clone()));
        assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 4.0, 12.25]);
    }
    assert_eq!(w.device(), Some(first));
}

#[test]
fn memory_is_donated_on_every_device() {
    let [_, first, ..] = devices();
    let x = numbers().to_device(&first).unwrap();
    let copy = x.to_device(&first).unwrap();
    let other = x.to_device(&devices()[2]).unwrap();
    let y = jit(|x: Tensor| x + 1.0).donate(&[0]).call(&x).unwrap();
    assert_eq!(y.device(), Some(first.clone()));
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, -1.0, 4.5]);
    // A tensor that was there already is the same one; a copy elsewhere is another.
    for gone in [&x, &copy] {
        assert!(message(gone.to_vec::<f32>(), ErrorKind::Argument).contains("donated"));
        assert!(message(gone.to_device(&first), ErrorKind::Argument).contains("donated"));
    }
    assert_eq!(other.to_vec::<f32>().unwrap(), [1.0, -2.0, 3.5]);
}

/// The same loop on each device, all at the same time.
#[test]
fn devices_run_side_by_side() {
    let devices = devices();
    let cell = nn::GruCell::new(&mut nn::Rngs::new(1), 4, 8);
    let forward = jit(|x: Tensor| scan(|h, x_t| cell.step(h, x_t), cell.initial_carry(&[]), x).0);
    let x = random::normal(&random::key(0), [64, 4], DType::F32);
    let expected = forward.call(&x).unwrap().to_vec::<f32>().unwrap();
    let lowered = || {
        jit(|x: Tensor| scan(|h, x_t| cell.step(h, x_t), cell.initial_carry(&[]), x).0)
            .lower(&x)
            .unwrap()
    };
    std::thread::scope(|scope| {
        for device in &devices {
            let compiled = lowered().compile_for(device).unwrap();
            let x = x.to_device(device).unwrap();
            let expected = &expected;
            scope.spawn(move || {
                for _ in 0..8 {
                    let h = compiled.call(&x).unwrap();
                    assert_eq!(h.device().as_ref(), Some(device));
                    assert_eq!(h.to_vec::<f32>().unwrap(), *expected);
                }
            });
        }
    });
}

#[test]
fn options_of_one_compilation() {
    let [_, first, ..] = devices();
    let dump = tempfile::tempdir().unwrap();
    let files = || fs::read_dir(dump.path()).unwrap().count();
    let lower = |name: &str| jit(|x: Tensor| (x * 3.0).tanh()).name(name).lower(numbers()).unwrap();
    let options = XlaOptions::new().dump_to(dump.path());
    lower("dumped").compile_with(&first, &options).unwrap();
    let dumped = files();
    assert!(dumped > 0);
    lower("other").compile_for(&first).unwrap();
    assert_eq!(files(), dumped, "the option was that of one compilation");

    // A truth value, which is written as in XLA_FLAGS.
    let fast = XlaOptions::new().flag("--xla_cpu_enable_fast_math", true);
    let y = lower("fast").compile_with(&first, &fast).unwrap().call(numbers()).unwrap();
    assert!((y.to_vec::<f32>().unwrap()[0] - 3f32.tanh()).abs() < 1e-6);

    let unknown = XlaOptions::new().flag("xla_no_such_option", 1);
    let error = message(lower("f").compile_with(&first, &unknown), ErrorKind::Argument);
    expect![[r#"XlaOptions: this version of XLA has no option "xla_no_such_option""#]]
        .assert_eq(&error);
    let wrong = XlaOptions::new().flag("xla_cpu_enable_fast_math", "often");
    let error = message(lower("f").compile_with(&first, &wrong), ErrorKind::Argument);
    expect![[r#"XlaOptions: "often" is not a value of the option xla_cpu_enable_fast_math"#]]
        .assert_eq(&error);
}

#[test]
fn options_of_the_process_come_before_its_first_use() {
    devices();
    let late = XlaOptions::new().cpu_devices(8).apply();
    expect!["XlaOptions: it is too late: XLA has read its options, which it does when a program is first lowered or a device is first asked for; apply them before"]
        .assert_eq(&message(late, ErrorKind::Argument));
    assert_eq!(Device::cpus().unwrap().len(), 4);
}

/// A shared library of C source.
fn library(directory: &Path, name: &str, source: &str) -> std::path::PathBuf {
    let (c, so) = (directory.join(name).with_extension("c"), directory.join(name));
    fs::write(&c, source).unwrap();
    let mut cc = Command::new("cc");
    let status = cc.args(["-shared", "-fPIC", "-o"]).arg(&so).arg(&c).status().unwrap();
    assert!(status.success());
    so
}

/// Files that are no plugin, or not one for this library, are refused, and nothing else happens.
#[test]
fn files_that_are_no_plugin() {
    devices();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("garbage.so"), [7; 5000]).unwrap();
    fs::write(at("empty.so"), "").unwrap();
    fs::write(at("header.so"), b"\x7fELF\x02\x01\x01").unwrap();
    fs::create_dir(at("directory.so")).unwrap();
    let stranger = library(
        directory.path(),
        "stranger.so",
        "#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }",
    );
    library(directory.path(), "nothing.so", "void *GetPjrtApi(void) { return 0; }");
    library(
        directory.path(),
        "old.so",
        "static struct { long n; void *p; struct { long n; void *p; int major, minor; } v; } api = \
         {40, 0, {24, 0, 0, 7}}; void *GetPjrtApi(void) { return &api; }",
    );
    library(
        directory.path(),
        "unlinked.so",
        "void nobody_has_this(void); void *GetPjrtApi(void) { nobody_has_this(); return 0; }",
    );
    let whole = fs::read(stranger).unwrap();
    for (name, length) in [("short.so", whole.len() / 2), ("shorter.so", 70)] {
        fs::write(at(name), &whole[..length]).unwrap();
    }
    let mut foreign = whole.clone();
    foreign[18] = 183; // AArch64
    fs::write(at("foreign.so"), foreign).unwrap();

    let mut transcript = String::new();
    for name in [
        "none.so",
        "directory.so",
        "empty.so",
        "garbage.so",
        "header.so",
        "shorter.so",
        "short.so",
        "foreign.so",
        "stranger.so",
        "nothing.so",
        "unlinked.so",
        "old.so",
    ] {
        let result = Plugin::new("mine", at(name)).unwrap().devices();
        let message = message(result, ErrorKind::Device);
        transcript += &message.replace(directory.path().to_str().unwrap(), "");
        transcript += "\n";
    }
    expect![[r#"
        plugin: mine in /none.so: No such file or directory (os error 2)
        plugin: mine in /directory.so: it is not a file
        plugin: mine in /empty.so: it is not a shared library: it is no 64-bit ELF file
        plugin: mine in /garbage.so: it is not a shared library: it is no 64-bit ELF file
        plugin: mine in /header.so: it is not a shared library: it is no 64-bit ELF file
        plugin: mine in /shorter.so: the file is cut short: it has 70 of the 568 bytes that it says it has
        plugin: mine in /short.so: the file is cut short: it has 7656 of the 12304 bytes that it says it has
        plugin: mine in /foreign.so: it is made for Aarch64, and this is X86_64
        plugin: mine in /stranger.so: it is not a PJRT plugin: it exports no GetPjrtApi
        plugin: mine in /nothing.so: it has no PJRT interface
        plugin: mine in /unlinked.so: the library cannot be loaded: /unlinked.so: undefined symbol: nobody_has_this
          install what it needs, or say in LD_LIBRARY_PATH where that is
        plugin: mine in /old.so: the plugin speaks version 0.7 of PJRT's interface, and this build version 0.90: install a plugin with version 0.90 or a later one of 0.x
    "#]]
    .assert_eq(&transcript);
}
