//! The kept files of a wheel, unpacked.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use crate::hash;
use crate::progress::Stage;
use crate::wheels::Wheel;

/// Where the cache holds the unpacked wheel. Another choice of files is another place.
pub fn place(wheel: &Wheel, cache: &Path) -> PathBuf {
    let keep = wheel.keep.iter().flat_map(|(from, to)| [from.as_bytes(), to.as_bytes()]);
    let key = hash::of_parts(keep.chain([wheel.sha256.as_bytes()]));
    cache.join("unpacked").join(format!("{}-{}-{key}", wheel.name, wheel.version))
}

/// Unpacks a verified wheel to its place, which appears whole or not at all.
pub fn wheel(wheel: &Wheel, file: &Path, partial: &Path, place: &Path) -> Result<()> {
    let tree = partial.join("unpacked");
    extract(wheel, file, &tree).with_context(|| format!("cannot unpack {}", file.display()))?;
    publish(&tree, place)
}

fn extract(wheel: &Wheel, file: &Path, tree: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(File::open(file)?)?;
    let mut kept = Vec::new();
    let mut total = 0;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        if entry.is_file()
            && let Some(name) = wheel.kept_as(&entry.name()?)
        {
            total += entry.size();
            kept.push((index, name));
        }
    }
    if kept.is_empty() {
        bail!("it holds none of the files that set-up needs");
    }
    let stage = Stage::bytes(format!("unpack {} {}", wheel.name, wheel.version), total);
    for (index, name) in kept {
        let to = tree.join(name);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        io::copy(&mut stage.count(archive.by_index(index)?), &mut File::create(&to)?)?;
        protect(&to)?;
    }
    stage.finish();
    Ok(())
}

/// Checkouts share the cache's files through hard links: none may write to them.
pub fn protect(file: &Path) -> io::Result<()> {
    let executable = fs::metadata(file)?.permissions().mode() & 0o111;
    fs::set_permissions(file, fs::Permissions::from_mode(0o444 | executable))
}

/// Moves a whole tree to its place in the cache.
pub fn publish(tree: &Path, place: &Path) -> Result<()> {
    let publish = || {
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
        fs::create_dir_all(place.parent().unwrap_or(place))?;
        fs::rename(tree, place)
    };
    publish().with_context(|| format!("cannot write {}", place.display()))
}
