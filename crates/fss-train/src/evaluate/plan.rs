//! What is to be measured.

use fss_data::Benchmark;
use fss_data::episode::Episode;
use fss_data::loader::LoaderOptions;
use fss_data::sampler::{EpisodeSampler, HsnetSampler, OfficialConfig, OfficialSampler};
use fss_heads::ShotRule;

use super::{FeatureReuse, Protocol, SeenClasses, Supports, TrainedFold};
use crate::{EpisodeData, TrainError};

/// What is to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationPlan {
    /// How episodes are drawn and scored.
    pub protocol: Protocol,
    /// Supports an episode.
    pub shot: usize,
    /// One run for each.
    pub seeds: Vec<u64>,
    /// Episodes a run.
    pub episodes: usize,
    /// Where the supports come from.
    pub supports: Supports,
    /// What several supports are made of; `None` for what is published for the model.
    pub shot_rule: Option<ShotRule>,
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
}

impl EvaluationPlan {
    /// The published plan for a benchmark: seeds and number of episodes are the protocol's.
    pub fn published(protocol: Protocol, benchmark: Benchmark, shot: usize) -> Self {
        Self {
            protocol,
            shot,
            seeds: protocol.seeds(),
            episodes: protocol.episodes(benchmark),
            supports: Supports::Drawn,
            shot_rule: None,
            model: None,
            trained: None,
            seen: SeenClasses::Refuse,
            reuse: FeatureReuse::default(),
            loader: LoaderOptions { threads: 1, prefetch: 8 },
        }
    }

    /// The published plan for PASCAL-5i: 1000 episodes for each of the seeds 0 to 4.
    pub fn pascal(shot: usize) -> Self {
        Self::published(Protocol::Official, Benchmark::Pascal, shot)
    }

    /// Draws the episodes of one seed.
    ///
    /// # Errors
    /// [`TrainError::Data`] if a class has too few images for the shot; under the HSNet protocol as
    /// [`EpisodeData::hsnet_lists`], and [`TrainError::Setting`] for a seed that NumPy does not take.
    pub fn draw(&self, data: &EpisodeData, seed: u64) -> Result<Vec<Episode>, TrainError> {
        match self.protocol {
            Protocol::Official => {
                let config = OfficialConfig::evaluation(seed, self.shot);
                let mut sampler = OfficialSampler::new(data.source.clone(), config)?;
                Ok(sampler.take_episodes(self.episodes)?)
            }
            Protocol::Hsnet(_) => self.draw_hsnet(data, seed),
        }
    }

    /// Episodes of the HSNet protocol, with images by their position in the data set.
    fn draw_hsnet(&self, data: &EpisodeData, seed: u64) -> Result<Vec<Episode>, TrainError> {
        let seed = u32::try_from(seed).map_err(|_| {
            TrainError::setting(
                format!("seed {seed} is none of NumPy's"),
                format!("give one of 0 to {}; published results have seed 0", u32::MAX),
            )
        })?;
        let lists = data.hsnet_lists()?;
        let mut sampler = HsnetSampler::new(lists.listing.clone(), seed, self.shot)?;
        let mut episodes = sampler.take_episodes(self.episodes)?;
        for episode in &mut episodes {
            episode.query = lists.positions[episode.query];
            for support in &mut episode.supports {
                *support = lists.positions[*support];
            }
        }
        Ok(episodes)
    }

    pub(super) fn check(&self) -> Result<(), TrainError> {
        let refuse = |what: &str| Err(TrainError::setting(what, "give at least one"));
        match self {
            Self { seeds, .. } if seeds.is_empty() => refuse("an evaluation without a seed"),
            Self { episodes: 0, .. } => refuse("an evaluation without episodes"),
            Self { shot: 0, .. } => refuse("an evaluation without supports (0 shots)"),
            _ => self.protocol.check(),
        }
    }
}
