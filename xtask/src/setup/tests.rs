//! Whole set-ups from small wheels: real files, a real compiler, and a script for pip.

use std::io::Write;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// Stands for pip: brings what lies in `index`, and writes down that it was called.
const PIP: &str = r#"#!/bin/sh
here=$(dirname "$0")
[ "$1" = --version ] && { echo "pip 99.0 from here"; exit 0; }
while [ $# -gt 0 ]; do [ "$1" = --dest ] && dest=$2; last=$1; shift; done
echo download >> "$here/calls"
cp "$here"/index/* "$dest"
"#;

struct World {
    dir: TempDir,
    setup: Setup,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["index", "shim/include", "bin"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in shim::SOURCES {
            let text = format!("extern \"C\" int {name}_answer() {{ return 42; }}\n");
            fs::write(path("shim").join(name).with_extension("cc"), text).unwrap();
        }
        fs::write(path("shim/include/stand_in.h"), "").unwrap();
        fs::write(path("pip"), PIP).unwrap();

        let library = path("library.so");
        let mut link = Compiler::find().unwrap().command();
        assert!(
            link.args(["-shared", "-x", "c++", "/dev/null", "-o"])
                .arg(&library)
                .status()
                .unwrap()
                .success()
        );
        let library = fs::read(library).unwrap();
        let xla = pack(
            wheels::XLA,
            &path("index"),
            &[
                ("tensorflow/include/xla/shape.h", b"class Shape;"),
                ("tensorflow/include/tensorflow/left_out.h", b""),
                ("tensorflow/libtensorflow_cc.so.2", &library),
                ("tensorflow/libtensorflow_framework.so.2", &library),
            ],
        );
        let libclang = wheels::LIBCLANG.keep[0].0;
        let libclang = pack(wheels::LIBCLANG, &path("index"), &[(libclang, &library)]);
        let setup = Setup {
            xla,
            libclang,
            pips: vec![format!("sh {}", path("pip").display())],
            shim: path("shim"),
            cache: path("cache"),
            target: path("xla"),
            archive: None,
            wheels: Vec::new(),
            force: false,
        };
        World { dir, setup }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn downloads(&self) -> usize {
        fs::read_to_string(self.path("calls")).unwrap_or_default().lines().count()
    }

    /// Runs a set-up that must not finish, and gives its message.
    fn refused(&self) -> String {
        let error = self.setup.run().expect_err("the set-up must not finish");
        assert_eq!(Stamp::read(&self.setup.target), None);
        assert!(!self.path("xla.onetrace-partial").exists());
        format!("{error:#}")
    }

    fn archive(&self, top: &str) -> PathBuf {
        let file = self.path("xla_extension.tar.gz");
        let mut tar =
            tar::Builder::new(GzEncoder::new(File::create(&file).unwrap(), Compression::fast()));
        for name in ["include/xla/shape.h", "lib/libxla_extension.so", "NOTICE"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(7);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("{top}/{name}"), &b"archive"[..]).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        file
    }
}

/// Makes a wheel and pins it.
fn pack(wheel: Wheel, dir: &Path, files: &[(&str, &[u8])]) -> Wheel {
    let path = dir.join(wheel.file);
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    Wheel { sha256: hash::of_file(&path).unwrap().leak(), bytes: 1, unpacked_bytes: 1, ..wheel }
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn a_set_up_holds_what_xla_rs_looks_for() {
    let world = World::new();
    world.setup.run().unwrap();
    let target = &world.setup.target;
    for name in [
        "include/xla/shape.h",
        "include/stand_in.h",
        "lib/libxla_extension.so",
        "lib/libxla_extension_shim.so",
        "lib/libtensorflow_cc.so.2",
        "lib/libonetrace_quiet.so",
        "lib/onetrace_references.o",
        "libclang/lib/libclang.so",
        "libclang/bin/clang",
    ] {
        assert!(target.join(name).exists(), "{name} is missing");
    }
    assert!(!target.join("include/tensorflow").exists(), "only what is needed is kept");
    let clang = target.join("libclang/bin/clang");
    let clang = Command::new("sh").arg(clang).arg("--version").output().unwrap();
    assert!(clang.status.success());
    assert!(!world.path("cache/partial").exists());
    assert_eq!(world.downloads(), 2);
}

#[test]
fn a_finished_set_up_is_left_as_it_is_unless_it_lost_a_part() {
    let world = World::new();
    world.setup.run().unwrap();
    let stamp = inode(&world.setup.target.join("set-up.txt"));
    world.setup.run().unwrap();
    assert_eq!(inode(&world.setup.target.join("set-up.txt")), stamp);

    fs::remove_dir_all(world.setup.target.join("lib")).unwrap();
    world.setup.run().unwrap();
    assert!(world.setup.target.join("lib/libtensorflow_cc.so.2").exists());
}

#[test]
fn a_second_checkout_downloads_nothing_and_outlives_the_cache() {
    let mut world = World::new();
    world.setup.run().unwrap();
    let first = world.setup.target.join("lib/libtensorflow_cc.so.2");
    world.setup.target = world.path("second");
    world.setup.run().unwrap();
    let second = world.setup.target.join("lib/libtensorflow_cc.so.2");
    assert_eq!(world.downloads(), 2);
    assert_eq!(inode(&first), inode(&second), "the large files are shared");

    fs::remove_dir_all(&world.setup.cache).unwrap();
    assert!(second.exists());
    world.setup.run().unwrap();
    assert_eq!(world.downloads(), 2);
}

#[test]
fn a_run_that_broke_off_is_taken_up_again() {
    let mut world = World::new();
    world.setup.run().unwrap();
    // As after a kill: debris of the last stage, and the stages before it whole.
    fs::create_dir_all(world.path("cache/partial/unpacked/include")).unwrap();
    fs::create_dir_all(world.path("second.onetrace-partial/lib")).unwrap();
    fs::write(world.path("second.onetrace-partial/debris"), "").unwrap();
    fs::remove_dir_all(unpack::place(&world.setup.xla, &world.setup.cache)).unwrap();
    world.setup.target = world.path("second");
    world.setup.run().unwrap();
    assert!(!world.path("second/debris").exists());
    assert_eq!(world.downloads(), 2);
}

#[test]
fn a_damaged_wheel_in_the_cache_is_downloaded_again() {
    let mut world = World::new();
    world.setup.run().unwrap();
    let wheel = fetch::place(&world.setup.xla, &world.setup.cache);
    fs::write(&wheel, "cut sho").unwrap();
    world.setup.force = true;
    world.setup.run().unwrap();
    assert_eq!(world.downloads(), 3);
    assert_eq!(hash::of_file(&wheel).unwrap(), world.setup.xla.sha256);
}

#[test]
fn a_download_with_another_hash_is_refused() {
    let world = World::new();
    fs::write(world.path("index").join(world.setup.xla.file), "something else").unwrap();
    let message = world.refused();
    assert!(message.contains("pip downloaded another file than set-up is pinned to"), "{message}");
    assert!(message.contains(world.setup.xla.sha256), "{message}");
    assert!(!fetch::place(&world.setup.xla, &world.setup.cache).exists());
}

#[test]
fn wheels_on_disk_need_no_pip() {
    let mut world = World::new();
    let index = world.path("index");
    world.setup.pips.clear();
    world.setup.wheels =
        vec![index.join(world.setup.xla.file), index.join(world.setup.libclang.file)];
    world.setup.run().unwrap();
    assert_eq!(world.downloads(), 0);
}

#[test]
fn an_archive_takes_the_place_of_the_wheel_and_is_kept() {
    let mut world = World::new();
    world.setup.archive = Some(world.archive("xla_extension"));
    world.setup.run().unwrap();
    let library = world.setup.target.join("lib/libxla_extension.so");
    assert_eq!(fs::read(&library).unwrap(), b"archive");
    assert!(world.setup.target.join("NOTICE").exists());
    assert!(world.setup.target.join("libclang/lib/libclang.so").exists());
    assert!(!world.setup.target.join("xla_extension").exists());

    world.setup.archive = None;
    world.setup.run().unwrap();
    assert_eq!(fs::read(&library).unwrap(), b"archive", "a plain set-up keeps it");
    world.setup.force = true;
    world.setup.run().unwrap();
    assert!(fs::read(&library).unwrap().starts_with(b"INPUT("), "--force does not");
}

#[test]
fn an_archive_of_another_layout_is_refused() {
    let mut world = World::new();
    world.setup.archive = Some(world.archive("xla"));
    let message = world.refused();
    assert!(message.contains("is not an xla_extension archive"), "{message}");
}

#[test]
fn another_shim_is_compiled_again() {
    let world = World::new();
    world.setup.run().unwrap();
    let library = world.setup.target.join("lib/libxla_extension_shim.so");
    let before = hash::of_file(&library).unwrap();
    fs::write(world.path("shim/stablehlo.cc"), "extern \"C\" int other() { return 1; }").unwrap();
    world.setup.run().unwrap();
    assert_ne!(hash::of_file(&library).unwrap(), before);
    assert_eq!(world.downloads(), 2);
}

#[test]
fn a_shim_that_does_not_compile_leaves_the_old_set_up() {
    let world = World::new();
    world.setup.run().unwrap();
    fs::write(world.path("shim/stablehlo.cc"), "#include \"not_there.h\"").unwrap();
    let message = format!("{:#}", world.setup.run().unwrap_err());
    assert!(message.contains("cannot build the shim over XLA"), "{message}");
    assert!(message.contains("not_there.h"), "{message}");
    assert!(Stamp::read(&world.setup.target).is_some());
}
