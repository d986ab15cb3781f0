//! HSNet and IMR under a recipe.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{
    ComputePrecision, ModuleFile, NamedTensor, OfficialKeys, Strictness, TapBackbone,
    load_module_tensors, module_tensors, write_state_dict,
};
use fss_heads::{Hsnet, HsnetConfig, Imr, ImrConfig};

use super::RecipeModel;
use super::model::other_kind;
use crate::TrainError;
use crate::recipe::{Init, ModelSettings, Recipe};

impl RecipeModel for Hsnet {
    type Inference = Self;

    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError> {
        let ModelSettings::Hsnet(settings) = &recipe.model else {
            return Err(other_kind(recipe, "hsnet"));
        };
        let config = recipe.tap_network()?;
        config.validate()?;
        let backbone = config.init(device, recipe.init.seed());
        let config = HsnetConfig::new(config)
            .with_support_mask(settings.support_mask)
            .with_side(recipe.episodes.crop);
        Ok(config.init_with(backbone, device, settings.seed))
    }

    fn initialise(self, init: &Init, calibration: Option<Tensor<4>>) -> Result<Self, TrainError> {
        let mut model = started(self, init, |model| &mut model.backbone)?;
        model.backbone = calibrated(model.backbone, calibration);
        Ok(model)
    }

    fn in_precision(self, precision: ComputePrecision) -> Self {
        self.with_precision(precision)
    }

    fn named_tensors(&self) -> Result<Vec<NamedTensor>, TrainError> {
        Ok(module_tensors(self)?)
    }

    fn load_named(self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError> {
        Ok(load_module_tensors(self, tensors, origin)?)
    }

    fn save_weights(
        &self,
        path: &Path,
        recipe: &Recipe,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        let mut metadata = about(self.config(), metadata);
        metadata.insert("fss.side".into(), recipe.episodes.crop.to_string());
        let mask = serde_json::to_value(self.support_mask()).unwrap_or_default();
        if let Some(mask) = mask.as_str() {
            metadata.insert("fss.support_mask".into(), mask.into());
        }
        Ok(write_state_dict(path, &module_tensors(self)?, &metadata)?)
    }

    fn inference(&self) -> Self {
        self.valid().fold()
    }
}

impl RecipeModel for Imr {
    type Inference = Self;

    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError> {
        let ModelSettings::Imr(settings) = &recipe.model else {
            return Err(other_kind(recipe, "imr"));
        };
        let network = recipe.tap_network()?;
        network.validate()?;
        // The state has the size of the shallow features, which follows from the images'.
        let [[grid, _], ..] = network.feature_sizes([recipe.episodes.crop; 2]);
        let config = ImrConfig::new(network)
            .with_stages(settings.stages)
            .with_first_mask(settings.first_mask)
            .with_grid(grid);
        let backbone = network.init(device, recipe.init.seed());
        Ok(config.init_with(backbone, device, settings.seed)?)
    }

    fn initialise(self, init: &Init, calibration: Option<Tensor<4>>) -> Result<Self, TrainError> {
        let mut model = started(self, init, |model| &mut model.backbone)?;
        model.backbone = calibrated(model.backbone, calibration);
        Ok(model)
    }

    fn in_precision(self, precision: ComputePrecision) -> Self {
        self.with_precision(precision)
    }

    fn named_tensors(&self) -> Result<Vec<NamedTensor>, TrainError> {
        Ok(module_tensors(self)?)
    }

    fn load_named(self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError> {
        Ok(load_module_tensors(self, tensors, origin)?)
    }

    fn save_weights(
        &self,
        path: &Path,
        _recipe: &Recipe,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        let mut metadata = about(self.config(), metadata);
        metadata.insert("fss.stages".into(), self.stages().to_string());
        let first = serde_json::to_value(self.first_mask()).unwrap_or_default();
        if let Some(first) = first.as_str() {
            metadata.insert("fss.first_mask".into(), first.into());
        }
        Ok(write_state_dict(path, &module_tensors(self)?, &metadata)?)
    }

    fn inference(&self) -> Self {
        self.valid().fold()
    }
}

/// The metadata given and the entries that say which backbone the file holds.
fn about(
    backbone: &fss_backbone::TapBackboneConfig,
    metadata: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut metadata = metadata.clone();
    metadata.insert("fss.backbone".into(), backbone.network.to_string());
    metadata.insert("fss.width".into(), backbone.width.to_string());
    metadata
}

/// The model with the weights that training starts from: an ImageNet file fills the backbone, a
/// checkpoint of the whole model everything.
fn started<M: OfficialKeys>(
    mut model: M,
    init: &Init,
    backbone: impl Fn(&mut M) -> &mut TapBackbone,
) -> Result<M, TrainError> {
    let Init::Weights { path } = init else { return Ok(model) };
    let mut file = ModuleFile::open(path)?;
    if file.has_part("hpn_learner.") {
        return Ok(file.load(model, "", Strictness::Strict)?.0);
    }
    let prefix = if file.has_part("backbone.") { "backbone." } else { "" };
    let place = backbone(&mut model);
    *place = file.load(place.clone(), prefix, Strictness::Strict)?.0;
    Ok(model)
}

fn calibrated(backbone: TapBackbone, images: Option<Tensor<4>>) -> TapBackbone {
    match images {
        Some(images) => backbone.calibrate_norms(images),
        None => backbone,
    }
}
