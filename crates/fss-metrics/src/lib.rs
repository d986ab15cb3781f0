//! Metrics of few-shot semantic segmentation: mIoU, FB-IoU, per-episode IoU.
//!
//! Everything starts from [`BinaryCounts`], the one pass over the pixels of an episode; the
//! accumulators add such counts up:
//!
//! | type | protocol |
//! |---|---|
//! | [`ConfusionMatrix`] | confusion counts of all classes, mean IoU over the classes that occur (SSP, MLC) |
//! | [`HsnetMetric`] | mean IoU over all classes of the fold and FB-IoU, as HSNet and its successors report them |
//! | [`FbIou`] | foreground-background IoU pooled over episodes |
//! | [`EpisodeIous`] | IoU of every single episode, and their mean |
//! | [`EpisodeMetrics`] | the first, third and fourth of these at once, with a serialisable [`MetricReport`] |
//! | [`HsnetEpisodeMetrics`] | the second and fourth of these at once, with the same report |
//!
//! [`GeneralizedMetric`] scores maps of many classes: base, novel, total and harmonic mean IoU of generalized
//! few-shot segmentation.
//!
//! [`WayIou`] and [`FullIou`] are the metrics of DENet's code, for episodes of one way or several.
//!
//! [`vote`] makes one prediction of several.
//!
//! **Units**: IoU values are fractions in `[0, 1]`; [`percent`] turns one into per cent. Areas and
//! counts are pixels, kept as `u64`, so sums are exact and do not depend on their order. That is
//! why accumulators can be [merged](ConfusionMatrix::merge) from shards of episodes to the very
//! same numbers.
//!
//! **Labels**: predictions hold 0 (background) or 1 (foreground); truths also 255 ([`IGNORE_INDEX`]),
//! whose pixels do not count. Classes are the labels `1..=n`; 0 is the background.
//!
//! ```
//! use fss_metrics::ConfusionMatrix;
//!
//! let mut matrix = ConfusionMatrix::new(20);
//! matrix.add_episode(&[1, 1, 0, 0], &[1, 0, 0, 255], 3)?;
//! assert_eq!(matrix.miou(), 0.5);
//! # Ok::<(), fss_metrics::MetricError>(())
//! ```
#![forbid(unsafe_code)]

mod confusion;
mod counts;
mod episode_iou;
mod error;
mod fb;
mod generalized;
mod hsnet;
mod report;
mod spread;
mod vote;
mod ways;

pub use confusion::{ClassIou, ConfusionMatrix};
pub use counts::{Areas, BinaryCounts};
pub use episode_iou::{EpisodeIou, EpisodeIous};
pub use error::{MapRole, MetricError};
pub use fb::FbIou;
pub use generalized::{GeneralizedMetric, GeneralizedScores};
pub use hsnet::{HsnetMetric, HsnetScores};
pub use report::{EpisodeMetrics, HsnetEpisodeMetrics, MetricReport};
pub use spread::Spread;
pub use vote::vote;
pub use ways::{AbsentWays, FullIou, WayIou};

/// The label of pixels that count neither as foreground nor as background.
pub const IGNORE_INDEX: u8 = 255;

/// A fraction in `[0, 1]` in per cent.
pub fn percent(fraction: f64) -> f64 {
    fraction * 100.0
}
