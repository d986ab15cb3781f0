//! In which precision a run trains.

use burn::tensor::{Device, FloatDType};
use fss_backbone::ComputePrecision;
use fss_heads::half_type;
use serde::{Deserialize, Serialize};

use crate::LossScaler;

/// In which precision convolutions compute while training.
///
/// Under [`Self::Mixed`] every convolution of the backbone rounds its kernel and its map (for SSP and MLC, and
/// where else a norm is merged into the kernel before, the merged kernel), and so do the embedding of DENet,
/// CANet and PGNet, DENet's DeepLab head, AMP's reduction and the 3x3 convolutions of POP's and PSPNet's
/// decoder. Parameters, biases, norms, sums of shortcuts, everything that matches or classifies, and losses stay
/// in float32; models are validated and tested in float32. The loss is scaled ([`LossScaler`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    Full,
    /// Half precision where the device has it (`--amp`), with scaled losses; float32 elsewhere.
    Mixed,
}

impl Precision {
    /// Whether it is what a recipe has that does not name it.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What it comes to on a device.
    pub(crate) fn on(self, device: &Device) -> Computing {
        if self == Self::Full {
            return Computing::default();
        }
        match half_type(device) {
            Some(half) => Computing::mixed(half),
            None => {
                tracing::info!("this device has no half precision worth using; float32 is used");
                Computing::default()
            }
        }
    }
}

/// How a run computes on its device; as a rule in float32.
#[derive(Debug, Clone, Default)]
pub(crate) struct Computing {
    /// In which precision a model convolves.
    pub precision: ComputePrecision,
    /// What scales its loss, if it is scaled.
    pub scaler: Option<LossScaler>,
}

impl Computing {
    /// Convolutions in a half type, and a scaled loss.
    pub(crate) fn mixed(half: FloatDType) -> Self {
        Self { precision: ComputePrecision::Mixed(half), scaler: Some(LossScaler::default()) }
    }
}
