//! Tries a plugin in a process of its own: what a shared library does when it is loaded is its own
//! affair, and it may end the process or never return.

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::time::Duration;

use onetrace::Plugin;

use crate::device::XlaFlags;
use crate::devices::Platform;
use crate::worker::{Ended, last_words, supervise};

/// How long a plugin may take to list its devices. One for GPUs takes a few seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The platform of a plugin, or why it cannot be used.
pub fn platform(plugin: &Plugin, options: &XlaFlags) -> Result<Platform, String> {
    let mut device = OsString::from(format!("plugin:{}=", plugin.name()));
    device.push(plugin.path());
    // A path may end as one with a number behind it does.
    device.push(":0");
    let ended = start(&device, options)?;
    if ended.status.is_some_and(|status| status.success()) {
        let unread = |error| format!("the answer of the process that loaded it: {error}");
        return serde_json::from_slice(&ended.stdout).map_err(unread);
    }
    let stderr = String::from_utf8_lossy(&ended.stderr);
    let start = format!("error: plugin: {} in {}: ", plugin.name(), plugin.path().display());
    let message = stderr.find(&start).map_or(&*stderr, |at| &stderr[at + start.len()..]);
    Err(message.trim_end().to_owned())
}

/// Whether a process outlives the start of a device; if not, how it ended. That the device cannot
/// be used is no such end.
pub fn survives(device: &str, options: &XlaFlags) -> Result<(), String> {
    start(OsStr::new(device), options).map(drop)
}

/// Starts a device in a process of its own, which ends by itself.
fn start(device: &OsStr, options: &XlaFlags) -> Result<Ended, String> {
    let failed = |error: std::io::Error| format!("cannot start a process: {error}");
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["devices", "--probe"]).arg(device).args(options.arguments());
    let ended = supervise(&mut command, TIME_LIMIT).map_err(failed)?;
    let Some(status) = ended.status else {
        return Err(format!("the plugin did not answer within {} s", TIME_LIMIT.as_secs()));
    };
    if status.code().is_some() {
        return Ok(ended);
    }
    let last = last_words(&ended.stderr).map_or(String::new(), |words| format!(": {words}"));
    Err(format!("the plugin ended the process that loaded it with {status}{last}"))
}
