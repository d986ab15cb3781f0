//! Further images with pseudo masks, beside the episodes.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_backbone::DeepStemResNet;
use fss_data::DataError;
use fss_data::episode::CropFlip;
use fss_data::io::WIDE_IGNORE;
use fss_data::loader::OrderedLoader;
use fss_data::rng::KeyedRandom;
use fss_data::transform::TrainTransform;
use fss_heads::{PSEUDO_IGNORE, PseudoBatch};
use ndarray::{Array2, Array3};

use super::run::TrainingRun;
use crate::TrainError;
use crate::mining::{Origin, PseudoMasks};
use crate::tensor::image_batch;

/// Makes the draws here others than those of seeded episodes under the same seed.
const STREAM: u64 = 0x6d69_6e65_5f6d_6c63;

/// What the pseudo masks must be.
pub(super) enum Expected<'a> {
    /// Those that the recipe and the model describe.
    Origin,
    /// Those that the run was started with; it is continued after `done` iterations.
    Fingerprint {
        /// Their fingerprint, from the checkpoint.
        wanted: Option<&'a str>,
        /// Finished iterations.
        done: u64,
    },
}

/// The further images of all iterations that are left, read ahead by threads.
///
/// Image `j` of iteration `i`, its crop and whether it is mirrored follow from the seed, `i` and `j`
/// alone, so that a run goes on from the number of its iteration.
pub(super) struct ExtraImages {
    loader: OrderedLoader<u64, (Array3<f32>, Array2<u16>)>,
    batch: usize,
    fingerprint: String,
}

impl ExtraImages {
    /// Opens the pseudo masks of a run's recipe, if it has any. `encoder` is the backbone that
    /// training starts from.
    pub(super) fn open(
        run: &TrainingRun,
        encoder: Option<&DeepStemResNet>,
        expected: Expected<'_>,
    ) -> Result<Option<Self>, TrainError> {
        let recipe = &run.recipe;
        let Some(settings) = recipe.model.mining() else { return Ok(None) };
        let masks = PseudoMasks::open(&settings.masks, &run.train.dataset)?;
        let done = match expected {
            Expected::Origin => {
                if let Some(encoder) = encoder {
                    let dataset = &run.train.dataset;
                    let fold = &run.train.fold;
                    let wanted = Origin::new(encoder, dataset, fold, &settings.labels)?;
                    masks.check(&wanted, settings.encoder)?;
                }
                0
            }
            Expected::Fingerprint { wanted, done } => {
                if wanted != Some(masks.fingerprint()) {
                    return Err(TrainError::labels(
                        &settings.masks,
                        "the pseudo masks are not those that the run was started with",
                        "put the folder back that was there, or start a new run",
                    ));
                }
                done
            }
        };
        let crop = u32::try_from(recipe.episodes.crop).unwrap_or(u32::MAX);
        let batch = recipe.episodes.batch;
        let fingerprint = masks.fingerprint().to_owned();
        let (seed, masks) = (settings.seed ^ STREAM, Arc::new(masks));
        let transform = TrainTransform::new(crop);
        let count = batch as u64;
        let jobs = (done * count..recipe.episodes.iterations() * count).map(Ok);
        let work = move |number: u64| draw(&masks, &transform, seed, number);
        let loader = OrderedLoader::new(jobs, run.loader, work)?;
        Ok(Some(Self { loader, batch, fingerprint }))
    }

    /// Fingerprint of the pseudo masks.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The images of the next iteration.
    pub(super) fn take(&mut self, device: &Device) -> Result<PseudoBatch, TrainError> {
        let drawn = self.loader.by_ref().take(self.batch).collect::<Result<Vec<_>, _>>()?;
        let images = image_batch(drawn.iter().map(|(image, _)| image), device)?;
        let [count, _, height, width] = images.dims();
        let labels: Vec<i64> = drawn
            .iter()
            .flat_map(|(_, mask)| mask.iter())
            .map(|&label| if label == WIDE_IGNORE { PSEUDO_IGNORE } else { i64::from(label) })
            .collect();
        let masks: Tensor<3, Int> =
            Tensor::from_data(TensorData::new(labels, [count, height, width]), device);
        Ok(PseudoBatch { images, masks })
    }
}

/// Draws, reads and cuts image `number` of the run.
fn draw(
    masks: &PseudoMasks,
    transform: &TrainTransform,
    seed: u64,
    number: u64,
) -> Result<(Array3<f32>, Array2<u16>), DataError> {
    let mut random = KeyedRandom::new(seed, number);
    let (image, mask) = masks.load(random.below(masks.len().max(1)))?;
    let mut start =
        |side: u32| random.below(side.saturating_sub(transform.side()) as usize + 1) as u32;
    let x = start(image.width());
    let y = start(image.height());
    let flip = random.below(2) == 1;
    transform.apply_labels(&image, &mask, WIDE_IGNORE, CropFlip { x, y, flip })
}
