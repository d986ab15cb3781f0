//! MLC under a recipe.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{
    ComputePrecision, DeepStemResNet, KeyStyle, NamedTensor, save_safetensors_with,
};
use fss_data::SegmentationDataset;
use fss_data::rng::KeyedRandom;
use fss_data::transform::normalise;
use fss_heads::mlc::{DECODER_PREFIX, RECTIFICATION_PREFIX};
use fss_heads::{FewShotModel, ForegroundPool, Mlc, MlcConfig};

use super::RecipeModel;
use super::model::{build_backbone, initialise_backbone, other_kind};
use crate::optim::Group;
use crate::recipe::{
    DecoderExport, ForegroundRectification, Init, JointSettings, MlcSettings, ModelSettings,
    PoolSettings, Recipe,
};
use crate::tensor::image_tensor;
use crate::{EpisodeData, TrainError};

impl RecipeModel for Mlc {
    type Inference = Self;

    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError> {
        let ModelSettings::Mlc(settings) = &recipe.model else {
            return Err(other_kind(recipe, "mlc"));
        };
        let mut config = MlcConfig::new(recipe.deep_stem()?);
        config.mining = recipe.model.mining().map(JointSettings::decoder);
        config.background = settings.background();
        Ok(config.init_with(build_backbone(recipe, device)?))
    }

    fn initialise(
        mut self,
        init: &Init,
        calibration: Option<Tensor<4>>,
    ) -> Result<Self, TrainError> {
        self.backbone = initialise_backbone(self.backbone, init, calibration)?;
        Ok(self)
    }

    fn in_precision(self, precision: ComputePrecision) -> Self {
        self.with_precision(precision)
    }

    fn named_tensors(&self) -> Result<Vec<NamedTensor>, TrainError> {
        let mut tensors = self.backbone.named_tensors()?;
        tensors.extend(self.further_tensors()?);
        Ok(tensors)
    }

    fn load_named(mut self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError> {
        let (further, backbone) = tensors.into_iter().partition(|tensor: &NamedTensor| {
            [DECODER_PREFIX, RECTIFICATION_PREFIX].iter().any(|own| tensor.key.starts_with(own))
        });
        self.backbone = self.backbone.load_named(backbone, origin)?;
        Ok(self.with_further_tensors(further, origin)?)
    }

    fn save_weights(
        &self,
        path: &Path,
        recipe: &Recipe,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        let keep = recipe.model.mining().is_some_and(|joint| joint.export == DecoderExport::Keep);
        let mut further = self.further_tensors()?;
        further.retain(|tensor| keep || !tensor.key.starts_with(DECODER_PREFIX));
        Ok(save_safetensors_with(&self.backbone, path, KeyStyle::Mlc, metadata, &further)?)
    }

    fn inference(&self) -> Self {
        self.valid().fold()
    }

    fn tested(
        &self,
        recipe: &Recipe,
        train: &EpisodeData,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let model = self.inference();
        let ModelSettings::Mlc(MlcSettings { rectification, .. }) = &recipe.model else {
            return Err(other_kind(recipe, "mlc"));
        };
        match &rectification.foreground {
            ForegroundRectification::Off => Ok(model),
            ForegroundRectification::Pool(settings) => {
                let pool = foreground_pool(&model, settings, &train.dataset, device)?;
                Ok(model.with_pool(Some(pool)))
            }
        }
    }

    fn groups(recipe: &Recipe) -> Vec<Group> {
        let group = |joint: &JointSettings| {
            Group::prefix(DECODER_PREFIX.trim_end_matches('.')).with_rate_factor(joint.rate_factor)
        };
        recipe.model.mining().map(group).into_iter().collect()
    }

    fn encoder(&self) -> Option<&DeepStemResNet> {
        Some(&self.backbone)
    }
}

/// The images in which foreground regions are looked for: drawn from a list, none twice, in the
/// order of the list.
///
/// # Errors
/// [`TrainError::Data`] naming an image that cannot be read.
pub fn foreground_pool(
    model: &Mlc,
    settings: &PoolSettings,
    dataset: &SegmentationDataset,
    device: &Device,
) -> Result<ForegroundPool, TrainError> {
    let mut random = KeyedRandom::new(settings.seed, 0);
    let mut left: Vec<usize> = (0..dataset.len()).collect();
    let mut drawn: Vec<usize> = (0..settings.images.min(dataset.len()))
        .map(|_| left.swap_remove(random.below(left.len())))
        .collect();
    drawn.sort_unstable();
    let mut pool = ForegroundPool::new(settings.config());
    for position in drawn {
        let image = normalise(&dataset.load_image(position)?);
        let (_, height, width) = image.dim();
        let features = model.features(image_tensor(image.view(), device));
        pool.add(&features, [height, width])?;
    }
    Ok(pool)
}
