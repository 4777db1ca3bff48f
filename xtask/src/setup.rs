//! Set-up: from pinned wheels, or from an archive, to a directory that xla-rs can use.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::assembly::{self, Assembly, Stamp};
use crate::preflight::{self, Compiler};
use crate::wheels::{self, Wheel};
use crate::{SetupArgs, archive, fetch, hash, places, shim, unpack};

#[cfg(test)]
mod tests;

/// Stands for `clang` where bindgen looks for one.
const CLANG: &str = include_str!("clang.sh");

/// Room for what is small: the shim, logs, stamps.
const MARGIN: u64 = 50_000_000;

/// `cargo xtask setup`, and the first thing that every other run does.
pub fn run(args: &SetupArgs) -> Result<()> {
    if args.dir.is_none()
        && let Some(dir) = places::extension_of_the_user()
    {
        return leave_alone(&dir, args);
    }
    preflight::platform()?;
    let root = places::root();
    let target = match &args.dir {
        Some(dir) => std::path::absolute(dir).with_context(|| format!("no such path: {dir:?}"))?,
        None => places::extension(),
    };
    let setup = Setup {
        xla: wheels::XLA,
        libclang: wheels::LIBCLANG,
        pips: fetch::PIPS.map(str::to_owned).to_vec(),
        shim: root.join("xla_extension/shim/wheel"),
        cache: places::cache()?,
        target,
        archive: args.from_archive.clone(),
        wheels: args.from_wheel.clone(),
        force: args.force,
    };
    setup.run()
}

fn leave_alone(dir: &Path, args: &SetupArgs) -> Result<()> {
    let variable = places::XLA_EXTENSION_DIR;
    if args.from_archive.is_some() || !args.from_wheel.is_empty() {
        bail!(
            "{variable} is set to {}, and builds would use that in place of what set-up makes.\n\
             Unset it, or give a directory with --dir",
            dir.display(),
        );
    }
    archive::check_layout(dir).with_context(|| {
        format!(
            "{variable} is set to {}, which does not look like XLA (unset it to let set-up get XLA)",
            dir.display()
        )
    })?;
    eprintln!("XLA: {variable} is set to {}: left alone", dir.display());
    Ok(())
}

/// One set-up. Tests make their own, of small wheels.
struct Setup {
    xla: Wheel,
    libclang: Wheel,
    pips: Vec<String>,
    shim: PathBuf,
    cache: PathBuf,
    target: PathBuf,
    archive: Option<PathBuf>,
    wheels: Vec<PathBuf>,
    force: bool,
}

impl Setup {
    fn run(&self) -> Result<()> {
        let shim = shim::Sources::read(&self.shim, &self.xla.pin())?;
        let stamp = self.stamp(&shim)?;
        if self.finished(&stamp) {
            eprintln!("XLA: set up in {}", self.target.display());
            return Ok(());
        }
        assembly::check_replaceable(&self.target)?;
        let given = self.given()?;
        let compiler = Compiler::find()?;
        self.check_room(&given)?;

        let _lock = lock(&self.cache)?;
        // Another set-up may have finished while this one waited.
        if self.finished(&stamp) {
            return Ok(());
        }
        let partial = empty_partial(&self.cache)?;

        let assembly = Assembly::begin(&self.target)?;
        match &self.archive {
            Some(file) => archive::unpack(file, &assembly.partial)?,
            None => {
                let xla = self.unpacked(&self.xla, &given, &partial)?;
                let shim_place = shim.place(&self.cache);
                if self.force || !shim_place.exists() {
                    shim.build(&compiler, &xla, &partial, &shim_place)?;
                }
                assembly.add(&xla)?;
                assembly.add(&shim_place)?;
            }
        }
        assembly.add(&self.unpacked(&self.libclang, &given, &partial)?)?;
        write_clang(&assembly.partial.join("libclang/bin")).context("cannot write libclang/bin")?;
        assembly.finish(&stamp)?;
        fs::remove_dir_all(&partial).context("cannot write the cache")?;
        eprintln!("XLA: set up in {}", self.target.display());
        Ok(())
    }

    /// What the finished set-up will be made of.
    fn stamp(&self, shim: &shim::Sources) -> Result<Stamp> {
        let (xla, shim) = match &self.archive {
            Some(file) => (format!("archive sha256:{}", hash::of_file(file)?), "none".to_owned()),
            None => (self.xla.pin(), shim.key.clone()),
        };
        Ok(Stamp { xla, libclang: self.libclang.pin(), shim })
    }

    fn finished(&self, wanted: &Stamp) -> bool {
        let Some(found) = Stamp::read(&self.target) else {
            return false;
        };
        // An archive is the user's choice: a set-up that names no source keeps it.
        let chosen =
            found.xla.starts_with("archive ") && self.archive.is_none() && self.wheels.is_empty();
        let same = found == *wanted || chosen && found.libclang == wanted.libclang;
        same && !self.force && archive::check_layout(&self.target).is_ok()
    }

    /// Checks the room in the cache and at the target, before anything is downloaded.
    fn check_room(&self, given: &[Given]) -> Result<()> {
        let mut wheels = vec![&self.libclang];
        wheels.extend(self.archive.is_none().then_some(&self.xla));
        let mut in_cache = MARGIN;
        let mut in_target = MARGIN;
        for wheel in wheels {
            in_target += wheel.unpacked_bytes;
            if self.force || !unpack::place(wheel, &self.cache).exists() {
                in_cache += wheel.unpacked_bytes;
                let here = given.iter().any(|given| given.sha256 == wheel.sha256);
                if !here && !fetch::place(wheel, &self.cache).exists() {
                    // pip holds a download twice while it moves it.
                    in_cache += 2 * wheel.bytes;
                }
            }
        }
        preflight::room(&self.cache, in_cache, "the cache ($ONETRACE_CACHE)")?;

        let parent = self.target.parent().unwrap_or(&self.target);
        if let Some(file) = &self.archive {
            // What archives of libraries and headers unpack to, about.
            in_target += 5 * fs::metadata(file)?.len();
        } else if fs::create_dir_all(parent).is_ok()
            && fs::metadata(parent)?.dev() == fs::metadata(&self.cache)?.dev()
        {
            // Hard links take no room.
            in_target = MARGIN;
        }
        preflight::room(parent, in_target, "the target directory (--dir)")
    }

    /// The unpacked wheel in the cache.
    fn unpacked(&self, wheel: &Wheel, given: &[Given], partial: &Path) -> Result<PathBuf> {
        let place = unpack::place(wheel, &self.cache);
        if self.force || !place.exists() {
            let file = match given.iter().find(|given| given.sha256 == wheel.sha256) {
                Some(given) => given.file.to_owned(),
                None => fetch::wheel(wheel, &self.cache, partial, &self.pips)?,
            };
            unpack::wheel(wheel, &file, partial, &place)?;
        }
        Ok(place)
    }

    /// The user's wheels, each known by its hash for one that is pinned.
    fn given(&self) -> Result<Vec<Given<'_>>> {
        let pinned = [&self.xla, &self.libclang];
        let mut given = Vec::new();
        for file in &self.wheels {
            let sha256 = hash::of_file(file)?;
            if pinned.iter().all(|wheel| wheel.sha256 != sha256) {
                let pins = pinned.map(|wheel| format!("  {}  {}", wheel.sha256, wheel.file));
                bail!(
                    "{} is another wheel than set-up is pinned to, or it is damaged:\n  \
                     {sha256}  is its SHA-256, and these are pinned:\n{}\n\
                     Get the first with `pip {}`",
                    file.display(),
                    pins.join("\n"),
                    self.xla.pip_arguments().join(" "),
                );
            }
            given.push(Given { sha256, file });
        }
        Ok(given)
    }
}

/// A pinned wheel that the user gave.
struct Given<'a> {
    sha256: String,
    file: &'a Path,
}

/// Two checkouts may be set up at once, from one cache.
pub fn lock(cache: &Path) -> Result<File> {
    let lock = File::create(cache.join("lock")).context("cannot write the cache")?;
    if lock.try_lock().is_err() {
        eprintln!("waiting for another set-up to finish ...");
        lock.lock().context("cannot lock the cache")?;
    }
    Ok(lock)
}

/// The directory for what is not whole yet, empty. Only the holder of the lock has one: what is
/// there is of a run that broke off.
pub fn empty_partial(cache: &Path) -> Result<PathBuf> {
    let partial = cache.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context("cannot write the cache")?;
    }
    fs::create_dir_all(&partial).context("cannot write the cache")?;
    Ok(partial)
}

fn write_clang(bin: &Path) -> std::io::Result<()> {
    fs::create_dir_all(bin)?;
    let clang = bin.join("clang");
    fs::write(&clang, CLANG)?;
    fs::set_permissions(&clang, fs::Permissions::from_mode(0o755))
}
