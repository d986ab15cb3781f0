//! Data sets made by machine: textured shapes over calm backgrounds, in the layouts of PASCAL VOC
//! ([`generate`]), COCO ([`generate_coco`]) and FSS-1000 ([`generate_fss1000`]).
//!
//! They stand in for the benchmarks where there is no download: real JPEG, PNG and JSON files that
//! go through the same readers, samplers, trainers and evaluators.
//!
//! **What makes it a test of few-shot segmentation.** A class is an outline together with a surface
//! pattern and the grain of that pattern ([`SyntheticClass`]). Colours are drawn anew for every
//! object and every background, independently of the class, so comparing colours between support
//! and query leads nowhere; a network has to learn patterns. Most pictures hold objects of several
//! classes, so telling objects from background is not enough either. Each pattern occurs in two
//! classes of different folds, with other outlines and another grain: what a network learned on
//! base classes carries over to the novel ones without having shown them.
//!
//! **The same bits everywhere.** A picture depends on the seed, its list and its number in it, and
//! on nothing else: not on the number of threads, nor on the platform's mathematical library.
//!
//! ```
//! use std::ops::ControlFlow;
//! use fss_data::synthetic::{SyntheticConfig, generate};
//!
//! let folder = tempfile::tempdir()?;
//! let config = SyntheticConfig { train_images: 4, val_images: 2, ..Default::default() };
//! let summary = generate(&folder.path().join("demo"), &config, |_| ControlFlow::Continue(()))?;
//! assert_eq!(summary.train.images, 4);
//! assert!(folder.path().join("demo/ImageSets/val.txt").is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod class;
mod coco;
mod coco_json;
mod config;
mod fss1000;
mod math;
mod outline;
mod render;
mod scene;
mod shape;
mod store;
mod summary;
mod texture;
mod voc;

use image::RgbImage;
use ndarray::Array2;

pub use class::{Grain, MAX_CLASSES, Shape, SyntheticClass, Texture};
pub use coco::{CocoConfig, generate_coco};
pub use config::SyntheticConfig;
pub use fss1000::{Fss1000Config, generate_fss1000};
pub use store::{MARKER, Progress};
pub use summary::{ClassCount, ListSummary, Origin, Summary};
pub use voc::generate;

use crate::DataError;
use crate::dataset::Split;

/// One picture with its label mask, in the layout of PASCAL VOC.
#[derive(Clone, Debug, PartialEq)]
pub struct SyntheticImage {
    /// Its name without extension, as in the lists.
    pub id: String,
    /// The picture.
    pub image: RgbImage,
    /// Labels `[H, W]`: 0 background, `1..=20` classes, 255 along the outlines.
    pub mask: Array2<u8>,
    /// How many objects were drawn.
    pub objects: usize,
}

/// Draws picture `index` of a list in memory, as [`generate`] writes it (before JPEG compression).
///
/// # Errors
/// [`DataError::Setting`] for a configuration that makes no sense.
pub fn draw_image(
    config: &SyntheticConfig,
    split: Split,
    index: usize,
) -> Result<SyntheticImage, DataError> {
    config.check()?;
    Ok(draw_checked(config, split, index))
}

fn draw_checked(config: &SyntheticConfig, split: Split, index: usize) -> SyntheticImage {
    // Part of every stream's key: the lists share no pictures.
    let list = match split {
        Split::Train => 1,
        Split::Val => 2,
        Split::Test => 3,
    };
    let scene = scene::Scene::draw(config, scene::stream(list, index as u64), |draw| {
        scene::mixed_labels(config, list, index, draw)
    });
    let (image, mask) = render::render(&scene);
    SyntheticImage { id: id(split, index), image, mask, objects: scene.objects.len() }
}

/// The name of a picture: sorted as text, names keep the order of the list.
fn id(split: Split, index: usize) -> String {
    format!("{split}_{index:06}")
}

#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod tests;
