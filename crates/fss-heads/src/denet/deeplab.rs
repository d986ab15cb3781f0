//! The DeepLab head on top of an embedding.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::{ConvUnit, TrainingPass};
use fss_kernels::{Activation, ConvGeometry, conv2d_fused};

use crate::dropout::Dropout;
use crate::reg_aspp::{CHANNELS, RegAspp};

const SPATIAL: ConvGeometry = ConvGeometry { stride: 1, padding: 1, dilation: 1 };

/// ASPP without norms, then a 3x3 convolution with a norm and ReLU.
#[derive(Module, Debug)]
pub struct DeepLabHead {
    /// Looks around at several distances.
    pub aspp: RegAspp,
    /// The convolution and its norm.
    pub last: ConvUnit,
}

impl DeepLabHead {
    pub(super) fn new(seed: u64, device: &Device) -> Self {
        let key = "deeplab_head.conv1.weight";
        Self {
            aspp: RegAspp::new("deeplab_head.aspp.", seed, device),
            last: ConvUnit::uniform(key, [CHANNELS, CHANNELS, 3], SPATIAL, seed, device),
        }
    }

    /// `[B, 256, h, w]` to the same, under the running statistics.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.last.apply(self.aspp.forward(x, &mut Dropout::off()), None, Activation::Relu)
    }

    /// [`Self::forward`] without norm and ReLU; `None` if the norm was merged into the convolution.
    pub fn forward_without_norm(&self, x: Tensor<4>) -> Option<Tensor<4>> {
        let ConvUnit::Separate(unit) = &self.last else { return None };
        let x = self.aspp.forward(x, &mut Dropout::off());
        let weight = unit.conv.weight.val();
        let bias = unit.norm.bias.val().zeros_like();
        Some(conv2d_fused(x, weight, bias, None, SPATIAL, Activation::None))
    }

    /// [`Self::forward`] as training has it: norm and precision as the pass says.
    pub fn forward_training(
        &self,
        x: Tensor<4>,
        pass: &mut TrainingPass,
        dropout: &mut Dropout,
    ) -> Tensor<4> {
        let x = self.aspp.forward_in(pass.precision(), x, dropout);
        self.last.forward_training(x, None, Activation::Relu, pass)
    }

    pub(super) fn fold(self) -> Self {
        Self { last: self.last.fold(), ..self }
    }
}
