//! What autotuning found: for the process, and on disk where compiled programs are kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Tuning;
use crate::compilation_cache;
use crate::error::Result;

/// The choices of this process, by the keys of the programs.
static FOUND: Mutex<Option<HashMap<String, Tuning>>> = Mutex::new(None);

/// What is in a file.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// The version of this library, which may have other choices.
    onetrace: String,
    tuning: Tuning,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was found for the program with this key. A file that is damaged or that has no choice there
/// is counts as none.
pub(super) fn find(
    key: Option<&str>,
    is_possible: impl Fn(Tuning) -> bool,
) -> Result<Option<Tuning>> {
    let Some(key) = key else { return Ok(None) };
    let known = |found: &Option<HashMap<String, Tuning>>| found.as_ref()?.get(key).copied();
    if let Some(tuning) = known(&FOUND.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(Some(tuning));
    }
    let Some(file) = compilation_cache::read(&file_name(key))? else { return Ok(None) };
    let entry = serde_json::from_slice::<Entry>(&file).ok();
    let entry = entry.filter(|entry| entry.onetrace == VERSION && is_possible(entry.tuning));
    Ok(entry.map(|entry| entry.tuning))
}

/// Remembers what was found.
pub(super) fn keep(key: Option<&str>, tuning: Tuning) -> Result<()> {
    let Some(key) = key else { return Ok(()) };
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.get_or_insert_default().insert(key.to_owned(), tuning);
    drop(found);
    let entry = Entry { onetrace: VERSION.to_owned(), tuning };
    let text = serde_json::to_vec(&entry).expect("strings and choices are JSON");
    compilation_cache::keep_beside(&file_name(key), &text)
}

fn file_name(key: &str) -> String {
    format!("{key}.tuning.json")
}
