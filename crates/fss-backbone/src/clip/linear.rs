//! The small layers that both encoders share.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, module::layer_norm};

use crate::block::beside;
use crate::init::Init;

/// A linear map with bias.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`, as in official files.
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    pub(super) fn new(init: &Init<'_>, key: &str, [inner, outer]: [usize; 2]) -> Self {
        let weight = init.normal(key, [outer, inner], (inner as f64).powf(-0.5));
        Self { weight, bias: constant(init, 0.0, outer) }
    }

    /// `[N, in]` to `[N, out]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (beside(self.weight.val(), &x), beside(self.bias.val(), &x));
        x.matmul(weight.transpose()) + bias.unsqueeze()
    }
}

/// Normalisation over channels, epsilon 1e-5.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[C]`.
    pub bias: Param<Tensor<1>>,
}

impl LayerNorm {
    pub(super) fn new(init: &Init<'_>, channels: usize) -> Self {
        Self { weight: constant(init, 1.0, channels), bias: constant(init, 0.0, channels) }
    }

    /// `[N, C]` to `[N, C]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (beside(self.weight.val(), &x), beside(self.bias.val(), &x));
        layer_norm(x, weight, Some(bias), 1e-5)
    }
}

pub(super) fn constant(init: &Init<'_>, value: f32, length: usize) -> Param<Tensor<1>> {
    Param::from_data(TensorData::new(vec![value; length], [length]), init.device)
}
