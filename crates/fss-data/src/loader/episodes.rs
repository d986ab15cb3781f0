//! Episodes and images from their files.

use std::sync::Arc;

use image::RgbImage;
use ndarray::{Array2, Array3};

use super::{LoaderOptions, OrderedLoader};
use crate::episode::{CropFlip, Episode};
use crate::sampler::EpisodeSampler;
use crate::transform::{
    HsnetPreprocess, HsnetView, IgnoredPixels, Role, TrainTransform, normalise,
};
use crate::{DataError, Sample, SegmentationDataset};

/// An episode with its images and masks.
///
/// Images are normalised float32 `[3, H, W]`; masks `[H, W]` are 1 in the episode's class, 255
/// where ignored, 0 elsewhere. In training all have the crop's size, in evaluation each its own or
/// the one that the protocol says.
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeTensors {
    /// The query image `[3, H, W]`.
    pub query: Array3<f32>,
    /// The query's mask `[H, W]`.
    pub query_mask: Array2<u8>,
    /// The support images `[3, H_k, W_k]` with their masks `[H_k, W_k]`, in the order drawn.
    pub supports: Vec<(Array3<f32>, Array2<u8>)>,
    /// What was drawn.
    pub episode: Episode,
}

/// What happens to the images of an episode.
#[derive(Debug, Clone, PartialEq)]
pub enum EpisodeTransform {
    /// Evaluation: images keep their size and are normalised.
    WholeImages,
    /// Evaluation by the HSNet protocol: images become squares.
    Hsnet(HsnetView),
    /// Training as HSNet does: images become squares, and nothing is cut or mirrored.
    Squares {
        /// The size of the squares.
        preprocess: HsnetPreprocess,
        /// What becomes of ignored pixels, of queries and supports alike.
        ignored: IgnoredPixels,
    },
    /// Training: the crops that the episode names, padded, mirrored and normalised.
    Crops(Box<TrainTransform>),
}

impl EpisodeTransform {
    /// The published training transform with crops of `side` x `side` pixels.
    pub fn crops(side: u32) -> Self {
        Self::Crops(Box::new(TrainTransform::new(side)))
    }

    /// The image as it is shown to the network, `[3, H, W]`.
    ///
    /// # Errors
    /// For training crops, which an episode draws; for an image that cannot be resized.
    pub fn image(&self, image: &RgbImage) -> Result<Array3<f32>, DataError> {
        match self {
            Self::WholeImages => Ok(normalise(image)),
            Self::Hsnet(view) => view.image(image),
            Self::Squares { preprocess, .. } => preprocess.image(image),
            Self::Crops(_) => Err(no_crop()),
        }
    }

    /// The 8-bit image in the size that its mask has, for drawings.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn picture(&self, image: &RgbImage, role: Role) -> Result<RgbImage, DataError> {
        match self {
            Self::WholeImages => Ok(image.clone()),
            Self::Hsnet(view) => view.picture(image, role),
            Self::Squares { preprocess, .. } => preprocess.resize(image),
            Self::Crops(_) => Err(no_crop()),
        }
    }

    /// The labels `[H, W]` as they are compared or learnt from.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn mask(&self, mask: &Array2<u8>, role: Role) -> Result<Array2<u8>, DataError> {
        match self {
            Self::WholeImages => Ok(mask.clone()),
            Self::Hsnet(view) => view.mask(mask, role),
            Self::Squares { preprocess, ignored } => preprocess.labels(mask, *ignored),
            Self::Crops(_) => Err(no_crop()),
        }
    }

    fn apply(
        &self,
        image: &RgbImage,
        mask: &Array2<u8>,
        role: Role,
        crop: Option<CropFlip>,
    ) -> Result<(Array3<f32>, Array2<u8>), DataError> {
        match (self, crop) {
            (Self::Crops(transform), Some(crop)) => transform.apply(image, mask, crop),
            _ => Ok((self.image(image)?, self.mask(mask, role)?)),
        }
    }
}

fn no_crop() -> DataError {
    DataError::Setting {
        what: "an episode that was drawn without crops cannot be loaded for training".into(),
        remedy: "draw it in training mode".into(),
    }
}

/// Reads the images and masks of one episode.
///
/// # Errors
/// [`DataError`] naming the file that is missing or unreadable, or whose mask has another size; and
/// when the episode belongs to another dataset or was drawn without crops for training.
pub fn load_episode(
    dataset: &SegmentationDataset,
    episode: Episode,
    transform: &EpisodeTransform,
) -> Result<EpisodeTensors, DataError> {
    let load = |position: usize, place: usize| {
        let sample = dataset.load(position)?;
        let crop = episode.crops.as_ref().and_then(|crops| crops.get(place)).copied();
        let role = if place == 0 { Role::Query } else { Role::Support };
        let (image, mask) = transform
            .apply(&sample.image, &sample.mask, role, crop)
            .map_err(|error| in_episode(dataset, &episode, position, error))?;
        Ok::<_, DataError>((image, dataset.class_mask(position, &mask, episode.class)))
    };
    let (query, query_mask) = load(episode.query, 0)?;
    let supports = episode
        .supports
        .iter()
        .enumerate()
        .map(|(k, &position)| load(position, k + 1))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(EpisodeTensors { query, query_mask, supports, episode })
}

/// Says which episode and file a transform failed on.
fn in_episode(
    dataset: &SegmentationDataset,
    episode: &Episode,
    position: usize,
    error: DataError,
) -> DataError {
    match error {
        DataError::Setting { what, remedy } => DataError::invalid(
            &dataset.image_path(position),
            format!("in episode {}: {what}", episode.index),
            remedy,
        ),
        other => other,
    }
}

/// The next `count` episodes of a sampler as jobs for a [`Loader`].
pub fn episodes_of<S: EpisodeSampler>(
    mut sampler: S,
    count: usize,
) -> impl Iterator<Item = Result<Episode, DataError>> {
    (0..count).map(move |_| sampler.next_episode())
}

/// Loads episodes in parallel and in order; see [`OrderedLoader`].
#[derive(Debug)]
pub struct Loader(OrderedLoader<Episode, EpisodeTensors>);

impl Loader {
    /// Starts loading.
    ///
    /// Episodes are taken from their iterator up to `options.prefetch` ahead of those delivered. To
    /// save a sampler's state between two episodes, draw the episodes first and give them as a list.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the system refuses to start a thread.
    pub fn new<I>(
        dataset: Arc<SegmentationDataset>,
        episodes: I,
        transform: EpisodeTransform,
        options: LoaderOptions,
    ) -> Result<Self, DataError>
    where
        I: IntoIterator<Item = Result<Episode, DataError>>,
        I::IntoIter: Send + 'static,
    {
        let load = move |episode| load_episode(&dataset, episode, &transform);
        OrderedLoader::new(episodes, options, load).map(Self)
    }
}

impl Iterator for Loader {
    type Item = Result<EpisodeTensors, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// Loads images with their label masks in parallel and in order; see [`OrderedLoader`].
#[derive(Debug)]
pub struct SampleLoader(OrderedLoader<usize, Sample>);

impl SampleLoader {
    /// Starts loading the images at `positions`, in that order.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the system refuses to start a thread.
    pub fn new<I>(
        dataset: Arc<SegmentationDataset>,
        positions: I,
        options: LoaderOptions,
    ) -> Result<Self, DataError>
    where
        I: IntoIterator<Item = usize>,
        I::IntoIter: Send + 'static,
    {
        let jobs = positions.into_iter().map(Ok);
        OrderedLoader::new(jobs, options, move |position| dataset.load(position)).map(Self)
    }
}

impl Iterator for SampleLoader {
    type Item = Result<Sample, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

#[cfg(test)]
#[path = "episodes_tests.rs"]
mod tests;
