//! What a synthetic set holds.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{SyntheticConfig, SyntheticImage};

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
    /// Its folder: the data root for readers of the VOC layout.
    pub root: PathBuf,
    /// Whether it was made or found.
    pub origin: Origin,
    /// The pictures of `ImageSets/train.txt`.
    pub train: ListSummary,
    /// The pictures of `ImageSets/val.txt`.
    pub val: ListSummary,
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
    /// The label in the masks.
    pub label: u8,
    /// What the class looks like.
    pub name: String,
    /// Number of pictures with at least one pixel of it.
    pub images: usize,
    /// Number of its pixels.
    pub pixels: u64,
}

impl ListSummary {
    pub(super) fn new(config: &SyntheticConfig) -> Self {
        let classes = config
            .synthetic_classes()
            .into_iter()
            .map(|class| ClassCount {
                label: class.label,
                name: class.to_string(),
                images: 0,
                pixels: 0,
            })
            .collect();
        Self { images: 0, objects: 0, classes }
    }

    pub(super) fn count(mut self, drawn: &SyntheticImage) -> Self {
        let mut pixels = [0u64; 256];
        drawn.mask.iter().for_each(|&label| pixels[usize::from(label)] += 1);
        for class in &mut self.classes {
            let here = pixels[usize::from(class.label)];
            class.pixels += here;
            class.images += usize::from(here > 0);
        }
        self.images += 1;
        self.objects += drawn.objects;
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
