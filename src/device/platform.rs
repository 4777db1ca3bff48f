//! Platforms: the clients of this process, each made once.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Device, Plugin, options};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::host_memory;
use crate::pjrt::{self, Client};

/// The name of the platform that XLA has without a plugin.
pub(super) const CPU: &str = "cpu";

/// A client and the name of its devices.
pub(super) struct Platform {
    name: String,
    client: Client,
    /// The shared library it came from; none for the CPU.
    library: Option<PathBuf>,
}

impl Platform {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the platform came from a shared library, and so from another XLA than ours.
    pub fn is_plugin(&self) -> bool {
        self.library.is_some()
    }

    /// The shared library that the platform's XLA is in, where that is known.
    pub fn library(&self) -> Option<PathBuf> {
        self.library.clone().or_else(pjrt::library)
    }

    pub fn devices(self: &Arc<Platform>) -> Vec<Device> {
        let device = |ordinal| Device { platform: self.clone(), ordinal };
        (0..self.client.device_count()).map(device).collect()
    }
}

/// The CPU's platform.
pub(super) fn cpu() -> Result<Arc<Platform>> {
    static PLATFORM: OnceLock<Result<Arc<Platform>>> = OnceLock::new();
    let make = || {
        options::settle()?;
        let client = Client::cpu(kept_bytes()?).map_err(|error| {
            Error::new(ErrorKind::Device, format!("device: the CPU cannot be used: {error}"))
        })?;
        Ok(Arc::new(Platform { name: CPU.to_owned(), client, library: None }))
    };
    PLATFORM.get_or_init(make).clone()
}

/// The environment variable with the bytes of memory that the CPU's platform keeps for later.
const KEPT_BYTES_VARIABLE: &str = "ONETRACE_CPU_KEPT_BYTES";

/// How much memory that programs gave back is kept for the next ones, instead of going back to the
/// system, which would have to clear it page by page at every run.
fn kept_bytes() -> Result<usize> {
    match std::env::var(KEPT_BYTES_VARIABLE) {
        Ok(text) if !text.trim().is_empty() => text.trim().parse().map_err(|_| {
            Error::argument(format!(
                "{KEPT_BYTES_VARIABLE}: {text:?} is not a number of bytes; 0 keeps nothing"
            ))
        }),
        _ => Ok(host_memory() / 8),
    }
}

/// The platforms of plugins that were loaded. They stay: results may be on their devices.
static LOADED: Mutex<Vec<Arc<Platform>>> = Mutex::new(Vec::new());

/// The platform of a plugin that was loaded under this name.
pub(super) fn loaded(name: &str) -> Option<Arc<Platform>> {
    let platforms = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    platforms.iter().find(|platform| platform.name == name).cloned()
}

/// The platform of a plugin, which is loaded if it is not yet.
pub(super) fn of_plugin(plugin: &Plugin) -> Result<Arc<Platform>> {
    let library = plugin.path().canonicalize().unwrap_or_else(|_| plugin.path().to_owned());
    // The lock is held while a plugin is loaded, so that none is twice. Platforms are whole when
    // they are inserted, so a panic of another thread leaves no damage.
    let mut platforms = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    for platform in &*platforms {
        let same_name = platform.name == plugin.name();
        let same_library = platform.library.as_ref() == Some(&library);
        if same_name && same_library {
            return Ok(platform.clone());
        }
        if same_name || same_library {
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "plugin: {} in {} cannot be loaded, because {} in {} was loaded before: a name \
                     stands for one file, and a file has one name",
                    plugin.name(),
                    library.display(),
                    platform.name,
                    platform.library.as_deref().unwrap_or(&library).display(),
                ),
            ));
        }
    }
    let client = plugin.start()?;
    let name = plugin.name().to_owned();
    let platform = Arc::new(Platform { name, client, library: Some(library) });
    platforms.push(platform.clone());
    Ok(platform)
}
