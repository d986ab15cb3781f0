//! The layout of FSS-1000: a folder for each category.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::class::{MAX_CLASSES, SyntheticClass};
use super::config::{pair, require, within};
use super::math::Draw;
use super::scene::{Scene, stream};
use super::store::{Layout, Lists, Progress, Reporter, create_folder, make};
use super::{ListSummary, Summary, SyntheticConfig, render};
use crate::dataset::Split;
use crate::{ClassId, DataError, io};

/// Images of a category.
const IMAGES: usize = 10;
const FOLDER: &str = "FSS-1000";
const LISTS: &str = "splits/fss";

/// Everything that a synthetic set in the layout of FSS-1000 depends on. Pairs are
/// `[smallest, largest]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fss1000Config {
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of categories for training, validation and testing, 1000 in all at most. The published
    /// split is `[520, 240, 240]`. Each category has ten images.
    pub categories: [usize; 3],
    /// Width and height in pixels; all images have this one size.
    pub side: u32,
    /// Diameter of the objects in per cent of the side.
    pub object_percent: [u32; 2],
    /// Number of objects of other categories, which count as background.
    pub others: [u32; 2],
    /// Number of small plain things that belong to no category.
    pub clutter: [u32; 2],
    /// Quality of the JPEG files, 1 to 100.
    pub jpeg_quality: u8,
}

impl Default for Fss1000Config {
    /// A set for demonstrations: 60 + 15 + 25 categories of 112 x 112 pixels.
    fn default() -> Self {
        Self {
            seed: 0,
            categories: [60, 15, 25],
            side: 112,
            object_percent: [30, 55],
            others: [0, 2],
            clutter: [2, 6],
            jpeg_quality: 92,
        }
    }
}

/// Makes a set in the layout of FSS-1000 in the folder `root`, or finds it there.
///
/// A category has ten images `FSS-1000/<category>/{1..10}.jpg` with masks `{1..10}.png` (RGB, 0 or
/// 255). Which categories are for training, validation and testing is written to
/// `splits/fss/{trn,val,test}.txt`, a name a line.
///
/// All else is as with [`generate`](super::generate).
///
/// # Errors
/// As [`generate`](super::generate).
pub fn generate_fss1000(
    root: &Path,
    config: &Fss1000Config,
    progress: impl Fn(Progress) -> ControlFlow<()> + Sync,
) -> Result<Summary, DataError> {
    make(root, config, &progress)
}

/// The name of a category: that of its folder.
fn folder_name(class: &SyntheticClass) -> String {
    class.to_string().replace(' ', "_")
}

fn list_path(split: Split) -> PathBuf {
    let name = match split {
        Split::Train => "trn",
        Split::Val => "val",
        Split::Test => "test",
    };
    Path::new(LISTS).join(format!("{name}.txt"))
}

impl Fss1000Config {
    /// The categories of a list.
    fn classes(&self, split: Split) -> Vec<SyntheticClass> {
        let [train, val, test] = self.categories;
        let range = match split {
            Split::Train => 0..train,
            Split::Val => train..train + val,
            Split::Test => train + val..train + val + test,
        };
        range.filter_map(|at| SyntheticClass::of(at as ClassId + 1)).collect()
    }

    /// What its pictures have in common with those of other layouts.
    fn pictures(&self) -> SyntheticConfig {
        SyntheticConfig {
            seed: self.seed,
            side: [self.side; 2],
            object_percent: self.object_percent,
            clutter: self.clutter,
            jpeg_quality: self.jpeg_quality,
            ..SyntheticConfig::default()
        }
    }

    /// Draws image `number` (`1..=10`) of a category with its mask: true where the category shows.
    /// Also returns how many objects there are.
    pub(super) fn draw(
        &self,
        class: SyntheticClass,
        number: usize,
    ) -> (RgbImage, Array2<bool>, usize) {
        let key = stream(4, u64::from(class.label) * 16 + number as u64);
        let all: usize = self.categories.iter().sum();
        let scene = Scene::draw(&self.pictures(), key, |draw| {
            // The first object always finds its place.
            let mut labels = vec![class.label];
            let others = if all > 1 { draw.whole(self.others[0], self.others[1]) } else { 0 };
            labels.extend((0..others).map(|_| self.other(class.label, all, draw)));
            labels
        });
        let (image, shown) = render::render_objects(&scene);
        let mask = shown.mapv(|number| {
            let object = usize::from(number).checked_sub(1);
            object.is_some_and(|at| scene.objects[at].class == class)
        });
        (image, mask, scene.objects.len())
    }

    /// Any category but this one.
    fn other(&self, label: ClassId, all: usize, draw: &mut Draw) -> ClassId {
        let drawn = draw.whole(1, all as u32 - 1) as ClassId;
        drawn + ClassId::from(drawn >= label)
    }

    /// Draws and writes the categories of a list, and the list.
    fn write_list(
        &self,
        split: Split,
        folder: &Path,
        report: &Reporter<'_>,
    ) -> Result<ListSummary, DataError> {
        let classes = self.classes(split);
        let empty = || ListSummary::new(&classes);
        for class in &classes {
            create_folder(&folder.join(FOLDER).join(folder_name(class)))?;
        }
        let summary = classes
            .par_iter()
            .flat_map_iter(|class| (1..=IMAGES).map(move |number| (class, number)))
            .map(|(class, number)| {
                let (image, mask, objects) = self.draw(*class, number);
                let path = folder.join(FOLDER).join(folder_name(class)).join(number.to_string());
                io::write_jpeg(&path.with_extension("jpg"), &image, self.jpeg_quality)?;
                let (height, width) = mask.dim();
                let picture = RgbImage::from_fn(width as u32, height as u32, |x, y| {
                    Rgb([if mask[[y as usize, x as usize]] { 255 } else { 0 }; 3])
                });
                io::write_png(&path.with_extension("png"), &picture)?;
                report.picture_written(folder)?;
                let pixels = mask.iter().filter(|&&set| set).count() as u64;
                Ok(empty().count_picture(objects, |label| u64::from(label == class.label) * pixels))
            })
            .try_reduce(empty, |a, b| Ok(a.merge(b)))?;
        let list: String = classes.iter().map(|class| folder_name(class) + "\n").collect();
        io::write_atomic(&folder.join(list_path(split)), list.as_bytes())?;
        Ok(summary)
    }
}

impl Layout for Fss1000Config {
    const NAME: &'static str = "fss1000";

    fn check(&self) -> Result<(), DataError> {
        let [train, val, test] = self.categories;
        let all = train.saturating_add(val).saturating_add(test);
        let most = usize::from(MAX_CLASSES);
        require((1..=most).contains(&all), format!("{all} categories"), || {
            format!("give 1 to {most} as the sum for training, validation and testing")
        })?;
        pair("others", self.others, 0, 15)?;
        within("side", self.side, 32, 4096)?;
        self.pictures().check_pictures(u8::MAX)
    }

    fn pictures(&self) -> usize {
        IMAGES * self.categories.iter().sum::<usize>()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Split::ALL.map(list_path).to_vec();
        for class in Split::ALL.into_iter().flat_map(|split| self.classes(split)) {
            let folder = Path::new(FOLDER).join(folder_name(&class));
            for number in 1..=IMAGES {
                files.push(folder.join(format!("{number}.jpg")));
                files.push(folder.join(format!("{number}.png")));
            }
        }
        files
    }

    fn write(&self, folder: &Path, report: &Reporter<'_>) -> Result<Lists, DataError> {
        create_folder(&folder.join(FOLDER))?;
        create_folder(&folder.join(LISTS))?;
        let [train, val, test] = Split::ALL.map(|split| self.write_list(split, folder, report));
        Ok(Lists { train: train?, val: val?, test: test? })
    }
}
