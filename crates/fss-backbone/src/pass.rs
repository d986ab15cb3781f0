//! A forward pass in training: what norms look at, and in which precision is convolved.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor};
use fss_kernels::{Activation, ConvGeometry, conv2d_fused};

use crate::block::finish;
use crate::norm::FrozenBatchNorm2d;

/// What norms normalise by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormSource {
    /// The mean and variance of the batch, which also move the running statistics.
    Batch,
    /// The running statistics, which stay.
    Running,
}

/// In which precision convolutions compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ComputePrecision {
    /// As the parameters are.
    #[default]
    Full,
    /// Kernel and map are rounded to this type for every convolution, and so are its result and the
    /// gradients of all three (mixed precision). Parameters, biases, norms, sums of shortcuts,
    /// activations and poolings stay as they are. A norm that is merged into its kernel is so
    /// before the kernel is rounded.
    Mixed(FloatDType),
}

impl ComputePrecision {
    /// A convolution without bias: `[B, C, H, W]` by `[O, C, k, k]` to `[B, O, h, w]`, in the type of
    /// `x`. Differentiable in both.
    pub fn convolve(self, x: Tensor<4>, weight: Tensor<4>, geometry: ConvGeometry) -> Tensor<4> {
        let ConvGeometry { stride, padding, dilation } = geometry;
        let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], 1);
        match self {
            Self::Full => conv2d(x, weight, None, options),
            Self::Mixed(half) => {
                let full: FloatDType = x.dtype().into();
                conv2d(x.cast(half), weight.cast(half), None, options).cast(full)
            }
        }
    }

    /// `activation(conv(x) + bias [+ residual])`: by the fused kernel in full precision, step by step
    /// in another. Differentiable in all.
    ///
    /// # Shapes
    /// - x: `[B, C, H, W]`, weight: `[O, C, k, k]`, bias: `[O]`
    /// - residual and output: `[B, O, h, w]`
    pub fn convolve_fused(
        self,
        x: Tensor<4>,
        weight: Tensor<4>,
        bias: Tensor<1>,
        residual: Option<Tensor<4>>,
        geometry: ConvGeometry,
        activation: Activation,
    ) -> Tensor<4> {
        if self == Self::Full {
            return conv2d_fused(x, weight, bias, residual, geometry, activation);
        }
        let outputs = bias.dims()[0];
        let y = self.convolve(x, weight, geometry) + bias.reshape([1, outputs, 1, 1]);
        finish(y, residual, activation)
    }
}

/// Mean and variance `[C]` of one norm over a batch, outside autodiff.
#[derive(Debug, Clone)]
pub struct BatchMoments {
    /// Mean.
    pub mean: Tensor<1>,
    /// Variance, divided by n - 1.
    pub variance: Tensor<1>,
}

/// Goes through a network in training and collects what its norms saw.
#[derive(Debug)]
pub struct TrainingPass {
    norms: NormSource,
    precision: ComputePrecision,
    moments: Vec<BatchMoments>,
}

impl TrainingPass {
    /// A pass that has met no norm yet.
    pub fn new(norms: NormSource, precision: ComputePrecision) -> Self {
        Self { norms, precision, moments: Vec::new() }
    }

    /// What norms normalise by.
    pub fn norms(&self) -> NormSource {
        self.norms
    }

    /// What norms normalise by from here on.
    pub fn set_norms(&mut self, norms: NormSource) {
        self.norms = norms;
    }

    /// In which precision convolutions compute.
    pub fn precision(&self) -> ComputePrecision {
        self.precision
    }

    /// A convolution without bias: `[B, C, H, W]` by `[O, C, k, k]` to `[B, O, h, w]`, in the type of
    /// `x`.
    pub fn convolve(&self, x: Tensor<4>, weight: Tensor<4>, geometry: ConvGeometry) -> Tensor<4> {
        // Not the fused kernel: where norms look at a batch of few pixels, they enlarge the rounding of
        // Winograd's transforms.
        self.precision.convolve(x, weight, geometry)
    }

    /// Normalises `[B, C, h, w]` as the pass has it.
    pub fn normalise(&mut self, norm: &FrozenBatchNorm2d, x: Tensor<4>) -> Tensor<4> {
        match self.norms {
            NormSource::Running => norm.forward(x),
            NormSource::Batch => {
                let (y, moments) = norm.forward_batch(x);
                self.moments.push(moments);
                y
            }
        }
    }

    /// What the norms saw, in the order of the pass.
    pub fn into_moments(self) -> Vec<BatchMoments> {
        self.moments
    }
}
