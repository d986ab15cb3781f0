//! The images of stage 2, drawn as the official code draws them.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{GfssClasses, GfssLists};
use crate::rng::PythonRandom;
use crate::{ClassId, DataError};

/// How base images are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseDraw {
    /// Each image once, and none of the few-shot list (PASCAL-5i). Classes with fewer images than shots
    /// are refused.
    Distinct,
    /// With replacement, few-shot list or not (COCO-20i). Classes with fewer images than shots repeat
    /// some.
    Replacement,
}

/// `x[random.randint(1, n) - 1]`
fn pick(random: &mut PythonRandom, images: &[usize]) -> usize {
    images[random.randint(1, images.len() as i64) as usize - 1]
}

/// All images, and as many again at random as are missing.
fn padded(random: &mut PythonRandom, images: &[usize], shot: usize) -> Vec<usize> {
    let missing = shot - images.len();
    let mut list = images.to_vec();
    list.extend((0..missing).map(|_| pick(random, images)));
    list
}

/// Images that are not `used` yet, which they are afterwards.
fn unused(
    random: &mut PythonRandom,
    images: &[usize],
    shot: usize,
    used: &mut HashSet<usize>,
    class: ClassId,
) -> Result<Vec<usize>, DataError> {
    let mut list = Vec::with_capacity(shot);
    while list.len() < shot {
        // The published code would look for ever.
        if images.iter().all(|image| used.contains(image)) {
            return Err(DataError::Setting {
                what: format!(
                    "all {} images of class {class} serve other classes already, and {} of {shot} are \
                     still needed",
                    images.len(),
                    shot - list.len()
                ),
                remedy:
                    "use another seed, fewer shots, or a smaller number of pixels from which on an \
                         image counts"
                        .into(),
            });
        }
        let image = pick(random, images);
        if used.insert(image) {
            list.push(image);
        }
    }
    Ok(list)
}

/// The few-shot list of a seed: `shot` images for each novel class, class by class. No image serves two
/// classes, except where a class has fewer images than shots.
///
/// # Errors
/// [`DataError::Setting`] for a class without images, or whose images all serve other classes.
pub fn few_shot_list(
    lists: &GfssLists,
    classes: &GfssClasses,
    shot: usize,
    seed: u64,
) -> Result<Vec<usize>, DataError> {
    let mut random = PythonRandom::seed(seed.into());
    let mut used = HashSet::new();
    let mut list = Vec::with_capacity(shot * classes.novel().len());
    for &class in classes.novel() {
        let images = lists.of_class(class)?;
        list.extend(match images.len() < shot {
            true => padded(&mut random, images, shot),
            false => unused(&mut random, images, shot, &mut used, class)?,
        });
    }
    Ok(list)
}

/// The base list, from a generator as it stands: `shot` images for each base class, class by class.
///
/// # Errors
/// [`DataError::Setting`] for a class without images, or with too few ([`BaseDraw::Distinct`]).
pub fn base_list(
    random: &mut PythonRandom,
    lists: &GfssLists,
    classes: &GfssClasses,
    few_shot: &[usize],
    shot: usize,
    draw: BaseDraw,
) -> Result<Vec<usize>, DataError> {
    let mut used: HashSet<usize> = few_shot.iter().copied().collect();
    let mut list = Vec::with_capacity(shot * classes.base().len());
    for &class in classes.base() {
        let images = lists.of_class(class)?;
        let few = images.len() < shot;
        list.extend(match draw {
            BaseDraw::Distinct if few => {
                return Err(DataError::Setting {
                    what: format!(
                        "base class {class} has {} images for {shot} shots",
                        images.len()
                    ),
                    remedy:
                        "use fewer shots, or a smaller number of pixels from which on an image \
                             counts"
                            .into(),
                });
            }
            BaseDraw::Distinct => unused(random, images, shot, &mut used, class)?,
            BaseDraw::Replacement if few => padded(random, images, shot),
            // `random.choices`
            BaseDraw::Replacement => (0..shot)
                .map(|_| images[(random.random() * images.len() as f64).floor() as usize])
                .collect(),
        });
    }
    Ok(list)
}

/// The base list that is in force in epoch `epoch` of a run with a seed, redrawn every `every` epochs
/// (0: never). Since nothing moves the generator during an epoch, the first two lists are equal.
///
/// # Errors
/// As [`base_list`].
pub fn base_list_of_epoch(
    lists: &GfssLists,
    classes: &GfssClasses,
    few_shot: &[usize],
    [shot, every]: [usize; 2],
    draw: BaseDraw,
    [seed, epoch]: [u64; 2],
) -> Result<Vec<usize>, DataError> {
    // After epoch e (from 0) a new list is drawn if e + 1 is a multiple of `every`.
    let every = every as u64;
    let drawn_after = match epoch.checked_div(every) {
        None | Some(0) => None,
        Some(times) => Some(times * every - 1),
    };
    let mut random = PythonRandom::seed((seed + drawn_after.unwrap_or(0)).into());
    base_list(&mut random, lists, classes, few_shot, shot, draw)
}
