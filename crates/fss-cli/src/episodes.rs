//! Data sets opened for drawing episodes.

use std::path::Path;

use fss_core::data::folds::{Fold, Subset};
use fss_core::data::index::{IndexOptions, MaskIndex};
use fss_core::data::{Split, loader::LoaderOptions, pascal};
use fss_core::train::EpisodeData;

use crate::failure::Failure;
use crate::progress::Screen;

/// Which part of a data set episodes are drawn from.
#[derive(Debug, Clone)]
pub struct Part {
    /// The list of images.
    pub split: Split,
    /// The fold, whose base or novel classes are shown.
    pub fold: Fold,
    /// Which of them.
    pub subset: Subset,
    /// The smallest object that counts, in pixels.
    pub min_pixels: u64,
}

/// Opens a part of the PASCAL-5i tree at `root`; masks that are new are counted under a bar.
pub fn open(root: &Path, part: Part, screen: &Screen) -> Result<EpisodeData, Failure> {
    let Part { split, fold, subset, min_pixels } = part;
    let dataset = pascal::open(root, split)?;
    let bar = screen.bar(dataset.len(), "masks");
    let progress = |done: usize, _: usize| bar.set_position(done as u64);
    let options = IndexOptions { progress: Some(&progress), ..IndexOptions::default() };
    let index = MaskIndex::build_with(&dataset, &options);
    bar.finish_and_clear();
    Ok(EpisodeData::with_index(dataset, &index?, fold, subset, min_pixels)?)
}

/// Threads that read images ahead, besides those that compute.
pub fn reading() -> LoaderOptions {
    LoaderOptions { threads: 2, prefetch: 8 }
}
