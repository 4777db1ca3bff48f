//! The arguments that say where a command runs and with which options of XLA.

use clap::Args;
use onetrace::{Device, Error, XlaOptions};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, reason};
use crate::probe;

#[derive(Args, Clone, Serialize, Deserialize)]
#[group(skip)]
pub struct DeviceArgs {
    /// The device that runs the program [default: $ONETRACE_DEVICE, or else cpu]
    ///
    /// cpu or cpu:N, gpu or gpu:N, cuda:N, the name of another PJRT plugin that is installed, or
    /// plugin:NAME=PATH or plugin:NAME=PATH:N for a plugin in a file. `onetrace devices` lists what
    /// there is. Another device never takes the place of one that cannot be used.
    #[arg(long, value_name = "D")]
    device: Option<String>,

    #[command(flatten)]
    options: XlaFlags,
}

impl DeviceArgs {
    /// Sets the options of XLA. To be called before anything is made that XLA has a part in.
    pub fn set_options(&self) -> Result<(), Failure> {
        self.options.set()
    }

    /// The device, started. It becomes the default one, so that parameters are made there too: to
    /// be called before they are.
    pub fn open(&self) -> Result<Device, Failure> {
        let of_environment = std::env::var(DEVICE_VARIABLE).ok().filter(|name| !name.is_empty());
        let (place, name) = match (&self.device, &of_environment) {
            (None, Some(name)) => (DEVICE_VARIABLE, Some(name)),
            (name, _) => ("--device", name.as_ref()),
        };
        // What pip installed is a plugin. Any file that somebody names may end the process.
        if let Some(name) = name.filter(|name| name.starts_with("plugin:")) {
            probe::survives(name, &self.options).map_err(|why| Failure::input(place, why))?;
        }
        let device = match &self.device {
            Some(name) => name.parse(),
            None => Device::default_device(),
        };
        let device = device.map_err(|error| refused(place, &error))?;
        device.make_default()?;
        Ok(device)
    }
}

/// The environment variable that the library takes its default device from.
const DEVICE_VARIABLE: &str = "ONETRACE_DEVICE";

/// An error of a device or an option that was given in `place`, if not in the environment.
pub fn refused(place: &str, error: &Error) -> Failure {
    let message = error.message();
    match message.starts_with("XLA_FLAGS: ") || message.starts_with("ONETRACE_") {
        true => Failure::wrong(message),
        false => Failure::input(place, reason(error)),
    }
}

#[derive(Args, Clone, Serialize, Deserialize)]
#[group(skip)]
pub struct XlaFlags {
    /// Set an option of XLA, such as xla_force_host_platform_device_count=4 for four CPU devices
    ///
    /// NAME is that of an option in the environment variable XLA_FLAGS, which this is stronger
    /// than. It can be given several times.
    #[arg(long = "xla-flag", value_name = "NAME=VALUE", value_parser = flag)]
    flags: Vec<Flag>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Flag {
    name: String,
    value: String,
}

fn flag(text: &str) -> Result<Flag, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Flag { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("must be a name, '=' and a value".to_owned()),
    }
}

impl XlaFlags {
    /// Sets the options. To be called before anything is made that XLA has a part in.
    pub fn set(&self) -> Result<(), Failure> {
        let options = self
            .flags
            .iter()
            .fold(XlaOptions::new(), |options, Flag { name, value }| options.flag(name, value));
        options.apply().map_err(|error| refused("--xla-flag", &error))
    }

    /// The arguments that give another process the same options.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        self.flags.iter().map(|Flag { name, value }| format!("--xla-flag={name}={value}"))
    }
}
