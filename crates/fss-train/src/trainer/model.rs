//! What a model must offer to be trained by a recipe.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{KeyStyle, NamedTensor, load_weights, save_safetensors};
use fss_heads::{FewShotModel, Ssp, SspConfig, TrainableModel};

use crate::TrainError;
use crate::recipe::{Init, ModelKind, Recipe};

/// A model that can be built from a recipe, started, saved and continued.
pub trait RecipeModel: TrainableModel {
    /// The form in which the model is evaluated.
    type Inference: FewShotModel;

    /// The model with random weights, its frozen parts set.
    ///
    /// # Errors
    /// If the recipe is for another model, or its settings make no network.
    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError>;

    /// Puts in the weights that training starts from: those of a file, or none (the random ones),
    /// with the norms' statistics taken from `calibration` images `[B, 3, H, W]` if there are any.
    ///
    /// # Errors
    /// If the file cannot be read or does not fit.
    fn initialise(self, init: &Init, calibration: Option<Tensor<4>>) -> Result<Self, TrainError>;

    /// All parameters and buffers under their official names.
    ///
    /// # Errors
    /// If they cannot be read back from the device.
    fn named_tensors(&self) -> Result<Vec<NamedTensor>, TrainError>;

    /// Takes over what [`named_tensors`](Self::named_tensors) gave; `origin` names the source in
    /// errors. What is frozen stays frozen.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape.
    fn load_named(self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError>;

    /// Writes the weights as safetensors under their official names, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save_weights(
        &self,
        path: &Path,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError>;

    /// The model for evaluation, without autodiff; this one is not touched.
    fn inference(&self) -> Self::Inference;
}

impl RecipeModel for Ssp {
    type Inference = Self;

    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError> {
        let ModelKind::Ssp = recipe.model.kind;
        recipe.backbone.validate()?;
        let seed = match recipe.init {
            Init::Scratch { seed, .. } => seed,
            Init::Weights { .. } => 0,
        };
        let backbone = recipe
            .backbone
            .init(device, seed)
            .freeze(&recipe.train.frozen)
            .with_norm_training(recipe.train.norms);
        Ok(SspConfig::new(recipe.backbone).with_refine(recipe.model.refine).init_with(backbone))
    }

    fn initialise(
        mut self,
        init: &Init,
        calibration: Option<Tensor<4>>,
    ) -> Result<Self, TrainError> {
        if let Init::Weights { path } = init {
            self.backbone = load_weights(self.backbone, path)?.0;
        }
        if let Some(images) = calibration {
            self.backbone = self.backbone.calibrate_norms(images);
        }
        Ok(self)
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
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        Ok(save_safetensors(&self.backbone, path, KeyStyle::Ssp, metadata)?)
    }

    fn inference(&self) -> Self {
        self.valid().fold()
    }
}
