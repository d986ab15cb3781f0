//! Episodes as images and masks.

use std::collections::HashSet;
use std::sync::Arc;

use fss_data::DataError;
use fss_data::folds::Fold;
use fss_data::loader::{LoaderOptions, OrderedLoader};
use fss_data::transform::normalise;
use fss_data::ways::{
    Flips, LoadedWay, Purpose, Void, WayEpisode, WayImages, class_mask, loaded, loaded_labels,
};
use ndarray::{Array2, Array3};

/// Where images come from, and what becomes of them.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub images: Arc<WayImages>,
    pub fold: Fold,
    pub purpose: Purpose,
    pub void: Void,
    pub side: usize,
}

/// An image of an episode: where it is, and whether it is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub position: usize,
    pub mirrored: bool,
}

impl Place {
    /// A number of its own, for caches.
    pub(super) fn key(self) -> usize {
        2 * self.position + usize::from(self.mirrored)
    }
}

impl Source {
    /// An image with all its labels, at the size of the network.
    pub(super) fn load(&self, place: Place) -> Result<LoadedWay, DataError> {
        let image = self.images.dataset.load_image(place.position)?;
        loaded(&image, &self.mask(place.position)?, self.side, place.mirrored)
    }

    /// All labels alone, at the size of the network.
    pub(super) fn labels(&self, place: Place) -> Result<Array2<u8>, DataError> {
        loaded_labels(&self.mask(place.position)?, self.side, place.mirrored)
    }

    fn mask(&self, position: usize) -> Result<Array2<u8>, DataError> {
        self.images.fold_mask(position, &self.fold, self.purpose, self.void)
    }

    /// The mask of a class: 255 where pixels are ignored, if the source keeps these.
    pub(super) fn class_mask(&self, labels: &Array2<u8>, class: u8) -> Array2<u8> {
        match self.void {
            Void::Background => class_mask(labels, class),
            Void::Ignored => fss_data::transform::binary_mask(labels, class),
        }
    }
}

/// An episode with where its images are.
#[derive(Debug, Clone)]
pub(super) struct PlacedEpisode {
    pub episode: WayEpisode,
    /// Supports, way by way.
    pub supports: Vec<Vec<Place>>,
    pub query: Place,
}

/// Draws which images are mirrored: supports way by way, then the query, episode by episode.
pub(super) fn placed(episodes: Vec<WayEpisode>, mut flips: Flips) -> Vec<PlacedEpisode> {
    let mut place = |position: usize| Place { position, mirrored: flips.next_flip() };
    episodes
        .into_iter()
        .map(|episode| PlacedEpisode {
            supports: episode
                .ways
                .iter()
                .map(|way| way.supports.iter().map(|&support| place(support)).collect())
                .collect(),
            query: place(episode.query),
            episode,
        })
        .collect()
}

/// An episode to segment: its labels, and those images that have no features yet.
pub(super) struct EpisodeInput {
    pub placed: PlacedEpisode,
    /// Masks of the supports, way by way.
    pub support_masks: Vec<Vec<Array2<u8>>>,
    /// All labels of the query.
    pub query: Array2<u8>,
    /// Normalised images by [`Place::key`].
    pub images: Vec<(usize, Array3<f32>)>,
}

/// Reads episodes in order. With `reuse` an image is read for its first episode alone.
pub(super) fn read_ahead(
    source: Source,
    episodes: Vec<PlacedEpisode>,
    reuse: bool,
    options: LoaderOptions,
) -> Result<OrderedLoader<impl Send + 'static, EpisodeInput>, DataError> {
    let mut seen = HashSet::new();
    let jobs = episodes.into_iter().map(move |placed| {
        let all = placed.supports.iter().flatten().copied().chain([placed.query]);
        let mut wanted = HashSet::new();
        for place in all {
            if seen.insert(place) || !reuse {
                wanted.insert(place);
            }
        }
        Ok((placed, wanted))
    });
    OrderedLoader::new(jobs, options, move |(placed, wanted): (PlacedEpisode, HashSet<Place>)| {
        let mut images = Vec::with_capacity(wanted.len());
        let mut labels = |place: Place| -> Result<Array2<u8>, DataError> {
            if !wanted.contains(&place) || images.iter().any(|(key, _)| *key == place.key()) {
                return source.labels(place);
            }
            let LoadedWay { image, full } = source.load(place)?;
            images.push((place.key(), normalise(&image)));
            Ok(full)
        };
        let mut support_masks = Vec::with_capacity(placed.supports.len());
        for (way, places) in placed.episode.ways.iter().zip(&placed.supports) {
            let class = way.class as u8;
            let masks = places.iter().map(|&place| {
                // Undecided pixels of a support are no object, whatever those of a query count as.
                Ok(class_mask(&labels(place)?, class))
            });
            support_masks.push(masks.collect::<Result<Vec<_>, DataError>>()?);
        }
        let query = labels(placed.query)?;
        Ok(EpisodeInput { placed, support_masks, query, images })
    })
}
