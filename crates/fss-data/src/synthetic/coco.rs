//! The layout of COCO: two folders of pictures, and annotations as polygons and runs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use image::RgbImage;
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::class::SyntheticClass;
use super::config::within;
use super::math::Draw;
use super::scene::{Scene, mixed_labels, stream};
use super::store::{Layout, Lists, Progress, Reporter, create_folder, make};
use super::{ListSummary, Summary, SyntheticConfig, coco_json, render};
use crate::dataset::Split;
use crate::{ClassId, DataError, io};

const ANNOTATIONS: &str = "annotations";

/// Everything that a synthetic set in the layout of COCO depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CocoConfig {
    /// How many pictures there are, and how they look; up to 200 classes.
    pub pictures: SyntheticConfig,
    /// How many pictures (in per cent) have a crowd: small objects of one class that are annotated
    /// together, with `iscrowd` 1.
    pub crowd_percent: u32,
    /// How many pictures (in per cent) show nothing that is annotated.
    pub empty_percent: u32,
    /// How many of the objects (in per cent) are annotated by runs of pixels instead of polygons.
    /// Objects with holes always are, and crowds.
    pub runs_percent: u32,
}

impl Default for CocoConfig {
    /// A set for demonstrations: 600 + 400 pictures of about 112 x 112, 80 classes.
    fn default() -> Self {
        let pictures = SyntheticConfig {
            train_images: 600,
            val_images: 400,
            classes: 80,
            ..SyntheticConfig::default()
        };
        Self { pictures, crowd_percent: 5, empty_percent: 2, runs_percent: 10 }
    }
}

/// Makes a set in the layout of COCO 2014 in the folder `root`, or finds it there.
///
/// Pictures are `{train,val}2014/COCO_{train,val}2014_<12 digits>.jpg`, annotations
/// `annotations/instances_{train,val}2014.json`. As in COCO, ids of images and categories have
/// gaps, images and annotations come in no order, and some images have no annotation; most objects
/// are polygons, others runs (written out or compressed), and crowds are runs with `iscrowd` 1.
/// Nothing is ignored along outlines.
///
/// All else is as with [`generate`](super::generate).
///
/// # Errors
/// As [`generate`](super::generate).
pub fn generate_coco(
    root: &Path,
    config: &CocoConfig,
    progress: impl Fn(Progress) -> ControlFlow<()> + Sync,
) -> Result<Summary, DataError> {
    make(root, config, &progress)
}

/// A picture and what there is to annotate.
pub(super) struct CocoPicture {
    pub(super) image: RgbImage,
    /// For each pixel `[H, W]` the number in `regions`, counted from 1, that it shows; 0 is the
    /// background.
    pub(super) shown: Array2<u16>,
    pub(super) regions: Vec<Region>,
}

/// What one annotation is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    pub(super) class: SyntheticClass,
    pub(super) objects: usize,
    pub(super) form: Form,
}

/// How a region is annotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Polygons,
    Runs,
    CompressedRuns,
    Crowd,
}

impl CocoConfig {
    /// Draws picture `index` of a list.
    pub(super) fn draw(&self, split: Split, index: usize) -> CocoPicture {
        let config = &self.pictures;
        let list = 5 + u64::from(split != Split::Train);
        let key = stream(list, index as u64);
        // What goes beyond plain pictures has random numbers of its own.
        let mut extra = Draw::new(config.seed ^ 0xc0c0, key);
        let mut scene = Scene::draw(config, key, |draw| {
            if extra.chance(self.empty_percent) {
                return Vec::new();
            }
            mixed_labels(config, list, index, draw)
        });
        let mut regions: Vec<Region> = scene
            .objects
            .iter()
            .map(|object| {
                let form = match extra.chance(self.runs_percent) {
                    false => Form::Polygons,
                    true => extra.one_of(&[Form::Runs, Form::CompressedRuns]),
                };
                Region { class: object.class, objects: 1, form }
            })
            .collect();
        let single = scene.objects.len();
        if single > 0 && extra.chance(self.crowd_percent) {
            let class = extra.one_of(&regions).class;
            let objects = scene.add_crowd(config, class, &mut extra);
            if objects > 1 {
                regions.push(Region { class, objects, form: Form::Crowd });
            } else {
                scene.objects.truncate(single);
            }
        }
        let (image, mut shown) = render::render_objects(&scene);
        // The objects of a crowd are one region.
        shown.mapv_inplace(|number| number.min(single as u16 + 1));
        CocoPicture { image, shown, regions }
    }

    /// The id of picture `index` of a list: ascending, with gaps, and of no other list.
    pub(super) fn image_id(&self, split: Split, index: usize) -> u64 {
        const GAP: u32 = 29;
        let salt = self.pictures.seed ^ 0x1d5;
        let within = Draw::new(salt, index as u64).whole(0, GAP - 1);
        2 * (index as u64 * u64::from(GAP) + u64::from(within))
            + 1
            + u64::from(split != Split::Train)
    }

    /// The id of a class in the annotations: every eighth is left out.
    pub(super) fn category_id(class: ClassId) -> ClassId {
        class + (class - 1) / 7
    }
}

/// The file name of an image.
pub(super) fn file_name(split: Split, id: u64) -> String {
    format!("COCO_{split}2014_{id:012}.jpg")
}

fn folder_name(split: Split) -> String {
    format!("{split}2014")
}

fn annotations_path(split: Split) -> PathBuf {
    Path::new(ANNOTATIONS).join(format!("instances_{split}2014.json"))
}

impl Layout for CocoConfig {
    const NAME: &'static str = "coco";

    fn check(&self) -> Result<(), DataError> {
        self.pictures.check_pictures(200)?;
        within("crowd_percent", self.crowd_percent, 0, 100)?;
        within("empty_percent", self.empty_percent, 0, 100)?;
        within("runs_percent", self.runs_percent, 0, 100)
    }

    fn pictures(&self) -> usize {
        self.pictures.train_images + self.pictures.val_images
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Split::TRAIN_VAL.map(annotations_path).to_vec();
        for split in Split::TRAIN_VAL {
            let ids = (0..self.pictures.images(split)).map(|index| self.image_id(split, index));
            files.extend(ids.map(|id| Path::new(&folder_name(split)).join(file_name(split, id))));
        }
        files
    }

    fn write(&self, folder: &Path, report: &Reporter<'_>) -> Result<Lists, DataError> {
        create_folder(&folder.join(ANNOTATIONS))?;
        let train = self.write_list(Split::Train, folder, report)?;
        let val = self.write_list(Split::Val, folder, report)?;
        Ok(Lists { train, val, test: ListSummary::default() })
    }
}

impl CocoConfig {
    /// Draws and writes the pictures of a list, and their annotations.
    fn write_list(
        &self,
        split: Split,
        folder: &Path,
        report: &Reporter<'_>,
    ) -> Result<ListSummary, DataError> {
        let images = folder.join(folder_name(split));
        create_folder(&images)?;
        let classes = self.pictures.synthetic_classes();
        let drawn = (0..self.pictures.images(split))
            .into_par_iter()
            .map(|index| {
                let picture = self.draw(split, index);
                let id = self.image_id(split, index);
                let name = file_name(split, id);
                let quality = self.pictures.jpeg_quality;
                io::write_jpeg(&images.join(&name), &picture.image, quality)?;
                report.picture_written(folder)?;
                let summary = picture.count(ListSummary::new(&classes));
                Ok((coco_json::Entry::of(&picture, id, name)?, summary))
            })
            .collect::<Result<Vec<_>, DataError>>()?;
        let (entries, summaries): (Vec<_>, Vec<_>) = drawn.into_iter().unzip();
        // Nobody may rely on an order.
        let mut shuffle = Draw::new(self.pictures.seed ^ 0x0a7, u64::from(split != Split::Train));
        let text = coco_json::document(entries, &classes, &mut shuffle);
        let path = folder.join(annotations_path(split));
        let text = text.map_err(|e| DataError::io("write", &path, std::io::Error::other(e)))?;
        io::write_atomic(&path, &text)?;
        Ok(summaries.into_iter().fold(ListSummary::new(&classes), ListSummary::merge))
    }
}

impl CocoPicture {
    fn count(&self, summary: ListSummary) -> ListSummary {
        let mut pixels = vec![0u64; self.regions.len() + 1];
        self.shown.iter().for_each(|&number| pixels[usize::from(number)] += 1);
        let objects = self.regions.iter().map(|region| region.objects).sum();
        summary.count_picture(objects, |class| {
            let regions = self.regions.iter().zip(&pixels[1..]);
            regions.filter(|(region, _)| region.class.label == class).map(|(_, &n)| n).sum()
        })
    }
}
