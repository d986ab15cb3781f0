//! What happens to the bad entries of an annotation file.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Flaw;
use crate::DataError;

/// What to do with entries that are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadEntries {
    /// The first one is an error.
    #[default]
    Refuse,
    /// Leave them out and list them.
    Skip,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Which entry, as in `annotation 12 (image 5)`.
    pub what: String,
    /// Why.
    pub why: String,
    /// The image that it belongs to, where that is known: its mask lacks the entry.
    pub image_id: Option<i64>,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// Which entry of the file is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// `image`, `category` or `annotation`.
    pub(super) kind: &'static str,
    /// Its place in the list, from 0.
    pub(super) place: usize,
    /// Its id, where it has one.
    pub(super) id: Option<i64>,
    /// The image that it belongs to, where that is known.
    pub(super) image_id: Option<i64>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "{} {id}", self.kind)?,
            None => write!(f, "{} number {} of the list", self.kind, self.place + 1)?,
        }
        match self.image_id {
            Some(image) if self.kind != "image" => write!(f, " (image {image})"),
            _ => Ok(()),
        }
    }
}

/// Lets good entries pass.
pub(super) struct Sieve<'a> {
    path: &'a Path,
    bad: BadEntries,
    pub(super) skipped: Vec<Skipped>,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(path: &'a Path, bad: BadEntries) -> Self {
        Self { path, bad, skipped: Vec::new() }
    }

    /// The entry if it is good, none if it was noted as bad.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a bad entry, if bad entries are refused.
    pub(super) fn pass<T>(
        &mut self,
        entry: Entry,
        checked: Result<T, Flaw>,
    ) -> Result<Option<T>, DataError> {
        match (checked, self.bad) {
            (Ok(good), _) => Ok(Some(good)),
            (Err(flaw), BadEntries::Refuse) => Err(DataError::invalid(
                self.path,
                format!("{entry}: {}", flaw.what),
                format!("{}; or skip bad entries", flaw.remedy),
            )),
            (Err(flaw), BadEntries::Skip) => {
                self.skipped.push(Skipped {
                    what: entry.to_string(),
                    why: flaw.what,
                    image_id: entry.image_id,
                });
                Ok(None)
            }
        }
    }
}
