//! The arguments that say where a command runs and with which options of XLA.

use clap::Args;
use onetrace::{Device, XlaOptions};

use crate::failure::{Failure, reason};

#[derive(Args)]
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

    /// The device, started.
    pub fn open(&self) -> Result<Device, Failure> {
        let (place, device) = match &self.device {
            Some(name) => ("--device", name.parse()),
            None => ("ONETRACE_DEVICE", Device::default_device()),
        };
        device.map_err(|error| Failure::input(place, reason(&error)))
    }
}

#[derive(Args)]
#[group(skip)]
pub struct XlaFlags {
    /// Set an option of XLA, such as xla_force_host_platform_device_count=4 for four CPU devices
    ///
    /// NAME is that of an option in the environment variable XLA_FLAGS, which this is stronger than.
    /// It can be given several times.
    #[arg(long = "xla-flag", value_name = "NAME=VALUE", value_parser = flag)]
    flags: Vec<Flag>,
}

#[derive(Clone)]
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
        options.apply().map_err(|error| Failure::input("--xla-flag", reason(&error)))
    }

    /// The arguments that give another process the same options.
    pub fn arguments(&self) -> impl Iterator<Item = String> {
        self.flags.iter().map(|Flag { name, value }| format!("--xla-flag={name}={value}"))
    }
}
