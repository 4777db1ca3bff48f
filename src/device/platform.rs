//! Platforms: the clients of this process, each made once.

use std::sync::{Arc, OnceLock};

use super::{Device, options};
use crate::error::{Error, ErrorKind, Result};
use crate::pjrt::Client;

/// The name of the platform that XLA has without a plugin.
pub(super) const CPU: &str = "cpu";

/// A client and the name of its devices.
pub(super) struct Platform {
    name: String,
    client: Client,
}

impl Platform {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the platform came from a shared library.
    pub fn is_plugin(&self) -> bool {
        self.name != CPU
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
        let client = Client::cpu().map_err(|error| {
            Error::new(ErrorKind::Device, format!("cpu: XLA cannot start: {error}"))
        })?;
        Ok(Arc::new(Platform { name: CPU.to_owned(), client }))
    };
    PLATFORM.get_or_init(make).clone()
}
