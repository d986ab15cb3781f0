#![doc = "Datasets, folds, episodes, transforms and synthetic data for few-shot segmentation."]
#![forbid(unsafe_code)]

pub mod annotations;
pub mod benchmark;
pub mod cam;
pub mod check;
pub mod coco;
pub mod dataset;
pub mod draw;
pub mod episode;
mod error;
pub mod folds;
pub mod fss1000;
pub mod gfss;
pub mod index;
pub mod io;
pub mod lists;
pub mod loader;
pub mod own;
pub mod pascal;
pub mod prepare;
pub mod resize;
pub mod rng;
pub mod sampler;
pub mod synthetic;
pub mod transform;
pub mod ways;

#[cfg(test)]
mod test_tree;

pub use benchmark::Benchmark;
pub use dataset::{DrawMask, Files, Masks, Sample, SegmentationDataset, Split};
pub use error::DataError;
pub use index::MaskIndex;

/// The label of pixels that count neither as foreground nor as background.
pub const IGNORE_INDEX: u8 = 255;

/// The number of a class in its data set: 1..=n; 0 is the background. In label masks it is the pixel
/// value; data sets of binary masks (FSS-1000) number more classes than a pixel could hold.
pub type ClassId = u16;
