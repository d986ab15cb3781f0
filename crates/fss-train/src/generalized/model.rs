//! What a model must offer to be trained in stages.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use fss_backbone::{
    BackboneError, ComputePrecision, ModuleFile, NamedTensor, OfficialKeys, Strictness,
    load_module_tensors, module_tensors,
};
use fss_heads::{
    ClassCount, GeneralizedModel, HeadError, Losses, Pop, PopConfig, Pspnet, PspnetConfig,
    Statistic,
};

use super::recipe::{GfssInit, GfssRecipe};
use super::step::StageBatch;
use crate::TrainError;

/// A model of generalized segmentation that can be trained by a recipe, saved and continued.
pub trait StagedModel: Module + GeneralizedModel + OfficialKeys + Send {
    /// The model that a run of a seed starts from, its frozen parts set. Without novel classes it is one of
    /// stage 1.
    ///
    /// # Errors
    /// If the weights cannot be read or do not fit.
    fn start(
        recipe: &GfssRecipe,
        classes: ClassCount,
        seed: u64,
        device: &Device,
    ) -> Result<Self, TrainError>;

    /// Sets in which precision training convolves.
    #[must_use]
    fn in_precision(self, precision: ComputePrecision) -> Self;

    /// The losses of a batch.
    ///
    /// # Errors
    /// [`HeadError`] for a batch of the other stage, or one whose shapes do not fit.
    fn losses(&self, batch: &StageBatch) -> Result<Losses, HeadError>;

    /// Takes over what a step measured for running statistics.
    #[must_use]
    fn absorb(self, statistics: &[Statistic]) -> Self;

    /// The model for inference.
    #[must_use]
    fn inference(&self) -> Self;

    /// What training changes, under official names.
    ///
    /// # Errors
    /// If it cannot be read back from the device.
    fn learnt(&self) -> Result<Vec<NamedTensor>, TrainError>;

    /// Takes over what [`learnt`](Self::learnt) gave; `origin` names the source in errors.
    ///
    /// # Errors
    /// If a tensor is missing, unknown or of another shape.
    fn with_learnt(self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError>;
}

impl StagedModel for Pop {
    fn start(
        recipe: &GfssRecipe,
        classes: ClassCount,
        seed: u64,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let config = PopConfig::new(recipe.backbone, classes.base);
        let mut model = config.init(device, seed);
        if let GfssInit::Weights { path } = &recipe.init {
            let mut file = ModuleFile::open(path)?;
            let whole = classes.novel > 0 || file.has_part("decoder.") || file.has_part("base_emb");
            if whole {
                model = file.load(model, "", Strictness::Strict)?.0;
            } else {
                model.backbone = backbone(model.backbone, &mut file)?;
            }
        }
        Ok(match (classes.novel, recipe.train.freeze_backbone) {
            (0, false) => model,
            (0, true) => model.freeze_backbone(),
            (novel, _) => model.extended(novel, seed),
        })
    }

    fn in_precision(self, precision: ComputePrecision) -> Self {
        self.with_precision(precision)
    }

    fn losses(&self, batch: &StageBatch) -> Result<Losses, HeadError> {
        match batch {
            StageBatch::Base(batch) => self.base_losses(batch),
            StageBatch::Novel { novel, base } => self.novel_losses(novel, base),
        }
    }

    fn absorb(self, statistics: &[Statistic]) -> Self {
        Self::absorb(self, statistics)
    }

    fn inference(&self) -> Self {
        self.clone().fold()
    }

    fn learnt(&self) -> Result<Vec<NamedTensor>, TrainError> {
        if self.classes().novel == 0 {
            return Ok(module_tensors(self)?);
        }
        // Stage 2 leaves all else as it was in the weights that it started from.
        let mut tensors = module_tensors(&self.head)?;
        tensors.retain(|tensor| is_novel(&tensor.key));
        Ok(tensors)
    }

    fn with_learnt(mut self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError> {
        if self.classes().novel == 0 {
            return Ok(load_module_tensors(self, tensors, origin)?);
        }
        let mut all = module_tensors(&self.head)?;
        all.retain(|tensor| !is_novel(&tensor.key));
        all.extend(tensors);
        self.head = load_module_tensors(self.head, all, origin)?;
        Ok(self)
    }
}

fn is_novel(key: &str) -> bool {
    key == "novel_emb" || key.starts_with("classifier_n.")
}

impl StagedModel for Pspnet {
    fn start(
        recipe: &GfssRecipe,
        classes: ClassCount,
        seed: u64,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let mut model = PspnetConfig::new(recipe.backbone, classes.base).init(device, seed);
        if let GfssInit::Weights { path } = &recipe.init {
            let mut file = ModuleFile::open(path)?;
            if file.has_part("decoder.") {
                model = file.load(model, "", Strictness::Strict)?.0;
            } else {
                model.backbone = backbone(model.backbone, &mut file)?;
            }
        }
        Ok(if recipe.train.freeze_backbone { model.freeze_backbone() } else { model })
    }

    fn in_precision(self, precision: ComputePrecision) -> Self {
        self.with_precision(precision)
    }

    fn losses(&self, batch: &StageBatch) -> Result<Losses, HeadError> {
        match batch {
            StageBatch::Base(batch) => self.base_losses(batch),
            StageBatch::Novel { .. } => Err(HeadError::Setting {
                problem: "the baseline has no stage 2".into(),
                remedy: "use pop".into(),
            }),
        }
    }

    fn absorb(self, statistics: &[Statistic]) -> Self {
        Self::absorb(self, statistics)
    }

    fn inference(&self) -> Self {
        self.clone().fold()
    }

    fn learnt(&self) -> Result<Vec<NamedTensor>, TrainError> {
        Ok(module_tensors(self)?)
    }

    fn with_learnt(self, tensors: Vec<NamedTensor>, origin: &Path) -> Result<Self, TrainError> {
        Ok(load_module_tensors(self, tensors, origin)?)
    }
}

/// A backbone with the weights of an ImageNet file.
fn backbone<M: OfficialKeys>(module: M, file: &mut ModuleFile) -> Result<M, BackboneError> {
    Ok(file.load(module, "", Strictness::Strict)?.0)
}
