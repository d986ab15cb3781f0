//! Training episodes in order, from any point of the run on.

use fss_data::loader::{EpisodeTensors, EpisodeTransform, Loader, LoaderOptions};
use fss_data::sampler::{DrawMode, EpisodeSampler};

use super::sampler::{SamplerState, TrainingSampler};
use crate::recipe::EpisodeSettings;
use crate::{EpisodeData, TrainError};

/// The training episodes of one snapshot, read ahead by threads.
///
/// All draws are made before the first image is read, so threads cannot change them, and the
/// sampler's state at the episodes that were trained on can be told at any time.
pub(super) struct SnapshotStream {
    loader: Loader,
    /// At the first episode of `loader`.
    start: TrainingSampler,
    taken: usize,
}

impl SnapshotStream {
    /// The episodes of snapshot number `snapshot`, all of them.
    pub(super) fn begin(
        data: &EpisodeData,
        settings: &EpisodeSettings,
        snapshot: u64,
        episodes: usize,
        options: LoaderOptions,
    ) -> Result<Self, TrainError> {
        let sampler = TrainingSampler::begin(data.source.clone(), settings, snapshot)?;
        Self::from(sampler, data, episodes, options)
    }

    /// The last `episodes` episodes of a snapshot, from a saved state on.
    pub(super) fn resume(
        data: &EpisodeData,
        state: SamplerState,
        episodes: usize,
        options: LoaderOptions,
    ) -> Result<Self, TrainError> {
        let sampler = TrainingSampler::restore(data.source.clone(), state)?;
        Self::from(sampler, data, episodes, options)
    }

    fn from(
        start: TrainingSampler,
        data: &EpisodeData,
        episodes: usize,
        options: LoaderOptions,
    ) -> Result<Self, TrainError> {
        let DrawMode::Training { crop } = start.mode() else {
            return Err(TrainError::setting(
                "the saved sampler draws no crops",
                "resume from a checkpoint of a training run",
            ));
        };
        let drawn = start.clone().take_episodes(episodes)?;
        let loader = Loader::new(
            data.dataset.clone(),
            drawn.into_iter().map(Ok),
            EpisodeTransform::crops(crop),
            options,
        )?;
        Ok(Self { loader, start, taken: 0 })
    }

    /// The next `count` episodes.
    pub(super) fn take(&mut self, count: usize) -> Result<Vec<EpisodeTensors>, TrainError> {
        let batch = self.loader.by_ref().take(count).collect::<Result<Vec<_>, _>>()?;
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
