//! Devices: where compiled programs run.

mod found;
mod name;
mod options;
mod platform;
mod plugin;

use std::env;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use xla::XlaComputation;

pub use options::XlaOptions;
pub(crate) use options::{flags_of_environment, settle};
pub use plugin::Plugin;

use crate::callback;
use crate::compilation_cache;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::host_memory;
use crate::pjrt::{self, Build, Client};
use platform::Platform;

/// A device that programs run on: one of a platform, such as the second GPU. Cheap to clone.
///
/// A platform is started when the first of its devices is asked for, and stays for the rest of the
/// process. Two devices are equal if they are of the same platform and have the same number.
///
/// # Names
///
/// A device is printed as it is parsed, where [`plugin`](Device::plugin)s that were loaded from a
/// file go by their name alone.
///
/// | name | device |
/// |---|---|
/// | `cpu`, `cpu:N` | the CPU; number N of them. There is one, if [`XlaOptions::cpu_devices`] says no more |
/// | `gpu`, `gpu:N` | a GPU, with the plugin that pip installed for it |
/// | `cuda:N`, `rocm:N`, `NAME:N` | device N of the plugin with this name: one that was loaded, or one [found](Plugin::found) |
/// | `plugin:NAME=PATH`, `plugin:NAME=PATH:N` | device N of the plugin in a file. A path that ends with a colon and a number has `:0` behind it |
///
/// # Examples
/// ```
/// use onetrace::Device;
/// let device: Device = "cpu".parse()?;
/// assert_eq!(device, Device::cpu()?);
/// assert_eq!(device.to_string(), "cpu");
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone)]
pub struct Device {
    platform: Arc<Platform>,
    ordinal: usize,
}

/// Bytes of a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Bytes that programs can have in all.
    pub limit: u64,
    /// Bytes that are in use now; none if the device does not tell.
    pub in_use: Option<u64>,
}

impl Device {
    /// The first CPU device. Compiled programs use all its cores.
    ///
    /// # Errors
    /// If XLA cannot start its CPU client, or does not understand `XLA_FLAGS`.
    pub fn cpu() -> Result<Device> {
        Ok(Device { platform: platform::cpu()?, ordinal: 0 })
    }

    /// All CPU devices: as many as [`XlaOptions::cpu_devices`] says, which share the cores.
    ///
    /// # Errors
    /// As [`cpu`](Device::cpu).
    pub fn cpus() -> Result<Vec<Device>> {
        Ok(Device::cpu()?.peers())
    }

    /// A GPU by its number, with the first plugin called `cuda` or `rocm` among those
    /// [found](Plugin::found) that can be used.
    ///
    /// # Errors
    /// If there is none, with the reason for each plugin.
    pub fn gpu(ordinal: usize) -> Result<Device> {
        name::nth(name::of_found(&plugin::GPUS, "GPU")?, ordinal)
    }

    /// The first device of the PJRT plugin in a file; see [`Plugin`].
    ///
    /// # Errors
    /// As [`Plugin::new`] and [`Plugin::devices`].
    pub fn plugin(name: &str, path: impl AsRef<Path>) -> Result<Device> {
        name::nth(Plugin::new(name, path.as_ref())?.devices()?, 0)
    }

    /// All devices: those of the CPU and of each plugin [found](Plugin::found) that can be used.
    /// What is wrong with the others is what [`Plugin::devices`] says.
    ///
    /// # Errors
    /// As [`cpu`](Device::cpu).
    pub fn all() -> Result<Vec<Device>> {
        let mut devices = Device::cpus()?;
        devices.extend(Plugin::found().iter().flat_map(|p| p.devices().unwrap_or_default()));
        Ok(devices)
    }

    /// The device of computations whose arguments belong to none: that of the environment variable
    /// `ONETRACE_DEVICE`, which is read once, or else the first CPU.
    ///
    /// # Errors
    /// If there is no such device. No other one takes its place.
    pub fn default_device() -> Result<Device> {
        let find = || match env::var_os(DEVICE_VARIABLE) {
            Some(name) if !name.is_empty() => {
                name.to_string_lossy().parse().map_err(|error: Error| error.note(NOTE))
            }
            _ => Device::cpu(),
        };
        DEFAULT.get_or_init(find).clone()
    }

    /// Makes this the [default device](Device::default_device), in place of that of the environment
    /// variable.
    ///
    /// # Errors
    /// If another device is the default one already: it is settled when it is first needed.
    pub fn make_default(&self) -> Result<()> {
        match DEFAULT.get_or_init(|| Ok(self.clone())) {
            Ok(device) if device == self => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Device,
                format!(
                    "make_default: it is too late to make {self} the default device: another one \
                     was needed before; call it first"
                ),
            )),
        }
    }

    /// All devices of the same platform, this one among them, in order.
    pub fn peers(&self) -> Vec<Device> {
        self.platform.devices()
    }

    /// The name of the platform in lower case: `cpu`, or that of the plugin, such as `cuda`.
    pub fn platform(&self) -> &str {
        self.platform.name()
    }

    /// What the platform says of its version.
    pub fn platform_version(&self) -> String {
        self.platform.client().version()
    }

    /// The number of the device among those of its platform.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// The model, such as `NVIDIA A100`.
    pub fn kind(&self) -> String {
        self.platform.client().device_kind(self.ordinal)
    }

    /// How much memory the device has; none if it does not tell. A CPU has that of the machine.
    pub fn memory(&self) -> Option<DeviceMemory> {
        if let Some((in_use, limit)) = self.platform.client().device_memory(self.ordinal) {
            return Some(DeviceMemory { limit, in_use: Some(in_use) });
        }
        let of_machine = DeviceMemory { limit: host_memory() as u64, in_use: None };
        (!self.platform.is_plugin()).then_some(of_machine)
    }

    /// Whether data goes from one device to the other without the host.
    pub(crate) fn shares_client_with(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.platform, &other.platform)
    }

    pub(crate) fn client(&self) -> &Client {
        self.platform.client()
    }
}

/// The default device, once it is settled.
static DEFAULT: OnceLock<Result<Device>> = OnceLock::new();

/// The environment variable with the name of the default device.
const DEVICE_VARIABLE: &str = "ONETRACE_DEVICE";

/// Where the name of the default device came from.
const NOTE: &str = "from the environment variable ONETRACE_DEVICE";

/// Compiles a computation for devices of one client, one replica for each. `options` hold for this
/// compilation, in front of those of the process. It must be said if the program [calls the
/// host](crate::callback).
pub(crate) fn compile(
    devices: &[Device],
    computation: &XlaComputation,
    options: &XlaOptions,
    calls_host: bool,
) -> Result<pjrt::Executable> {
    let platform = &devices[0].platform;
    assert!(devices.iter().all(|d| Arc::ptr_eq(&d.platform, platform)), "devices of one client");
    if calls_host && platform.is_plugin() {
        return Err(Error::new(
            ErrorKind::Device,
            format!(
                "debug_print and progress work on CPUs, and the program is compiled for {}: \
                 return what is to be printed, and call debug_print on it outside of the program",
                devices[0],
            ),
        ));
    }
    if calls_host {
        callback::register()?;
    }
    with_build(devices, options, calls_host, |client, library, build| {
        compilation_cache::get_or_compile(client, library, computation, build)
    })
}

/// A digest of all that the program that [`compile`] gives depends on, if that can be known.
pub(crate) fn program_key(
    devices: &[Device],
    computation: &XlaComputation,
    options: &XlaOptions,
    calls_host: bool,
) -> Result<Option<String>> {
    with_build(devices, options, calls_host, |client, library, build| {
        compilation_cache::key(client, library, computation, build)
    })
}

fn with_build<R>(
    devices: &[Device],
    options: &XlaOptions,
    calls_host: bool,
    f: impl FnOnce(&Client, Option<PathBuf>, &Build) -> Result<R>,
) -> Result<R> {
    let platform = &devices[0].platform;
    let ordinals: Vec<usize> = devices.iter().map(|device| device.ordinal).collect();
    // A plugin has an XLA of its own, with options of its own.
    let of_process = if platform.is_plugin() { settle()?.pairs() } else { &[] };
    let options = [of_process, options.pairs()].concat();
    let build = Build { ordinals: &ordinals, options: &options, calls_host };
    f(platform.client(), platform.library(), &build)
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

    /// The device with a [name](Device#names).
    fn from_str(name: &str) -> Result<Device> {
        name::device(name)
    }
}
