//! `onetrace devices`: the platforms and devices of this machine.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;
use onetrace::{Device, Plugin};
use serde::{Deserialize, Serialize};

use crate::device::{XlaFlags, refused};
use crate::failure::{Failure, reason};
use crate::{output, probe};

/// List the devices that programs can run on
///
/// These are the CPU devices and those of the PJRT plugins that are found: in the packages
/// jax_plugins/* of the Python environments on the path, where pip puts them, and in the
/// environment variable PJRT_NAMES_AND_LIBRARY_PATHS (NAME:PATH between commas). For a plugin that
/// cannot be used, the reason is given.
///
/// Each plugin is tried in a process of its own: one that crashes does no harm.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Devices {
    /// List the devices of the plugin in a file as well; can be given several times
    #[arg(long, value_name = "NAME=PATH", value_parser = plugin)]
    plugin: Vec<Plugin>,

    #[command(flatten)]
    options: XlaFlags,

    /// Print one JSON object instead
    ///
    /// Its members are platforms, each with name, version, library (of a plugin) and devices
    /// (device, kind, memory_bytes, memory_in_use_bytes), and unusable, plugins with name, library
    /// and reason.
    #[arg(long)]
    json: bool,

    /// Start one device in this process, and print its platform for the process that asks
    #[arg(long, value_name = "D", hide = true)]
    probe: Option<OsString>,
}

const EXAMPLES: &str = "\
The names in the first column are those that --device and ONETRACE_DEVICE take.

Examples:
  onetrace devices
  onetrace devices --xla-flag xla_force_host_platform_device_count=4
  onetrace devices --plugin mine=/opt/mine/pjrt_plugin.so --json | jq .unusable";

fn plugin(text: &str) -> Result<Plugin, String> {
    match text.split_once('=') {
        Some((name, path)) if !path.is_empty() => {
            Plugin::new(name, path).map_err(|error| reason(&error).to_owned())
        }
        _ => Err("must be a name, '=' and the path of a shared library".to_owned()),
    }
}

/// A platform that can be used.
#[derive(Serialize, Deserialize)]
pub struct Platform {
    name: String,
    version: String,
    library: Option<String>,
    devices: Vec<OneDevice>,
}

#[derive(Serialize, Deserialize)]
struct OneDevice {
    device: String,
    kind: String,
    memory_bytes: Option<u64>,
    memory_in_use_bytes: Option<u64>,
}

/// A plugin that cannot be used.
#[derive(Serialize)]
struct Unusable {
    name: String,
    library: String,
    reason: String,
}

#[derive(Serialize)]
struct Listing {
    platforms: Vec<Platform>,
    unusable: Vec<Unusable>,
}

impl Devices {
    pub fn execute(&self) -> Result<(), Failure> {
        self.options.set()?;
        if let Some(name) = &self.probe {
            let device: Device = name.to_string_lossy().parse()?;
            let platform = Platform::of(&device);
            return output::print(|out| Ok(serde_json::to_writer(out, &platform)?));
        }
        let cpu = Device::cpu().map_err(|error| refused("--xla-flag", &error))?;
        let platforms = vec![Platform::of(&cpu)];
        let mut listing = Listing { platforms, unusable: Vec::new() };
        let found = Plugin::found();
        let named = self.plugin.iter().filter(|plugin| !found.contains(plugin));
        for plugin in found.iter().chain(named) {
            let library = plugin.path().display().to_string();
            match probe::platform(plugin, &self.options) {
                Ok(platform) => {
                    listing.platforms.push(Platform { library: Some(library), ..platform });
                }
                Err(reason) => {
                    let name = plugin.name().to_owned();
                    listing.unusable.push(Unusable { name, library, reason });
                }
            }
        }
        output::print(|out| {
            if self.json {
                serde_json::to_writer(&mut *out, &listing)?;
                return writeln!(out);
            }
            listing.write(out)
        })
    }
}

impl Platform {
    /// The platform of a device.
    fn of(device: &Device) -> Platform {
        let of_one = |device: &Device| {
            let memory = device.memory();
            OneDevice {
                device: device.to_string(),
                kind: device.kind(),
                memory_bytes: memory.map(|memory| memory.limit),
                memory_in_use_bytes: memory.and_then(|memory| memory.in_use),
            }
        };
        Platform {
            name: device.platform().to_owned(),
            version: device.platform_version(),
            library: None,
            devices: device.peers().iter().map(of_one).collect(),
        }
    }
}

impl Listing {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for platform in &self.platforms {
            // What says no more than the name is left out: XLA has no more to say of a CPU.
            let of_interest = |text: &&str| *text != platform.name;
            let version = platform.version.replace('\n', ", ");
            let version = Some(&*version).filter(of_interest);
            writeln!(out, "{}", listed(&platform.name, version.into_iter().map(str::to_owned)))?;
            if let Some(library) = &platform.library {
                writeln!(out, "  from {library}")?;
            }
            for device in &platform.devices {
                let kind = Some(&*device.kind).filter(of_interest).map(str::to_owned);
                let memory = device.memory_bytes.map(|b| format!("{} of memory", gibibytes(b)));
                let in_use = device.memory_in_use_bytes.map(|b| format!("{} in use", gibibytes(b)));
                let figures = kind.into_iter().chain(memory).chain(in_use);
                writeln!(out, "  {}", listed(&device.device, figures))?;
            }
        }
        for Unusable { name, library, reason } in &self.unusable {
            writeln!(out, "{name}: cannot be used\n  from {library}")?;
            for line in reason.lines() {
                writeln!(out, "  {}", line.trim_start())?;
            }
        }
        if self.platforms.len() + self.unusable.len() == 1 {
            writeln!(out, "no PJRT plugin was found in the Python environments on the path")?;
        }
        Ok(())
    }
}

/// A name, and what is known of it.
fn listed(name: &str, known: impl Iterator<Item = String>) -> String {
    let known: Vec<String> = known.collect();
    format!("{name:<8} {}", known.join(", ")).trim_end().to_owned()
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
