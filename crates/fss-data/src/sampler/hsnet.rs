//! The episodes of the HSNet protocol, draw by draw.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{EpisodeSampler, check_shot, setting};
use crate::{ClassId, DataError, episode::Episode, pascal::HsnetEntry, rng::NumpyLegacy};

/// The images of a benchmark, by class, as the HSNet protocol lists them.
///
/// Class numbers count from 0; in PASCAL-5i and COCO-20i the label in the masks is one more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsnetListing {
    pub(super) images: Vec<String>,
    /// Class number and its images, ascending by class.
    pub(super) classes: Vec<(usize, Vec<usize>)>,
    pub(super) queries: Queries,
}

/// Where queries come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Queries {
    /// Episode i takes entry i modulo the length: place in `classes`, image.
    Listed(Vec<(usize, usize)>),
    /// A class is drawn, then one of its images.
    Drawn,
}

/// Gives every distinct name a number, in the order of first appearance.
#[derive(Default)]
struct Names {
    images: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Names {
    fn number(&mut self, name: &str) -> usize {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.images.len();
        self.images.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

impl HsnetListing {
    /// PASCAL-5i: (image, class) pairs in the order of the list file. Queries take the pairs in
    /// turn; supports come from the pairs of the class, in the same order.
    ///
    /// # Errors
    /// If there is no pair, or a class has fewer than two images.
    pub fn pascal<'a>(
        pairs: impl IntoIterator<Item = (&'a str, usize)>,
    ) -> Result<Self, DataError> {
        let mut names = Names::default();
        let pairs: Vec<(usize, usize)> =
            pairs.into_iter().map(|(name, class)| (names.number(name), class)).collect();
        let mut numbers: Vec<usize> = pairs.iter().map(|&(_, class)| class).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut classes: Vec<(usize, Vec<usize>)> =
            numbers.iter().map(|&class| (class, Vec::new())).collect();
        let mut listed = Vec::with_capacity(pairs.len());
        for (image, class) in pairs {
            let place = numbers.partition_point(|&number| number < class);
            classes[place].1.push(image);
            listed.push((place, image));
        }
        Self { images: names.images, classes, queries: Queries::Listed(listed) }.checked()
    }

    /// PASCAL-5i from the entries of a list file.
    ///
    /// # Errors
    /// If a label is 0, or as for [`pascal`](Self::pascal).
    pub fn from_entries(entries: &[HsnetEntry]) -> Result<Self, DataError> {
        if let Some(entry) = entries.iter().find(|entry| entry.class == 0) {
            return Err(setting(
                format!("the list names the background (label 0) as the class of {:?}", entry.id),
                "class labels start at 1",
            ));
        }
        Self::pascal(entries.iter().map(|entry| (entry.id.as_str(), usize::from(entry.class) - 1)))
    }

    /// COCO-20i: class number and images of each test class, in the order of the published
    /// lists. Class and query are drawn; classes may be given in any order.
    ///
    /// # Errors
    /// If there is no class, one is given twice, or one has fewer than two images.
    pub fn coco<'a, L>(lists: impl IntoIterator<Item = (usize, L)>) -> Result<Self, DataError>
    where
        L: IntoIterator<Item = &'a str>,
    {
        let mut names = Names::default();
        let mut classes: Vec<(usize, Vec<usize>)> = lists
            .into_iter()
            .map(|(class, list)| (class, list.into_iter().map(|name| names.number(name)).collect()))
            .collect();
        classes.sort_by_key(|&(class, _)| class);
        if let Some(pair) = classes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(setting(
                format!("class {} is listed twice", pair[0].0),
                "give one list per class",
            ));
        }
        Self { images: names.images, classes, queries: Queries::Drawn }.checked()
    }

    /// FSS-1000: the category names of a split, in any order, and the number of its first class
    /// (0, 520 and 760 for the published training, validation and test splits).
    ///
    /// Every category has the images `<category>/1` to `<category>/10`. They are queries in the
    /// order of strings (1, 10, 2, .. 9), but drawn as supports by number.
    ///
    /// # Errors
    /// If there is no category, or one is given twice.
    pub fn fss<'a>(
        categories: impl IntoIterator<Item = &'a str>,
        first_class: usize,
    ) -> Result<Self, DataError> {
        const PER_CATEGORY: usize = 10;
        let mut categories: Vec<&str> = categories.into_iter().collect();
        categories.sort_unstable();
        if let Some(pair) = categories.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(setting(
                format!("category {:?} is listed twice", pair[0]),
                "remove one of them",
            ));
        }
        let mut as_strings: Vec<usize> = (1..=PER_CATEGORY).collect();
        as_strings.sort_by_key(usize::to_string);
        let mut images = Vec::new();
        let mut classes = Vec::new();
        let mut listed = Vec::new();
        for (place, category) in categories.into_iter().enumerate() {
            let first = images.len();
            images.extend((1..=PER_CATEGORY).map(|number| format!("{category}/{number}")));
            classes.push((first_class + place, (first..images.len()).collect()));
            listed.extend(as_strings.iter().map(|number| (place, first + number - 1)));
        }
        Self { images, classes, queries: Queries::Listed(listed) }.checked()
    }

    /// The draws of supports must end: a class needs an image that is not the query.
    fn checked(self) -> Result<Self, DataError> {
        if self.classes.is_empty() {
            return Err(setting("the list names no image", "give the list of the fold"));
        }
        for (class, list) in &self.classes {
            let others = list.first().is_some_and(|first| list.iter().any(|image| image != first));
            if !others {
                return Err(setting(
                    format!("class {class} has {} image(s), so no query has a support", list.len()),
                    "give at least two different images per class, or leave the class out",
                ));
            }
        }
        Ok(self)
    }

    /// The names of all images; episodes refer to them by position.
    pub fn images(&self) -> &[String] {
        &self.images
    }

    /// The class numbers, ascending.
    pub fn classes(&self) -> impl Iterator<Item = usize> + '_ {
        self.classes.iter().map(|&(class, _)| class)
    }

    /// The images of a class, in the order that draws refer to; none for other classes.
    pub fn images_of(&self, class: usize) -> &[usize] {
        match self.classes.binary_search_by_key(&class, |&(number, _)| number) {
            Ok(place) => &self.classes[place].1,
            Err(_) => &[],
        }
    }

    /// How many queries the list itself names, if they are not drawn.
    pub fn listed_queries(&self) -> Option<usize> {
        match &self.queries {
            Queries::Listed(entries) => Some(entries.len()),
            Queries::Drawn => None,
        }
    }
}

/// One episode of the HSNet protocol. Images are positions in [`HsnetListing::images`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsnetEpisode {
    /// The place of the episode in its stream, from 0.
    pub index: usize,
    /// The class number, from 0; FSS-1000 has up to 999.
    pub class: usize,
    /// The image to segment.
    pub query: usize,
    /// The support images; the protocol allows repetitions.
    pub supports: Vec<usize>,
}

impl HsnetEpisode {
    /// The same episode with the class as the rest of the library counts it, from 1.
    ///
    /// # Errors
    /// If the class number is beyond [`ClassId`].
    pub fn to_episode(&self) -> Result<Episode, DataError> {
        let class = ClassId::try_from(self.class + 1).map_err(|_| {
            setting(
                format!(
                    "class number {} is beyond the {} that are told apart",
                    self.class,
                    ClassId::MAX
                ),
                "give fewer classes",
            )
        })?;
        Ok(Episode {
            index: self.index,
            class,
            query: self.query,
            supports: self.supports.clone(),
            rejected: Vec::new(),
            crops: None,
        })
    }
}

/// Draws the very episodes of the HSNet protocol, with NumPy's generator in one stream.
///
/// Supports differ from the query, but may repeat within an episode, and no object is too small:
/// both as published.
#[derive(Debug, Clone)]
pub struct HsnetSampler {
    listing: Arc<HsnetListing>,
    shot: usize,
    random: NumpyLegacy,
    next: usize,
}

/// Everything that an [`HsnetSampler`] needs to continue, beside its listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsnetState {
    /// Supports per episode.
    pub shot: usize,
    /// The number of the next episode.
    pub next: usize,
    random: NumpyLegacy,
}

impl HsnetSampler {
    /// A sampler at the start of the stream; the published runs have seed 0.
    ///
    /// # Errors
    /// If the number of shots is 0.
    pub fn new(
        listing: impl Into<Arc<HsnetListing>>,
        seed: u32,
        shot: usize,
    ) -> Result<Self, DataError> {
        check_shot(shot)?;
        Ok(Self { listing: listing.into(), shot, random: NumpyLegacy::seed(seed), next: 0 })
    }

    /// What it draws from.
    pub fn listing(&self) -> &Arc<HsnetListing> {
        &self.listing
    }

    /// The complete state between two episodes.
    pub fn state(&self) -> HsnetState {
        HsnetState { shot: self.shot, next: self.next, random: self.random.clone() }
    }

    /// A sampler that continues from a saved state, over the same listing.
    ///
    /// # Errors
    /// If the number of shots in the state is 0.
    pub fn restore(
        listing: impl Into<Arc<HsnetListing>>,
        state: HsnetState,
    ) -> Result<Self, DataError> {
        check_shot(state.shot)?;
        let HsnetState { shot, next, random } = state;
        Ok(Self { listing: listing.into(), shot, random, next })
    }

    /// The next episode, with its class number.
    pub fn draw(&mut self) -> HsnetEpisode {
        let classes = &self.listing.classes;
        let (place, query) = match &self.listing.queries {
            Queries::Listed(entries) => entries[self.next % entries.len()],
            Queries::Drawn => {
                let place = self.random.choice_one(classes.len());
                let list = &classes[place].1;
                (place, list[self.random.choice_one(list.len())])
            }
        };
        let (class, list) = &classes[place];
        let mut supports = Vec::with_capacity(self.shot);
        while supports.len() < self.shot {
            let image = list[self.random.choice_one(list.len())];
            if image != query {
                supports.push(image);
            }
        }
        let index = self.next;
        self.next += 1;
        HsnetEpisode { index, class: *class, query, supports }
    }
}

impl EpisodeSampler for HsnetSampler {
    fn next_episode(&mut self) -> Result<Episode, DataError> {
        self.draw().to_episode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pascal() -> HsnetListing {
        let entries = [("a", 1), ("b", 1), ("b", 3), ("c", 3), ("d", 1)]
            .map(|(id, class)| HsnetEntry { id: id.to_owned(), class });
        HsnetListing::from_entries(&entries).unwrap()
    }

    #[test]
    fn entries_of_lists_become_zero_based_classes() {
        let listing = pascal();
        assert_eq!(listing.images(), ["a", "b", "c", "d"]);
        assert_eq!(listing.classes().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((listing.images_of(0), listing.images_of(2)), (&[0, 1, 3][..], &[1, 2][..]));
        assert!(listing.images_of(1).is_empty());
        assert_eq!(listing.listed_queries(), Some(5));
    }

    #[test]
    fn listed_queries_come_in_turn_and_start_again() {
        let mut sampler = HsnetSampler::new(pascal(), 0, 1).unwrap();
        let drawn: Vec<_> = (0..7).map(|_| sampler.draw()).collect();
        let queries: Vec<_> = drawn.iter().map(|e| (e.query, e.class)).collect();
        assert_eq!(queries, [(0, 0), (1, 0), (1, 2), (2, 2), (3, 0), (0, 0), (1, 0)]);
        assert!(drawn.iter().all(|e| e.supports.iter().all(|&s| s != e.query)));
    }

    #[test]
    fn fss_queries_are_ordered_as_strings() {
        let listing = HsnetListing::fss(["bee", "ant"], 760).unwrap();
        let mut sampler = HsnetSampler::new(listing.clone(), 0, 1).unwrap();
        let names: Vec<_> =
            (0..11).map(|_| listing.images()[sampler.draw().query].clone()).collect();
        assert_eq!(names[..3], ["ant/1", "ant/10", "ant/2"]);
        assert_eq!(names[9..], ["ant/9", "bee/1"]);
        assert_eq!(sampler.draw().class, 761);
        assert_eq!(sampler.next_episode().unwrap().class, 762);
    }

    #[test]
    fn labels_are_one_above_class_numbers() {
        let mut sampler = HsnetSampler::new(pascal(), 0, 3).unwrap();
        let episode = sampler.take_episodes(3).unwrap().pop().unwrap();
        assert_eq!((episode.index, episode.class, episode.supports.len()), (2, 3, 3));
    }

    #[test]
    fn endless_draws_and_bad_lists_are_refused() {
        let message = |result: Result<HsnetListing, DataError>| result.unwrap_err().to_string();
        assert!(message(HsnetListing::from_entries(&[])).contains("no image"));
        let background = HsnetEntry { id: "a".to_owned(), class: 0 };
        assert!(message(HsnetListing::from_entries(&[background])).contains("label 0"));
        assert!(message(HsnetListing::pascal([("a", 0), ("a", 0)])).contains("class 0 has 2"));
        assert!(message(HsnetListing::coco([(3, vec![])])).contains("class 3 has 0"));
        let twice = HsnetListing::coco([(3, ["a", "b"]), (3, ["a", "b"])]);
        assert!(message(twice).contains("class 3 is listed twice"));
        assert!(message(HsnetListing::fss(["ant", "ant"], 0)).contains("\"ant\""));
        assert!(HsnetSampler::new(pascal(), 0, 0).is_err());
    }

    #[test]
    fn a_saved_state_continues_the_same_stream() {
        let listing = HsnetListing::coco([(1, ["a", "b", "c"]), (0, ["c", "d", "e"])]).unwrap();
        let mut sampler = HsnetSampler::new(listing.clone(), 4, 2).unwrap();
        sampler.take_episodes(13).unwrap();
        let text = serde_json::to_string(&sampler.state()).unwrap();
        let mut resumed =
            HsnetSampler::restore(listing, serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(resumed.take_episodes(20).unwrap(), sampler.take_episodes(20).unwrap());
    }
}
