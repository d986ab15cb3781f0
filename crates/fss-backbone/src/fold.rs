//! Convolution and norm merged into one convolution, for inference.

use burn::module::{Module, Param, ParamId};
use burn::tensor::Tensor;
use fss_kernels::{Activation, ConvGeometry};

use crate::block::{ConvNorm, ConvUnit, ResidualBlock};
use crate::pass::ComputePrecision;
use crate::resnet::DeepStemResNet;

/// A convolution with bias that has swallowed its norm, or never had one. It has no gradient.
#[derive(Module, Debug)]
pub struct FoldedConv {
    /// Kernel `[C_out, C_in, k, k]`, multiplied by the scale of a merged norm.
    pub weight: Param<Tensor<4>>,
    /// Bias `[C_out]`: the shift of a merged norm.
    pub bias: Param<Tensor<1>>,
    /// Stride, padding and dilation.
    #[module(skip)]
    pub geometry: ConvGeometry,
}

impl FoldedConv {
    pub(crate) fn new(unit: &ConvNorm) -> Self {
        let (weight, bias) = unit.folded_parameters();
        Self {
            weight: Param::initialized(ParamId::new(), weight.without_autodiff()),
            bias: Param::initialized(ParamId::new(), bias.without_autodiff()),
            geometry: unit.conv.geometry,
        }
    }

    /// `activation(conv(x) + bias [+ residual])`: `[B, C_in, H, W]` to `[B, C_out, h, w]`.
    pub fn forward(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: Activation,
    ) -> Tensor<4> {
        self.forward_in(ComputePrecision::Full, x, residual, activation)
    }

    /// [`Self::forward`] in a precision of its own.
    pub(crate) fn forward_in(
        &self,
        precision: ComputePrecision,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: Activation,
    ) -> Tensor<4> {
        // `train()` on a whole model would put these back under autodiff; they stay constants.
        let weight = self.weight.val().without_autodiff();
        let bias = self.bias.val().without_autodiff();
        precision.convolve_fused(x, weight, bias, residual, self.geometry, activation)
    }
}

impl DeepStemResNet {
    /// Merges every norm into its convolution: fewer passes over the maps, the same numbers up to
    /// rounding (relative 1e-5). For inference: a folded network has no gradient, and it cannot be
    /// saved, loaded or calibrated any more; it computes in full precision. Folding twice changes
    /// nothing.
    #[must_use]
    pub fn fold(mut self) -> Self {
        self.stem = self.stem.map(ConvUnit::fold);
        for layer in [&mut self.layer1, &mut self.layer2, &mut self.layer3] {
            *layer = std::mem::take(layer).into_iter().map(ResidualBlock::fold).collect();
        }
        self.with_precision(ComputePrecision::Full)
    }

    /// Whether [`DeepStemResNet::fold`] was called.
    pub fn is_folded(&self) -> bool {
        self.stem.iter().any(|unit| matches!(unit, ConvUnit::Folded(_)))
    }
}
