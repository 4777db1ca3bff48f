//! An xla_extension archive, as elixir-nx/xla publishes them: a tar.gz of one directory.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use tar::Archive;

use crate::progress::Stage;

/// The directory that an archive consists of.
const TOP: &str = "xla_extension";

/// Unpacks an archive into an empty directory.
pub fn unpack(file: &Path, into: &Path) -> Result<()> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let stage = Stage::bytes(format!("unpack {}", file.display()), opened.metadata()?.len());
    Archive::new(GzDecoder::new(stage.count(opened)))
        .unpack(into)
        .with_context(|| format!("{} is not a whole tar.gz archive", file.display()))?;
    stage.finish();

    let top = into.join(TOP);
    check_layout(&top)
        .with_context(|| format!("{} is not an xla_extension archive", file.display()))?;
    for entry in fs::read_dir(&top)? {
        let entry = entry?;
        fs::rename(entry.path(), into.join(entry.file_name()))?;
    }
    Ok(fs::remove_dir(&top)?)
}

/// Checks that a directory is what xla-rs looks for.
pub fn check_layout(dir: &Path) -> Result<()> {
    for part in ["include/xla", "lib/libxla_extension.so"] {
        if !dir.join(part).exists() {
            let name = dir.file_name().unwrap_or(dir.as_os_str()).display();
            bail!("{name}/{part} is missing");
        }
    }
    Ok(())
}
