//! Training episodes as HSNet draws them, by random access.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::hsnet::Queries;
use super::{EpisodeSampler, HsnetEpisode, HsnetListing, check_shot, setting};
use crate::{ClassId, DataError, episode::Episode, rng::KeyedRandom};

/// Makes the order of the list independent of the draws of supports under the same seed.
const ORDER_STREAM: u64 = 0x6f72_6465_725f_6873;

/// How [`HsnetTrainingSampler`] draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsnetTrainingConfig {
    /// The seed of the stream.
    pub seed: u64,
    /// Supports per episode.
    pub shot: usize,
}

/// Draws training episodes by HSNet's rules, episode `i` from the seed and `i` alone.
///
/// Where the list names queries (PASCAL-5i's pairs of image and class, FSS-1000's images), every pass
/// through it takes each of them once, in an order of its own; n being the length, episodes 0 to n - 1
/// are the first pass, and so on. In COCO-20i a class is drawn, then one of its images. Supports are
/// drawn from the list of the class until one is not the query; each is drawn anew, so that an image
/// may come up twice.
///
/// HSNet seeds its training by the wall clock, so there are no published draws to reproduce.
#[derive(Debug, Clone)]
pub struct HsnetTrainingSampler {
    listing: Arc<HsnetListing>,
    config: HsnetTrainingConfig,
    next: usize,
    /// The pass that the last episode was of, with its order of the list.
    pass: Option<(usize, Vec<usize>)>,
}

impl HsnetTrainingSampler {
    /// A sampler at the start of its stream.
    ///
    /// # Errors
    /// If the number of shots is 0.
    pub fn new(
        listing: impl Into<Arc<HsnetListing>>,
        config: HsnetTrainingConfig,
    ) -> Result<Self, DataError> {
        check_shot(config.shot)?;
        Ok(Self { listing: listing.into(), config, next: 0, pass: None })
    }

    /// A sampler that goes on with episode number `next`, over the listing with this
    /// [`fingerprint`](HsnetListing::fingerprint).
    ///
    /// # Errors
    /// If the listing is another one, or the number of shots is 0.
    pub fn restore(
        listing: impl Into<Arc<HsnetListing>>,
        config: HsnetTrainingConfig,
        next: usize,
        fingerprint: u64,
    ) -> Result<Self, DataError> {
        let sampler = Self::new(listing, config)?;
        if sampler.listing.fingerprint() != fingerprint {
            return Err(setting(
                "the sampler's state was saved over other lists of images",
                "resume with the lists, fold and smallest object size of the interrupted run",
            ));
        }
        Ok(Self { next, ..sampler })
    }

    /// How it draws.
    pub fn config(&self) -> &HsnetTrainingConfig {
        &self.config
    }

    /// What it draws from.
    pub fn listing(&self) -> &Arc<HsnetListing> {
        &self.listing
    }

    /// The number of the episode that comes next.
    pub fn position(&self) -> usize {
        self.next
    }

    /// The next episode, with its class number.
    pub fn draw(&mut self) -> HsnetEpisode {
        let index = self.next;
        self.next += 1;
        let mut random = KeyedRandom::new(self.config.seed, index as u64);
        let (place, query) = match &self.listing.queries {
            Queries::Listed(entries) => {
                let (pass, turn) = (index / entries.len(), index % entries.len());
                if self.pass.as_ref().is_none_or(|(known, _)| *known != pass) {
                    self.pass = Some((pass, order(self.config.seed, pass, entries.len())));
                }
                let turn = self.pass.as_ref().map_or(turn, |(_, order)| order[turn]);
                entries[turn]
            }
            Queries::Drawn => {
                let place = random.below(self.listing.classes.len());
                let list = &self.listing.classes[place].1;
                (place, list[random.below(list.len())])
            }
        };
        let (class, list) = &self.listing.classes[place];
        let mut supports = Vec::with_capacity(self.config.shot);
        // Ends: every class of a listing has two different images.
        while supports.len() < self.config.shot {
            let image = list[random.below(list.len())];
            if image != query {
                supports.push(image);
            }
        }
        HsnetEpisode { index, class: *class, query, supports }
    }
}

impl EpisodeSampler for HsnetTrainingSampler {
    fn next_episode(&mut self) -> Result<Episode, DataError> {
        self.draw().to_episode()
    }
}

/// The order in which a pass goes through a list of `length` entries.
fn order(seed: u64, pass: usize, length: usize) -> Vec<usize> {
    let mut random = KeyedRandom::new(seed ^ ORDER_STREAM, pass as u64);
    let mut order: Vec<usize> = (0..length).collect();
    for last in (1..length).rev() {
        order.swap(last, random.below(last + 1));
    }
    order
}

impl HsnetListing {
    /// All images of all classes that episodes can show, with the class as the rest of the library
    /// counts it, from 1.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, ClassId)> + '_ {
        self.classes.iter().flat_map(|(class, list)| {
            let class = ClassId::try_from(class + 1).unwrap_or(ClassId::MAX);
            list.iter().map(move |&image| (image, class))
        })
    }

    /// A number that changes with whatever draws depend on (FNV-1a).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        let number = |value: usize| (value as u64).to_le_bytes();
        for image in &self.images {
            add(&number(image.len()));
            add(image.as_bytes());
        }
        for (class, list) in &self.classes {
            add(&number(*class));
            add(&number(list.len()));
            list.iter().for_each(|&image| add(&number(image)));
        }
        match &self.queries {
            Queries::Listed(entries) => {
                entries.iter().for_each(|&(place, image)| {
                    add(&number(place));
                    add(&number(image));
                });
            }
            Queries::Drawn => add(b"drawn"),
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pascal() -> HsnetListing {
        let pairs =
            [("a", 0), ("b", 0), ("b", 4), ("c", 4), ("d", 0), ("a", 4), ("e", 7), ("a", 7)];
        HsnetListing::pascal(pairs).unwrap()
    }

    fn sampler(listing: HsnetListing, seed: u64, shot: usize) -> HsnetTrainingSampler {
        HsnetTrainingSampler::new(listing, HsnetTrainingConfig { seed, shot }).unwrap()
    }

    fn drawn(listing: HsnetListing, seed: u64, shot: usize, count: usize) -> Vec<HsnetEpisode> {
        let mut sampler = sampler(listing, seed, shot);
        (0..count).map(|_| sampler.draw()).collect()
    }

    #[test]
    fn every_pass_takes_every_pair_once_in_an_order_of_its_own() {
        let episodes = drawn(pascal(), 3, 1, 24);
        let passes: Vec<Vec<(usize, usize)>> = episodes
            .chunks(8)
            .map(|pass| pass.iter().map(|e| (e.query, e.class)).collect())
            .collect();
        let all: BTreeSet<(usize, usize)> =
            [(0, 0), (1, 0), (1, 4), (2, 4), (3, 0), (0, 4), (4, 7), (0, 7)].into();
        for pass in &passes {
            assert_eq!(pass.iter().copied().collect::<BTreeSet<_>>(), all);
        }
        assert!(passes[0] != passes[1] && passes[1] != passes[2]);
        assert_ne!(drawn(pascal(), 4, 1, 8), episodes[..8]);
    }

    #[test]
    fn supports_are_of_the_class_never_the_query_and_may_repeat() {
        let listing = pascal();
        let episodes = drawn(listing.clone(), 0, 3, 200);
        for episode in &episodes {
            let list = listing.images_of(episode.class);
            assert!(episode.supports.iter().all(|s| *s != episode.query && list.contains(s)));
        }
        // Class 7 has two images, so all supports are the other one.
        assert!(episodes.iter().any(|e| e.class == 7 && e.supports[0] == e.supports[2]));
        assert!(
            HsnetTrainingSampler::new(pascal(), HsnetTrainingConfig { seed: 0, shot: 0 }).is_err()
        );
    }

    #[test]
    fn classes_and_queries_of_coco_are_drawn_evenly() {
        let many: Vec<String> = (0..90).map(|i| format!("m{i}")).collect();
        let lists = [(2, many.iter().map(String::as_str).collect()), (5, vec!["m1", "x", "y"])];
        let listing = HsnetListing::coco(lists).unwrap();
        let episodes = drawn(listing, 1, 1, 4_000);
        let of_two = episodes.iter().filter(|e| e.class == 2).count();
        // Six standard deviations of a fair coin.
        assert!(of_two.abs_diff(2_000) < 190, "{of_two}");
        let queries: BTreeSet<usize> =
            episodes.iter().filter(|e| e.class == 2).map(|e| e.query).collect();
        assert_eq!(queries.len(), 90);
    }

    #[test]
    fn it_goes_on_from_any_number_over_the_same_lists_alone() {
        let config = HsnetTrainingConfig { seed: 9, shot: 2 };
        let straight = drawn(pascal(), 9, 2, 40);
        let fingerprint = pascal().fingerprint();
        for next in [0, 7, 8, 21] {
            let mut resumed =
                HsnetTrainingSampler::restore(pascal(), config, next, fingerprint).unwrap();
            let rest: Vec<_> = (next..40).map(|_| resumed.draw()).collect();
            assert_eq!(rest, straight[next..]);
        }
        let other = HsnetListing::pascal([("a", 0), ("b", 0)]).unwrap();
        let error = HsnetTrainingSampler::restore(other, config, 0, fingerprint).unwrap_err();
        assert!(error.to_string().contains("other lists"), "{error}");
    }
}
