//! What a model must offer to be trained by a recipe.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use fss_backbone::{ComputePrecision, DeepStemResNet, NamedTensor, load_weights};
use fss_heads::{FewShotModel, TrainableModel};

use crate::evaluate::Protocol;
use crate::optim::Group;
use crate::recipe::{Init, Recipe};
use crate::{EpisodeData, TrainError};

/// A model that can be built from a recipe, started, saved and continued.
pub trait RecipeModel: TrainableModel {
    /// The form in which the model is evaluated.
    type Inference: FewShotModel;

    /// The model with random weights, its frozen parts set.
    ///
    /// # Errors
    /// If the recipe is for another model, or its settings make no network.
    fn build(recipe: &Recipe, device: &Device) -> Result<Self, TrainError>;

    /// Puts in the weights that training starts from: those of a file (of the backbone alone, the
    /// head staying random, or of a whole model), or none (the random ones),
    /// with the norms' statistics taken from `calibration` images `[B, 3, H, W]` if there are any.
    ///
    /// # Errors
    /// If the file cannot be read or does not fit.
    fn initialise(self, init: &Init, calibration: Option<Tensor<4>>) -> Result<Self, TrainError>;

    /// Sets in which precision training convolves; [`inference`](Self::inference) computes in full.
    #[must_use]
    fn in_precision(self, precision: ComputePrecision) -> Self;

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

    /// Writes the weights as safetensors under their official names, whole or not at all; what else
    /// goes into the file is up to the recipe.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save_weights(
        &self,
        path: &Path,
        recipe: &Recipe,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError>;

    /// The model for evaluation, without autodiff; this one is not touched.
    fn inference(&self) -> Self::Inference;

    /// The model as it is validated and tested: [`inference`](Self::inference) with whatever it
    /// takes from the training images for that, whose masks it never sees.
    ///
    /// # Errors
    /// If these images cannot be read.
    fn tested(
        &self,
        _recipe: &Recipe,
        _train: &EpisodeData,
        _device: &Device,
    ) -> Result<Self::Inference, TrainError> {
        Ok(self.inference())
    }

    /// A tested model as a protocol has it: SSP refines under the HSNet protocol only where that says
    /// so.
    fn under(model: Self::Inference, _protocol: Protocol) -> Self::Inference {
        model
    }

    /// Parameters that learn with settings of their own.
    fn groups(_recipe: &Recipe) -> Vec<Group> {
        Vec::new()
    }

    /// What may have made pseudo masks: the backbone, in models that learn from such masks.
    fn encoder(&self) -> Option<&DeepStemResNet> {
        None
    }
}

/// The recipe's deep-stem backbone with random weights, its frozen parts set.
pub(super) fn build_backbone(
    recipe: &Recipe,
    device: &Device,
) -> Result<DeepStemResNet, TrainError> {
    let config = recipe.deep_stem()?;
    config.validate()?;
    Ok(config
        .init(device, recipe.init.seed())
        .freeze(&recipe.train.frozen)
        .with_norm_training(recipe.train.norms))
}

/// [`RecipeModel::initialise`] for a deep-stem backbone.
pub(super) fn initialise_backbone(
    mut backbone: DeepStemResNet,
    init: &Init,
    calibration: Option<Tensor<4>>,
) -> Result<DeepStemResNet, TrainError> {
    if let Init::Weights { path } = init {
        backbone = load_weights(backbone, path)?.0;
    }
    Ok(match calibration {
        Some(images) => backbone.calibrate_norms(images),
        None => backbone,
    })
}

/// That a recipe asks for a model of another kind than the one to be built.
pub(super) fn other_kind(recipe: &Recipe, want: &str) -> TrainError {
    TrainError::Recipe {
        origin: recipe.name.clone(),
        problem: format!("`model.kind` is {}, but {want} is to be trained", recipe.model.kind()),
        remedy: format!("set `model.kind` to {want}, or train the model that the recipe is for"),
    }
}
