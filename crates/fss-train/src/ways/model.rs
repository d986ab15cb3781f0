//! What a model of DENet's code must offer to be trained.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{
    ComputePrecision, ImagenetBackbone, ModuleFile, NamedTensor, OfficialKeys, Strictness,
    load_module_tensors, module_tensors, write_state_dict,
};
use fss_heads::denet::FullLabels;
use fss_heads::{
    Amp, AmpConfig, Canet, CanetConfig, Denet, DenetConfig, EpisodeBatch, HeadError, LabelledBatch,
    Losses, Pgnet, PgnetConfig, Statistic, TrainableModel,
};

use super::recipe::{WaysMethod, WaysRecipe};
use super::tester::{PerWay, WayTester};
use crate::TrainError;

/// What an iteration learns from.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum WaysBatch {
    /// Episodes of one way.
    Episodes {
        /// Images and masks.
        batch: EpisodeBatch,
        /// All labels of the queries, and the classes.
        full: FullLabels,
    },
    /// Plain images with all labels (AMP).
    Plain(LabelledBatch),
}

impl WaysBatch {
    fn episodes(&self) -> Result<(&EpisodeBatch, &FullLabels), HeadError> {
        match self {
            Self::Episodes { batch, full } => Ok((batch, full)),
            Self::Plain(_) => Err(HeadError::Setting {
                problem: "this model learns from episodes, not from plain images".into(),
                remedy: "give `WaysBatch::Episodes`".into(),
            }),
        }
    }
}

/// A model that can be trained by a [`WaysRecipe`], saved and continued.
pub trait WaysModel: Module + OfficialKeys + Send {
    /// The form in which the model is tested.
    type Tested: WayTester;

    /// Its method.
    const METHOD: WaysMethod;

    /// The model with random weights; `rows` counts the classes of the data and the background.
    ///
    /// # Errors
    /// If the recipe's settings make no model.
    fn build(recipe: &WaysRecipe, rows: usize, device: &Device) -> Result<Self, TrainError>;

    /// The model with the weights of a file: a checkpoint of the whole model, or ImageNet weights of the
    /// backbone.
    ///
    /// # Errors
    /// If it cannot be read or does not fit.
    fn started(mut self, path: &Path) -> Result<Self, TrainError> {
        let mut file = ModuleFile::open(path)?;
        if Self::is_in(&file) {
            return self.filled(path);
        }
        let backbone = self.backbone_mut();
        backbone.config().expect_in(&file, "")?;
        *backbone = file.load(backbone.clone(), "", Strictness::Strict)?.0;
        Ok(self)
    }

    /// The model with the statistics of the backbone's norms measured on images `[B, 3, H, W]`.
    #[must_use]
    fn calibrated(mut self, images: Tensor<4>) -> Self {
        let backbone = self.backbone_mut();
        *backbone = backbone.clone().calibrate_norms(images);
        self
    }

    /// Its backbone.
    fn backbone_mut(&mut self) -> &mut ImagenetBackbone;

    /// Sets in which precision training convolves; tests compute in full.
    #[must_use]
    fn in_precision(mut self, precision: ComputePrecision) -> Self {
        let backbone = self.backbone_mut();
        *backbone = backbone.clone().with_precision(precision);
        self
    }

    /// Whether a file holds a whole model of this kind.
    fn is_in(file: &ModuleFile) -> bool;

    /// The model with the weights of such a file.
    ///
    /// # Errors
    /// If it does not fit.
    fn filled(self, path: &Path) -> Result<Self, TrainError>;

    /// Sets from what the next step draws what it drops; nothing if the recipe says so.
    #[must_use]
    fn dropping(self, recipe: &WaysRecipe, seed: u64) -> Self;

    /// The losses of a batch.
    ///
    /// # Errors
    /// [`HeadError`] for a batch of the other kind, or one whose shapes or classes do not fit.
    fn losses(&self, recipe: &WaysRecipe, batch: &WaysBatch) -> Result<Losses, HeadError>;

    /// Takes over what a step measured for running statistics.
    #[must_use]
    fn absorb(self, statistics: &[Statistic]) -> Self;

    /// The model for tests, without autodiff.
    #[must_use]
    fn tested(&self) -> Self::Tested;

    /// Writes the weights as safetensors under their official names, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save_weights(
        &self,
        path: &Path,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        Ok(write_state_dict(path, &self.official_tensors()?, metadata)?)
    }

    /// All tensors of an official checkpoint.
    ///
    /// # Errors
    /// If they cannot be read back from the device.
    fn official_tensors(&self) -> Result<Vec<NamedTensor>, TrainError> {
        Ok(module_tensors(self)?)
    }

    /// Takes over tensors of a checkpoint; `origin` names the source in errors.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape.
    fn with_tensors(self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError> {
        Ok(load_module_tensors(self, tensors, origin)?)
    }
}

impl WaysRecipe {
    pub(super) fn denet(&self, rows: usize) -> DenetConfig {
        DenetConfig::new(self.backbone, rows).with_side(self.episodes.side)
    }

    pub(super) fn amp(&self, rows: usize) -> AmpConfig {
        AmpConfig::new(self.backbone, rows).with_side(self.episodes.side)
    }

    pub(super) fn canet(&self) -> CanetConfig {
        CanetConfig::new(self.backbone)
            .with_refinements(self.model.refinements)
            .with_side(self.episodes.side)
    }

    pub(super) fn pgnet(&self) -> PgnetConfig {
        PgnetConfig::new(self.backbone).with_side(self.episodes.side)
    }

    /// The backbone with random weights.
    fn network(&self, device: &Device) -> ImagenetBackbone {
        self.backbone.init(device, self.init.seed())
    }

    /// Refuses a recipe of another model.
    fn expect(&self, method: WaysMethod) -> Result<(), TrainError> {
        if self.model.kind == method {
            return Ok(());
        }
        let (found, want) = (self.model.kind.name(), method.name());
        Err(TrainError::Recipe {
            origin: self.name.clone(),
            problem: format!("`model.kind` is {found}, but {want} is to be trained"),
            remedy: format!(
                "set `model.kind` to {want}, or train the model that the recipe is for"
            ),
        })
    }
}

impl WaysModel for Denet {
    type Tested = Self;
    const METHOD: WaysMethod = WaysMethod::Denet;

    fn build(recipe: &WaysRecipe, rows: usize, device: &Device) -> Result<Self, TrainError> {
        recipe.expect(Self::METHOD)?;
        let config = recipe.denet(rows);
        config.validate()?;
        Ok(config.init_with(recipe.network(device), device, recipe.model.seed))
    }

    fn backbone_mut(&mut self) -> &mut ImagenetBackbone {
        &mut self.backbone
    }

    fn is_in(file: &ModuleFile) -> bool {
        DenetConfig::of_file(file).is_some()
    }

    fn filled(self, path: &Path) -> Result<Self, TrainError> {
        Ok(self.load(path)?.0)
    }

    fn dropping(self, recipe: &WaysRecipe, seed: u64) -> Self {
        match recipe.model.dropout {
            true => self.with_dropout_seed(seed),
            false => self.without_dropout(),
        }
    }

    fn losses(&self, recipe: &WaysRecipe, batch: &WaysBatch) -> Result<Losses, HeadError> {
        let (batch, full) = batch.episodes()?;
        Denet::losses(self, batch, full, recipe.model.lambda)
    }

    fn absorb(self, statistics: &[Statistic]) -> Self {
        Denet::absorb(self, statistics)
    }

    fn tested(&self) -> Self {
        self.valid().fold()
    }
}

impl WaysModel for Amp {
    type Tested = Self;
    const METHOD: WaysMethod = WaysMethod::Amp;

    fn build(recipe: &WaysRecipe, rows: usize, device: &Device) -> Result<Self, TrainError> {
        recipe.expect(Self::METHOD)?;
        let config = recipe.amp(rows);
        config.validate()?;
        Ok(config.init_with(recipe.network(device), device, recipe.model.seed))
    }

    fn backbone_mut(&mut self) -> &mut ImagenetBackbone {
        &mut self.backbone
    }

    fn is_in(file: &ModuleFile) -> bool {
        AmpConfig::of_file(file).is_some()
    }

    fn filled(self, path: &Path) -> Result<Self, TrainError> {
        Ok(self.load(path)?.0)
    }

    fn dropping(self, _recipe: &WaysRecipe, _seed: u64) -> Self {
        self
    }

    fn losses(&self, _recipe: &WaysRecipe, batch: &WaysBatch) -> Result<Losses, HeadError> {
        match batch {
            WaysBatch::Plain(batch) => Amp::losses(self, batch),
            WaysBatch::Episodes { .. } => Err(HeadError::Setting {
                problem: "AMP learns from plain images, not from episodes".into(),
                remedy: "give `WaysBatch::Plain`".into(),
            }),
        }
    }

    fn absorb(self, statistics: &[Statistic]) -> Self {
        Amp::absorb(self, statistics)
    }

    fn tested(&self) -> Self {
        self.valid().fold()
    }

    fn official_tensors(&self) -> Result<Vec<NamedTensor>, TrainError> {
        Ok(self.state_dict()?)
    }
}

impl WaysModel for Canet {
    type Tested = PerWay<Self>;
    const METHOD: WaysMethod = WaysMethod::Canet;

    fn build(recipe: &WaysRecipe, _rows: usize, device: &Device) -> Result<Self, TrainError> {
        recipe.expect(Self::METHOD)?;
        let config = recipe.canet();
        config.validate()?;
        Ok(config.init_with(recipe.network(device), device, recipe.model.seed))
    }

    fn backbone_mut(&mut self) -> &mut ImagenetBackbone {
        &mut self.backbone
    }

    fn is_in(file: &ModuleFile) -> bool {
        CanetConfig::of_file(file).is_some()
    }

    fn filled(self, path: &Path) -> Result<Self, TrainError> {
        Ok(self.load(path)?.0)
    }

    fn dropping(self, recipe: &WaysRecipe, seed: u64) -> Self {
        match recipe.model.dropout {
            true => self.with_dropout_seed(seed),
            false => self.without_dropout(),
        }
    }

    fn losses(&self, _recipe: &WaysRecipe, batch: &WaysBatch) -> Result<Losses, HeadError> {
        TrainableModel::losses(self, batch.episodes()?.0)
    }

    fn absorb(self, statistics: &[Statistic]) -> Self {
        TrainableModel::absorb(self, statistics)
    }

    fn tested(&self) -> PerWay<Self> {
        PerWay(self.valid().fold())
    }
}

impl WaysModel for Pgnet {
    type Tested = PerWay<Self>;
    const METHOD: WaysMethod = WaysMethod::Pgnet;

    fn build(recipe: &WaysRecipe, _rows: usize, device: &Device) -> Result<Self, TrainError> {
        recipe.expect(Self::METHOD)?;
        let config = recipe.pgnet();
        config.validate()?;
        Ok(config.init_with(recipe.network(device), device, recipe.model.seed))
    }

    fn backbone_mut(&mut self) -> &mut ImagenetBackbone {
        &mut self.backbone
    }

    fn is_in(file: &ModuleFile) -> bool {
        PgnetConfig::of_file(file).is_some()
    }

    fn filled(self, path: &Path) -> Result<Self, TrainError> {
        Ok(self.load(path)?.0)
    }

    fn dropping(self, recipe: &WaysRecipe, seed: u64) -> Self {
        match recipe.model.dropout {
            true => self.with_dropout_seed(seed),
            false => self.without_dropout(),
        }
    }

    fn losses(&self, _recipe: &WaysRecipe, batch: &WaysBatch) -> Result<Losses, HeadError> {
        TrainableModel::losses(self, batch.episodes()?.0)
    }

    fn absorb(self, statistics: &[Statistic]) -> Self {
        TrainableModel::absorb(self, statistics)
    }

    fn tested(&self) -> PerWay<Self> {
        PerWay(self.valid().fold())
    }
}
