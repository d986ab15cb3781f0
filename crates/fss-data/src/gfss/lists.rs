//! Which images show which classes.

use std::collections::BTreeMap;

use super::GfssClasses;
use crate::episode::ImageLabels;
use crate::{ClassId, DataError};

/// From how many pixels on an image is listed for a class, as published: 16 blocks of 32 x 32.
pub const MIN_PIXELS: u64 = 16 * 32 * 32;

/// How images are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOptions {
    /// From how many pixels on an image is listed for a class.
    pub min_pixels: u64,
    /// Whether images that show a novel class are kept from the lists of stage 1 and of base classes.
    pub filter_novel: bool,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self { min_pixels: MIN_PIXELS, filter_novel: false }
    }
}

/// The lists that everything is drawn from; images by their position, in the order of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GfssLists {
    /// Images with at least one pixel of a base class: what stage 1 trains on.
    pub train: Vec<usize>,
    /// For each base and novel class the images that show enough of it.
    pub by_class: BTreeMap<ClassId, Vec<usize>>,
}

impl GfssLists {
    /// Lists of a data set, from what its masks show.
    pub fn build(listing: &[ImageLabels], classes: &GfssClasses, options: ListOptions) -> Self {
        let shows = |image: &ImageLabels, class: &ClassId, least: u64| {
            image.pixels.get(class).is_some_and(|pixels| *pixels >= least)
        };
        let dropped: Vec<bool> = listing
            .iter()
            .map(|image| options.filter_novel && classes.novel().iter().any(|c| shows(image, c, 1)))
            .collect();
        let kept = |filtered: bool, test: &dyn Fn(&ImageLabels) -> bool| -> Vec<usize> {
            let all = listing.iter().enumerate();
            all.filter(|(i, image)| !(filtered && dropped[*i]) && test(image))
                .map(|(i, _)| i)
                .collect()
        };
        let train = kept(true, &|image| classes.base().iter().any(|c| shows(image, c, 1)));
        let of = |class: &ClassId, filtered| {
            (*class, kept(filtered, &|image| shows(image, class, options.min_pixels)))
        };
        let base = classes.base().iter().map(|class| of(class, true));
        let novel = classes.novel().iter().map(|class| of(class, false));
        Self { train, by_class: base.chain(novel).collect() }
    }

    /// The images of a class.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there is none.
    pub(super) fn of_class(&self, class: ClassId) -> Result<&[usize], DataError> {
        match self.by_class.get(&class) {
            Some(images) if !images.is_empty() => Ok(images),
            _ => Err(DataError::Setting {
                what: format!("no image shows enough of class {class}"),
                remedy: "lower the smallest number of pixels, or add images".into(),
            }),
        }
    }
}
