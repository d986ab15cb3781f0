//! Episodes by random access.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DrawMode, EpisodeSampler, check_shot, supports::Remaining};
use crate::{
    ClassId, DataError,
    episode::{CropFlip, Episode, EpisodeSource},
    rng::KeyedRandom,
};

/// How [`SeededSampler`] draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeededConfig {
    /// The seed of the stream.
    pub seed: u64,
    /// Supports per episode.
    pub shot: usize,
    /// Whether crops are drawn.
    pub mode: DrawMode,
}

/// Draws episode `i` from the seed and `i` alone.
///
/// Unlike the published samplers it depends on no number of workers and on no earlier episode,
/// so any part of the stream can be drawn anywhere, and a run resumes from a mere count. It
/// differs from them in two more ways: the query, too, shows at least the smallest object size
/// of its class, and a (query, class) pair that cannot have `shot` supports never comes up.
/// Queries are uniform over the images that remain, classes uniform over those of the query.
#[derive(Debug, Clone)]
pub struct SeededSampler {
    source: Arc<EpisodeSource>,
    config: SeededConfig,
    /// Images that can be queries, each with the classes that it can be the query of.
    queries: Vec<(usize, Vec<ClassId>)>,
    next: usize,
}

impl SeededSampler {
    /// A sampler at the start of its stream. Classes too rare for `shot` supports are left out,
    /// with a warning in the log.
    ///
    /// # Errors
    /// If the number of shots or the crop is 0, or if every class is too rare.
    pub fn new(
        source: impl Into<Arc<EpisodeSource>>,
        config: SeededConfig,
    ) -> Result<Self, DataError> {
        check_shot(config.shot)?;
        config.mode.check()?;
        let source = source.into();
        // A query is large enough to be a support itself, so a class needs one image more.
        let short = source.shortages(config.shot);
        let queries: Vec<(usize, Vec<ClassId>)> = source
            .queries()
            .iter()
            .map(|&image| {
                let classes = source.classes_in(image).into_iter().filter(|&class| {
                    source.is_eligible(image, class) && short.iter().all(|&(rare, _)| rare != class)
                });
                (image, classes.collect::<Vec<ClassId>>())
            })
            .filter(|(_, classes)| !classes.is_empty())
            .collect();
        if queries.is_empty() {
            let (class, images) =
                short.into_iter().max_by_key(|&(_, images)| images).unwrap_or_default();
            return Err(DataError::Episode {
                class,
                shot: config.shot,
                problem: format!(
                    "no class has enough images; this one has the most, {images} with at least \
                     {} pixels",
                    source.min_pixels()
                ),
                remedy: "ask for fewer supports, lower the smallest object size or give more \
                         images"
                    .into(),
            });
        }
        for (class, images) in short {
            tracing::warn!(
                class,
                images,
                shot = config.shot,
                "too few images of this class: no episode is drawn of it"
            );
        }
        Ok(Self { source, config, queries, next: 0 })
    }

    /// How it draws.
    pub fn config(&self) -> &SeededConfig {
        &self.config
    }

    /// What it draws from.
    pub fn source(&self) -> &Arc<EpisodeSource> {
        &self.source
    }

    /// The number of the episode that comes next.
    pub fn position(&self) -> usize {
        self.next
    }

    /// Goes to any place of the stream; the position is all the state there is.
    pub fn seek(&mut self, next: usize) {
        self.next = next;
    }

    /// Episode number `index`.
    pub fn episode(&self, index: usize) -> Episode {
        let mut random = KeyedRandom::new(self.config.seed, index as u64);
        let (query, classes) = &self.queries[random.below(self.queries.len())];
        let class = classes[random.below(classes.len())];
        let supports = self.draw_supports(*query, class, &mut random);
        let crops = match self.config.mode {
            DrawMode::Evaluation => None,
            DrawMode::Training { crop } => {
                let images = std::iter::once(*query).chain(supports.iter().copied());
                Some(images.map(|image| self.draw_crop(image, crop, &mut random)).collect())
            }
        };
        Episode { index, class, query: *query, supports, rejected: Vec::new(), crops }
    }

    fn draw_supports(&self, query: usize, class: ClassId, random: &mut KeyedRandom) -> Vec<usize> {
        let mut remaining = Remaining::new(&self.source, class, query);
        let mut supports = Vec::with_capacity(self.config.shot);
        // Ends: the constructor left only classes with enough images that are large enough.
        while supports.len() < self.config.shot {
            let (place, image, eligible) = remaining.look(random.below(remaining.len()));
            if eligible {
                remaining.take(place);
                supports.push(image);
            }
        }
        supports
    }

    fn draw_crop(&self, image: usize, crop: u32, random: &mut KeyedRandom) -> CropFlip {
        let labels = &self.source.images()[image];
        let mut start = |side: u32| random.below(side.saturating_sub(crop) as usize + 1) as u32;
        let x = start(labels.width);
        let y = start(labels.height);
        CropFlip { x, y, flip: random.below(2) == 1 }
    }
}

impl EpisodeSampler for SeededSampler {
    fn next_episode(&mut self) -> Result<Episode, DataError> {
        let episode = self.episode(self.next);
        self.next += 1;
        Ok(episode)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::episode::tests::listing;

    fn source() -> Arc<EpisodeSource> {
        let contents: Vec<Vec<(crate::ClassId, u64)>> = (0..30u64)
            .map(|i| if i % 3 == 0 { vec![(1, 150), (2, 20)] } else { vec![(1, 20), (2, 400)] })
            .collect();
        let slices: Vec<&[(crate::ClassId, u64)]> = contents.iter().map(Vec::as_slice).collect();
        Arc::new(EpisodeSource::new(listing(&slices), &[1, 2], 100).unwrap())
    }

    fn config(seed: u64, shot: usize) -> SeededConfig {
        SeededConfig { seed, shot, mode: DrawMode::Evaluation }
    }

    #[test]
    fn rare_classes_never_come_up() {
        // Class 1 is large in 10 images, so it cannot have 10 supports beside a query.
        let sampler = SeededSampler::new(source(), config(0, 10)).unwrap();
        assert!((0..200).all(|i| sampler.episode(i).class == 2));
        let sampler = SeededSampler::new(source(), config(0, 9)).unwrap();
        assert!((0..200).any(|i| sampler.episode(i).class == 1));
    }

    #[test]
    fn no_class_with_enough_images_is_an_error() {
        let error = SeededSampler::new(source(), config(0, 20)).unwrap_err().to_string();
        assert!(error.contains("class 2") && error.contains("20 with at least 100"), "{error}");
        assert!(SeededSampler::new(source(), config(0, 0)).is_err());
    }

    #[test]
    fn seeds_give_other_streams() {
        let stream = |seed| {
            let sampler = SeededSampler::new(source(), config(seed, 1)).unwrap();
            (0..20).map(|i| sampler.episode(i)).collect::<Vec<_>>()
        };
        assert_ne!(stream(0), stream(1));
        assert_eq!(stream(1), stream(1));
    }

    proptest! {
        #[test]
        fn episodes_keep_their_promises(
            seed in any::<u64>(), index in any::<usize>(), shot in 1usize..12, crop in 1u32..90,
        ) {
            let source = source();
            let mode = DrawMode::Training { crop };
            let sampler =
                SeededSampler::new(source.clone(), SeededConfig { seed, shot, mode }).unwrap();
            let episode = sampler.episode(index);
            let mut images = vec![episode.query];
            images.extend(&episode.supports);
            prop_assert!(images.iter().all(|&i| source.is_eligible(i, episode.class)));
            for (&image, draw) in images.iter().zip(episode.crops.unwrap()) {
                let labels = &source.images()[image];
                prop_assert!(draw.x + crop <= labels.width.max(crop));
                prop_assert!(draw.y + crop <= labels.height.max(crop));
            }
            images.sort_unstable();
            images.dedup();
            prop_assert_eq!(images.len(), shot + 1);
        }

        #[test]
        fn access_by_number_equals_the_stream(seed in any::<u64>(), start in 0usize..1000) {
            let mut sampler = SeededSampler::new(source(), config(seed, 2)).unwrap();
            sampler.seek(start);
            let stream = sampler.take_episodes(5).unwrap();
            let direct: Vec<_> = (start..start + 5).map(|i| sampler.episode(i)).collect();
            prop_assert_eq!(stream, direct);
        }
    }
}
