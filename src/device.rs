//! Devices: where compiled programs run.

use std::fmt;
use std::sync::{Arc, OnceLock};

use xla::PjRtClient;

use crate::error::{Error, ErrorKind, Result};
use crate::xla_ext;

/// The first device of a PJRT client. Cheap to clone.
///
/// # Examples
/// ```
/// use onetrace::Device;
/// let device: Device = "cpu".parse()?;
/// assert_eq!(device, Device::cpu()?);
/// assert_eq!(device.platform(), "cpu");
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    client: PjRtClient,
    platform: String,
}

impl Device {
    /// The CPU. The client is made once for the process; compiled programs use all its cores.
    ///
    /// # Errors
    /// If XLA cannot start its CPU client.
    pub fn cpu() -> Result<Device> {
        static CPU: OnceLock<Result<Device>> = OnceLock::new();
        CPU.get_or_init(Device::another_cpu).clone()
    }

    /// A CPU client of its own, whose data is not that of another one.
    pub(crate) fn another_cpu() -> Result<Device> {
        xla_ext::set_options();
        let client = PjRtClient::cpu()?;
        let platform = client.platform_name().to_lowercase();
        Ok(Device(Arc::new(Inner { client, platform })))
    }

    /// The name of the platform in lower case, such as `cpu`.
    pub fn platform(&self) -> &str {
        &self.0.platform
    }

    pub(crate) fn client(&self) -> &PjRtClient {
        &self.0.client
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.platform())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.platform())
    }
}

impl std::str::FromStr for Device {
    type Err = Error;

    /// The device that a command line names.
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
