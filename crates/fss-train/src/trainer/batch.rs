//! Episodes to batches.

use burn::tensor::Device;
use fss_data::loader::EpisodeTensors;
use fss_heads::EpisodeBatch;

use crate::TrainError;
use crate::tensor::{image_batch, mask_batch};

/// Puts episodes of one shot and one crop size into a batch.
pub(super) fn episode_batch(
    episodes: &[EpisodeTensors],
    device: &Device,
) -> Result<EpisodeBatch, TrainError> {
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
        query: image_batch(episodes.iter().map(|e| &e.query), device)?,
        query_mask: mask_batch(episodes.iter().map(|e| &e.query_mask), device)?,
        supports,
        extra: None,
        cams: None,
    })
}
