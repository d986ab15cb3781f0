//! What training leaves alone.

use serde::{Deserialize, Serialize};

use crate::block::ConvUnit;
use crate::resnet::DeepStemResNet;

/// A part of the network that can be frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The three stem convolutions.
    Stem,
    /// First layer of residual blocks.
    Layer1,
    /// Second layer of residual blocks.
    Layer2,
    /// Third and last layer of residual blocks.
    Layer3,
    /// Scale and shift of all norms. The running statistics are always frozen.
    Norms,
}

/// Whether the norms' scale and shift take part in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormTraining {
    /// Only convolutions are trained, as in SSP and MLC.
    #[default]
    Frozen,
    /// Scale and shift of unfrozen stages are trained too: for training from scratch.
    ScaleShift,
}

/// Which parts are frozen. Norms are from the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Frozen {
    stages: [bool; 4],
    norms: NormTraining,
}

impl Frozen {
    pub(crate) fn is_frozen(&self, stage: Stage) -> bool {
        match stage {
            Stage::Norms => self.norms == NormTraining::Frozen,
            stage => self.stages[stage as usize],
        }
    }

    fn set(&mut self, stage: Stage, frozen: bool) {
        match stage {
            Stage::Norms if frozen => self.norms = NormTraining::Frozen,
            Stage::Norms => self.norms = NormTraining::ScaleShift,
            stage => self.stages[stage as usize] = frozen,
        }
    }
}

impl DeepStemResNet {
    /// Freezes stages: their parameters get no gradient, and as long as nothing before them is
    /// trained they run outside autodiff altogether (no graph, no kept activations).
    ///
    /// SSP and MLC freeze [`Stage::Stem`] and [`Stage::Layer1`]. [`Stage::Norms`] is frozen from
    /// the start. Freezing adds up; [`DeepStemResNet::unfreeze`] takes back.
    #[must_use]
    pub fn freeze(self, stages: &[Stage]) -> Self {
        self.set_frozen(stages, true)
    }

    /// Takes back [`DeepStemResNet::freeze`]; with [`Stage::Norms`], scale and shift are trained.
    #[must_use]
    pub fn unfreeze(self, stages: &[Stage]) -> Self {
        self.set_frozen(stages, false)
    }

    /// Sets whether scale and shift of the norms are trained (in unfrozen stages).
    #[must_use]
    pub fn with_norm_training(self, norms: NormTraining) -> Self {
        self.set_frozen(&[Stage::Norms], norms == NormTraining::Frozen)
    }

    /// Whether a stage is frozen.
    pub fn is_frozen(&self, stage: Stage) -> bool {
        self.frozen.is_frozen(stage)
    }

    fn set_frozen(mut self, stages: &[Stage], frozen: bool) -> Self {
        for &stage in stages {
            self.frozen.set(stage, frozen);
        }
        self.apply_frozen();
        self
    }

    /// Brings the gradient setting of every parameter in line with what is frozen.
    pub(crate) fn apply_frozen(&mut self) {
        let frozen = self.frozen;
        for (keys, unit) in self.units_mut() {
            let ConvUnit::Separate(unit) = unit else { continue };
            let trained = !frozen.is_frozen(keys.stage);
            let norm_trained = trained && !frozen.is_frozen(Stage::Norms);
            unit.conv.weight = unit.conv.weight.clone().set_require_grad(trained);
            let norm = &mut unit.norm;
            norm.weight = norm.weight.clone().set_require_grad(norm_trained);
            norm.bias = norm.bias.clone().set_require_grad(norm_trained);
            norm.running_mean = norm.running_mean.clone().set_require_grad(false);
            norm.running_var = norm.running_var.clone().set_require_grad(false);
        }
    }
}
