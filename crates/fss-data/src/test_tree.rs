//! Small dataset trees for tests, written with the `png` and `image` crates alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use crate::{SegmentationDataset, Split, pascal};

/// A temporary tree in the flat VOC layout.
pub(crate) struct Tree {
    folder: TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let tree = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["JPEGImages", "SegmentationClass", "ImageSets"] {
            fs::create_dir_all(tree.root().join(name)).unwrap();
        }
        tree
    }

    /// A temporary folder with nothing in it.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A file below the root, with its folders.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// An image of one grey and a label mask, below the root.
    pub(crate) fn pair_at(&self, image: &str, mask: &str, width: u32, labels: &[u8]) {
        self.image_at(image, width, labels.len() as u32 / width);
        self.file(mask, b"");
        write_mask(&self.path(mask), width, labels);
    }

    pub(crate) fn image_at(&self, image: &str, width: u32, height: u32) {
        self.file(image, b"");
        RgbImage::from_pixel(width, height, Rgb([90; 3])).save(self.path(image)).unwrap();
    }

    /// An image and a mask of one class, as in FSS-1000: the first pixels are foreground.
    pub(crate) fn binary_pair(&self, folder: &str, number: usize, pixels: usize) {
        self.image_at(&format!("{folder}/{number}.jpg"), 8, 8);
        let grey = |n: u32| image::Luma([if (n as usize) < pixels { 128u8 } else { 127 }]);
        image::GrayImage::from_fn(8, 8, |x, y| grey(y * 8 + x))
            .save(self.path(&format!("{folder}/{number}.png")))
            .unwrap();
    }

    pub(crate) fn list(&self, split: Split, ids: &[&str]) {
        self.file(&format!("ImageSets/{split}.txt"), ids.join("\n").as_bytes());
    }

    /// An image of one grey and a mask with the given labels line by line.
    pub(crate) fn pair(&self, id: &str, width: u32, grey: u8, labels: &[u8]) {
        self.image(id, width, labels.len() as u32 / width, grey);
        self.mask(id, width, labels);
    }

    /// An image and a mask that is background but for `pixels` of each label, in order.
    pub(crate) fn shapes(&self, id: &str, (width, height): (u32, u32), areas: &[(u8, usize)]) {
        let mut labels: Vec<u8> =
            areas.iter().flat_map(|&(label, pixels)| vec![label; pixels]).collect();
        labels.resize((width * height) as usize, 0);
        self.pair(id, width, 90, &labels);
    }

    pub(crate) fn image(&self, id: &str, width: u32, height: u32, grey: u8) {
        let path = self.path(&format!("JPEGImages/{id}.jpg"));
        RgbImage::from_pixel(width, height, Rgb([grey; 3])).save(path).unwrap();
    }

    pub(crate) fn mask(&self, id: &str, width: u32, labels: &[u8]) {
        write_mask(&self.path(&format!("SegmentationClass/{id}.png")), width, labels);
    }

    pub(crate) fn dataset(&self, split: Split) -> SegmentationDataset {
        pascal::open(self.root(), split).unwrap()
    }
}

/// A palette PNG whose colours tell nothing about the labels.
pub(crate) fn write_mask(path: &Path, width: u32, labels: &[u8]) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width, labels.len() as u32 / width);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(vec![7; 768]);
    encoder.write_header().unwrap().write_image_data(labels).unwrap();
}

/// Moves a file's time of change by whole seconds into the past.
pub(crate) fn age(path: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}
