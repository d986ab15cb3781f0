//! Episodes of one way or several, as DENet's code draws them (ACM MM 2020).
//!
//! | step | here |
//! |---|---|
//! | the images of a data set, and what their masks show | [`WayImages`] |
//! | what a mask of a fold shows in training and in a test | [`training_mask`], [`test_mask`] |
//! | which images show which classes | [`ShownLabels`], [`ClassList`], [`WholeLists`] |
//! | episodes from these lists | [`EpisodePlan`], [`WayEpisode`] |
//! | episodes as a file | [`EpisodeFile`] |
//! | what becomes of an image | [`Flips`] |
//!
//! All is drawn from one NumPy generator, whose seed is 1234 in the published runs. The lists are shuffled
//! when they are made and kept afterwards, so that a first run of the published code draws other episodes
//! than all later ones. [`WayImages::episodes`] shuffles the lists with a generator of their own and draws
//! episodes with a fresh one, which gives the episodes of the later runs.

mod episodes;
mod file;
mod images;
mod lists;
mod load;
mod masks;

pub use episodes::{EpisodePlan, Purpose, Way, WayEpisode, plain_list};
pub use file::{EpisodeFile, FileEpisode};
pub use images::{LISTS_FOLDER, WayImages};
pub use lists::{ClassList, ShownLabels, TestWays, WholeLists};
pub use load::{Flips, LoadedWay, class_mask, loaded, loaded_labels};
pub use masks::{Void, test_mask, training_mask};

/// The published seed.
pub const SEED: u32 = 1234;

/// From which share of an image on a class counts, in PASCAL VOC.
pub const PASCAL_SHARE: f64 = 0.02;

/// From which share of an image on a class counts, in COCO.
pub const COCO_SHARE: f64 = 0.01;
