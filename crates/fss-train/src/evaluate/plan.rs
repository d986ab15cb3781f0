//! What is to be measured.

use fss_data::Benchmark;
use fss_data::episode::Episode;
use fss_data::loader::LoaderOptions;
use fss_data::sampler::{EpisodeSampler, HsnetSampler, OfficialConfig, OfficialSampler};
use fss_heads::ShotRule;

use super::{FeatureReuse, Protocol, SeenClasses, Supports, TrainedFold};
use crate::cams::{CamReader, Cams};
use crate::data::placed;
use crate::{EpisodeData, Shard, TrainError};

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
    /// Where the coarse maps come from, for models that read them
    /// ([`cam_grid`](fss_heads::FewShotModel::cam_grid)).
    pub cams: Option<Cams>,
    /// The share of the episodes that is measured.
    pub shard: Shard,
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
            cams: None,
            shard: Shard::WHOLE,
        }
    }

    /// The published plan for PASCAL-5i: 1000 episodes for each of the seeds 0 to 4.
    pub fn pascal(shot: usize) -> Self {
        Self::published(Protocol::Official, Benchmark::Pascal, shot)
    }

    /// Draws all episodes of one seed, whatever the shard.
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
        let drawn = sampler.take_episodes(self.episodes)?;
        Ok(drawn.into_iter().map(|episode| placed(&lists.positions, episode)).collect())
    }

    /// Positions of the supports in force.
    pub(super) fn supports_of(&self, episode: &Episode) -> Vec<usize> {
        match self.supports {
            Supports::Drawn => episode.supports.clone(),
            Supports::QueryItself => vec![episode.query],
        }
    }

    /// What reads the coarse maps for a model whose `cam_grid` is `grid`, once all maps that the
    /// episodes of `runs` need are there; `None` if it reads none.
    pub(super) fn cam_reader(
        &self,
        grid: Option<usize>,
        data: &EpisodeData,
        runs: &[Vec<Episode>],
    ) -> Result<Option<CamReader>, TrainError> {
        let Some(reader) = CamReader::new(grid, self.cams.as_ref(), "the evaluation")? else {
            return Ok(None);
        };
        let images = runs.iter().flatten().flat_map(|episode| {
            let images = std::iter::once(episode.query).chain(self.supports_of(episode));
            images.map(|position| (position, episode.class))
        });
        reader.check(&data.dataset, images.collect())?;
        Ok(Some(reader))
    }

    /// Makes sure that an evaluation of a model whose `cam_grid` is `grid` will find its coarse maps.
    pub(crate) fn check_cams(
        &self,
        grid: Option<usize>,
        data: &EpisodeData,
    ) -> Result<(), TrainError> {
        if grid.is_some() {
            let draw = self.seeds.iter().map(|&seed| self.draw(data, seed));
            self.cam_reader(grid, data, &draw.collect::<Result<Vec<_>, _>>()?)?;
        }
        Ok(())
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
