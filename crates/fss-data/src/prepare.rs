//! From the official archives, as unpacked, to the trees that every protocol reads.
//!
//! ```text
//! <out>/VOC2012/{JPEGImages,SegmentationClassAug,ImageSets}     prepare_pascal: VOC 2012 and SBD
//! <out>/COCO2014/{train2014,val2014,ImageSets}                  prepare_coco
//! <out>/COCO2014/annotations/{train2014,val2014}/<name>.png
//! <out>/FSS-1000/<category>/{1..10}.{jpg,png}                   prepare_fss1000
//! <out>/splits/{pascal,coco,fss}/..                             lists in the form of HSNet's
//! <out>/prepare-<benchmark>.json                                what was done: a [`Summary`]
//! ```
//!
//! One folder serves all of them: it is what HSNet calls `Datasets_HSN`, with the lists that SSP and
//! MLC read added to it.
//!
//! Images are linked, not copied, unless [`ImageFiles`] says otherwise. Masks are 8-bit grey PNG
//! files whose values are the labels. Work runs on rayon's threads. It may be stopped at any time,
//! by the progress function or by a power cut: every file is whole or not there, and a journal
//! (`<out>/.prepare-<benchmark>.journal`) tells which masks are done and what they were made from.
//! The same call goes on where it stopped, and does nothing that is done already; a mask whose source
//! was changed is made again.

mod coco;
mod folder;
mod fss1000;
mod image_files;
mod journal;
mod mask_files;
mod mat;
mod pascal;
mod sbd;
mod summary;
#[cfg(test)]
mod tests;
mod voc_sbd;
mod work;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

pub use coco::{CocoOptions, CocoYear, prepare_coco};
pub use fss1000::{FssOptions, prepare_fss1000};
pub use image_files::ImageFiles;
pub use pascal::prepare_pascal;
pub use sbd::read_sbd_mask;
pub use summary::{Count, ImageCounts, LeftOut, MaskCounts, PreparedList, Summary};

use crate::annotations::BadEntries;

/// A step of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Annotation files are read.
    Annotations,
    /// Masks are made, images are put in their place.
    Images,
    /// Masks are counted for the lists.
    Lists,
}

/// How far the work has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The step.
    pub stage: Stage,
    /// What is done of it: annotation files, images, masks.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// How a tree is made.
#[derive(Default)]
pub struct PrepareOptions<'a> {
    /// How images get to their place.
    pub images: ImageFiles,
    /// What happens to entries that are missing or damaged.
    pub bad: BadEntries,
    /// Called from several threads; may stop the work.
    pub progress: Option<&'a (dyn Fn(Progress) -> ControlFlow<()> + Sync)>,
}
