//! The lists of the HSNet protocol: which images show which class, and in which order.
//!
//! ```text
//! splits/pascal/{trn,val}/fold{0..3}.txt    lines <id>__<label 01..20>: the classes of that fold
//! splits/coco/{trn,val}/fold{0..3}.pkl      pickle of {class from 0: [image names]}
//! splits/coco/{trn,val}.txt                 the same as text, all classes: class, TAB, names
//! splits/fss/{trn,val,test}.txt             a category a line
//! ```
//!
//! Published lists are read from wherever they lie ([`find()`]), or from the tree of the data set;
//! without them, the same sets are built
//! from the annotations ([`pascal_pairs`], [`coco_lists`]). The order of a list decides which image a
//! draw refers to. PASCAL's published order follows from names, so lists built here draw the very
//! episodes of the published ones as long as the sets are equal. COCO's published order is arbitrary:
//! built lists are in ascending order of image numbers, so the draws are others, of the same images.
//! [`ListOrigin`] says what was used and whether it equals the published lists, by their SHA-256.
//!
//! PASCAL's and FSS-1000's lists name images by their ids. Names in COCO's lists, as `val2014/COCO_val2014_000000000042.jpg`, mean the image of that
//! id, without folder and extension, or else the image of that number (42).

mod build;
mod find;
mod names;
mod pairs;
mod pickle;
mod published;
mod read;
mod text;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use build::{coco_lists, pascal_pairs};
pub use find::find;
pub use pairs::class_pairs;
pub use pickle::read_coco_pickle;
pub use published::Standing;
pub use text::{read_categories, read_coco_text, write_coco_text};
pub use write::{WrittenList, write};

pub(crate) use find::{fss_folder, in_tree};
pub(crate) use read::{pascal_dataset, read_fss_lists};

use crate::benchmark::Benchmark;
use crate::episode::MIN_OBJECT_PIXELS;
use crate::folds::{Fold, Subset};
use crate::sampler::HsnetListing;
use crate::{ClassId, DataError, MaskIndex, SegmentationDataset, Split};
use names::Naming;

/// The images of each class, in list order. Classes are numbered from 0, as in the published lists.
pub type ClassLists = BTreeMap<usize, Vec<String>>;

/// Where lists come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOptions {
    /// A folder of published lists (see [`find()`]); without it, those in the tree of the data set
    /// (`splits/pascal` and the like below its root), else lists are built.
    pub source: Option<PathBuf>,
    /// PASCAL-5i lists that are built name a class of an image if it covers as many pixels.
    ///
    /// The default, 2,048, gives as many pairs as the published lists have.
    pub min_pixels: u64,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self { source: None, min_pixels: MIN_OBJECT_PIXELS }
    }
}

/// What the HSNet protocol draws from.
#[derive(Debug, Clone)]
pub struct HsnetLists {
    /// The listing; episodes name images by their place in it.
    pub listing: HsnetListing,
    /// For each image of the listing, its position in the dataset.
    pub positions: Vec<usize>,
    /// Where the lists come from.
    pub origin: ListOrigin,
}

/// Where lists come from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrigin {
    /// Files, or a rule.
    pub source: ListSource,
    /// Whether the lists are the published ones.
    pub standing: Standing,
}

/// Files, or a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListSource {
    /// These files.
    Files(Vec<PathBuf>),
    /// Built from the data; the text says by which rule.
    Built(String),
}

impl fmt::Display for ListOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            ListSource::Built(rule) => write!(f, "{rule}")?,
            ListSource::Files(files) => match &files[..] {
                [] => write!(f, "no list file")?,
                [file] => write!(f, "list {}", file.display())?,
                [first, .., last] => write!(
                    f,
                    "{} lists from {} to {}",
                    files.len(),
                    first.display(),
                    last.display()
                )?,
            },
        }
        write!(f, "; {}", self.standing)
    }
}

/// The listing that the HSNet protocol draws the episodes of a fold from: of the base classes in the
/// training split, else of the novel ones.
///
/// # Errors
/// [`DataError`] naming the list file (and line) when one is missing or broken; when a list names an
/// image that the dataset does not have; when a class has fewer than two images.
pub fn hsnet_listing(
    benchmark: Benchmark,
    dataset: &SegmentationDataset,
    index: &MaskIndex,
    fold: &Fold,
    split: Split,
    options: &ListOptions,
) -> Result<HsnetLists, DataError> {
    let subset = match split {
        Split::Train => Subset::Base,
        Split::Val | Split::Test => Subset::Novel,
    };
    let classes = fold.labels(subset);
    let source = options.source.clone().or_else(|| find::in_tree(benchmark, &dataset.root));
    let source = source.as_deref();
    let (listing, origin) = match benchmark {
        Benchmark::Pascal => {
            read::pascal(dataset, index, &classes, split, source, options.min_pixels)?
        }
        Benchmark::Coco => read::coco(dataset, index, &classes, split, source)?,
        Benchmark::Fss1000 => read::fss(dataset, split)?,
        Benchmark::Own => read::own(dataset, index, &classes)?,
    };
    let naming = match benchmark {
        Benchmark::Pascal | Benchmark::Fss1000 | Benchmark::Own => Naming::Ids,
        Benchmark::Coco => Naming::CocoFiles,
    };
    let positions = names::positions(dataset, listing.images(), naming)?;
    Ok(HsnetLists { listing, positions, origin })
}

/// `trn`, `val` or `test`, as the published lists name their splits.
pub(crate) fn split_name(split: Split) -> &'static str {
    match split {
        Split::Train => "trn",
        Split::Val => "val",
        Split::Test => "test",
    }
}

/// The number of a class in the lists: from 0.
fn list_number(class: ClassId) -> usize {
    usize::from(class).saturating_sub(1)
}

#[cfg(test)]
mod tests;
