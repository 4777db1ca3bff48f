//! Arguments of an example: `--name value`, in any order.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// The arguments that have not been taken yet.
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// The arguments of this process; none if it was asked for help, which is `usage`.
    pub fn parse(usage: &str) -> Result<Option<Arguments>> {
        let mut given = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            if word == "--help" || word == "-h" {
                println!("{usage}");
                return Ok(None);
            }
            let Some(name) = word.strip_prefix("--") else {
                bail!("{word:?} is no argument; --help lists them");
            };
            let value = words.next().with_context(|| format!("--{name} needs a value"))?;
            if given.insert(name.to_owned(), value).is_some() {
                bail!("--{name} is given twice");
            }
        }
        Ok(Some(Arguments(given)))
    }

    /// The value of `--name`, if it is given.
    pub fn find(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// The value of `--name`, from `least` on.
    pub fn take<T>(&mut self, name: &str, default: T, least: T) -> Result<T>
    where
        T: FromStr<Err: std::error::Error + Send + Sync + 'static> + PartialOrd + Display,
    {
        let Some(text) = self.0.remove(name) else { return Ok(default) };
        let value: T = text.parse().with_context(|| format!("--{name} {text}"))?;
        // Written so that NaN is refused too.
        if !(value >= least) {
            bail!("--{name} must be at least {least}, but it is {text}");
        }
        Ok(value)
    }

    /// Refuses arguments that nobody took.
    pub fn finish(self) -> Result<()> {
        match self.0.into_keys().next() {
            Some(name) => bail!("there is no argument --{name}; --help lists them"),
            None => Ok(()),
        }
    }
}
