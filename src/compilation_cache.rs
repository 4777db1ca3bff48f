//! A cache of compiled programs on disk, so that the next process does not compile them again.
//!
//! It is off until a directory is chosen: with [`set_dir`], or by the environment variable
//! `ONETRACE_COMPILATION_CACHE_DIR`. Everything that XLA compiles from then on is kept there, one
//! file for each program: what [`jit`](crate::jit()) compiles, and operations that run at once.
//!
//! A program is found again if it computes the same (the lines of the source that it came from may
//! be others), for the same kind and number of device, with the same options of XLA, by the same
//! build of XLA, and, on a CPU, on one with the same instructions and as many threads. Otherwise it
//! is compiled, and so it is where a file is damaged.
//!
//! What [`Jit::autotune`](crate::Jit::autotune) found is kept beside the programs, as JSON.
//!
//! Several processes can use a directory at the same time. Nothing in it is ever deleted; whoever
//! wants the space back may delete any file at any time.
//!
//! A cache holds machine code: use a directory that only those you trust can write to.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use xla::XlaComputation;

use crate::device::flags_of_environment;
use crate::error::{Error, ErrorKind, Result};
use crate::io::temporary_beside;
use crate::pjrt::{self, Build, Client, Executable};

/// The environment variable with the directory of the cache.
const DIR_VARIABLE: &str = "ONETRACE_COMPILATION_CACHE_DIR";

/// How the file of a program begins. The digest of the program comes next, then the program.
const MAGIC: &[u8] = b"onetrace program 1\n";

/// Where programs are kept.
enum Setting {
    /// What the environment variable says; it was not read yet.
    Environment,
    Off,
    Directory(Arc<Path>),
}

static SETTING: Mutex<Setting> = Mutex::new(Setting::Environment);

static COMPILED: AtomicU64 = AtomicU64::new(0);
static LOADED: AtomicU64 = AtomicU64::new(0);

/// Keeps compiled programs in a directory from now on, and looks for them there. The directory is
/// made if there is none. It takes the place of the one before, or of that of the environment
/// variable.
///
/// A directory that cannot be written to is read all the same, with one warning.
///
/// # Errors
/// If there is no such directory and it cannot be made.
///
/// # Examples
/// ```
/// use onetrace::compilation_cache;
/// use onetrace::prelude::*;
///
/// # let scratch = tempfile::tempdir().unwrap();
/// # let directory = scratch.path().join("programs");
/// compilation_cache::set_dir(&directory)?;
/// jit(|x: Tensor| x.sin()).call(Tensor::ones([3], DType::F32))?;
/// assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn set_dir(directory: impl AsRef<Path>) -> Result<()> {
    let location = std::panic::Location::caller();
    let directory = directory.as_ref();
    let made = fs::create_dir_all(directory);
    made.map_err(|error| unusable("compilation_cache::set_dir", directory, &error).at(location))?;
    *setting() = Setting::Directory(directory.into());
    Ok(())
}

/// How many programs this process has got so far, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Programs that XLA compiled.
    pub compiled: u64,
    /// Programs that the cache had.
    pub loaded: u64,
}

/// Counts all programs of this process, also those before a directory was chosen.
pub fn stats() -> Stats {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Stats { compiled: count(&COMPILED), loaded: count(&LOADED) }
}

/// The program for a computation: that of the cache, or a new one, which the cache then has.
/// `library` is the file that the client's XLA is in.
pub(crate) fn get_or_compile(
    client: &Client,
    library: Option<PathBuf>,
    computation: &XlaComputation,
    build: &Build,
) -> Result<Executable> {
    let compile = || {
        let program = client.compile(computation, build)?;
        COMPILED.fetch_add(1, Ordering::Relaxed);
        Ok(program)
    };
    let Some(directory) = directory()? else { return compile() };
    // Without a key, which some plugins have nothing to make of, the program is not kept.
    let Some(key) = key(client, library, computation, build)? else { return compile() };
    let path = directory.join(format!("{key}.program"));
    // An entry that is damaged, or that XLA does not take after all, is replaced.
    let found =
        fs::read(&path).ok().and_then(|file| client.deserialize(program_of(&file)?, build).ok());
    if let Some(program) = found {
        LOADED.fetch_add(1, Ordering::Relaxed);
        return Ok(program);
    }
    let program = compile()?;
    // Not every backend gives its programs away.
    if let Ok(bytes) = program.serialized() {
        let parts = [MAGIC, &Sha256::digest(&bytes), &bytes];
        write(&path, &parts).unwrap_or_else(|error| warn_once(&directory, &error));
    }
    Ok(program)
}

/// The bytes of a file of the cache, if there is one.
pub(crate) fn read(name: &str) -> Result<Option<Vec<u8>>> {
    Ok(directory()?.and_then(|directory| fs::read(directory.join(name)).ok()))
}

/// Writes a file beside the programs, if they are kept.
pub(crate) fn keep_beside(name: &str, bytes: &[u8]) -> Result<()> {
    if let Some(directory) = directory()? {
        let written = write(&directory.join(name), &[bytes]);
        written.unwrap_or_else(|error| warn_once(&directory, &error));
    }
    Ok(())
}

/// The directory of the cache, if there is to be one.
fn directory() -> Result<Option<Arc<Path>>> {
    let setting = &mut *setting();
    if let Setting::Environment = setting {
        let named = env::var_os(DIR_VARIABLE).filter(|value| !value.is_empty());
        *setting = named.map_or(Ok(Setting::Off), of_environment)?;
    }
    Ok(match setting {
        Setting::Directory(directory) => Some(directory.clone()),
        Setting::Environment | Setting::Off => None,
    })
}

fn of_environment(directory: OsString) -> Result<Setting> {
    let directory = PathBuf::from(directory);
    fs::create_dir_all(&directory).map_err(|error| unusable(DIR_VARIABLE, &directory, &error))?;
    Ok(Setting::Directory(directory.into()))
}

fn setting() -> std::sync::MutexGuard<'static, Setting> {
    // The setting is whole at every moment, so a panic of another thread leaves no damage.
    SETTING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unusable(place: &str, directory: &Path, error: &io::Error) -> Error {
    let shown = directory.display();
    let message = format!("{place}: {shown} cannot be used for compiled programs: {error}");
    Error::new(ErrorKind::Io, message)
}

/// A digest of all that a program depends on. None if that cannot be known.
pub(crate) fn key(
    client: &Client,
    library: Option<PathBuf>,
    computation: &XlaComputation,
    build: &Build,
) -> Result<Option<String>> {
    let parts = || {
        Some([
            identity(&library?)?,
            client.version().into_bytes(),
            client.topology().ok()?,
            pjrt::process_options().ok()?,
            pjrt::computation_key(computation).ok()?,
        ])
    };
    let Some(parts) = parts() else { return Ok(None) };
    // XLA:CPU divides work by the number of threads, and a plugin reads the variable for itself.
    let threads = thread::available_parallelism().map_or(0, NonZero::get);
    let settings = (build.options, build.ordinals, build.calls_host, threads);
    let settings = format!("{:?} {settings:?}", flags_of_environment()?).into_bytes();
    let mut hasher = Sha256::new();
    for part in parts.iter().chain([&settings]) {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    Ok(Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// What tells one build of XLA from another: it has no number that changes with each. The library
/// is far too large to be read for this.
fn identity(library: &Path) -> Option<Vec<u8>> {
    let metadata = fs::metadata(library).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}", metadata.len(), modified.as_nanos()).into_bytes())
}

/// The program in the file of one, if the file is whole.
fn program_of(file: &[u8]) -> Option<&[u8]> {
    let (digest, program) = file.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
    (Sha256::digest(program).as_slice() == digest).then_some(program)
}

/// Writes a file, whole or not at all. What a crash of the machine leaves of it, its reader tells
/// from what was written, so that nobody has to wait for the disk.
fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = temporary_beside(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.persist(path)?;
    Ok(())
}

fn warn_once(directory: &Path, error: &io::Error) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        let shown = directory.display();
        eprintln!("warning: compiled programs cannot be kept in {shown}: {error}");
    });
}
