//! Data sets opened for drawing episodes.

use fss_core::data::benchmark::BenchmarkRoot;
use fss_core::data::index::IndexOptions;
use fss_core::data::loader::LoaderOptions;
use fss_core::train::{EpisodeData, Part};

use crate::failure::Failure;
use crate::progress::Screen;

/// Opens a part of a data set; masks that are new are counted under a bar.
pub fn open(tree: &BenchmarkRoot, part: Part, screen: &Screen) -> Result<EpisodeData, Failure> {
    Ok(counted(screen, |options| EpisodeData::open(tree, part, options))?)
}

/// Whatever `open` opens; masks that are new are counted under a bar.
pub fn counted<T>(screen: &Screen, open: impl FnOnce(&IndexOptions<'_>) -> T) -> T {
    let bar = screen.bar(0, "masks");
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let options = IndexOptions { progress: Some(&progress), ..IndexOptions::default() };
    let opened = open(&options);
    bar.finish_and_clear();
    opened
}

/// Threads that read images ahead, besides those that compute.
pub fn reading() -> LoaderOptions {
    LoaderOptions { threads: 2, prefetch: 8 }
}
