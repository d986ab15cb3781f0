//! The samplers that a recipe can choose for training.

use std::sync::Arc;

use fss_data::DataError;
use fss_data::episode::{Episode, EpisodeSource};
use fss_data::sampler::{
    DrawMode, EpisodeSampler, OfficialConfig, OfficialSampler, OfficialState, SeededConfig,
    SeededSampler,
};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::recipe::{EpisodeSettings, Sampling};

/// A stream of training episodes.
#[derive(Debug, Clone)]
pub(super) enum TrainingSampler {
    /// The draws of the published code.
    Official(Box<OfficialSampler>),
    /// Each episode from the seed and its number alone.
    Seeded(SeededSampler),
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
}

impl TrainingSampler {
    /// The episodes of snapshot number `snapshot`. Every snapshot has a seed of its own, since the
    /// published code re-seeds everything before each.
    pub(super) fn begin(
        source: Arc<EpisodeSource>,
        settings: &EpisodeSettings,
        snapshot: u64,
    ) -> Result<Self, TrainError> {
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
        })
    }

    /// Goes on from a saved state.
    pub(super) fn restore(
        source: Arc<EpisodeSource>,
        state: SamplerState,
    ) -> Result<Self, TrainError> {
        Ok(match state {
            SamplerState::Official(state) => {
                Self::Official(Box::new(OfficialSampler::restore(source, *state)?))
            }
            SamplerState::Seeded { config, next } => {
                let mut sampler = SeededSampler::new(source, config)?;
                sampler.seek(next);
                Self::Seeded(sampler)
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
        }
    }

    /// What is drawn beside the images.
    pub(super) fn mode(&self) -> DrawMode {
        match self {
            Self::Official(sampler) => sampler.config().mode,
            Self::Seeded(sampler) => sampler.config().mode,
        }
    }
}

impl EpisodeSampler for TrainingSampler {
    fn next_episode(&mut self) -> Result<Episode, DataError> {
        match self {
            Self::Official(sampler) => sampler.next_episode(),
            Self::Seeded(sampler) => sampler.next_episode(),
        }
    }
}
