//! The episodes of the published code, draw by draw.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DrawMode, EpisodeSampler, check_shot, setting, supports::Remaining};
use crate::{
    DataError,
    episode::{CropFlip, Episode, EpisodeSource},
    rng::{PythonRandom, TorchGenerator},
};

/// How [`OfficialSampler`] draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficialConfig {
    /// The seed of the run.
    pub seed: u64,
    /// Supports per episode.
    pub shot: usize,
    /// Loader workers whose streams are interleaved; the published numbers have 4. With 0, all
    /// episodes come from one stream. These are logical: no thread belongs to them.
    pub workers: usize,
    /// Episodes that one worker draws in a row: 1 in evaluation, the batch size in training.
    pub batch_size: usize,
    /// Whether crops are drawn.
    pub mode: DrawMode,
}

impl OfficialConfig {
    /// The published evaluation: 4 workers, batches of 1.
    pub fn evaluation(seed: u64, shot: usize) -> Self {
        Self { seed, shot, workers: 4, batch_size: 1, mode: DrawMode::Evaluation }
    }

    /// The published training: 4 workers, crops of `crop` × `crop` pixels.
    pub fn training(seed: u64, shot: usize, batch_size: usize, crop: u32) -> Self {
        Self { seed, shot, workers: 4, batch_size, mode: DrawMode::Training { crop } }
    }
}

/// Draws the very episodes of the published SSP and MLC code.
///
/// The published loader seeds Python's generator in each of its workers with a base drawn from
/// PyTorch's generator plus the worker's number, and worker w serves the batches w, w + W,
/// w + 2W, ..; so the stream depends on the seed **and** on the number of workers. A query may
/// show its class with a handful of pixels, and a support that was thrown away as too small may
/// be drawn again: both are reproduced. Where the published code would draw for ever, this one
/// returns an error.
///
/// The stream has no end. A published pass re-seeds everything: make a new sampler for it.
#[derive(Debug, Clone)]
pub struct OfficialSampler {
    source: Arc<EpisodeSource>,
    config: OfficialConfig,
    streams: Vec<PythonRandom>,
    next: usize,
}

/// Everything that an [`OfficialSampler`] needs to continue, beside its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficialState {
    /// How it draws.
    pub config: OfficialConfig,
    /// The number of the next episode.
    pub next: usize,
    /// [`EpisodeSource::fingerprint`] of the source.
    pub fingerprint: u64,
    streams: Vec<PythonRandom>,
}

impl OfficialSampler {
    /// A sampler at the start of the stream.
    ///
    /// # Errors
    /// If the number of shots, the batch size or the crop is 0.
    pub fn new(
        source: impl Into<Arc<EpisodeSource>>,
        config: OfficialConfig,
    ) -> Result<Self, DataError> {
        check_config(&config)?;
        let streams = match config.workers {
            0 => vec![PythonRandom::seed(u128::from(config.seed))],
            workers => {
                let base = u128::from(TorchGenerator::seed(config.seed).next_int64());
                (0..workers).map(|worker| PythonRandom::seed(base + worker as u128)).collect()
            }
        };
        Ok(Self { source: source.into(), config, streams, next: 0 })
    }

    /// How it draws.
    pub fn config(&self) -> &OfficialConfig {
        &self.config
    }

    /// What it draws from.
    pub fn source(&self) -> &Arc<EpisodeSource> {
        &self.source
    }

    /// The complete state between two episodes.
    pub fn state(&self) -> OfficialState {
        OfficialState {
            config: self.config,
            next: self.next,
            fingerprint: self.source.fingerprint(),
            streams: self.streams.clone(),
        }
    }

    /// A sampler that continues from a saved state.
    ///
    /// # Errors
    /// If the state was saved over another source, or does not fit itself.
    pub fn restore(
        source: impl Into<Arc<EpisodeSource>>,
        state: OfficialState,
    ) -> Result<Self, DataError> {
        let source = source.into();
        check_config(&state.config)?;
        if source.fingerprint() != state.fingerprint {
            return Err(setting(
                "the sampler state was saved over other images, classes or object sizes",
                "resume with the list, fold and smallest object size of the interrupted run",
            ));
        }
        let expected = state.config.workers.max(1);
        if state.streams.len() != expected {
            return Err(setting(
                format!("the sampler state has {} streams, not {expected}", state.streams.len()),
                "the state is damaged: resume from another checkpoint",
            ));
        }
        Ok(Self { source, config: state.config, streams: state.streams, next: state.next })
    }
}

impl EpisodeSampler for OfficialSampler {
    fn next_episode(&mut self) -> Result<Episode, DataError> {
        let batch = self.next / self.config.batch_size;
        let worker = batch % self.streams.len();
        let episode = draw(&self.source, &self.config, &mut self.streams[worker], self.next)?;
        self.next += 1;
        Ok(episode)
    }
}

fn check_config(config: &OfficialConfig) -> Result<(), DataError> {
    check_shot(config.shot)?;
    if config.batch_size == 0 {
        return Err(setting("batches of 0 episodes", "give a batch size of 1 or more"));
    }
    config.mode.check()
}

fn draw(
    source: &EpisodeSource,
    config: &OfficialConfig,
    random: &mut PythonRandom,
    index: usize,
) -> Result<Episode, DataError> {
    let queries = source.queries();
    let query = queries[random.choice_index(queries.len())];
    let shown = source.classes_in(query);
    let class = shown[random.choice_index(shown.len())];

    let mut remaining = Remaining::new(source, class, query);
    let mut supports = Vec::with_capacity(config.shot);
    let mut rejected = Vec::new();
    while supports.len() < config.shot {
        remaining.check(query, config.shot, supports.len())?;
        let (place, image, eligible) = remaining.look(random.choice_index(remaining.len()));
        if eligible {
            remaining.take(place);
            supports.push(image);
        } else {
            rejected.push(image);
        }
    }

    let crops = match config.mode {
        DrawMode::Evaluation => None,
        DrawMode::Training { crop } => {
            let images = std::iter::once(query).chain(supports.iter().copied());
            Some(images.map(|image| draw_crop(source, image, crop, random)).collect())
        }
    };
    Ok(Episode { index, class, query, supports, rejected, crops })
}

fn draw_crop(
    source: &EpisodeSource,
    image: usize,
    crop: u32,
    random: &mut PythonRandom,
) -> CropFlip {
    let labels = &source.images()[image];
    // A side shorter than the crop is padded to it, and its one start is drawn all the same.
    let mut start = |side: u32| random.randint(0, i64::from(side.saturating_sub(crop))) as u32;
    let x = start(labels.width);
    let y = start(labels.height);
    CropFlip { x, y, flip: random.random() < 0.5 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::episode::tests::listing;

    fn source(contents: &[&[(crate::ClassId, u64)]]) -> EpisodeSource {
        EpisodeSource::new(listing(contents), &[1, 2], 100).unwrap()
    }

    fn plain(shot: usize) -> OfficialConfig {
        OfficialConfig::evaluation(0, shot)
    }

    fn first_error(source: EpisodeSource, shot: usize) -> String {
        let mut sampler = OfficialSampler::new(source, plain(shot)).unwrap();
        (0..100).find_map(|_| sampler.next_episode().err()).unwrap().to_string()
    }

    #[test]
    fn a_class_without_other_images_is_refused() {
        let error = first_error(source(&[&[(1, 200)], &[(1, 200)]]), 2);
        assert!(error.contains("class 1 with 2 support(s)"), "{error}");
        assert!(error.contains("only 1 image(s) show it;"), "{error}");
    }

    #[test]
    fn candidates_that_are_all_too_small_are_refused() {
        // Class 1 is large in one image only, so that image as a query has no support.
        let images: &[&[(crate::ClassId, u64)]] =
            &[&[(1, 200)], &[(1, 5), (2, 200)], &[(1, 5), (2, 200)]];
        let error = first_error(source(images), 1);
        assert!(error.contains("the 2 other(s) are too small"), "{error}");
        assert!(error.contains("at least 100 pixels"), "{error}");
    }

    #[test]
    fn impossible_settings_are_refused() {
        let images: &[&[(crate::ClassId, u64)]] = &[&[(1, 200)], &[(1, 200)]];
        let refused = [
            plain(0),
            OfficialConfig { batch_size: 0, ..plain(1) },
            OfficialConfig { mode: DrawMode::Training { crop: 0 }, ..plain(1) },
        ];
        for config in refused {
            assert!(OfficialSampler::new(source(images), config).is_err(), "{config:?}");
        }
    }

    #[test]
    fn states_are_not_continued_on_other_data() {
        let images: &[&[(crate::ClassId, u64)]] = &[&[(1, 200)], &[(1, 200)]];
        let state = OfficialSampler::new(source(images), plain(1)).unwrap().state();
        let others: &[&[(crate::ClassId, u64)]] = &[&[(1, 200)], &[(1, 201)]];
        let error = OfficialSampler::restore(source(others), state.clone()).unwrap_err();
        assert!(error.to_string().contains("other images"), "{error}");
        let mut damaged = state;
        damaged.streams.pop();
        assert!(OfficialSampler::restore(source(images), damaged).is_err());
    }

    fn many() -> EpisodeSource {
        let contents: Vec<Vec<(crate::ClassId, u64)>> = (0..40u64)
            .map(|i| match i % 4 {
                0 => vec![(1, 150 + i)],
                1 => vec![(1, 20), (2, 400)],
                2 => vec![(2, 130)],
                _ => vec![(1, 300), (2, 30)],
            })
            .collect();
        let slices: Vec<&[(crate::ClassId, u64)]> = contents.iter().map(Vec::as_slice).collect();
        source(&slices)
    }

    proptest! {
        #[test]
        fn episodes_keep_their_promises(
            seed in any::<u64>(), shot in 1usize..6, workers in 0usize..6,
            batch_size in 1usize..5, crop in 1u32..90,
        ) {
            let mode = DrawMode::Training { crop };
            let config = OfficialConfig { seed, shot, workers, batch_size, mode };
            let source = Arc::new(many());
            let mut sampler = OfficialSampler::new(source.clone(), config).unwrap();
            for index in 0..30 {
                let episode = sampler.next_episode().unwrap();
                prop_assert_eq!(episode.index, index);
                prop_assert!(source.pixels(episode.query, episode.class) > 0);
                prop_assert_eq!(episode.supports.len(), shot);
                let mut distinct = episode.supports.clone();
                distinct.push(episode.query);
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), shot + 1);
                prop_assert!(episode.supports.iter().all(|&s| source.is_eligible(s, episode.class)));
                prop_assert!(episode.rejected.iter().all(|&s| !source.is_eligible(s, episode.class)));
                let images = std::iter::once(episode.query).chain(episode.supports.iter().copied());
                for (image, draw) in images.zip(episode.crops.unwrap()) {
                    let labels = &source.images()[image];
                    prop_assert!(draw.x + crop <= labels.width.max(crop));
                    prop_assert!(draw.y + crop <= labels.height.max(crop));
                }
            }
        }

        #[test]
        fn a_saved_state_continues_the_same_stream(
            seed in any::<u64>(), workers in 0usize..5, before in 0usize..40,
        ) {
            let config = OfficialConfig { workers, batch_size: 3, ..OfficialConfig::evaluation(seed, 2) };
            let source = Arc::new(many());
            let mut sampler = OfficialSampler::new(source.clone(), config).unwrap();
            sampler.take_episodes(before).unwrap();
            let text = serde_json::to_string(&sampler.state()).unwrap();
            let state: OfficialState = serde_json::from_str(&text).unwrap();
            let mut resumed = OfficialSampler::restore(source, state).unwrap();
            prop_assert_eq!(resumed.take_episodes(20).unwrap(), sampler.take_episodes(20).unwrap());
        }
    }
}
