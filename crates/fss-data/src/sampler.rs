//! Samplers: streams of episodes.
//!
//! | sampler | what for |
//! |---|---|
//! | [`OfficialSampler`] | the very episodes of the published SSP and MLC code for a seed |
//! | [`SeededSampler`] | episodes by random access: each follows from the seed and its number |
//! | [`HsnetSampler`] | the very episodes of the HSNet protocol (PASCAL-5i, COCO-20i, FSS-1000) |
//! | [`HsnetTrainingSampler`] | training as HSNet does, each episode from the seed and its number |

mod hsnet;
mod hsnet_training;
mod official;
mod seeded;
mod supports;

pub use hsnet::{HsnetEpisode, HsnetListing, HsnetSampler, HsnetState};
pub use hsnet_training::{HsnetTrainingConfig, HsnetTrainingSampler};
pub use official::{OfficialConfig, OfficialSampler, OfficialState};
pub use seeded::{SeededConfig, SeededSampler};

use serde::{Deserialize, Serialize};

use crate::{DataError, episode::Episode};

/// A stream of episodes.
pub trait EpisodeSampler: Send {
    /// The next episode of the stream.
    ///
    /// # Errors
    /// If no episode can be drawn, as when a class has too few images to support it.
    fn next_episode(&mut self) -> Result<Episode, DataError>;

    /// The next `count` episodes.
    ///
    /// # Errors
    /// As [`next_episode`](Self::next_episode); the episodes before the first error are lost.
    fn take_episodes(&mut self, count: usize) -> Result<Vec<Episode>, DataError> {
        (0..count).map(|_| self.next_episode()).collect()
    }
}

impl<S: EpisodeSampler + ?Sized> EpisodeSampler for Box<S> {
    fn next_episode(&mut self) -> Result<Episode, DataError> {
        (**self).next_episode()
    }
}

/// What else is drawn beside the images of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrawMode {
    /// Nothing: images are used as they are.
    Evaluation,
    /// A square crop and a mirroring for every image.
    Training {
        /// Side of the crop in pixels; smaller images are padded to it.
        crop: u32,
    },
}

impl DrawMode {
    /// Refuses a crop without pixels.
    fn check(self) -> Result<(), DataError> {
        match self {
            Self::Training { crop: 0 } => Err(setting(
                "a training crop of 0 pixels",
                "give the side of the crop, as 473 in the published recipes",
            )),
            _ => Ok(()),
        }
    }
}

fn setting(what: impl Into<String>, remedy: impl Into<String>) -> DataError {
    DataError::Setting { what: what.into(), remedy: remedy.into() }
}

fn check_shot(shot: usize) -> Result<(), DataError> {
    match shot {
        0 => Err(setting("episodes without a support", "ask for 1 shot or more")),
        _ => Ok(()),
    }
}
