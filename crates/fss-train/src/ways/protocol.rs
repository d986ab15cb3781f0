//! How a test of DENet's code is set.

use fss_data::loader::LoaderOptions;
use fss_data::ways::Void;
use serde::{Deserialize, Serialize};

use crate::evaluate::{FeatureReuse, SeenClasses, TrainedFold};
use crate::{Shard, TrainError};

/// How many episodes of which kind a test has. The default is the published one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WaysTest {
    /// Classes an episode.
    pub ways: usize,
    /// Supports a class.
    pub shot: usize,
    /// Episodes of a run, shared out to the classes in equal parts.
    pub episodes: usize,
    /// Whether images are mirrored with probability one half, as published (Python's generator, seed 0).
    pub mirrored: bool,
    /// Episodes that are segmented together. Only AMP's scores depend on it: what it remembers of
    /// backgrounds moves on by a whole batch before one of its queries is segmented.
    pub batch: usize,
    /// Whether no image occurs twice in an episode; the published code allows it.
    pub disjoint: bool,
}

impl Default for WaysTest {
    fn default() -> Self {
        Self { ways: 1, shot: 1, episodes: 1000, mirrored: true, batch: 20, disjoint: false }
    }
}

impl WaysTest {
    /// Numbers that must not be 0, with their keys.
    pub(super) fn counts(&self) -> [(&'static str, usize); 4] {
        [
            ("ways", self.ways),
            ("shot", self.shot),
            ("episodes", self.episodes),
            ("batch", self.batch),
        ]
    }
}

/// The protocol of DENet's code: square images, compared at their size; the IoU of each class pooled over
/// its episodes ("B-IOU"), and the mean of all classes, background and base classes included ("F-IOU").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaysProtocol {
    /// Side of the square that images and masks are brought to, in pixels; 321 is published.
    pub side: usize,
    /// From which share of an image on a class counts; 0.02 on PASCAL VOC and 0.01 on COCO are published.
    pub share: f64,
    /// Whether undecided pixels (255) do not count. They are background in the published code.
    pub ignore_border: bool,
    /// Episodes.
    #[serde(flatten)]
    pub test: WaysTest,
}

impl WaysProtocol {
    /// What becomes of undecided pixels.
    pub fn void(&self) -> Void {
        match self.ignore_border {
            true => Void::Ignored,
            false => Void::Background,
        }
    }

    /// One sentence for reports.
    pub fn describe(&self) -> String {
        let WaysTest { ways, shot, mirrored, disjoint, .. } = &self.test;
        let mut text = format!(
            "denet: {ways}-way {shot}-shot, images of {0}x{0} pixels, compared at that size, classes that \
             cover {1} % of an image",
            self.side,
            100.0 * self.share,
        );
        if !mirrored {
            text.push_str(", no image mirrored");
        }
        if *disjoint {
            text.push_str(", no image twice in an episode");
        }
        if self.ignore_border {
            text.push_str(", undecided pixels ignored");
        }
        text
    }

    /// Refuses settings that make no test.
    ///
    /// # Errors
    /// [`TrainError::Setting`] naming the first.
    pub fn check(&self) -> Result<(), TrainError> {
        let counts = self.test.counts();
        if let Some((key, _)) = counts.iter().chain(&[("side", self.side)]).find(|(_, n)| *n == 0) {
            return Err(TrainError::setting(
                format!("a test by DENet's protocol with 0 for `{key}`"),
                "give at least one",
            ));
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(TrainError::setting(
                format!("classes count from a share of {} on", self.share),
                "give a share above 0 and up to 1, as 0.02",
            ));
        }
        Ok(())
    }
}

/// What is to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct WaysPlan {
    /// How.
    pub protocol: WaysProtocol,
    /// One run for each; 1234 is published.
    pub seeds: Vec<u32>,
    /// What the model is, for reports.
    pub model: Option<String>,
    /// The fold that the model was trained by, as far as it is known.
    pub trained: Option<TrainedFold>,
    /// What is done if it was trained on classes that are tested.
    pub seen: SeenClasses,
    /// Whether features are computed once or over and over. The scores do not depend on it.
    pub reuse: FeatureReuse,
    /// Threads that read images ahead. The scores do not depend on them.
    pub loader: LoaderOptions,
    /// The share of the episodes that is measured.
    pub shard: Shard,
}

impl WaysPlan {
    /// A plan with all but the protocol as usual.
    pub fn new(protocol: WaysProtocol) -> Self {
        Self {
            protocol,
            seeds: vec![fss_data::ways::SEED],
            model: None,
            trained: None,
            seen: SeenClasses::Refuse,
            reuse: FeatureReuse::default(),
            loader: LoaderOptions { threads: 1, prefetch: 8 },
            shard: Shard::WHOLE,
        }
    }
}
