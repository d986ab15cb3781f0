//! SSP under a recipe.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{ComputePrecision, KeyStyle, NamedTensor, save_safetensors};
use fss_heads::{Ssp, SspConfig};

use super::RecipeModel;
use super::model::{build_backbone, initialise_backbone, other_kind};
use crate::TrainError;
use crate::evaluate::Protocol;
use crate::recipe::{Init, ModelSettings, Recipe};

impl RecipeModel for Ssp {
    type Inference = Self;

    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError> {
        let ModelSettings::Ssp(settings) = &recipe.model else {
            return Err(other_kind(recipe, "ssp"));
        };
        let backbone = build_backbone(recipe, device)?;
        Ok(SspConfig::new(recipe.deep_stem()?).with_refine(settings.refine).init_with(backbone))
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
        Ok(self.backbone.named_tensors()?)
    }

    fn load_named(mut self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError> {
        self.backbone = self.backbone.load_named(tensors, origin)?;
        Ok(self)
    }

    fn save_weights(
        &self,
        path: &Path,
        _recipe: &Recipe,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        Ok(save_safetensors(&self.backbone, path, KeyStyle::Ssp, metadata)?)
    }

    fn inference(&self) -> Self {
        self.valid().fold()
    }

    fn under(model: Self, protocol: Protocol) -> Self {
        let refine = protocol.refine(model.refine());
        model.with_refine(refine)
    }
}
