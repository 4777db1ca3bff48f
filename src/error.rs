//! The one error type.
//!
//! A message states the rule, names the argument, the value and the limit, and says how to mend
//! it. Where the mistake was made in the user's code is kept beside the message as a [`Location`].

use std::fmt;
use std::sync::Arc;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place in the user's source code.
pub type Location = &'static std::panic::Location<'static>;

/// What kind of mistake an [`Error`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A shape, an axis or a size that an operation cannot take.
    Shape,
    /// An element type that an operation cannot take.
    DType,
    /// Trees that should match leaf for leaf and do not, such as the carry of a `scan`.
    Tree,
    /// An argument with a value outside its limits.
    Argument,
    /// A tensor of a trace used after that trace ended, or on another thread.
    Escaped,
    /// A device that is unknown, missing or not the one the data is on.
    Device,
    /// A file that cannot be read or written, or is not what it should be.
    Io,
    /// Text that is not the IR, or IR that is not well formed.
    Ir,
    /// A text or a protocol buffer that is not HLO, or HLO that is not well formed.
    Hlo,
    /// A failure inside XLA.
    Xla,
}

/// Why something could not be done. Cheap to clone.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let (x, y) = (Tensor::ones([2], DType::F32), Tensor::ones([3], DType::F32));
/// let error = (x + y).check().unwrap_err();
/// assert_eq!(error.kind(), onetrace::ErrorKind::Shape);
/// assert!(error.to_string().contains("f32[2]"));
/// assert!(error.location().is_some());
/// ```
#[derive(Clone, thiserror::Error)]
#[error("{0}")]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    location: Option<Location>,
    notes: Vec<String>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner { kind, message: message.into(), location: None, notes: Vec::new() }))
    }

    pub(crate) fn shape(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Shape, message)
    }

    pub(crate) fn dtype(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::DType, message)
    }

    pub(crate) fn argument(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Argument, message)
    }

    pub(crate) fn ir(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Ir, message)
    }

    /// The kind of mistake.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without the place and the notes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in the user's code the failing operation was called, where that is known.
    pub fn location(&self) -> Option<Location> {
        self.0.location
    }

    /// Adds the place, unless a place nearer to the mistake is already known.
    pub(crate) fn at(mut self, location: Location) -> Error {
        if self.0.location.is_none() {
            Arc::make_mut(&mut self.0).location = Some(location);
        }
        self
    }

    /// Adds a line that says what was being done.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Error {
        Arc::make_mut(&mut self.0).notes.push(note.into());
        self
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(location) = self.location {
            write!(f, "\n  at {location}")?;
        }
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}

// `unwrap` in a user's test should print the message as it was written, not a struct.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0)
    }
}

impl From<xla::Error> for Error {
    fn from(error: xla::Error) -> Error {
        match error {
            // The backtrace inside is that of the binding, and says nothing about the user's code.
            xla::Error::XlaError { msg, .. } => Error::new(ErrorKind::Xla, format!("XLA: {msg}")),
            other => Error::new(ErrorKind::Xla, format!("XLA: {other}")),
        }
    }
}
