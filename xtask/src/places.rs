//! Where things lie: the repository, the cache, the assembled extension.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The variable with which xla-rs finds XLA.
pub const XLA_EXTENSION_DIR: &str = "XLA_EXTENSION_DIR";

/// The repository's root.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Where XLA goes unless the user says otherwise; `.cargo/config.toml` points there.
pub fn extension() -> PathBuf {
    root().join("xla_extension/dist")
}

/// An XLA_EXTENSION_DIR of the user's own. Cargo hands us the repository's through the same
/// variable.
pub fn extension_of_the_user() -> Option<PathBuf> {
    let dir = PathBuf::from(env::var_os(XLA_EXTENSION_DIR).filter(|dir| !dir.is_empty())?);
    (dir != extension()).then_some(dir)
}

/// Where whole stages of set-up are kept for the next checkout.
pub fn cache() -> Result<PathBuf> {
    let var = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = var("ONETRACE_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("onetrace")))
        .or_else(|| Some(var("HOME")?.join(".cache/onetrace")));
    match dir {
        Some(dir) => std::path::absolute(&dir).with_context(|| format!("no such path: {dir:?}")),
        None => bail!("there is no place for the cache: set ONETRACE_CACHE to a directory"),
    }
}
