//! The names of devices, as command lines and environment variables give them.

use super::plugin::GPUS;
use super::{Device, Plugin, platform};
use crate::error::{Error, ErrorKind, Result};

/// The device called `text`.
pub(super) fn device(text: &str) -> Result<Device> {
    if let Some(rest) = text.strip_prefix("plugin:") {
        return device_of_file(text, rest);
    }
    let (name, ordinal) = match text.split_once(':') {
        Some((name, number)) => (name, number.parse().map_err(|_| unknown(text))?),
        None => (text, 0),
    };
    let devices = match &*name.to_lowercase() {
        platform::CPU => Device::cpus()?,
        "gpu" => of_found(&GPUS, "GPU")?,
        name => match platform::loaded(name) {
            Some(platform) => platform.devices(),
            // Only a name that somebody gave to a plugin is that of a device.
            None if GPUS.contains(&name) || Plugin::found().iter().any(|p| p.name() == name) => {
                of_found(&[name], name)?
            }
            None => return Err(unknown(text)),
        },
    };
    nth(devices, ordinal)
}

/// `NAME=PATH`, with or without `:N` behind it.
fn device_of_file(text: &str, rest: &str) -> Result<Device> {
    let Some((name, path)) = rest.split_once('=').filter(|(_, path)| !path.is_empty()) else {
        return Err(unknown(text));
    };
    let numbered = path.rsplit_once(':').and_then(|(path, number)| {
        Some((path, number.parse().ok()?)).filter(|(path, _)| !path.is_empty())
    });
    let (path, ordinal) = numbered.unwrap_or((path, 0));
    nth(Plugin::new(name, path)?.devices()?, ordinal)
}

fn unknown(text: &str) -> Error {
    Error::new(
        ErrorKind::Device,
        format!(
            "device: {text:?} is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of \
             another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the \
             path of a PJRT plugin"
        ),
    )
}

/// The devices of the first plugin with one of these names that can be used.
pub(super) fn of_found(names: &[&str], what: &str) -> Result<Vec<Device>> {
    if let Some(platform) = names.iter().find_map(|name| platform::loaded(name)) {
        return Ok(platform.devices());
    }
    let mut reasons = String::new();
    for plugin in Plugin::found().iter().filter(|plugin| names.contains(&plugin.name())) {
        match plugin.devices() {
            Ok(devices) => return Ok(devices),
            Err(error) => reasons += &format!("\n  {}", error.message().replace('\n', "\n  ")),
        }
    }
    if reasons.is_empty() {
        reasons += "\n  no PJRT plugin for it was found in the Python environments on the path: \
                    `pip install \"jax[cuda13]\"` installs the one for NVIDIA's GPUs, and \
                    plugin:NAME=PATH names one elsewhere";
    }
    Err(Error::new(ErrorKind::Device, format!("device: there is no {what} to be used:{reasons}")))
}

/// A device by its number.
pub(super) fn nth(mut devices: Vec<Device>, ordinal: usize) -> Result<Device> {
    if ordinal < devices.len() {
        return Ok(devices.swap_remove(ordinal));
    }
    let names: Vec<String> = devices.iter().map(Device::to_string).collect();
    let platform = devices.first().map_or("", |device| device.platform.name());
    let mut message =
        format!("device: there is no {platform}:{ordinal}: this process has {}", names.join(", "),);
    if platform == platform::CPU {
        message += &format!(
            "\n  XLA makes as many CPU devices as its option xla_force_host_platform_device_count \
             says: set it to {} (`XlaOptions::cpu_devices`, `--xla-flag NAME=VALUE` on the command \
             line)",
            ordinal.saturating_add(1),
        );
    }
    Err(Error::new(ErrorKind::Device, message))
}
