//! Which images show which classes.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::folds::Fold;
use crate::index::MaskStats;
use crate::rng::NumpyLegacy;
use crate::{ClassId, IGNORE_INDEX};

/// What a mask shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownLabels {
    /// The name of the image.
    pub id: String,
    /// Pixels of the mask.
    pub area: u64,
    /// Labels and their pixels, in the order in which they first appear, row by row.
    pub labels: Vec<(u8, u64)>,
}

impl ShownLabels {
    /// Of a mask.
    pub fn of(id: impl Into<String>, mask: &Array2<u8>) -> Self {
        let mut places = [usize::MAX; 256];
        let mut labels: Vec<(u8, u64)> = Vec::new();
        for &label in mask {
            let place = &mut places[usize::from(label)];
            if *place == usize::MAX {
                *place = labels.len();
                labels.push((label, 0));
            }
            labels[*place].1 += 1;
        }
        Self { id: id.into(), area: mask.len() as u64, labels }
    }

    /// Of the counts of a mask.
    pub fn from_stats(id: impl Into<String>, mask: &MaskStats) -> Self {
        let area = u64::from(mask.width) * u64::from(mask.height);
        let labels = mask.order().iter().map(|&label| (label, mask.pixels(label))).collect();
        Self { id: id.into(), area, labels }
    }

    /// What is left of it in a fold: labels of no class are background, and so, in training, are held-out
    /// classes.
    #[must_use]
    pub fn in_fold(&self, fold: &Fold, purpose: Purpose) -> Self {
        let counts = |label: u8| {
            let class = ClassId::from(label);
            usize::from(label) <= fold.classes()
                && !(purpose == Purpose::Training && fold.is_novel(class))
        };
        let labels = self.labels.iter().copied().filter(|(label, _)| counts(*label)).collect();
        Self { id: self.id.clone(), area: self.area, labels }
    }

    /// The classes that cover at least `share` of it, in order of appearance.
    fn covering(&self, share: f64) -> impl Iterator<Item = ClassId> + '_ {
        let area = self.area as f64;
        let large = move |pixels: u64| pixels as f64 / area >= share;
        self.labels
            .iter()
            .filter(move |(label, pixels)| *label != 0 && *label != IGNORE_INDEX && large(*pixels))
            .map(|(label, _)| ClassId::from(*label))
    }
}

/// For how many ways a test is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestWays {
    /// One: images on which exactly one held-out class is large enough.
    One,
    /// Several: every held-out class of every image that is large enough.
    Several,
}

/// Images with a class that they show; images are places in a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassList {
    /// Image and class.
    pub items: Vec<(usize, ClassId)>,
}

impl ClassList {
    /// Of training images, whose held-out classes are 255 already: every class that covers at least `share`.
    pub fn training(images: &[ShownLabels], share: f64) -> Self {
        let of = |(place, image): (usize, &ShownLabels)| {
            image.covering(share).map(|class| (place, class)).collect::<Vec<_>>()
        };
        Self { items: images.iter().enumerate().flat_map(of).collect() }
    }

    /// Of test images: held-out classes of the fold that cover at least `share`.
    pub fn test(images: &[ShownLabels], fold: &Fold, share: f64, ways: TestWays) -> Self {
        let mut items = Vec::new();
        for (place, image) in images.iter().enumerate() {
            let shown: Vec<ClassId> =
                image.covering(share).filter(|class| fold.is_novel(*class)).collect();
            if ways == TestWays::Several || shown.len() == 1 {
                items.extend(shown.into_iter().map(|class| (place, class)));
            }
        }
        Self { items }
    }

    /// In random order, as the published code keeps it.
    #[must_use]
    pub fn shuffled(mut self, random: &mut NumpyLegacy) -> Self {
        random.shuffle(&mut self.items);
        self
    }

    /// The classes that occur, ascending.
    pub fn classes(&self) -> Vec<ClassId> {
        let mut classes: Vec<ClassId> = self.items.iter().map(|(_, class)| *class).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// The images of a class, in the order of the list.
    pub fn of(&self, class: ClassId) -> Vec<usize> {
        let items = self.items.iter().filter(|(_, own)| *own == class);
        items.map(|(image, _)| *image).collect()
    }
}

/// All images that show a held-out class, with any number of pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeLists {
    /// Classes with their images, in the order in which the listing first shows them.
    pub classes: Vec<(ClassId, Vec<usize>)>,
}

impl WholeLists {
    /// Of test images.
    pub fn new(images: &[ShownLabels], fold: &Fold) -> Self {
        let mut classes: Vec<(ClassId, Vec<usize>)> = Vec::new();
        for (place, image) in images.iter().enumerate() {
            let labels = image.labels.iter().map(|(label, _)| ClassId::from(*label));
            let mut shown: Vec<ClassId> = labels.filter(|class| fold.is_novel(*class)).collect();
            shown.sort_unstable();
            for class in shown {
                match classes.iter_mut().find(|(known, _)| *known == class) {
                    Some((_, images)) => images.push(place),
                    None => classes.push((class, vec![place])),
                }
            }
        }
        Self { classes }
    }

    /// Each list in random order, as the published code keeps them. Nothing that is drawn from them depends
    /// on the order, but the generator moves on.
    #[must_use]
    pub fn shuffled(mut self, random: &mut NumpyLegacy) -> Self {
        self.classes.iter_mut().for_each(|(_, images)| random.shuffle(images));
        self
    }

    /// Whether an image shows any held-out class but these.
    pub(super) fn shows_other(&self, image: usize, classes: &[ClassId]) -> bool {
        let others = self.classes.iter().filter(|(class, _)| !classes.contains(class));
        others.into_iter().any(|(_, images)| images.contains(&image))
    }
}
