//! Convolutions with bias and what is made of them, as heads have them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use fss_backbone::{ComputePrecision, params};
use fss_kernels::{Activation, ConvGeometry, conv2d_fused};

/// A convolution with bias, stride 1, that keeps the size of its map.
#[derive(Module, Debug)]
pub struct Convolution {
    /// Kernel `[O, C / groups, k, k]`, k odd.
    pub weight: Param<Tensor<4>>,
    /// Bias `[O]`.
    pub bias: Param<Tensor<1>>,
}

impl Convolution {
    /// Starting values as PyTorch's: uniform within `1 / sqrt(fan_in)`, from `seed` and `key` alone.
    pub(crate) fn new(
        key: &str,
        [inputs, outputs, side]: [usize; 3],
        seed: u64,
        device: &Device,
    ) -> Self {
        let bound = 1.0 / ((inputs * side * side) as f64).sqrt();
        let shape = [outputs, inputs, side, side];
        Self {
            weight: params::uniform(&format!("{key}.weight"), shape, bound, seed, device),
            bias: params::uniform(&format!("{key}.bias"), [outputs], bound, seed, device),
        }
    }

    /// `activation(conv(x) + bias)`: `[B, C, h, w]` to `[B, O, h, w]`.
    pub(crate) fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        self.forward_dilated(x, 1, activation)
    }

    /// [`Self::forward`] with `dilation` steps between the taps of the kernel.
    pub(crate) fn forward_dilated(
        &self,
        x: Tensor<4>,
        dilation: usize,
        activation: Activation,
    ) -> Tensor<4> {
        self.forward_in(ComputePrecision::Full, x, dilation, activation)
    }

    /// [`Self::forward_dilated`] in a precision of its own.
    pub(crate) fn forward_in(
        &self,
        precision: ComputePrecision,
        x: Tensor<4>,
        dilation: usize,
        activation: Activation,
    ) -> Tensor<4> {
        let (weight, geometry) = self.kernel(dilation);
        precision.convolve_fused(x, weight, self.bias.val(), None, geometry, activation)
    }

    /// [`Self::forward_dilated`] of a sum: `activation(conv(x) + bias + shortcut)`.
    pub(crate) fn forward_beside(
        &self,
        x: Tensor<4>,
        shortcut: Option<Tensor<4>>,
        dilation: usize,
        activation: Activation,
    ) -> Tensor<4> {
        let (weight, geometry) = self.kernel(dilation);
        conv2d_fused(x, weight, self.bias.val(), shortcut, geometry, activation)
    }

    fn kernel(&self, dilation: usize) -> (Tensor<4>, ConvGeometry) {
        let weight = self.weight.val();
        let padding = dilation * (weight.dims()[2] / 2);
        (weight, ConvGeometry { padding, dilation, ..ConvGeometry::POINTWISE })
    }
}

/// Scale and shift of a normalisation over groups of channels.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[C]`.
    pub bias: Param<Tensor<1>>,
}

impl GroupNorm {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self {
            weight: params::filled(1.0, channels, device),
            bias: params::filled(0.0, channels, device),
        }
    }
}
