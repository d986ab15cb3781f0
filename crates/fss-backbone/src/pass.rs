//! A forward pass in training: what norms look at, and in which precision is convolved.

use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{FloatDType, Tensor};
use fss_kernels::ConvGeometry;

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
    /// Kernels and maps are rounded to this type for every convolution; parameters, norms and sums
    /// of shortcuts stay as they are (mixed precision).
    Mixed(FloatDType),
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

    /// A convolution without bias: `[B, C, H, W]` by `[O, C, k, k]` to `[B, O, h, w]`, in the type of
    /// `x`.
    pub fn convolve(&self, x: Tensor<4>, weight: Tensor<4>, geometry: ConvGeometry) -> Tensor<4> {
        // Not the fused kernel: where norms look at a batch of few pixels, they enlarge the rounding of
        // Winograd's transforms.
        let ConvGeometry { stride, padding, dilation } = geometry;
        let options = ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], 1);
        match self.precision {
            ComputePrecision::Full => conv2d(x, weight, None, options),
            ComputePrecision::Mixed(half) => {
                let full: FloatDType = x.dtype().into();
                conv2d(x.cast(half), weight.cast(half), None, options).cast(full)
            }
        }
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
