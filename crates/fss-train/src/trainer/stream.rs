//! Training episodes in order, from any point of the run on.

use std::sync::Arc;

use fss_data::episode::Episode;
use fss_data::loader::{EpisodeTransform, LoaderOptions, OrderedLoader, load_episode};
use fss_data::sampler::{DrawMode, EpisodeSampler};
use fss_data::transform::HsnetPreprocess;

use super::batch::TrainingEpisode;
use super::sampler::{SamplerState, TrainingSampler};
use crate::cams::CamReader;
use crate::recipe::Recipe;
use crate::{EpisodeData, TrainError};

/// Where training episodes come from.
#[derive(Clone, Copy)]
pub(super) struct StreamSource<'a> {
    /// The images.
    pub data: &'a EpisodeData,
    /// How episodes are drawn, and what becomes of their images.
    pub recipe: &'a Recipe,
    /// Coarse maps, for a model that reads them.
    pub cams: Option<&'a CamReader>,
    /// Threads that read.
    pub options: LoaderOptions,
}

/// The training episodes of one snapshot, read ahead by threads.
///
/// All draws are made before the first image is read, so threads cannot change them, and the
/// sampler's state at the episodes that were trained on can be told at any time.
pub(super) struct SnapshotStream {
    loader: OrderedLoader<Episode, Result<TrainingEpisode, TrainError>>,
    /// At the first episode of `loader`.
    start: TrainingSampler,
    taken: usize,
}

impl SnapshotStream {
    /// The episodes of snapshot number `snapshot`, all of them.
    pub(super) fn begin(
        source: StreamSource<'_>,
        snapshot: u64,
        episodes: usize,
    ) -> Result<Self, TrainError> {
        let sampler = TrainingSampler::begin(source.data, &source.recipe.episodes, snapshot)?;
        Self::from(sampler, source, episodes)
    }

    /// The last `episodes` episodes of a snapshot, from a saved state on.
    pub(super) fn resume(
        source: StreamSource<'_>,
        state: SamplerState,
        episodes: usize,
    ) -> Result<Self, TrainError> {
        Self::from(TrainingSampler::restore(source.data, state)?, source, episodes)
    }

    fn from(
        start: TrainingSampler,
        source: StreamSource<'_>,
        episodes: usize,
    ) -> Result<Self, TrainError> {
        let transform = match (&start, start.mode()) {
            (_, DrawMode::Training { crop }) => EpisodeTransform::crops(crop),
            (TrainingSampler::Hsnet { .. }, DrawMode::Evaluation) => EpisodeTransform::Squares {
                preprocess: HsnetPreprocess { side: source.recipe.episodes.crop },
                ignored: source.recipe.model.ignored_pixels(),
            },
            (_, DrawMode::Evaluation) => {
                return Err(TrainError::setting(
                    "the saved sampler draws no crops",
                    "resume from a checkpoint of a training run",
                ));
            }
        };
        let drawn = start.clone().take_episodes(episodes)?;
        let (dataset, cams) = (Arc::clone(&source.data.dataset), source.cams.cloned());
        let load = move |episode: Episode| {
            let cams = match &cams {
                Some(reader) => {
                    reader.read_all(&dataset, episode.query, &episode.supports, episode.class)
                }
                None => Ok(Vec::new()),
            };
            let tensors = load_episode(&dataset, episode, &transform)?;
            Ok(cams.map(|cams| TrainingEpisode { tensors, cams }))
        };
        let loader = OrderedLoader::new(drawn.into_iter().map(Ok), source.options, load)?;
        Ok(Self { loader, start, taken: 0 })
    }

    /// The next `count` episodes.
    pub(super) fn take(&mut self, count: usize) -> Result<Vec<TrainingEpisode>, TrainError> {
        let read = self.loader.by_ref().take(count);
        let batch = read.map(|episode| episode?).collect::<Result<Vec<_>, _>>()?;
        if batch.len() != count {
            return Err(TrainError::setting(
                "the training episodes ended early",
                "resume from the last checkpoint",
            ));
        }
        self.taken += count;
        Ok(batch)
    }

    /// The sampler's state after the episodes taken.
    pub(super) fn state(&self) -> Result<SamplerState, TrainError> {
        let mut sampler = self.start.clone();
        sampler.take_episodes(self.taken)?;
        Ok(sampler.state())
    }
}
