//! Batch normalisation that never looks at its batch.

use burn::module::{Module, Param};
use burn::tensor::{Device, GradientCheckpointingStrategy, Tensor, TensorData};

/// Batch normalisation over running statistics only, in training as in inference.
///
/// `y = (x - running_mean) / sqrt(running_var + epsilon) * weight + bias`, per channel. The running
/// statistics never receive a gradient and never move by themselves; scale and shift are trained
/// only where asked for ([`NormTraining`](crate::NormTraining)).
#[derive(Module, Debug)]
pub struct FrozenBatchNorm2d {
    /// Scale `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[C]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean `[C]`, a buffer.
    pub running_mean: Param<Tensor<1>>,
    /// Running variance `[C]`, a buffer.
    pub running_var: Param<Tensor<1>>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl FrozenBatchNorm2d {
    /// The identity up to epsilon: scale 1, shift 0, mean 0, variance 1, epsilon 1e-5.
    pub fn new(channels: usize, device: &Device) -> Self {
        let filled = |value: f32| {
            let data = TensorData::new(vec![value; channels], [channels]);
            Param::from_data(data, device).set_require_grad(false)
        };
        Self {
            weight: filled(1.0),
            bias: filled(0.0),
            running_mean: filled(0.0),
            running_var: filled(1.0),
            epsilon: 1e-5,
        }
    }

    /// The norm as one affine map: `(scale, shift)`, both `[C]`, with `y = x * scale + shift`.
    pub fn scale_shift(&self) -> (Tensor<1>, Tensor<1>) {
        // Buffers are detached here, so that not even a blanket "require gradients" reaches them.
        let mean = self.running_mean.val().detach();
        let var = self.running_var.val().detach();
        let scale = self.weight.val() / (var + self.epsilon).sqrt();
        let shift = self.bias.val() - mean * scale.clone();
        (scale, shift)
    }

    /// Normalises.
    ///
    /// # Shapes
    /// - x: `[B, C, h, w]`
    /// - output: `[B, C, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = self.scale_shift();
        let (scale, shift) = match x.is_autodiff() {
            true => (scale, shift),
            false => (scale.without_autodiff(), shift.without_autodiff()),
        };
        let channels = scale.dims()[0];
        x * scale.reshape([1, channels, 1, 1]) + shift.reshape([1, channels, 1, 1])
    }

    /// Replaces the running statistics, both `[C]`.
    pub(crate) fn set_statistics(&mut self, mean: Tensor<1>, var: Tensor<1>) {
        self.running_mean = replace(&self.running_mean, mean);
        self.running_var = replace(&self.running_var, var);
    }
}

/// A parameter with a new value, and all else (identity, gradient setting, autodiff association)
/// as it was.
pub(crate) fn replace<const D: usize>(
    param: &Param<Tensor<D>>,
    value: Tensor<D>,
) -> Param<Tensor<D>> {
    let strategy = param.lazy_device().gradient_checkpointing_strategy();
    let value = associate(value.without_autodiff(), strategy);
    param.clone().transform_for_load(value, param.id)
}

/// Associates `x` with autodiff in the way `example` is, or leaves it outside where that is.
pub(crate) fn follow_autodiff<const D: usize, const E: usize>(
    x: Tensor<D>,
    example: &Tensor<E>,
) -> Tensor<D> {
    associate(x, example.gradient_checkpointing_strategy())
}

fn associate<const D: usize>(
    x: Tensor<D>,
    strategy: Option<GradientCheckpointingStrategy>,
) -> Tensor<D> {
    match strategy {
        Some(strategy) if !x.is_autodiff() => {
            x.autodiff().with_gradient_checkpointing_strategy(strategy)
        }
        _ => x,
    }
}
