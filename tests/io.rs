//! Files: `.npy` against those that NumPy wrote (tests/golden/npy.py), safetensors, atomic writing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use onetrace::io::{
    check_writable, load_safetensors, read_npy, save_safetensors, write_atomically, write_npy,
};
use onetrace::prelude::*;
use onetrace::{Element, ErrorKind};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/npy").join(format!("{name}.npy"))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The message of the error, without the directory of the file.
fn reason<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("this was to fail"),
        Err(error) => error.message().split_once(".npy: ").unwrap().1.to_owned(),
    }
}

/// Reads all variants of a dtype; the elements are compared as text, which tells -0 from 0 and takes
/// a NaN for itself.
fn check_variants<T: Element + std::fmt::Debug>(name: &str, expected: [T; 6]) {
    let mut found = 0;
    for order in ["", "_le", "_be"] {
        for layout in ["_c", "_f"] {
            let path = golden(&format!("{name}{order}{layout}"));
            if !path.exists() {
                continue;
            }
            let tensor = read_npy(&path).unwrap();
            assert_eq!(tensor.shape(), [2, 3], "{}", path.display());
            let values = tensor.to_vec::<T>().unwrap();
            assert_eq!(format!("{values:?}"), format!("{expected:?}"), "{}", path.display());
            found += 1;
        }
    }
    let variants = if ["i1", "u1", "b1"].contains(&name) { 2 } else { 4 };
    assert_eq!(found, variants, "files of {name}");
}

const FLOATS: [f32; 6] = [-1.5, -0.0, 0.25, 2.0, f32::INFINITY, f32::NAN];

#[test]
fn reads_every_dtype_in_both_byte_orders_and_layouts() {
    check_variants("f2", FLOATS.map(half::f16::from_f32));
    check_variants("bf16", FLOATS.map(half::bf16::from_f32));
    check_variants("f4", FLOATS);
    check_variants("f8", FLOATS.map(f64::from));
    check_variants("i1", [-128i32, -2, -1, 0, 1, 127]);
    check_variants("i2", [-32768i32, -2, -1, 0, 1, 32767]);
    check_variants("i4", [i32::MIN, -2, -1, 0, 1, i32::MAX]);
    check_variants("i8", [i64::MIN, -2, -1, 0, 1, i64::MAX]);
    check_variants("u1", [0u8, 1, 2, 3, 254, 255]);
    check_variants("u2", [0u32, 1, 2, 3, 4, 65535]);
    check_variants("u4", [0u32, 1, 2, 3, 4, u32::MAX]);
    check_variants("u8", [0i64, 1, 2, 3, 4, i64::MAX]);
    check_variants("b1", [true, false, false, true, true, false]);
}

#[test]
fn reads_every_version_rank_and_an_empty_array() {
    let cube: Vec<f32> = (0..24).map(|i| i as f32).collect();
    for name in ["cube_c", "cube_f", "version_2", "version_3"] {
        let tensor = read_npy(golden(name)).unwrap();
        assert_eq!(tensor.shape(), [2, 3, 4], "{name}");
        assert_eq!(tensor.to_vec::<f32>().unwrap(), cube, "{name}");
    }
    let read = |name: &str| read_npy(golden(name)).unwrap();
    assert_eq!(read("scalar").aval().to_string(), "f32[]");
    assert_eq!(read("scalar").item::<f32>().unwrap(), 2.5);
    assert_eq!(read("vector").to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(read("empty").aval().to_string(), "f32[0,3]");
    assert!(read("empty").to_vec::<f32>().unwrap().is_empty());
}

#[test]
fn writes_the_bytes_that_numpy_writes() {
    let directory = tempfile::tempdir().unwrap();
    let names = [
        "f2_le_c",
        "bf16_le_c",
        "f4_le_c",
        "f8_le_c",
        "i4_le_c",
        "i8_le_c",
        "u1_c",
        "u4_le_c",
        "b1_c",
        "cube_c",
        "scalar",
        "vector",
        "empty",
    ];
    for name in names {
        let path = directory.path().join(name);
        write_npy(&path, &read_npy(golden(name)).unwrap()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(golden(name)).unwrap(), "{name}");
    }
    assert_eq!(names_in(directory.path()).len(), names.len(), "no temporary file is left");
}

#[test]
fn a_truth_value_that_is_neither_0_nor_1_is_true() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("b.npy");
    let mut bytes = fs::read(golden("b1_c")).unwrap();
    *bytes.last_mut().unwrap() = 7;
    fs::write(&path, bytes).unwrap();
    write_npy(&path, &read_npy(&path).unwrap()).unwrap();
    assert_eq!(fs::read(&path).unwrap().last(), Some(&1));
}

#[test]
fn elements_that_are_not_real_numbers_are_refused_by_what_they_are() {
    let cases = [
        (
            "object",
            "the elements are Python objects, which would have to be unpickled (type \"|O\")",
        ),
        ("record", "the elements are records (a structured dtype)"),
        ("string", "the elements are strings (type \"<U2\")"),
        ("bytes", "the elements are strings (type \"|S2\")"),
        ("date", "the elements are dates or times (type \"<M8[D]\")"),
        ("complex", "the elements are complex numbers (type \"<c8\")"),
        ("long_double", "the elements are floating-point numbers of a size that only some"),
        ("float8", "the elements are raw bytes (type \"<V1\")"),
        (
            "overflow",
            "the elements are uint64 and become int64, whose largest is \
                      9223372036854775807, but element 1 in row-major order is \
                      9223372036854775808",
        ),
    ];
    for (name, expected) in cases {
        let error = read_npy(golden(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let reason = reason(Err::<(), _>(error));
        assert!(reason.starts_with(expected), "{name}: {reason}");
    }
}

/// A version 1.0 file with this header and as many bytes of data.
fn npy(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), &vec![0; data]].concat()
}

fn npy_of_shape(shape: &str, data: usize) -> Vec<u8> {
    npy(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

#[test]
fn headers_that_numpy_would_read_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    for (header, aval) in [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "f32[2]"),
        ("{\"shape\":(2L,1L),\"fortran_order\":True,\"descr\":\"=f4\"}", "f32[2,1]"),
        (" {  'descr' : '<f4' ,\n 'fortran_order':False, 'shape': ( 1 , 2 ) , } \n", "f32[1,2]"),
    ] {
        fs::write(&path, npy(header, 8)).unwrap();
        assert_eq!(read_npy(&path).unwrap().aval().to_string(), aval, "{header}");
    }
}

#[test]
fn damaged_files_are_refused_by_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    let huge_header = [&b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..], &[b' '; 100]].concat();
    let long_header = [&b"\x93NUMPY\x02\x00\x00\x00\x02\x00"[..], &[b' '; 0x20000]].concat();
    let nested = npy(&"(".repeat(60_000), 0);
    let many_axes = npy_of_shape(&format!("({})", "1,".repeat(65)), 4);
    let cases: &[(Vec<u8>, &str)] = &[
        (vec![], "the file is empty"),
        (b"1,2,3\n".to_vec(), "this is not a .npy file: it does not begin with \\x93NUMPY"),
        (b"PK\x03\x04....".to_vec(), "this is a .npz archive"),
        (b"\x80\x04\x95....".to_vec(), "this is a pickle, which is not read"),
        (b"\x93NUMPY\x04\x00....".to_vec(), "version 4.0 of the .npy format is not known"),
        (b"\x93NUMPY\x01".to_vec(), "the file ends inside its header"),
        (huge_header, "the file ends inside its header, which should be 4294967295 bytes long"),
        (
            long_header,
            "the header says that it is 131072 bytes long, but that of an array of \
                       numbers has at most 65536",
        ),
        (nested, "the header is not a dictionary of 'descr', 'fortran_order' and 'shape': \"((("),
        (npy("", 0), "the header is not a dictionary"),
        (npy("{}", 0), "the header is not a dictionary"),
        (npy("{'descr': '<f4', 'shape': (1,)}", 4), "the header is not a dictionary"),
        (npy_of_shape("3", 12), "the header is not a dictionary"),
        (npy_of_shape("(3)", 12), "the header is not a dictionary"),
        (npy_of_shape("(-3,)", 12), "the header is not a dictionary"),
        (npy_of_shape("(1.5,)", 12), "the header is not a dictionary"),
        (npy_of_shape("(3,), 'more': 1", 12), "the header is not a dictionary"),
        (npy_of_shape("(3,)} {", 12), "the header is not a dictionary"),
        (many_axes, "the shape has 65 axes, but an array of NumPy has at most 64"),
        (npy_of_shape("(9223372036854775808, 2)", 8), "the shape (9223372036854775808, 2) is too"),
        (npy_of_shape("(4294967296, 4294967296)", 8), "the shape (4294967296, 4294967296) is too"),
        (npy_of_shape("(0, 4294967296, 4294967296)", 0), "the shape (0, 4294967296, 4294967296)"),
        (npy_of_shape(&format!("({},)", "9".repeat(40)), 8), "the shape (18446744073709551615,)"),
        (
            npy_of_shape("(1000000000000,)", 8),
            "the file is cut short: the header says shape \
            (1000000000000,) with 4 bytes an element, 4000000000000 bytes in all, but only 8 bytes \
            of data are there",
        ),
        (npy_of_shape("(2,)", 7), "the file is cut short"),
        (
            npy_of_shape("(2,)", 9),
            "there are more bytes after the array: the header says shape \
            (2,) with 4 bytes an element, 8 bytes in all",
        ),
        (
            npy("{'descr': 'f4', 'fortran_order': False, 'shape': ()}", 4),
            "the elements have the \
            type \"f4\", which is not known",
        ),
        (
            npy("{'descr': '<q9', 'fortran_order': False, 'shape': ()}", 9),
            "the elements have the \
            type \"<q9\", which is not known",
        ),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, bytes).unwrap();
        let reason = reason(read_npy(&path));
        assert!(reason.starts_with(expected), "{reason}\n  expected: {expected}");
    }
    assert!(reason(read_npy(directory.path().join("none.npy"))).contains("No such file"));
    let error = read_npy(directory.path()).unwrap_err();
    assert!(error.to_string().contains("directory"), "{error}");
}

/// Calls `check` with a file at `path` for every value of every byte of `valid`.
fn for_each_changed_byte(path: &Path, valid: &[u8], mut check: impl FnMut()) {
    fs::write(path, valid).unwrap();
    // Writing in place is much faster than a new file each time.
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let mut put = |position: usize, value: u8| {
        file.seek(SeekFrom::Start(position as u64)).unwrap();
        file.write_all(&[value]).unwrap();
    };
    for (position, &byte) in valid.iter().enumerate() {
        for value in 0..=255 {
            put(position, value);
            check();
        }
        put(position, byte);
    }
}

/// Calls `check` with a file at `path` for every length that is less than that of `valid`.
fn for_each_truncation(path: &Path, valid: &[u8], mut check: impl FnMut()) {
    fs::write(path, valid).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    for length in (0..valid.len()).rev() {
        file.set_len(length as u64).unwrap();
        check();
    }
}

/// Every way to cut the file short is an error, and every way to change one byte is an error or an
/// array of other values.
#[test]
fn no_truncation_and_no_changed_byte_panics() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    let valid = fs::read(golden("i2_be_f")).unwrap();
    let mut read = 0;
    for_each_changed_byte(&path, &valid, || {
        if let Ok(tensor) = read_npy(&path) {
            assert_eq!(tensor.size(), 6);
            read += 1;
        }
    });
    for_each_truncation(&path, &valid, || assert!(read_npy(&path).is_err()));
    // At least the data can be anything.
    assert!(read >= 12 * 256, "{read}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_without_knowing_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe.npy");
    let status = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(status.success());
    let through_pipe = |bytes: Vec<u8>| {
        std::thread::scope(|scope| {
            // The reader may stop early; then the pipe breaks, which is as it should be.
            scope.spawn(|| _ = fs::write(&pipe, bytes));
            read_npy(&pipe)
        })
    };
    let valid = fs::read(golden("cube_f")).unwrap();
    assert_eq!(through_pipe(valid.clone()).unwrap().shape(), [2, 3, 4]);
    assert!(reason(through_pipe(valid[..200].to_vec())).starts_with("the file is cut short"));
    assert!(
        reason(through_pipe([&valid[..], &[0]].concat())).starts_with("there are more bytes after")
    );
    let promised = npy_of_shape("(1000000000000000,)", 8);
    assert!(reason(through_pipe(promised)).starts_with("the file is cut short"));
}

#[test]
fn a_tensor_without_data_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.npy");
    let bad = Tensor::ones([2], DType::F32) + Tensor::ones([3], DType::F32);
    let error = write_npy(&path, &bad).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);

    let traced = jit(|x: Tensor| {
        assert_eq!(write_npy(&path, &x).unwrap_err().kind(), ErrorKind::Escaped);
        assert_eq!(save_safetensors(&path, &x).unwrap_err().kind(), ErrorKind::Escaped);
        x
    });
    traced.trace(Tensor::ones([2], DType::F32)).unwrap();

    let error = write_npy(&path, &Tensor::zeros(vec![1; 65], DType::F32)).unwrap_err();
    assert!(error.message().ends_with("has 65 axes, but an array of NumPy has at most 64"));
    assert_eq!(names_in(directory.path()), [""; 0]);
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.txt");
    let fail = |file: &mut dyn Write| {
        file.write_all(b"half a li")?;
        Err(std::io::Error::other("the disk is on fire"))
    };

    let error = write_atomically(&path, fail).unwrap_err();
    let expected =
        format!("write_atomically: {} cannot be written: the disk is on fire", path.display());
    assert_eq!((error.kind(), error.message()), (ErrorKind::Io, expected.as_str()));
    assert_eq!(names_in(directory.path()), [""; 0]);

    write_atomically(&path, |file| file.write_all(b"first\n")).unwrap();
    write_atomically(&path, fail).unwrap_err();
    assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
    write_atomically(&path, |file| file.write_all(b"second\n")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "second\n");
    assert_eq!(names_in(directory.path()), ["log.txt"]);
}

#[test]
fn a_path_that_cannot_be_written_is_found_before_the_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.npy");
    check_writable(&path).unwrap();
    assert_eq!(names_in(directory.path()), [""; 0], "nothing is left behind");
    fs::write(&path, "old").unwrap();
    check_writable(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");

    let x = Tensor::zeros([2], DType::F32);
    for bad in [
        directory.path().join("none/h.npy"),
        directory.path().to_owned(),
        path.join("h.npy"),
        "".into(),
    ] {
        for error in [check_writable(&bad).unwrap_err(), write_npy(&bad, &x).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Io);
            let expected = format!("{} cannot be written: ", bad.display());
            assert!(error.message().contains(&expected), "{error}");
        }
    }
    assert_eq!(names_in(directory.path()), ["h.npy"]);
}

#[cfg(unix)]
#[test]
fn links_permissions_and_devices_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let x = Tensor::zeros([2], DType::F32);

    let (path, plain) = (directory.path().join("x.npy"), directory.path().join("plain"));
    fs::write(&plain, "").unwrap();
    write_npy(&path, &x).unwrap();
    assert_eq!(mode(&path), mode(&plain), "those of any new file");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    write_npy(&path, &x).unwrap();
    assert_eq!(mode(&path), 0o640);

    let link = directory.path().join("link.npy");
    symlink("x.npy", &link).unwrap();
    write_npy(&link, &Tensor::zeros([5], DType::F32)).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read_npy(&path).unwrap().shape(), [5]);

    check_writable("/dev/null").unwrap();
    write_npy("/dev/null", &x).unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[derive(Clone, Tree)]
struct Dense {
    kernel: Tensor,
    bias: Option<Tensor>,
}

#[derive(Clone, Tree)]
struct Model {
    dense_i: Dense,
    layers: Vec<Dense>,
    steps: Tensor,
}

fn model(bias: bool) -> Model {
    let dense = |scale: f32| Dense {
        kernel: Tensor::new(&[scale, 2.0 * scale, -0.0, f32::NAN], [2, 2]),
        bias: bias.then(|| Tensor::new(&[half::bf16::from_f32(scale)], [1])),
    };
    let steps = Tensor::scalar(7, DType::I64);
    Model { dense_i: dense(1.0), layers: vec![dense(2.0), dense(3.0)], steps }
}

#[test]
fn a_tree_is_saved_under_its_paths_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    save_safetensors(&path, &model(true)).unwrap();
    assert_eq!(names_in(directory.path()), ["model.safetensors"]);

    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    assert_eq!(
        names,
        [
            "dense_i.bias",
            "dense_i.kernel",
            "layers.0.bias",
            "layers.0.kernel",
            "layers.1.bias",
            "layers.1.kernel",
            "steps"
        ]
    );
    let read = load_safetensors(&path, &model(true)).unwrap();
    assert_eq!(format!("{:?}", tree::leaves(&read)), format!("{:?}", tree::leaves(&model(true))));
}

#[test]
fn every_dtype_goes_through_safetensors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.safetensors");
    let tensors: Vec<Tensor> =
        DType::ALL.iter().enumerate().map(|(i, &dtype)| Tensor::ones([2, i], dtype)).collect();
    save_safetensors(&path, &tensors).unwrap();
    let read = load_safetensors(&path, &tensors).unwrap();
    assert_eq!(format!("{read:?}"), format!("{tensors:?}"));

    save_safetensors(&path, &tensors[3]).unwrap();
    assert_eq!(load_safetensors(&path, &tensors[3]).unwrap().shape(), [2, 3]);
    save_safetensors(&path, &()).unwrap();
    load_safetensors(&path, &()).unwrap();
}

#[test]
fn a_file_of_another_tree_is_refused_leaf_by_leaf() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let mut saved = model(false);
    saved.layers[1].kernel = Tensor::zeros([2, 3], DType::F32);
    saved.steps = Tensor::scalar(7.0, DType::F32);
    saved.layers[0].bias = Some(Tensor::zeros([4], DType::F16));
    save_safetensors(&path, &saved).unwrap();

    let mut wanted = model(false);
    wanted.dense_i.bias = Some(Tensor::zeros([2], DType::F32));
    let error = load_safetensors(&path, &wanted).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tree);
    let expected = format!(
        "load_safetensors: {}: the file does not hold the leaves of the tree:
  dense_i.bias: f32[2] in the tree, missing from the file
  layers.1.kernel: f32[2,2] in the tree, f32[2,3] in the file
  steps: i64[] in the tree, f32[] in the file
  layers.0.bias: not in the tree, f16[4] in the file",
        path.display()
    );
    assert_eq!(error.message(), expected);
}

#[test]
fn names_that_the_format_cannot_hold_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.safetensors");
    let map = |name: &str| BTreeMap::from([(name.to_owned(), Tensor::zeros([1], DType::F32))]);
    let tree =
        |a: &str, b: &str| BTreeMap::from([("a".to_owned(), map(a)), ("a.b".to_owned(), map(b))]);
    save_safetensors(&path, &tree("b.c", "d")).unwrap();
    let error = save_safetensors(&path, &tree("b.c", "c")).unwrap_err();
    assert_eq!(
        error.message(),
        "save_safetensors: the leaf \"a.b.c\" is there twice: a key of a map contains a dot"
    );
    let error = save_safetensors(&path, &map("__metadata__")).unwrap_err();
    assert!(error.message().contains("a name that the format keeps for itself"), "{error}");
}

#[test]
fn damaged_safetensors_are_errors_and_never_panic() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.safetensors");
    let tree = (Tensor::new(&[1.0f32, 2.0], [2]), Tensor::new(&[true], [1]));
    save_safetensors(&path, &tree).unwrap();
    let valid = fs::read(&path).unwrap();
    for_each_truncation(&path, &valid, || assert!(load_safetensors(&path, &tree).is_err()));
    for_each_changed_byte(&path, &valid, || {
        if let Ok((_, flag)) = load_safetensors(&path, &tree) {
            flag.to_vec::<bool>().unwrap();
        }
    });
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        load_safetensors(&path, &tree)
    };
    assert!(load(&[&valid[..], &[0]].concat()).is_err());

    let with_header =
        |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    // Offsets whose sum with the length of the header is larger than 64 bits can say.
    let eighth = 1usize << 61;
    let tensors: Vec<String> = (0..8)
        .map(|i| {
            let (begin, size) = (eighth * i, eighth - usize::from(i == 7));
            format!(
                r#""{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{begin},{}]}}"#,
                begin + size
            )
        })
        .collect();
    let cases = [
        (vec![0; 4], "a safetensors file has at least 8 bytes, this one has 4"),
        (
            vec![255; 64],
            "this is not a safetensors file, or it is damaged: the header says that it",
        ),
        (with_header("{]"), "the header of the file is damaged"),
        (with_header(&"[".repeat(10_000)), "the header of the file is damaged"),
        (with_header(&format!("{{{}}}", tensors.join(","))), "the header "),
        (1000u64.to_le_bytes().to_vec(), "the file is cut short: it has 8 bytes, its header alone"),
    ];
    for (bytes, expected) in cases {
        let error = load(&bytes).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.message().contains(&format!(".safetensors: {expected}")), "{error}");
    }
}
