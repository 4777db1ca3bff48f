//! Tries a plugin in a process of its own: what a shared library does when it is loaded is its own
//! affair, and it may end the process or never return.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use onetrace::Plugin;

use crate::device::XlaFlags;
use crate::devices::Platform;
use crate::worker::{last_words, supervise};

/// How long a plugin may take to list its devices. One for GPUs takes a few seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The devices of a plugin, or why it cannot be used.
pub fn run(plugin: &Plugin, options: &XlaFlags) -> Result<Platform, String> {
    let failed = |error: std::io::Error| format!("cannot start a process: {error}");
    let mut argument = OsString::from(format!("--probe={}=", plugin.name()));
    argument.push(plugin.path());
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("devices").arg(argument).args(options.arguments());
    let ended = supervise(&mut command, TIME_LIMIT).map_err(failed)?;
    let Some(status) = ended.status else {
        return Err(format!("the plugin did not answer within {} s", TIME_LIMIT.as_secs()));
    };
    if status.success() {
        let unread = |error| format!("the answer of the process that loaded it: {error}");
        return serde_json::from_slice(&ended.stdout).map_err(unread);
    }
    let stderr = String::from_utf8_lossy(&ended.stderr);
    if status.code().is_some() {
        let start = format!("error: plugin: {} in {}: ", plugin.name(), plugin.path().display());
        let message = stderr.find(&start).map_or(&*stderr, |at| &stderr[at + start.len()..]);
        return Err(message.trim_end().to_owned());
    }
    let last = last_words(&ended.stderr).map_or(String::new(), |words| format!(": {words}"));
    Err(format!("the plugin ended the process that loaded it with {status}{last}"))
}
