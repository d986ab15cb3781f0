//! The samplers that a recipe can choose for training.

use std::sync::Arc;

use fss_data::DataError;
use fss_data::episode::Episode;
use fss_data::sampler::{
    DrawMode, EpisodeSampler, HsnetTrainingConfig, HsnetTrainingSampler, OfficialConfig,
    OfficialSampler, OfficialState, SeededConfig, SeededSampler,
};
use serde::{Deserialize, Serialize};

use crate::data::placed;
use crate::recipe::{EpisodeSettings, Sampling};
use crate::{EpisodeData, TrainError};

/// A stream of training episodes.
#[derive(Debug, Clone)]
pub(super) enum TrainingSampler {
    /// The draws of the published code.
    Official(Box<OfficialSampler>),
    /// Each episode from the seed and its number alone.
    Seeded(SeededSampler),
    /// By the rules of HSNet.
    Hsnet {
        sampler: HsnetTrainingSampler,
        /// Where the images of the listing are in the data set.
        positions: Arc<[usize]>,
    },
}

/// Where a stream of training episodes stands: all that it takes to go on with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SamplerState {
    /// Of the published draws.
    Official(Box<OfficialState>),
    /// Of seeded draws.
    Seeded {
        /// How they are drawn.
        config: SeededConfig,
        /// Number of the episode that comes next.
        next: usize,
    },
    /// Of draws by the rules of HSNet.
    Hsnet {
        /// How they are drawn.
        config: HsnetTrainingConfig,
        /// Number of the episode that comes next.
        next: usize,
        /// Fingerprint of the lists that they are drawn from.
        listing: u64,
    },
}

impl TrainingSampler {
    /// The episodes of snapshot number `snapshot`. Every snapshot has a seed of its own, since the
    /// published code re-seeds everything before each.
    pub(super) fn begin(
        data: &EpisodeData,
        settings: &EpisodeSettings,
        snapshot: u64,
    ) -> Result<Self, TrainError> {
        let source = data.source.clone();
        let crop = u32::try_from(settings.crop).map_err(|_| {
            let what = format!("a crop of {} pixels", settings.crop);
            TrainError::setting(what, "use 473, as published")
        })?;
        let seed = settings.seed.wrapping_add(snapshot);
        Ok(match settings.sampling {
            Sampling::Official { workers } => {
                let config = OfficialConfig::training(seed, settings.shot, settings.batch, crop);
                let config = OfficialConfig { workers, ..config };
                Self::Official(Box::new(OfficialSampler::new(source, config)?))
            }
            Sampling::Seeded => {
                let mode = DrawMode::Training { crop };
                let config = SeededConfig { seed, shot: settings.shot, mode };
                Self::Seeded(SeededSampler::new(source, config)?)
            }
            Sampling::Hsnet => {
                let config = HsnetTrainingConfig { seed, shot: settings.shot };
                let lists = data.hsnet_lists()?;
                let sampler = HsnetTrainingSampler::new(lists.listing.clone(), config)?;
                Self::Hsnet { sampler, positions: lists.positions.as_slice().into() }
            }
        })
    }

    /// Goes on from a saved state.
    pub(super) fn restore(data: &EpisodeData, state: SamplerState) -> Result<Self, TrainError> {
        let source = data.source.clone();
        Ok(match state {
            SamplerState::Official(state) => {
                Self::Official(Box::new(OfficialSampler::restore(source, *state)?))
            }
            SamplerState::Seeded { config, next } => {
                let mut sampler = SeededSampler::new(source, config)?;
                sampler.seek(next);
                Self::Seeded(sampler)
            }
            SamplerState::Hsnet { config, next, listing } => {
                let lists = data.hsnet_lists()?;
                let images = lists.listing.clone();
                let sampler = HsnetTrainingSampler::restore(images, config, next, listing)?;
                Self::Hsnet { sampler, positions: lists.positions.as_slice().into() }
            }
        })
    }

    /// Where it stands.
    pub(super) fn state(&self) -> SamplerState {
        match self {
            Self::Official(sampler) => SamplerState::Official(Box::new(sampler.state())),
            Self::Seeded(sampler) => {
                SamplerState::Seeded { config: *sampler.config(), next: sampler.position() }
            }
            Self::Hsnet { sampler, .. } => SamplerState::Hsnet {
                config: *sampler.config(),
                next: sampler.position(),
                listing: sampler.listing().fingerprint(),
            },
        }
    }

    /// What is drawn beside the images.
    pub(super) fn mode(&self) -> DrawMode {
        match self {
            Self::Official(sampler) => sampler.config().mode,
            Self::Seeded(sampler) => sampler.config().mode,
            Self::Hsnet { .. } => DrawMode::Evaluation,
        }
    }
}

impl EpisodeSampler for TrainingSampler {
    fn next_episode(&mut self) -> Result<Episode, DataError> {
        match self {
            Self::Official(sampler) => sampler.next_episode(),
            Self::Seeded(sampler) => sampler.next_episode(),
            Self::Hsnet { sampler, positions } => Ok(placed(positions, sampler.next_episode()?)),
        }
    }
}
