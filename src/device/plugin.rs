//! PJRT plugins: shared libraries with devices.

use std::fs::File;
use std::path::{Path, PathBuf};

use object::elf::FileHeader64;
use object::read::ReadCache;
use object::read::elf::{ElfFile64, ElfSymbol64, FileHeader};
use object::{Architecture, Endianness, Object, ObjectSymbol};

use super::{Device, found, options, platform};
use crate::error::{Error, ErrorKind, Result};
use crate::pjrt::{self, ApiVersion, Client};

/// A PJRT plugin: a shared library that has devices of one platform, such as the one for NVIDIA's
/// GPUs in the pip package `jax-cuda13-pjrt`.
///
/// # Examples
/// ```
/// use onetrace::Plugin;
/// let error = Plugin::new("mine", "/no/such/plugin.so")?.devices().unwrap_err();
/// assert!(error.message().contains("No such file"));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    name: String,
    path: PathBuf,
}

impl Plugin {
    /// The plugin in a file, under a name of letters, digits, `-` and `_` that its devices get. The
    /// plugins called `cuda` and `rocm` are those of [`Device::gpu`].
    ///
    /// # Errors
    /// If the name is no such name, or is `cpu`, `gpu` or `plugin`.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Result<Plugin> {
        let name = name.to_lowercase();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(Error::argument(format!(
                "plugin: the name {name:?} must be letters, digits, '-' and '_'"
            )));
        }
        if [platform::CPU, "gpu", "plugin"].contains(&&*name) {
            return Err(Error::argument(format!(
                "plugin: {name} cannot be the name of a plugin: it has a meaning of its own"
            )));
        }
        Ok(Plugin { name, path: path.into() })
    }

    /// The plugins that this machine has, each file once: those that the environment variable
    /// `PJRT_NAMES_AND_LIBRARY_PATHS` names (as in JAX, `NAME:PATH` between commas), and
    /// `jax_plugins/*/*.so` in the Python environments on the path, where pip puts them.
    ///
    /// Python environments are those of `VIRTUAL_ENV`, `CONDA_PREFIX` and `PYTHONPATH`, the prefix
    /// of each `python3` on the `PATH`, and the user's own. Nothing is loaded or run.
    pub fn found() -> Vec<Plugin> {
        found::plugins()
    }

    /// The name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the shared library is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The devices of the plugin, which is loaded the first time and stays loaded.
    ///
    /// # Errors
    /// With [`ErrorKind::Device`] if the file is not a PJRT plugin for this machine and this
    /// version of PJRT's interface, or if it finds no device that it can use, as without a driver.
    pub fn devices(&self) -> Result<Vec<Device>> {
        Ok(platform::of_plugin(self)?.devices())
    }

    /// Loads the library and makes its client.
    pub(super) fn start(&self) -> Result<Client> {
        options::settle()?;
        check_library(&self.path).map_err(|why| self.error(why))?;
        if self.is_gpu() {
            found::preload_nvidia_libraries(&self.path);
        }
        let loaded = pjrt::Plugin::load(&self.path).map_err(|why| {
            self.error(format!(
                "the library cannot be loaded: {why}\n  install what it needs, or say in \
                 LD_LIBRARY_PATH where that is"
            ))
        })?;
        let (plugin, version) = loaded.ok_or_else(|| self.error("it has no PJRT interface"))?;
        check_version(version).map_err(|why| self.error(why))?;
        plugin.initialize().map_err(|why| self.start_error(&why))?;
        // Programs that run side by side would otherwise find the memory taken.
        let options: &[_] = if self.is_gpu() { &[("preallocate", false)] } else { &[] };
        let client = Client::of_plugin(plugin, options).map_err(|why| self.start_error(&why))?;
        if client.device_count() == 0 {
            return Err(self.start_error("it has no device"));
        }
        Ok(client)
    }

    /// Whether the plugin is for GPUs.
    pub(super) fn is_gpu(&self) -> bool {
        GPUS.contains(&&*self.name)
    }

    fn start_error(&self, why: &str) -> Error {
        let advice = match &*self.name {
            "cuda" => {
                "\n  is there an NVIDIA GPU with its driver (`nvidia-smi` lists it), and are the \
                 CUDA libraries beside the plugin (`pip install \"jax[cuda13]\"` puts them there)?"
            }
            "rocm" => "\n  is there an AMD GPU with its driver (`rocminfo` lists it)?",
            _ => "",
        };
        self.error(format!("the plugin cannot start: {why}{advice}"))
    }

    fn error(&self, why: impl std::fmt::Display) -> Error {
        let Plugin { name, path } = self;
        Error::new(ErrorKind::Device, format!("plugin: {name} in {}: {why}", path.display()))
    }
}

/// The names of plugins that are for GPUs.
pub(super) const GPUS: [&str; 2] = ["cuda", "rocm"];

/// A plugin that is newer knows all that we may ask of it. One that is older may lack some.
fn check_version(theirs: ApiVersion) -> Result<(), String> {
    let ours = ApiVersion::ours();
    if theirs.major == ours.major && theirs.minor >= ours.minor {
        return Ok(());
    }
    Err(format!(
        "the plugin speaks version {theirs} of PJRT's interface, and this build version {ours}: \
         install a plugin with version {ours} or a later one of {}.x",
        ours.major
    ))
}

/// The architecture of this machine.
const HERE: Architecture =
    if cfg!(target_arch = "x86_64") { Architecture::X86_64 } else { Architecture::Aarch64 };

/// Checks that a file is a shared library for this machine, whole, and with PJRT's interface. A
/// file that is not can end the process when it is loaded, and one that is another library may run
/// code.
fn check_library(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    let cache = ReadCache::new(file);
    let not_a_library = |_| "it is not a shared library: it is no 64-bit ELF file".to_owned();
    let header = FileHeader64::<Endianness>::parse(&cache).map_err(not_a_library)?;
    let endian = header.endian().map_err(not_a_library)?;
    let cut_short = |needed: u64| {
        let length = metadata.len();
        format!("the file is cut short: it has {length} of the {needed} bytes that it says it has")
    };
    let segments_end = header.e_phoff.get(endian).saturating_add(
        u64::from(header.e_phnum.get(endian)) * u64::from(header.e_phentsize.get(endian)),
    );
    if segments_end > metadata.len() {
        return Err(cut_short(segments_end));
    }
    let segments = header.program_headers(endian, &cache).map_err(not_a_library)?;
    let needed = segments
        .iter()
        .map(|segment| segment.p_offset.get(endian).saturating_add(segment.p_filesz.get(endian)));
    let needed = needed.max().unwrap_or(0);
    if needed > metadata.len() {
        return Err(cut_short(needed));
    }
    let elf = ElfFile64::<Endianness, _>::parse(&cache)
        .map_err(|error| format!("the file is damaged: {error}"))?;
    if elf.architecture() != HERE {
        return Err(format!("it is made for {:?}, and this is {HERE:?}", elf.architecture()));
    }
    let exported = |symbol: ElfSymbol64<Endianness, _>| {
        symbol.is_definition() && symbol.name_bytes() == Ok(b"GetPjrtApi")
    };
    if !elf.dynamic_symbols().any(exported) {
        return Err("it is not a PJRT plugin: it exports no GetPjrtApi".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_know_all_we_ask_are_taken() {
        let ours = ApiVersion::ours();
        assert!(check_version(ours).is_ok());
        assert!(check_version(ApiVersion { minor: ours.minor + 1, ..ours }).is_ok());
        let older = check_version(ApiVersion { minor: ours.minor - 1, ..ours }).unwrap_err();
        assert!(older.contains("install a plugin with version"), "{older}");
        assert!(check_version(ApiVersion { major: ours.major + 1, ..ours }).is_err());
    }

    #[test]
    fn names_have_no_meaning_of_their_own() {
        for bad in ["", "a:b", "a=b", "cpu", "GPU", "plugin", "ä"] {
            assert!(Plugin::new(bad, "x.so").is_err(), "{bad}");
        }
        assert_eq!(Plugin::new("My-TPU", "x.so").unwrap().name(), "my-tpu");
    }
}
