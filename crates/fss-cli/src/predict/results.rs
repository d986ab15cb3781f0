//! The files that a query gives.

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use fss_core::data::DataError;
use fss_core::data::draw::{OverlayStyle, overlay};
use fss_core::{Segmentation, data};
use image::RgbImage;
use ndarray::{Array2, Array3};
use ndarray_npy::WriteNpyExt;

use crate::failure::Failure;

/// A red that differs from most of what photographs show.
const OVERLAY_COLOUR: [u8; 3] = [235, 40, 70];

/// What can be written for a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Save {
    /// STEM.mask.png: 8-bit palette indices, 0 background, 1 foreground
    Mask,
    /// STEM.overlay.png: the image with the mask drawn over it
    Overlay,
    /// STEM.logits.npy: float32 [classes, height, width], background first
    Logits,
}

impl Save {
    fn ending(self) -> &'static str {
        match self {
            Self::Mask => "mask.png",
            Self::Overlay => "overlay.png",
            Self::Logits => "logits.npy",
        }
    }
}

/// A folder of results. Each file appears whole or not at all.
#[derive(Debug)]
pub struct Results<'a> {
    folder: &'a Path,
    /// In the order of writing: the largest first, so that a full disk shows early, and the mask
    /// last.
    kinds: Vec<Save>,
}

impl<'a> Results<'a> {
    /// Results of some kinds in a folder, which is made if it is not there.
    pub fn new(folder: &'a Path, kinds: &[Save]) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|e| Failure::io("make folder", folder, e))?;
        let mut kinds = kinds.to_vec();
        kinds.sort_by_key(|kind| std::cmp::Reverse(*kind));
        kinds.dedup();
        Ok(Self { folder, kinds })
    }

    fn path(&self, stem: &str, kind: Save) -> PathBuf {
        // Not `with_extension`: a stem may hold a dot.
        self.folder.join(format!("{stem}.{}", kind.ending()))
    }

    /// Whether all results of a query are there.
    pub fn are_there(&self, stem: &str) -> bool {
        self.kinds.iter().all(|kind| self.path(stem, *kind).is_file())
    }

    /// Writes the results of a query.
    pub fn write(
        &self,
        stem: &str,
        image: &RgbImage,
        segmentation: &Segmentation,
    ) -> Result<(), Failure> {
        self.write_parts(stem, &segmentation.mask, &segmentation.logits, || {
            let style = OverlayStyle::single(OVERLAY_COLOUR);
            overlay(image, &segmentation.mask, &style)
        })
    }

    /// Writes the results of a query from their parts; the overlay is drawn if it is wanted.
    pub fn write_parts(
        &self,
        stem: &str,
        mask: &Array2<u8>,
        logits: &Array3<f32>,
        draw: impl Fn() -> Result<RgbImage, DataError>,
    ) -> Result<(), Failure> {
        for kind in &self.kinds {
            let path = self.path(stem, *kind);
            match kind {
                Save::Mask => data::io::write_mask(&path, mask)?,
                Save::Overlay => data::io::write_png(&path, &draw()?)?,
                Save::Logits => data::io::write_atomic_with(&path, |file| {
                    logits.write_npy(file).map_err(io::Error::other)
                })?,
            }
        }
        Ok(())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.folder
    }
}
