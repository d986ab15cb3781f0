//! The files of a text in an image.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use fss_core::CamMaker;
use fss_core::cam::NamedCam;
use fss_core::data::cam::write_cam;
use fss_core::data::draw::heat_overlay;
use fss_core::data::io::write_png;
use image::RgbImage;

use crate::failure::Failure;

/// What can be written for a text in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Save {
    /// STEM.cam.safetensors: the map, float32 [50, 50], from 0 to 1
    Map,
    /// STEM.cam.png: the map drawn over the image
    Heat,
}

impl Save {
    fn ending(self) -> &'static str {
        match self {
            Self::Map => "cam.safetensors",
            Self::Heat => "cam.png",
        }
    }
}

/// Where the files of an image go.
#[derive(Debug)]
pub struct Place<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// What they are named after.
    pub stem: String,
    /// The name of the image.
    pub image: String,
}

impl Place<'_> {
    fn path(&self, kind: Save) -> PathBuf {
        // Not `with_extension`: a stem may hold a dot.
        self.folder.join(format!("{}.{}", self.stem, kind.ending()))
    }

    /// Writes the files of the maker's first name. Each appears whole or not at all.
    pub fn write(
        &self,
        kinds: &[Save],
        picture: &RgbImage,
        maker: &CamMaker,
        found: &NamedCam,
    ) -> Result<(), Failure> {
        for &kind in kinds {
            let path = self.path(kind);
            match kind {
                Save::Map => write_cam(&path, &found.map, &maker.note(0, self.image.as_str()))?,
                Save::Heat => {
                    let area = maker.view().area(picture.width(), picture.height());
                    write_png(&path, &heat_overlay(picture, &found.map, area)?)?;
                }
            }
        }
        Ok(())
    }
}
