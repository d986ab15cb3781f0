//! The images of episodes, read ahead.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fss_data::episode::Episode;
use fss_data::loader::{EpisodeTransform, OrderedLoader};
use fss_data::transform::Role;
use fss_data::{DataError, SegmentationDataset};
use ndarray::{Array2, Array3};

use super::{EvaluationPlan, FeatureReuse, Supports};
use crate::EpisodeData;

/// An episode with its masks, and those images that have no features yet.
pub(super) struct EpisodeInput {
    pub run: usize,
    pub episode: Episode,
    /// Positions of the supports in force.
    pub supports: Vec<usize>,
    /// Binary mask of the query, then of each support.
    pub masks: Vec<Array2<u8>>,
    /// Images as the network sees them, by position.
    pub images: HashMap<usize, Array3<f32>>,
}

struct Job {
    run: usize,
    episode: Episode,
    supports: Vec<usize>,
    /// Images to read beside the masks.
    images: HashSet<usize>,
}

/// Reads the masks of all episodes in order; an image only where its features will be computed.
///
/// With reuse this is its first use. If its features are dropped later, the evaluation reads it
/// again itself.
pub(super) fn read_ahead(
    data: &EpisodeData,
    runs: Vec<Vec<Episode>>,
    plan: &EvaluationPlan,
) -> Result<OrderedLoader<impl Send + 'static, EpisodeInput>, DataError> {
    let mut seen = HashSet::new();
    let reuses = plan.reuse != FeatureReuse::Off;
    let supports = plan.supports;
    let episodes = runs
        .into_iter()
        .enumerate()
        .flat_map(|(run, episodes)| episodes.into_iter().map(move |episode| (run, episode)));
    let jobs = episodes.map(move |(run, episode)| {
        let supports = match supports {
            Supports::Drawn => episode.supports.clone(),
            Supports::QueryItself => vec![episode.query],
        };
        let images = std::iter::once(episode.query)
            .chain(supports.iter().copied())
            .filter(|&position| seen.insert(position) || !reuses)
            .collect();
        Ok(Job { run, episode, supports, images })
    });
    let dataset = Arc::clone(&data.dataset);
    let transform = plan.protocol.transform(data.benchmark());
    OrderedLoader::new(jobs, plan.loader, move |job| read(&dataset, &transform, job))
}

fn read(
    dataset: &SegmentationDataset,
    transform: &EpisodeTransform,
    job: Job,
) -> Result<EpisodeInput, DataError> {
    let Job { run, episode, supports, images: wanted } = job;
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
    Ok(EpisodeInput { run, episode, supports, masks, images })
}
