//! Episodes from lists.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::lists::{ClassList, WholeLists};
use crate::rng::NumpyLegacy;
use crate::{ClassId, DataError};

/// One class of an episode.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Way {
    /// The class.
    pub class: ClassId,
    /// Its K support images, places in the listing.
    pub supports: Vec<usize>,
}

/// An episode of one way or several.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WayEpisode {
    /// The classes; the query shows the first, and may show the others.
    pub ways: Vec<Way>,
    /// The image to segment, a place in the listing.
    pub query: usize,
}

/// What episodes are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Training: classes with too few images for their share of the episodes are left out.
    Training,
    /// Validation and test.
    #[default]
    Test,
}

/// How many episodes of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpisodePlan {
    /// What they are for.
    pub purpose: Purpose,
    /// Ways an episode; training has one.
    pub ways: usize,
    /// Supports a way.
    pub shots: usize,
    /// How many episodes in all (published: 1,000 for tests, 15,000 and 60,000 for training on PASCAL and
    /// COCO). Every class gets the same number, the last one what is left over as well.
    pub episodes: usize,
    /// Whether no image occurs twice in an episode. The published code allows a support of the second and
    /// later ways to be the query or a support of another way.
    pub disjoint: bool,
}

impl EpisodePlan {
    /// A test of 1,000 episodes.
    pub fn test(ways: usize, shots: usize) -> Self {
        Self { purpose: Purpose::Test, ways, shots, episodes: 1000, disjoint: false }
    }

    /// One-way training episodes.
    pub fn training(shots: usize, episodes: usize) -> Self {
        Self { purpose: Purpose::Training, ways: 1, shots, episodes, disjoint: false }
    }

    /// Draws the episodes, as the published code draws them at every start.
    ///
    /// `whole` says which images show which held-out classes at all; only several ways need it.
    ///
    /// # Errors
    /// [`DataError::Setting`] where the published code would never end or stop without a word: no classes,
    /// no ways or supports, more ways than classes, a class with too few images for the shots, and no query
    /// that shows no other held-out class and is no support.
    pub fn draw(
        &self,
        list: &ClassList,
        whole: Option<&WholeLists>,
        random: &mut NumpyLegacy,
    ) -> Result<Vec<WayEpisode>, DataError> {
        let classes = list.classes();
        self.check(&classes, whole)?;
        let lists: Vec<Vec<usize>> = classes.iter().map(|class| list.of(*class)).collect();
        let mut episodes = Vec::with_capacity(self.episodes);
        for (own, images) in lists.iter().enumerate() {
            let count = share(self.episodes, classes.len(), own);
            if self.purpose == Purpose::Training
                && (images.len() * images.len() < count || images.len() <= self.shots)
            {
                continue;
            }
            if count > 0 && images.len() <= self.shots {
                return Err(too_few(classes[own], images.len(), self.shots + 1));
            }
            for _ in 0..count {
                episodes.push(self.one(own, &classes, &lists, whole, random)?);
            }
        }
        random.shuffle(&mut episodes);
        Ok(episodes)
    }

    fn check(&self, classes: &[ClassId], whole: Option<&WholeLists>) -> Result<(), DataError> {
        let refuse = |what: String, remedy: &str| {
            Err(DataError::Setting { what, remedy: remedy.to_owned() })
        };
        if classes.is_empty() {
            return refuse(
                "no image shows a class that episodes could be drawn of".into(),
                "check the fold, and the share of an image from which a class counts",
            );
        }
        if self.ways == 0 || self.shots == 0 {
            return refuse(
                format!("episodes of {} ways and {} shots", self.ways, self.shots),
                "ask for at least one of both",
            );
        }
        if self.ways > classes.len() {
            return refuse(
                format!("{} ways of {} classes", self.ways, classes.len()),
                "ask for fewer ways",
            );
        }
        if self.ways > 1 && self.purpose == Purpose::Training {
            return refuse(
                format!("training episodes of {} ways", self.ways),
                "train with one way; the same model is tested with several",
            );
        }
        if self.ways > 1 && whole.is_none() {
            return refuse(
                "episodes of several ways without lists of all images of the held-out classes"
                    .into(),
                "make them with `WholeLists::new`",
            );
        }
        Ok(())
    }

    /// One episode of class number `own`.
    fn one(
        &self,
        own: usize,
        classes: &[ClassId],
        lists: &[Vec<usize>],
        whole: Option<&WholeLists>,
        random: &mut NumpyLegacy,
    ) -> Result<WayEpisode, DataError> {
        let images = &lists[own];
        // Places in the list of the class.
        let mut drawn = distinct(images.len(), self.shots + 1, |_| true, random);
        let mut query = drawn.pop().unwrap_or_default();
        let supports = drawn;
        let of = |list: &[usize], places: &[usize]| places.iter().map(|p| list[*p]).collect();
        let mut ways = vec![Way { class: classes[own], supports: of(images, &supports) }];
        if let (2.., Some(whole)) = (self.ways, whole) {
            let others: Vec<usize> = (0..classes.len()).filter(|i| *i != own).collect();
            let chosen = random.permutation(others.len());
            let chosen: Vec<usize> =
                chosen[..self.ways - 1].iter().map(|place| others[*place]).collect();
            let named: Vec<ClassId> =
                [own].iter().chain(&chosen).map(|class| classes[*class]).collect();
            let fits = |query: usize| {
                !supports.contains(&query) && !whole.shows_other(images[query], &named)
            };
            if !(0..images.len()).any(fits) {
                return Err(no_query(&named));
            }
            while !fits(query) {
                query = below(images, random);
            }
            for class in chosen {
                let list = &lists[class];
                let taken: HashSet<usize> = match self.disjoint {
                    true => {
                        let used = ways.iter().flat_map(|way| way.supports.iter().copied());
                        used.chain([images[query]]).collect()
                    }
                    false => HashSet::new(),
                };
                if list.iter().filter(|image| !taken.contains(image)).count() < self.shots {
                    return Err(too_few(classes[class], list.len(), self.shots + taken.len()));
                }
                let free = |place: usize| !taken.contains(&list[place]);
                let places = distinct(list.len(), self.shots, free, random);
                ways.push(Way { class: classes[class], supports: of(list, &places) });
            }
        }
        Ok(WayEpisode { ways, query: images[query] })
    }
}

/// How often all places are drawn anew before they are drawn another way. With the published shots (up to
/// 5, of at least 6 images) no one ever comes near it.
const MOST_REDRAWS: usize = 10_000;

/// `count` different places below `length` that are `free`, of which there are enough: drawn all anew until
/// they differ, as published. Many of hardly more would never come out different in this way; after
/// [`MOST_REDRAWS`] they are the first ones of a random order.
fn distinct(
    length: usize,
    count: usize,
    free: impl Fn(usize) -> bool,
    random: &mut NumpyLegacy,
) -> Vec<usize> {
    for _ in 0..MOST_REDRAWS {
        let places: Vec<usize> =
            (0..count).map(|_| random.randint(0, length as i64) as usize).collect();
        if all_different(&places) && places.iter().all(|place| free(*place)) {
            return places;
        }
    }
    random.permutation(length).into_iter().filter(|place| free(*place)).take(count).collect()
}

/// Plain images for AMP's training: for each class its share of `episodes` images, drawn one by one, in
/// random order. As published, one-shot training episodes are drawn first and thrown away.
///
/// # Errors
/// As [`EpisodePlan::draw`].
pub fn plain_list(
    list: &ClassList,
    episodes: usize,
    random: &mut NumpyLegacy,
) -> Result<Vec<usize>, DataError> {
    EpisodePlan::training(1, episodes).draw(list, None, random)?;
    let classes = list.classes();
    let mut images = Vec::with_capacity(episodes);
    for (own, class) in classes.iter().enumerate() {
        let of_class = list.of(*class);
        for _ in 0..share(episodes, classes.len(), own) {
            images.push(of_class[below(&of_class, random)]);
        }
    }
    random.shuffle(&mut images);
    Ok(images)
}

/// How many of all episodes class number `own` of `classes` gets.
fn share(episodes: usize, classes: usize, own: usize) -> usize {
    let rest = if own + 1 == classes { episodes % classes } else { 0 };
    episodes / classes + rest
}

fn below(list: &[usize], random: &mut NumpyLegacy) -> usize {
    // Lists of classes are never empty.
    random.randint(0, list.len() as i64) as usize
}

fn all_different(places: &[usize]) -> bool {
    places.iter().enumerate().all(|(i, place)| !places[..i].contains(place))
}

fn too_few(class: ClassId, found: usize, needed: usize) -> DataError {
    DataError::Setting {
        what: format!("class {class} has {found} images, and an episode needs {needed} of them"),
        remedy: "ask for fewer shots, or lower the share of an image from which a class counts"
            .into(),
    }
}

fn no_query(classes: &[ClassId]) -> DataError {
    DataError::Setting {
        what: format!(
            "every image of class {} also shows a held-out class that is none of the ways {classes:?}, or \
             is a support",
            classes[0]
        ),
        remedy: "ask for fewer ways or shots".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(counts: &[usize]) -> ClassList {
        let mut image = 0;
        let mut items = Vec::new();
        for (class, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                items.push((image, class as ClassId + 1));
                image += 1;
            }
        }
        ClassList { items }
    }

    fn message(plan: EpisodePlan, list: &ClassList, whole: Option<&WholeLists>) -> String {
        plan.draw(list, whole, &mut NumpyLegacy::seed(0)).unwrap_err().to_string()
    }

    #[test]
    fn what_would_never_end_is_refused() {
        let plan = EpisodePlan::test(1, 2);
        assert!(message(plan, &list(&[]), None).contains("no image"));
        assert!(message(plan, &list(&[5, 2]), None).contains("class 2 has 2 images"));
        assert!(message(EpisodePlan::test(3, 1), &list(&[5, 5]), None).contains("3 ways of 2"));
        assert!(message(EpisodePlan::test(2, 1), &list(&[5, 5]), None).contains("WholeLists"));
        assert!(message(EpisodePlan::test(1, 0), &list(&[5]), None).contains("0 shots"));
        // Every image of the first class also shows the third.
        let whole =
            WholeLists { classes: vec![(1, vec![0, 1]), (2, vec![2, 3]), (3, vec![0, 1, 4, 5])] };
        let plan = EpisodePlan { episodes: 300, ..EpisodePlan::test(2, 1) };
        assert!(message(plan, &list(&[2, 2, 2]), Some(&whole)).contains("every image of class 1"));
    }

    #[test]
    fn many_shots_of_hardly_more_images_come_out_different() {
        let plan = EpisodePlan { episodes: 3, ..EpisodePlan::test(1, 40) };
        let episodes = plan.draw(&list(&[41]), None, &mut NumpyLegacy::seed(3)).unwrap();
        for episode in &episodes {
            let mut images = episode.ways[0].supports.clone();
            images.push(episode.query);
            images.sort_unstable();
            assert_eq!(images, (0..41).collect::<Vec<_>>());
        }
        assert_ne!(episodes[0], episodes[1]);
    }

    #[test]
    fn training_leaves_out_classes_with_too_few_images() {
        let plan = EpisodePlan::training(1, 30);
        let episodes = plan.draw(&list(&[1, 3, 9]), None, &mut NumpyLegacy::seed(1)).unwrap();
        assert_eq!(episodes.len(), 10);
        assert!(episodes.iter().all(|episode| episode.ways[0].class == 3));
    }

    #[test]
    fn disjoint_episodes_use_no_image_twice() {
        // The classes share their images.
        let items = (0..8).flat_map(|image| [(image, 1), (image, 2)]).collect();
        let list = ClassList { items };
        let whole = WholeLists { classes: vec![(1, (0..8).collect()), (2, (0..8).collect())] };
        let twice = |episode: &WayEpisode| {
            let mut images: Vec<usize> =
                episode.ways.iter().flat_map(|way| way.supports.clone()).collect();
            images.push(episode.query);
            let count = images.len();
            images.sort_unstable();
            images.dedup();
            images.len() < count
        };
        let mut plan = EpisodePlan { episodes: 60, ..EpisodePlan::test(2, 2) };
        let draw =
            |plan: EpisodePlan| plan.draw(&list, Some(&whole), &mut NumpyLegacy::seed(5)).unwrap();
        assert!(draw(plan).iter().any(twice));
        plan.disjoint = true;
        assert!(!draw(plan).iter().any(twice));
    }
}
