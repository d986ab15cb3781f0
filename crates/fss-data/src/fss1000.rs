//! FSS-1000: 1,000 categories of 10 images, each with a binary mask.
//!
//! ```text
//! <root>/FSS-1000/<category>/{1..10}.jpg      or the categories directly below the root
//! <root>/FSS-1000/<category>/{1..10}.png      foreground where the grey value is 128 or more
//! ```
//!
//! Categories, not images, are divided: 520 for training, 240 for validation, 240 for testing. Which
//! ones is a matter of published lists (`fss/{trn,val,test}.txt`) that do not follow from the images;
//! without them the library divides the categories by a rule of its own, see [`CategorySplit::Own`].
//! Within a split, categories are numbered in the order of their names (by code point); the classes
//! of the validation split follow those of the training split, and those of the test split come
//! last. Label c of the HSNet protocol, counted from 0, is class c + 1.

mod division;

use std::path::{Path, PathBuf};

pub use division::own_division;

use crate::folds::Fold;
use crate::lists;
use crate::{ClassId, DataError, Files, Masks, SegmentationDataset, Split};

/// The lowest grey value of the foreground in a mask.
pub const THRESHOLD: u8 = 128;

/// The published numbers of categories for training, validation and testing.
pub const PUBLISHED_SIZES: [usize; 3] = [520, 240, 240];

/// How the categories were divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CategorySplit {
    /// By list files in this folder.
    Lists(PathBuf),
    /// By [`own_division`]: results are not comparable with published ones.
    Own,
}

/// The folders of an FSS-1000 tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FssRoot {
    root: PathBuf,
    /// The folder that holds the categories.
    base: PathBuf,
    split: CategorySplit,
    /// Training, validation, testing; each in the order of names.
    categories: [Vec<String>; 3],
}

impl FssRoot {
    /// Finds the categories below `root` and divides them by the lists in `splits`, else by lists in
    /// the tree itself (`fss/{trn,val,test}.txt` in the root or below `splits/`), else by
    /// [`own_division`], with a warning.
    ///
    /// # Errors
    /// [`DataError`] that says what was looked for; also when a list names a category that is not
    /// there, or one twice.
    pub fn detect(root: &Path, splits: Option<&Path>) -> Result<Self, DataError> {
        let (base, present) = division::find_categories(root)?;
        let found = match splits {
            Some(folder) => Some(lists::fss_folder(folder)?),
            None => lists::fss_folder(root).ok(),
        };
        let (split, categories) = match found {
            Some(folder) => {
                let lists = lists::read_fss_lists(&folder)?;
                division::check_lists(&folder, &base, &lists, &present)?;
                (CategorySplit::Lists(folder), lists)
            }
            None => {
                tracing::warn!(
                    "the categories of FSS-1000 are divided by a rule of this library: results are \
                     not comparable with published ones (give the folder of the published lists as \
                     `splits`)"
                );
                (CategorySplit::Own, own_division(present))
            }
        };
        Ok(Self { root: root.to_path_buf(), base, split, categories })
    }

    /// How the categories were divided.
    pub fn split(&self) -> &CategorySplit {
        &self.split
    }

    /// The categories of a split, in the order of their class numbers.
    pub fn categories(&self, split: Split) -> &[String] {
        &self.categories[split as usize]
    }

    /// The class of the first category of a split: 1, 521 and 761 in the published data set.
    pub fn first_class(&self, split: Split) -> usize {
        1 + self.categories[..split as usize].iter().map(Vec::len).sum::<usize>()
    }

    /// The names of all classes, 1..n.
    pub fn class_names(&self) -> Vec<String> {
        self.categories.concat()
    }

    /// The only fold: the categories of validation and testing are novel.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there are more categories than classes can be numbered.
    pub fn fold(&self) -> Result<Fold, DataError> {
        let classes = self.categories.iter().map(Vec::len).sum::<usize>();
        let novel = (self.first_class(Split::Val)..=classes)
            .map(|class| ClassId::try_from(class).unwrap_or(ClassId::MAX));
        Fold::listed(classes, novel)
    }

    /// One line on where things were found.
    pub fn summary(&self) -> String {
        let [train, val, test] = self.categories.each_ref().map(Vec::len);
        let by = match &self.split {
            CategorySplit::Lists(folder) => format!("by the lists in {}", folder.display()),
            CategorySplit::Own => "by the rule of this library, NOT the published split".to_owned(),
        };
        format!(
            "categories are read from {}: {train} for training, {val} for validation, {test} for \
             testing, {by}",
            self.base.display()
        )
    }

    /// The images of a split: category by category in the order of the classes, each by number.
    ///
    /// # Errors
    /// [`DataError`] naming the category when its folder cannot be read or holds no image.
    pub fn dataset(&self, split: Split) -> Result<SegmentationDataset, DataError> {
        let mut ids = Vec::new();
        let mut classes = Vec::new();
        for (place, category) in self.categories(split).iter().enumerate() {
            let class = ClassId::try_from(self.first_class(split) + place).map_err(|_| {
                DataError::invalid(
                    &self.base,
                    format!("there are more than {} categories", ClassId::MAX),
                    "give a smaller data set",
                )
            })?;
            let images = division::images_of(&self.base.join(category))?;
            classes.extend(std::iter::repeat_n(class, images.len()));
            ids.extend(images.into_iter().map(|image| format!("{category}/{image}")));
        }
        let label = match self.split {
            CategorySplit::Lists(_) => "",
            CategorySplit::Own => " (own split)",
        };
        Ok(SegmentationDataset {
            name: format!("fss1000 {split}{label}"),
            root: self.root.clone(),
            class_names: self.class_names(),
            ids,
            files: Files::ById {
                images: self.base.clone(),
                image_extension: "jpg".into(),
                masks: self.base.clone(),
                mask_extension: "png".into(),
            },
            masks: Masks::Binary { threshold: THRESHOLD, classes },
        })
    }
}

#[cfg(test)]
mod tests;
