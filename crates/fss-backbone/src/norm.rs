//! Batch normalisation that looks at its batch only where a training pass asks for it.

use burn::module::{Module, Param};
use burn::tensor::module::{BatchNormTrainOutput, batch_norm_train};
use burn::tensor::{Device, GradientCheckpointingStrategy, Tensor, TensorData};

use crate::pass::BatchMoments;

/// How far running statistics move towards those of a batch.
const MOMENTUM: f64 = 0.1;

/// Batch normalisation over running statistics. Most networks here keep it so in training, too; the
/// units of others normalise by the batch in a [`TrainingPass`](crate::TrainingPass).
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

    /// Normalises by the mean and variance of the batch itself, as PyTorch's batch norm does in
    /// training, and returns these. Differentiable in `x`, scale and shift.
    ///
    /// # Shapes
    /// - x: `[B, C, h, w]`, more than one value a channel
    /// - output: `[B, C, h, w]`
    pub(crate) fn forward_batch(&self, x: Tensor<4>) -> (Tensor<4>, BatchMoments) {
        let [batch, channels, height, width] = x.dims();
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let BatchNormTrainOutput { output, mean, variance } =
            batch_norm_train(x, weight, bias, self.epsilon);
        let count = (batch * height * width) as f64;
        let flat = |x: Tensor<1>| x.without_autodiff().reshape([channels]);
        // Running variances are those of a sample: divided by n - 1.
        let variance = flat(variance).mul_scalar(count / (count - 1.0).max(1.0));
        (output, BatchMoments { mean: flat(mean), variance })
    }

    /// Moves the running statistics a tenth of the way towards those of a batch (PyTorch's momentum
    /// of 0.1).
    pub(crate) fn absorb(&mut self, moments: BatchMoments) {
        let moved = |running: &Param<Tensor<1>>, new: Tensor<1>| {
            running.val().without_autodiff().mul_scalar(1.0 - MOMENTUM) + new.mul_scalar(MOMENTUM)
        };
        let mean = moved(&self.running_mean, moments.mean);
        let var = moved(&self.running_var, moments.variance);
        self.set_statistics(mean, var);
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
