//! XLA's options, for the process or for one compilation.

use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::pjrt;

/// Options of XLA: those that the environment variable `XLA_FLAGS` takes.
///
/// [`apply`](XlaOptions::apply) sets them for the process, before XLA is used for the first time.
/// [`Lowered::compile_with`](crate::Lowered::compile_with) takes them for one compilation. They are
/// stronger than `XLA_FLAGS`.
///
/// # Examples
/// ```
/// use onetrace::{Device, XlaOptions};
/// XlaOptions::new().cpu_devices(4).apply()?;
/// assert_eq!(Device::cpus()?.len(), 4);
///
/// // XLA has read its options by now.
/// let error = XlaOptions::new().cpu_devices(8).apply().unwrap_err();
/// assert!(error.message().contains("too late"));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XlaOptions {
    /// Names and values. Where a name comes twice, the last one counts.
    options: Vec<(String, String)>,
}

/// What is set for the process and not yet told to XLA; none once XLA has read its options.
static PENDING: Mutex<Option<XlaOptions>> = Mutex::new(Some(XlaOptions::new()));

impl XlaOptions {
    /// No options.
    pub const fn new() -> XlaOptions {
        XlaOptions { options: Vec::new() }
    }

    /// The number of CPU devices, at least 1; `xla_force_host_platform_device_count`. It has a
    /// meaning for the process only.
    #[must_use]
    pub fn cpu_devices(self, count: usize) -> XlaOptions {
        self.flag("xla_force_host_platform_device_count", count)
    }

    /// The directory for dumps of everything that is compiled; `xla_dump_to`.
    #[must_use]
    pub fn dump_to(self, directory: impl AsRef<Path>) -> XlaOptions {
        self.flag("xla_dump_to", directory.as_ref().display())
    }

    /// Any option, by the name it has in `XLA_FLAGS`, with or without the hyphens in front.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl Display) -> XlaOptions {
        self.options.push((name.trim_start_matches("--").to_owned(), value.to_string()));
        self
    }

    /// Sets the options for the process, behind those that were set before.
    ///
    /// # Errors
    /// If XLA does not know a name or does not take its value, or if it is too late: XLA reads its
    /// options once, when a program is first lowered or a device is first asked for. Nothing is set
    /// then.
    pub fn apply(self) -> Result<()> {
        self.check()?;
        // The options are whole at every moment, so a panic of another thread leaves no damage.
        match &mut *PENDING.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(pending) => pending.options.extend(self.options),
            None => {
                return Err(Error::argument(
                    "XlaOptions: it is too late: XLA has read its options, which it does when a \
                     program is first lowered or a device is first asked for; apply them before",
                ));
            }
        }
        Ok(())
    }

    /// Checks names and values.
    pub(crate) fn check(&self) -> Result<()> {
        self.options
            .iter()
            .try_for_each(|(name, value)| check("XlaOptions", &format!("--{name}={value}")))
    }

    /// These options, and behind them `others`, which are stronger.
    pub(crate) fn followed_by(mut self, others: &XlaOptions) -> XlaOptions {
        self.options.extend_from_slice(&others.options);
        self
    }

    /// Whether the process has a value for an option: one that was [applied](XlaOptions::apply) or
    /// one of `XLA_FLAGS`.
    pub(crate) fn is_set_for_process(name: &str) -> bool {
        let of_environment = flags_of_environment().unwrap_or_default();
        let is_name = |flag: &String| {
            let flag = flag.trim_start_matches('-');
            flag.split('=').next() == Some(name)
        };
        let applied = settle().is_ok_and(|options| options.pairs().iter().any(|(n, _)| n == name));
        applied || of_environment.iter().any(is_name)
    }

    /// Names and values.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.options
    }
}

/// Checks an option, written as `--name=value`, that was given in `place`.
fn check(place: &str, option: &str) -> Result<()> {
    let name = option.split('=').next().unwrap_or(option);
    let shown = name.trim_start_matches('-');
    pjrt::check_option(option).map_err(|error| {
        Error::argument(if error.starts_with("NOT_FOUND") {
            format!("{place}: this version of XLA has no option {shown:?}")
        } else {
            let value = option[name.len()..].trim_start_matches('=');
            format!("{place}: {value:?} is not a value of the option {shown}")
        })
    })
}

/// Has XLA read its options, if it has not yet, and returns those that were set for the process
/// beside `XLA_FLAGS`. Everything that is the first to use XLA calls this before.
pub(crate) fn settle() -> Result<&'static XlaOptions> {
    static SETTLED: OnceLock<Result<XlaOptions>> = OnceLock::new();
    let settled = SETTLED.get_or_init(|| {
        // XLA ends the process where it does not understand this variable.
        for option in flags_of_environment()? {
            check("XLA_FLAGS", &option)?;
        }
        let pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner).take();
        let options = pending.unwrap_or_default();
        let set = |name: &str, value: &str| {
            // SAFETY: whoever uses XLA waits for this function before.
            unsafe { pjrt::set_option(&format!("--{name}={value}")) }
        };
        for (name, value) in options.pairs() {
            set(name, value).map_err(|error| Error::argument(format!("{name}: {error}")))?;
        }
        // Otherwise XLA:CPU gives, in some versions, a number for the maximum of NaN and that
        // number. A version that does not know the option does not do so.
        _ = set("xla_cpu_enable_fast_min_max", "false");
        Ok(options)
    });
    settled.as_ref().map_err(Clone::clone)
}

/// The options in `XLA_FLAGS`: in the variable, or in the file that it names.
pub(crate) fn flags_of_environment() -> Result<Vec<String>> {
    let value = std::env::var("XLA_FLAGS").unwrap_or_default();
    let value = value.trim();
    if value.is_empty() || value.starts_with('-') {
        return Ok(split(value));
    }
    match std::fs::read_to_string(value) {
        Ok(text) => Ok(split(&text)),
        Err(error) => Err(Error::argument(format!(
            "XLA_FLAGS: {value:?} begins with no hyphen, and so names a file, which cannot be read: \
             {error}"
        ))),
    }
}

/// Words between white space. Quotes keep a word together, and a backslash in them its next letter.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match quote {
            Some(_) if letter == '\\' => word.extend(letters.next()),
            Some(open) if letter == open => quote = None,
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if letter.is_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_words() {
        let words = split(" --a=1  --b='x y'\n--c=\"a\\\"b\" ");
        assert_eq!(words, ["--a=1", "--b=x y", "--c=a\"b"]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn names_and_values_are_checked() {
        let error = |options: XlaOptions| options.check().unwrap_err().message().to_owned();
        let unknown = XlaOptions::new().flag("xla_makes_coffee", true);
        assert!(error(unknown).contains("no option \"xla_makes_coffee\""));
        let value = XlaOptions::new().flag("--xla_cpu_enable_fast_math", "perhaps");
        let message = error(value);
        assert!(message.contains("\"perhaps\" is not a value"), "{message}");
        assert!(XlaOptions::new().flag("xla_cpu_enable_fast_math", true).check().is_ok());
    }
}
