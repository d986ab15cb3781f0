//! The layout of PASCAL VOC.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::store::{Layout, Lists, Progress, Reporter, create_folder, make};
use super::{ListSummary, Summary, SyntheticConfig, SyntheticImage, draw_checked, id};
use crate::dataset::Split;
use crate::{DataError, io};

const IMAGES: &str = "JPEGImages";
const MASKS: &str = "SegmentationClass";
const LISTS: &str = "ImageSets";

/// Makes the set in the folder `root`, or finds it there.
///
/// The layout is that of PASCAL VOC as SSP reads it: `JPEGImages/<id>.jpg`,
/// `SegmentationClass/<id>.png` (8-bit palette), `ImageSets/{train,val}.txt`; and a file
/// `synthetic.json` with the configuration. Pictures are drawn in parallel on rayon's threads;
/// `progress` is called from them after every picture and may stop the work.
///
/// A folder that already holds the set of this very configuration is left as it is. All is written
/// to a temporary folder beside `root` first, which takes its name at the end: `root` is complete
/// or not there.
///
/// # Errors
/// [`DataError::Setting`] for a configuration that makes no sense; [`DataError::Invalid`] if `root`
/// holds anything else; [`DataError::Io`] if files cannot be written, or (of the kind
/// [`Interrupted`](std::io::ErrorKind::Interrupted)) if `progress` stopped the work.
pub fn generate(
    root: &Path,
    config: &SyntheticConfig,
    progress: impl Fn(Progress) -> ControlFlow<()> + Sync,
) -> Result<Summary, DataError> {
    make(root, config, &progress)
}

impl Layout for SyntheticConfig {
    const NAME: &'static str = "pascal";

    fn check(&self) -> Result<(), DataError> {
        Self::check(self)
    }

    fn pictures(&self) -> usize {
        self.train_images + self.val_images
    }

    fn files(&self) -> Vec<PathBuf> {
        let ids = Split::TRAIN_VAL
            .into_iter()
            .flat_map(|split| (0..self.images(split)).map(move |index| id(split, index)));
        let lists = Split::TRAIN_VAL.map(list_path);
        ids.flat_map(|id| [image_path(&id), mask_path(&id)]).chain(lists).collect()
    }

    fn write(&self, folder: &Path, report: &Reporter<'_>) -> Result<Lists, DataError> {
        for name in [IMAGES, MASKS, LISTS] {
            create_folder(&folder.join(name))?;
        }
        let train = write_list(self, Split::Train, folder, report)?;
        let val = write_list(self, Split::Val, folder, report)?;
        Ok(Lists { train, val, test: ListSummary::default() })
    }
}

fn image_path(id: &str) -> PathBuf {
    Path::new(IMAGES).join(format!("{id}.jpg"))
}

fn mask_path(id: &str) -> PathBuf {
    Path::new(MASKS).join(format!("{id}.png"))
}

fn list_path(split: Split) -> PathBuf {
    Path::new(LISTS).join(format!("{split}.txt"))
}

/// Draws and writes the pictures of a list, and the list.
fn write_list(
    config: &SyntheticConfig,
    split: Split,
    folder: &Path,
    report: &Reporter<'_>,
) -> Result<ListSummary, DataError> {
    let images = config.images(split);
    let empty = || ListSummary::new(&config.synthetic_classes());
    let summary = (0..images)
        .into_par_iter()
        .map(|index| {
            let drawn = draw_checked(config, split, index);
            write_picture(config, folder, &drawn)?;
            report.picture_written(folder)?;
            Ok(empty().count(&drawn))
        })
        .try_reduce(empty, |a, b| Ok(a.merge(b)))?;
    let list: String = (0..images).map(|index| id(split, index) + "\n").collect();
    io::write_atomic(&folder.join(list_path(split)), list.as_bytes())?;
    Ok(summary)
}

fn write_picture(
    config: &SyntheticConfig,
    folder: &Path,
    drawn: &SyntheticImage,
) -> Result<(), DataError> {
    let image = folder.join(image_path(&drawn.id));
    io::write_jpeg(&image, &drawn.image, config.jpeg_quality)?;
    io::write_mask(&folder.join(mask_path(&drawn.id)), &drawn.mask)
}
