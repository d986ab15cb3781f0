//! What a synthetic set holds.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{SyntheticClass, SyntheticImage};
use crate::ClassId;

/// Whether the set was made or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was drawn and written just now.
    Generated,
    /// The folder held it already.
    Reused,
}

/// A synthetic set on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its folder: the data root for readers of its layout.
    pub root: PathBuf,
    /// Whether it was made or found.
    pub origin: Origin,
    /// The pictures for training.
    pub train: ListSummary,
    /// The pictures for validation.
    pub val: ListSummary,
    /// The pictures for testing, in layouts that have a list of their own for them.
    pub test: ListSummary,
}

/// What the pictures of one list hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSummary {
    /// Number of pictures.
    pub images: usize,
    /// Number of objects.
    pub objects: usize,
    /// Counts by class, in order of the labels.
    pub classes: Vec<ClassCount>,
}

/// How often one class occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The number of the class.
    pub label: ClassId,
    /// What the class looks like.
    pub name: String,
    /// Number of pictures with at least one pixel of it.
    pub images: usize,
    /// Number of its pixels.
    pub pixels: u64,
}

impl ListSummary {
    pub(super) fn new(classes: &[SyntheticClass]) -> Self {
        let classes = classes
            .iter()
            .map(|class| ClassCount {
                label: class.label,
                name: class.to_string(),
                images: 0,
                pixels: 0,
            })
            .collect();
        Self { images: 0, objects: 0, classes }
    }

    /// Whether there are no pictures.
    pub(super) fn is_empty(&self) -> bool {
        self.images == 0
    }

    pub(super) fn count(self, drawn: &SyntheticImage) -> Self {
        let mut pixels = [0u64; 256];
        drawn.mask.iter().for_each(|&label| pixels[usize::from(label)] += 1);
        let of = |class: ClassId| pixels.get(usize::from(class)).copied().unwrap_or(0);
        self.count_picture(drawn.objects, of)
    }

    /// Adds a picture that shows so many objects and so many pixels of a class.
    pub(super) fn count_picture(
        mut self,
        objects: usize,
        pixels_of: impl Fn(ClassId) -> u64,
    ) -> Self {
        for class in &mut self.classes {
            let here = pixels_of(class.label);
            class.pixels += here;
            class.images += usize::from(here > 0);
        }
        self.images += 1;
        self.objects += objects;
        self
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        self.images += other.images;
        self.objects += other.objects;
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes) {
            mine.images += theirs.images;
            mine.pixels += theirs.pixels;
        }
        self
    }
}
