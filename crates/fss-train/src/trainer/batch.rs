//! Episodes to batches.

use burn::tensor::Device;
use fss_data::loader::EpisodeTensors;
use fss_heads::{CamBatch, EpisodeBatch};
use ndarray::Array2;

use crate::TrainError;
use crate::tensor::{cam_batch, image_batch, mask_batch};

/// An episode to train on.
pub(super) struct TrainingEpisode {
    /// Its images and masks.
    pub tensors: EpisodeTensors,
    /// Coarse maps of the query, then of each support; empty for a model that reads none.
    pub cams: Vec<Array2<f32>>,
}

/// Puts episodes of one shot and one size into a batch.
pub(super) fn episode_batch(
    drawn: &[TrainingEpisode],
    device: &Device,
) -> Result<EpisodeBatch, TrainError> {
    let episodes: Vec<&EpisodeTensors> = drawn.iter().map(|episode| &episode.tensors).collect();
    let shots = episodes.first().map_or(0, |episode| episode.supports.len());
    if let Some(other) = episodes.iter().find(|episode| episode.supports.len() != shots) {
        return Err(TrainError::setting(
            format!("a batch mixes episodes of {shots} and {} supports", other.supports.len()),
            "draw all training episodes with the same shot",
        ));
    }
    let supports = (0..shots)
        .map(|k| {
            let images = image_batch(episodes.iter().map(|e| &e.supports[k].0), device)?;
            let masks = mask_batch(episodes.iter().map(|e| &e.supports[k].1), device)?;
            Ok((images, masks))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    Ok(EpisodeBatch {
        cams: cams(drawn, shots, device)?,
        query: image_batch(episodes.iter().map(|e| &e.query), device)?,
        query_mask: mask_batch(episodes.iter().map(|e| &e.query_mask), device)?,
        supports,
        extra: None,
    })
}

/// The coarse maps of a batch, if the model reads any.
fn cams(
    drawn: &[TrainingEpisode],
    shots: usize,
    device: &Device,
) -> Result<Option<CamBatch>, TrainError> {
    if drawn.iter().any(|episode| episode.cams.len() != 1 + shots) {
        return Ok(None);
    }
    let of = |place: usize| cam_batch(drawn.iter().map(|episode| &episode.cams[place]), device);
    let supports = (1..=shots).map(of).collect::<Result<_, _>>()?;
    Ok(Some(CamBatch { query: of(0)?, supports }))
}
