//! The images of episodes, read ahead.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fss_data::episode::Episode;
use fss_data::loader::{EpisodeTransform, OrderedLoader};
use fss_data::transform::Role;
use fss_data::{DataError, SegmentationDataset};
use ndarray::{Array2, Array3};

use super::{EvaluationPlan, FeatureReuse};
use crate::cams::CamReader;
use crate::{EpisodeData, TrainError};

/// An episode with its masks, and those images that have no features yet.
pub(super) struct EpisodeInput {
    pub run: usize,
    /// Its place among the episodes drawn for its seed.
    pub place: usize,
    pub episode: Episode,
    /// Positions of the supports in force.
    pub supports: Vec<usize>,
    /// Binary mask of the query, then of each support.
    pub masks: Vec<Array2<u8>>,
    /// Images as the network sees them, by position.
    pub images: HashMap<usize, Array3<f32>>,
    /// Coarse maps of the query, then of each support; empty for a model that reads none.
    pub cams: Vec<Array2<f32>>,
}

struct Job {
    run: usize,
    place: usize,
    episode: Episode,
    supports: Vec<usize>,
    /// Images to read beside the masks.
    images: HashSet<usize>,
}

/// Reads the masks of all episodes; an image only where its features will be computed.
///
/// With reuse the episodes of a query follow each other, whatever their seeds, and images are read at their
/// first use. Else the order is that of the draws. If its features are dropped later, the evaluation reads it
/// again itself.
pub(super) fn read_ahead(
    data: &EpisodeData,
    runs: Vec<Vec<Episode>>,
    plan: &EvaluationPlan,
    cams: Option<CamReader>,
) -> Result<OrderedLoader<impl Send + 'static, Result<EpisodeInput, TrainError>>, DataError> {
    let mut seen = HashSet::new();
    let reuses = plan.reuse != FeatureReuse::Off;
    let plan = plan.clone();
    let (transform, options) = (plan.protocol.transform(data.benchmark()), plan.loader);
    let mut episodes: Vec<(usize, usize, Episode)> = Vec::new();
    for (run, drawn) in runs.into_iter().enumerate() {
        let placed = drawn.into_iter().enumerate();
        episodes.extend(placed.map(|(place, episode)| (run, place, episode)));
    }
    if reuses {
        episodes.sort_by_key(|(_, _, episode)| episode.query);
    }
    let jobs = episodes.into_iter().map(move |(run, place, episode)| {
        let supports = plan.supports_of(&episode);
        let images = std::iter::once(episode.query)
            .chain(supports.iter().copied())
            .filter(|&position| seen.insert(position) || !reuses)
            .collect();
        Ok(Job { run, place, episode, supports, images })
    });
    let dataset = Arc::clone(&data.dataset);
    OrderedLoader::new(jobs, options, move |job| Ok(read(&dataset, &transform, cams.as_ref(), job)))
}

fn read(
    dataset: &SegmentationDataset,
    transform: &EpisodeTransform,
    cams: Option<&CamReader>,
    job: Job,
) -> Result<EpisodeInput, TrainError> {
    let Job { run, place, episode, supports, images: wanted } = job;
    let mut images = HashMap::new();
    let masks = std::iter::once(episode.query)
        .chain(supports.iter().copied())
        .zip(std::iter::once(Role::Query).chain(std::iter::repeat(Role::Support)))
        .map(|(position, role)| {
            let mask = if wanted.contains(&position) && !images.contains_key(&position) {
                let sample = dataset.load(position)?;
                images.insert(position, transform.image(&sample.image)?);
                sample.mask
            } else {
                dataset.load_mask(position)?
            };
            Ok(dataset.class_mask(position, &transform.mask(&mask, role)?, episode.class))
        })
        .collect::<Result<_, DataError>>()?;
    let cams = match cams {
        Some(reader) => reader.read_all(dataset, episode.query, &supports, episode.class)?,
        None => Vec::new(),
    };
    Ok(EpisodeInput { run, place, episode, supports, masks, images, cams })
}
