//! Files: arrays as `.npy`, trees of tensors as safetensors.
//!
//! A file that is read is checked before memory is taken for it, and every way in which it can be
//! wrong is an error of kind [`Io`](crate::ErrorKind::Io) that says what was expected and what is
//! there. A file that is written appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, ErrorKind, Result};

mod npy;
mod safetensors;

pub use npy::{read_npy, write_npy};
pub use safetensors::{load_safetensors, save_safetensors};

/// Writes a file so that it appears whole or not at all.
///
/// `write` writes to a new file in the same directory, which then takes the name `path` in one
/// step, after its data has reached the disk. Whatever fails or is killed on the way, `path` is
/// what it was before. A file that is replaced keeps its permissions; a symbolic link stays, and
/// the file it points to is replaced. A device or a pipe cannot be replaced: it is written to
/// directly.
///
/// # Errors
/// The error of `write`, or of the file system.
///
/// # Examples
/// ```
/// use std::io::Write;
///
/// let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("loss.csv");
/// onetrace::io::write_atomically(&path, |file| writeln!(file, "step,loss"))?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "step,loss\n");
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let location = std::panic::Location::caller();
    replace(path.as_ref(), write)
        .map_err(|error| unwritable("write_atomically", path.as_ref(), &error).at(location))
}

/// Checks that a file can be written at `path`, before the work that makes its content. Nothing
/// is left behind, and a file that is there already stays as it is.
///
/// # Errors
/// If the directory does not exist or takes no new file, or if `path` is a directory or a file that
/// must not be written.
///
/// # Examples
/// ```
/// let error = onetrace::io::check_writable("/no/such/directory/h.npy").unwrap_err();
/// assert!(error.to_string().contains("/no/such/directory/h.npy"));
/// ```
#[track_caller]
pub fn check_writable(path: impl AsRef<Path>) -> Result<()> {
    let location = std::panic::Location::caller();
    let path = path.as_ref();
    // Opening a pipe for writing waits for its reader, so only what can be replaced is tried.
    let checked = Target::of(path).and_then(|target| match target {
        Target::Replace { path, old: Some(_) } => {
            OpenOptions::new().write(true).open(&path)?;
            temporary_beside(&path).map(drop)
        }
        Target::Replace { path, old: None } => temporary_beside(&path).map(drop),
        Target::Direct => Ok(()),
    });
    checked.map_err(|error| unwritable("check_writable", path, &error).at(location))
}

fn unwritable(operation: &str, path: &Path, error: &io::Error) -> Error {
    let message = format!("{operation}: {} cannot be written: {error}", path.display());
    Error::new(ErrorKind::Io, message)
}

/// How a path is written to.
enum Target {
    /// By a new file that takes the place of the one at `path`, if there is one.
    Replace { path: PathBuf, old: Option<fs::Metadata> },
    /// By opening what is there: a device or a pipe.
    Direct,
}

impl Target {
    fn of(path: &Path) -> io::Result<Target> {
        match fs::metadata(path) {
            Ok(old) if old.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            // The canonical path has no symbolic link at its end that the new file would replace.
            Ok(old) if old.is_file() => {
                Ok(Target::Replace { path: fs::canonicalize(path)?, old: Some(old) })
            }
            Ok(_) => Ok(Target::Direct),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match path.file_name() {
                Some(_) => Ok(Target::Replace { path: path.to_owned(), old: None }),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

/// A new file in the directory of `path`, deleted when it is dropped.
pub(crate) fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = Builder::new();
    builder.prefix(".onetrace-").suffix(".partial");
    // The permissions of any new file; without this, only the owner could read it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory).map_err(|error| {
        // The crate adds the name of its own file, which says nothing to the user.
        let message = error.to_string();
        let cause = message.split(" at path ").next().unwrap_or_default();
        io::Error::new(error.kind(), cause)
    })
}

/// Writes the file at `path` whole, or leaves what is there.
fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let filled = |file: &mut File| -> io::Result<()> {
        let mut buffered = BufWriter::new(file);
        write(&mut buffered)?;
        buffered.flush()
    };
    let Target::Replace { path, old } = Target::of(path)? else {
        return filled(&mut OpenOptions::new().write(true).open(path)?);
    };
    let mut temporary = temporary_beside(&path)?;
    filled(temporary.as_file_mut())?;
    if let Some(old) = old {
        temporary.as_file().set_permissions(old.permissions())?;
    }
    // Without this a crash of the machine could leave the new name with none of the data.
    temporary.as_file().sync_all()?;
    temporary.persist(&path)?;
    Ok(())
}
