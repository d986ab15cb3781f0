//! Masks as files.

use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::journal::{Fingerprint, Journal};
use super::work::Trouble;
use crate::index::MaskStats;
use crate::{DataError, IGNORE_INDEX, io};

/// The masks of a tree: what is done is not done again.
pub(super) struct MaskFiles<'a> {
    pub(super) journal: &'a Journal,
    /// The folder of the tree; the journal names masks by their paths below it.
    pub(super) tree: &'a Path,
    /// Masks hold labels up to this, and 255.
    pub(super) classes: usize,
}

/// A mask that was made, with what it shows; none if it was there.
pub(super) type Made = Option<(PathBuf, MaskStats)>;

impl MaskFiles<'_> {
    /// The mask `name` below the tree: made by `paint`, unless it was made from these sources before.
    pub(super) fn make(
        &self,
        name: &str,
        entry: &str,
        sources: Fingerprint,
        paint: impl FnOnce() -> Result<Array2<u8>, DataError>,
    ) -> Result<Made, Trouble> {
        let path = self.tree.join(name);
        if self.journal.is_current(name, sources, &path) {
            return Ok(None);
        }
        let mask = paint().map_err(Trouble::entry(entry))?;
        let stats = MaskStats::of(&mask);
        let bytes = io::write_grey_mask_fast(&path, &mask).map_err(Trouble::write)?;
        self.journal.add(name, sources, bytes).map_err(Trouble::write)?;
        Ok(Some((path, stats)))
    }

    /// Refuses labels that the data set does not have.
    pub(super) fn check_labels(
        &self,
        path: &Path,
        mask: Array2<u8>,
    ) -> Result<Array2<u8>, DataError> {
        let strange = |&label: &u8| usize::from(label) > self.classes && label != IGNORE_INDEX;
        match mask.indexed_iter().find(|(_, label)| strange(label)) {
            None => Ok(mask),
            Some(((y, x), label)) => Err(DataError::invalid(
                path,
                format!(
                    "the pixel in line {y}, column {x} has the label {label}, but there are 0 to \
                     {} and {IGNORE_INDEX}",
                    self.classes
                ),
                "unpack the archive again; give class masks, not those of single objects",
            )),
        }
    }
}
