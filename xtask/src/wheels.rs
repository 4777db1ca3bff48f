//! The wheels that XLA and libclang come from, pinned by hash.

/// What pip is asked for, what must arrive, and which of its files are kept.
#[derive(Clone)]
pub struct Wheel {
    pub name: &'static str,
    pub version: &'static str,
    pub file: &'static str,
    pub sha256: &'static str,
    pub bytes: u64,
    /// What the kept files weigh.
    pub unpacked_bytes: u64,
    pub tags: Tags,
    /// The start of a name in the wheel and what replaces it in the unpacked tree. Other files are
    /// left out.
    pub keep: &'static [(&'static str, &'static str)],
}

/// The Python a wheel is for. It is fixed, whatever Python runs pip here.
#[derive(Clone)]
pub struct Tags {
    pub implementation: &'static str,
    pub abi: &'static str,
    pub platform: &'static str,
}

/// `--python-version` for pip.
pub const PYTHON_VERSION: &str = "3.11";

/// Its `libtensorflow_cc.so.2` holds and exports all of XLA.
pub const XLA: Wheel = Wheel {
    name: "tensorflow-cpu",
    version: "2.21.0",
    file: "tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl",
    sha256: "2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c",
    bytes: 273_829_956,
    unpacked_bytes: 920_000_000,
    tags: Tags { implementation: "cp", abi: "cp311", platform: "manylinux_2_27_x86_64" },
    keep: &[
        ("tensorflow/THIRD_PARTY_NOTICES.txt", "NOTICE"),
        ("tensorflow/include/LICENSE", "LICENSE"),
        ("tensorflow/include/Eigen/", "include/Eigen/"),
        ("tensorflow/include/absl/", "include/absl/"),
        ("tensorflow/include/external/farmhash_archive/src/", "include/"),
        ("tensorflow/include/external/highwayhash/", "include/"),
        ("tensorflow/include/google/", "include/google/"),
        ("tensorflow/include/ml_dtypes/", "include/ml_dtypes/"),
        ("tensorflow/include/tsl/", "include/tsl/"),
        ("tensorflow/include/unsupported/", "include/unsupported/"),
        ("tensorflow/include/xla/", "include/xla/"),
        ("tensorflow/libtensorflow_cc.so.2", "lib/libtensorflow_cc.so.2"),
        ("tensorflow/libtensorflow_framework.so.2", "lib/libtensorflow_framework.so.2"),
    ],
};

/// bindgen reads xla-rs's C header with it.
pub const LIBCLANG: Wheel = Wheel {
    name: "libclang",
    version: "18.1.1",
    file: "libclang-18.1.1-py2.py3-none-manylinux2010_x86_64.whl",
    sha256: "c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b",
    bytes: 24_515_943,
    unpacked_bytes: 64_000_000,
    tags: Tags { implementation: "py", abi: "none", platform: "manylinux2010_x86_64" },
    keep: &[
        ("libclang-18.1.1.data/platlib/clang/native/libclang.so", "libclang/lib/libclang.so"),
        ("libclang-18.1.1.dist-info/LICENSE.TXT", "libclang/LICENSE.TXT"),
    ],
};

impl Wheel {
    /// The name of the kept copy of a file, or nothing if the file is left out.
    pub fn kept_as(&self, name: &str) -> Option<String> {
        let (from, to) = self.keep.iter().find(|(from, _)| name.starts_with(from))?;
        Some(format!("{to}{}", &name[from.len()..]))
    }

    /// `tensorflow-cpu 2.21.0 sha256:…`, for stamps.
    pub fn pin(&self) -> String {
        format!("{} {} sha256:{}", self.name, self.version, self.sha256)
    }

    /// The command with which a person can fetch the wheel by hand.
    pub fn pip_arguments(&self) -> Vec<String> {
        let Tags { implementation, abi, platform } = &self.tags;
        let mut arguments = vec!["download".to_owned(), "--no-deps".into()];
        arguments.push("--only-binary=:all:".into());
        for (option, value) in [
            ("--python-version", PYTHON_VERSION),
            ("--implementation", implementation),
            ("--abi", abi),
            ("--platform", platform),
        ] {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
        arguments.push(format!("{}=={}", self.name, self.version));
        arguments
    }
}
