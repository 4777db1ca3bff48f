//! Devices: where compiled programs run.

mod options;
mod platform;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xla::XlaComputation;

pub use options::XlaOptions;
pub(crate) use options::settle;

use crate::error::{Error, ErrorKind, Result};
use crate::pjrt::{self, Client};
use platform::Platform;

#[derive(Clone)]
pub struct Device {
    platform: Arc<Platform>,
    ordinal: usize,
}

impl Device {
    pub fn cpu() -> Result<Device> {
        Ok(Device { platform: platform::cpu()?, ordinal: 0 })
    }

    pub fn cpus() -> Result<Vec<Device>> {
        Ok(platform::cpu()?.devices())
    }

    /// The name of the platform in lower case, such as `cpu` or `cuda`.
    pub fn platform(&self) -> &str {
        self.platform.name()
    }

    /// The number of the device among those of its platform.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Whether data goes from one device to the other without the host.
    pub(crate) fn shares_client_with(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.platform, &other.platform)
    }

    pub(crate) fn client(&self) -> &Client {
        self.platform.client()
    }
}

/// Compiles a computation for devices of one client, one replica for each. `options` hold for this
/// compilation, in front of those of the process.
pub(crate) fn compile(
    devices: &[Device],
    computation: &XlaComputation,
    options: &XlaOptions,
) -> Result<pjrt::Executable> {
    let platform = &devices[0].platform;
    assert!(devices.iter().all(|d| Arc::ptr_eq(&d.platform, platform)), "devices of one client");
    let ordinals: Vec<usize> = devices.iter().map(|device| device.ordinal).collect();
    // A plugin has an XLA of its own, with options of its own.
    let of_process = if platform.is_plugin() { settle()?.pairs() } else { &[] };
    let options = [of_process, options.pairs()].concat();
    platform.client().compile(&ordinals, computation, &options)
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.platform, &other.platform) && self.ordinal == other.ordinal
    }
}

impl Eq for Device {}

impl Hash for Device {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.platform).hash(state);
        self.ordinal.hash(state);
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.platform.name(), self.ordinal) {
            ("cpu", 0) => f.write_str("cpu"),
            (name, ordinal) => write!(f, "{name}:{ordinal}"),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Device> {
        match name {
            "cpu" => Device::cpu(),
            _ => Err(Error::new(
                ErrorKind::Device,
                format!("device: {name:?} is not a device that this build knows; known: cpu"),
            )),
        }
    }
}
