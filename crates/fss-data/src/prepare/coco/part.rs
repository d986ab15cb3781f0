//! The parts of MS COCO's archives.

use std::path::{Path, PathBuf};

use super::super::{ImageFiles, folder};
use super::CocoYear;
use crate::{DataError, Split};

/// A split in the archives.
pub(super) struct Part {
    pub(super) split: Split,
    /// `train2014` and the like.
    pub(super) name: String,
    pub(super) annotations: PathBuf,
    /// The folder of the images; none if they are not asked for and not there.
    pub(super) images: Option<PathBuf>,
}

impl Part {
    /// Looks for the parts of a split below the folders `from`.
    ///
    /// # Errors
    /// [`DataError`] that says which archive is missing.
    pub(super) fn find(
        from: &[PathBuf],
        out: &Path,
        year: CocoYear,
        split: Split,
        images: ImageFiles,
    ) -> Result<Self, DataError> {
        let name = format!("{split}{year}");
        let file = format!("instances_{name}.json");
        let missing = |what: String, archive: &str| {
            let remedy = format!("fetch {archive} and unpack it here, or name its folder as well");
            DataError::invalid(&from[0], what, remedy)
        };
        let Some(folder) = folder::find(from, out, |path| path.join(&file).is_file()) else {
            let what = format!("{file} is missing: it is not at or below this folder");
            let other = if year == CocoYear::Y2014 { CocoYear::Y2017 } else { CocoYear::Y2014 };
            let other_file = format!("instances_{split}{other}.json");
            if folder::find(from, out, |path| path.join(&other_file).is_file()).is_some() {
                let what = format!("{what} (but {other_file} is)");
                let archive = format!("annotations_trainval{year}.zip (or say --year {other})");
                return Err(missing(what, &archive));
            }
            return Err(missing(what, &format!("annotations_trainval{year}.zip (MS COCO)")));
        };
        // Masks of HSNet's tree have folders of the same names, below `annotations`.
        let is_images = |path: &Path| {
            path.file_name().is_some_and(|it| it == name.as_str())
                && path.parent().and_then(Path::file_name).is_none_or(|it| it != "annotations")
        };
        let found = folder::find(from, out, is_images);
        if found.is_none() && images != ImageFiles::Skip {
            return Err(missing(
                format!("the images are missing: no folder {name} is at or below this one"),
                &format!("{name}.zip (MS COCO)"),
            ));
        }
        Ok(Self { split, name, annotations: folder.join(file), images: found })
    }
}
