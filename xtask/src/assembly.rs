//! The directory in which XLA ends up. It is made beside its place and moved there whole.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The file that tells a whole set-up, and what it was made of. It is written last.
const STAMP: &str = "set-up.txt";

/// What a set-up was made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Stamp {
    pub xla: String,
    pub libclang: String,
    pub shim: String,
}

impl Stamp {
    /// The stamp of a finished set-up, or nothing.
    pub fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(STAMP)).ok()?;
        let field = |name: &str| {
            Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
        };
        Some(Stamp { xla: field("xla:")?, libclang: field("libclang:")?, shim: field("shim:")? })
    }

    fn text(&self) -> String {
        let Stamp { xla, libclang, shim } = self;
        format!("Made by `cargo xtask setup`.\nxla: {xla}\nlibclang: {libclang}\nshim: {shim}\n")
    }
}

/// A set-up in the making.
pub struct Assembly {
    target: PathBuf,
    /// On the target's file system, so that it can be renamed.
    pub partial: PathBuf,
}

impl Assembly {
    pub fn begin(target: &Path) -> Result<Self> {
        let assembly = Assembly { target: target.to_owned(), partial: beside(target, "partial") };
        remove(&assembly.partial)?;
        fs::create_dir_all(&assembly.partial)
            .with_context(|| format!("cannot write {}", assembly.partial.display()))?;
        Ok(assembly)
    }

    /// Adds the files of a tree in the cache; they replace those of earlier trees.
    pub fn add(&self, tree: &Path) -> Result<()> {
        link(tree, &self.partial).with_context(|| {
            format!("cannot copy {} to {}", tree.display(), self.partial.display())
        })
    }

    /// Puts the assembly in its place.
    pub fn finish(self, stamp: &Stamp) -> Result<()> {
        let old = beside(&self.target, "old");
        remove(&old)?;
        let put = || {
            fs::write(self.partial.join(STAMP), stamp.text())?;
            if self.target.exists() {
                fs::rename(&self.target, &old)?;
            }
            fs::rename(&self.partial, &self.target)
        };
        put().with_context(|| format!("cannot put XLA into {}", self.target.display()))?;
        remove(&old)
    }
}

impl Drop for Assembly {
    /// What broke off with an error leaves nothing behind; after the end there is nothing.
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.partial);
    }
}

/// Refuses to replace a directory that set-up did not make.
pub fn check_replaceable(target: &Path) -> Result<()> {
    let empty = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => {
            let to_do = "cannot be replaced (give another directory with --dir)";
            return Err(error).with_context(|| format!("{} {to_do}", target.display()));
        }
    };
    if !empty && Stamp::read(target).is_none() {
        bail!(
            "{} has files that set-up did not make, and they would be lost.\n\
             Move them away, give another directory with --dir, or, if this is XLA, set {}",
            target.display(),
            crate::places::XLA_EXTENSION_DIR,
        );
    }
    Ok(())
}

/// A name that no directory of the user has.
fn beside(target: &Path, what: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".onetrace-");
    name.push(what);
    name.into()
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Hard links cost no space and outlive the cache; another file system gets copies.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link(&entry.path(), &place)?;
            continue;
        }
        if place.exists() {
            fs::remove_file(&place)?;
        }
        if fs::hard_link(entry.path(), &place).is_err() {
            fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { xla: "a 1".into(), libclang: "b 2".into(), shim: "c".into() }
    }

    #[test]
    fn later_trees_win_and_nothing_shows_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, target) =
            (dir.path().join("one"), dir.path().join("two"), dir.path().join("xla"));
        fs::create_dir_all(one.join("include")).unwrap();
        fs::create_dir_all(two.join("include")).unwrap();
        fs::write(one.join("include/a.h"), "one").unwrap();
        fs::write(one.join("include/b.h"), "one").unwrap();
        fs::write(two.join("include/b.h"), "two").unwrap();

        let assembly = Assembly::begin(&target).unwrap();
        assembly.add(&one).unwrap();
        assembly.add(&two).unwrap();
        assert!(!target.exists());
        assembly.finish(&stamp()).unwrap();

        assert_eq!(Stamp::read(&target), Some(stamp()));
        assert_eq!(fs::read_to_string(target.join("include/a.h")).unwrap(), "one");
        assert_eq!(fs::read_to_string(target.join("include/b.h")).unwrap(), "two");
        assert_eq!(fs::read_to_string(one.join("include/b.h")).unwrap(), "one");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            3,
            "nothing is left beside the target"
        );
    }

    #[test]
    fn a_broken_off_assembly_is_begun_afresh() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("xla");
        let debris = beside(&target, "partial");
        fs::create_dir_all(&debris).unwrap();
        fs::write(debris.join("stale"), "").unwrap();
        assert_eq!(Stamp::read(&target), None);

        Assembly::begin(&target).unwrap().finish(&stamp()).unwrap();
        assert!(!target.join("stale").exists());
    }

    #[test]
    fn foreign_files_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_replaceable(dir.path()).is_ok());
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = check_replaceable(dir.path()).unwrap_err().to_string();
        assert!(error.contains("has files that set-up did not make"), "{error}");
    }
}
