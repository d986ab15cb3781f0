//! The images of a data set and what is known of them before a mask is read.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::coco::CocoSet;
use super::labelme::Document;
use super::{Form, MaskValue};
use crate::annotations::{BadEntries, Skipped};
use crate::{DataError, Split};

/// One image with its annotation.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its name, once in its list.
    pub(super) id: String,
    /// Its file; of an image that lies in its annotation, that one.
    pub(super) image: PathBuf,
    /// What it shows.
    pub(super) shows: Shows,
    /// The list that it belongs to; none if there are no lists.
    pub(super) split: Option<Split>,
}

/// The annotation of an image.
#[derive(Debug, Clone)]
pub(super) enum Shows {
    /// Mask files of one class; several are drawn together.
    Marks {
        /// The class.
        class: Arc<str>,
        /// At least one.
        files: Vec<MaskFile>,
    },
    /// A LabelMe file.
    Shapes(Arc<Document>),
    /// An image of a COCO file.
    Coco {
        /// The file.
        set: Arc<CocoSet>,
        /// The place of the image in it.
        image: usize,
    },
}

/// A mask file and what in it is foreground.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MaskFile {
    pub(super) path: PathBuf,
    pub(super) value: MaskValue,
}

impl Entry {
    /// The file that the mask comes from.
    pub(super) fn annotation(&self) -> PathBuf {
        match &self.shows {
            Shows::Marks { files, .. } => files[0].path.clone(),
            Shows::Shapes(document) => document.path.clone(),
            Shows::Coco { set, .. } => set.file.path().to_path_buf(),
        }
    }

    /// The names of the classes that are annotated.
    pub(super) fn classes(&self) -> BTreeSet<&str> {
        match &self.shows {
            Shows::Marks { class, .. } => BTreeSet::from([&**class]),
            Shows::Shapes(document) => document.classes(),
            Shows::Coco { set, image } => set.classes(*image),
        }
    }
}

/// Notes what cannot be used, or refuses it.
#[derive(Debug)]
pub(super) struct Skips {
    bad: BadEntries,
    pub(super) list: Vec<Skipped>,
}

impl Skips {
    pub(super) fn new(bad: BadEntries) -> Self {
        Self { bad, list: Vec::new() }
    }

    pub(super) fn bad(&self) -> BadEntries {
        self.bad
    }

    /// Notes an entry that is wrong.
    ///
    /// # Errors
    /// The error itself if bad entries are refused.
    pub(super) fn note(&mut self, error: DataError) -> Result<(), DataError> {
        match (self.bad, error) {
            (BadEntries::Refuse, DataError::Invalid { path, problem, remedy }) => {
                Err(DataError::Invalid {
                    path,
                    problem,
                    remedy: format!("{remedy}; or skip bad entries"),
                })
            }
            (BadEntries::Refuse, other) => Err(other),
            (BadEntries::Skip, DataError::Invalid { path, problem, .. }) => {
                let what = path.display().to_string();
                self.list.push(Skipped { what, why: problem, image_id: None });
                Ok(())
            }
            (BadEntries::Skip, DataError::Io { action, path, source }) => {
                let (what, why) =
                    (path.display().to_string(), format!("cannot {action} it: {source}"));
                self.list.push(Skipped { what, why, image_id: None });
                Ok(())
            }
            (BadEntries::Skip, other) => {
                let (what, why) = ("entry".into(), other.to_string());
                self.list.push(Skipped { what, why, image_id: None });
                Ok(())
            }
        }
    }

    /// The value if there is one, none if its error was noted.
    ///
    /// # Errors
    /// As [`note`](Self::note).
    pub(super) fn pass<T>(&mut self, result: Result<T, DataError>) -> Result<Option<T>, DataError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.note(error).map(|()| None),
        }
    }
}

/// One place that entries come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// The file or folder.
    pub(super) path: PathBuf,
    /// How it is written.
    pub(super) form: Form,
    /// The list that all its entries belong to, if any.
    pub(super) split: Option<Split>,
}
