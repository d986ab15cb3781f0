//! The lists of the HSNet protocol: whether they can be used, and whether they are the published ones.

use serde::{Deserialize, Serialize};

use crate::benchmark::Benchmark;
use crate::folds::{Fold, FoldScheme};
use crate::lists::{ListOptions, Standing, hsnet_listing, in_tree};
use crate::{MaskIndex, SegmentationDataset, Split};

/// Which lists to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListCheck {
    /// The benchmark that they belong to.
    pub benchmark: Benchmark,
    /// Where they come from: a folder, or they are built from the masks.
    pub options: ListOptions,
}

/// The lists that one fold draws from in one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReport {
    /// Which fold, from 0.
    pub fold: usize,
    /// How classes are dealt to it.
    pub scheme: FoldScheme,
    /// Which split.
    pub split: Split,
    /// Whether list files were read; else lists were built.
    pub given: bool,
    /// Pairs of image and class.
    pub pairs: usize,
    /// Different images.
    pub images: usize,
    /// Where the lists come from and whether they are the published ones, in words.
    pub origin: String,
    /// Whether they are the published ones, to the letter.
    pub published: bool,
    /// Why they cannot be used.
    pub problem: Option<String>,
}

pub(super) fn check_lists(
    split: Split,
    dataset: &SegmentationDataset,
    index: Option<&MaskIndex>,
    folds: &[Fold],
    wanted: &ListCheck,
) -> Vec<ListReport> {
    let source = wanted.options.source.as_ref();
    let given = source.is_some() || in_tree(wanted.benchmark, &dataset.root).is_some();
    let unread = MaskIndex::from_stats(Vec::new());
    let index = match index {
        Some(index) => index,
        // Lists from files, and those of FSS-1000, do not ask for masks.
        None if given || wanted.benchmark == Benchmark::Fss1000 => &unread,
        None => return Vec::new(),
    };
    folds
        .iter()
        .map(|fold| {
            let mut report = ListReport {
                fold: fold.index(),
                scheme: fold.scheme(),
                split,
                given,
                pairs: 0,
                images: 0,
                origin: String::new(),
                published: false,
                problem: None,
            };
            match hsnet_listing(wanted.benchmark, dataset, index, fold, split, &wanted.options) {
                Ok(lists) => {
                    let listing = &lists.listing;
                    report.pairs = listing.classes().map(|c| listing.images_of(c).len()).sum();
                    report.images = listing.images().len();
                    report.origin = lists.origin.to_string();
                    report.published = lists.origin.standing == Standing::Published;
                }
                Err(error) => report.problem = Some(error.to_string()),
            }
            report
        })
        .collect()
}
