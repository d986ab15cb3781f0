//! The classifier of a class's map.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::relu};
use fss_backbone::params;
use fss_kernels::{Activation, ConvGeometry, conv2d_fused};

/// Three 1x1 convolutions without bias, ReLU between them: features to one logit a position.
///
/// Without biases it is positively homogeneous: `g(c v) = c g(v)` for `c >= 0`. On a map that is
/// everywhere a multiple of one vector it needs to be evaluated twice, at that vector and at its
/// opposite.
#[derive(Module, Debug)]
pub struct MapClassifier {
    /// `[C, C, 1, 1]`
    pub first: Param<Tensor<4>>,
    /// `[C, C, 1, 1]`
    pub second: Param<Tensor<4>>,
    /// `[1, C, 1, 1]`
    pub last: Param<Tensor<4>>,
}

impl MapClassifier {
    /// PyTorch's starting values, from `seed` alone.
    pub fn new(channels: usize, seed: u64, device: &Device) -> Self {
        let bound = 1.0 / (channels as f64).sqrt();
        let kernel = |i: usize, outputs| {
            let key = format!("classifier.{i}.weight");
            params::uniform(&key, [outputs, channels, 1, 1], bound, seed, device)
        };
        Self { first: kernel(0, channels), second: kernel(2, channels), last: kernel(4, 1) }
    }

    /// A classifier of the same values with parameters of its own that learn.
    pub fn copied(&self) -> Self {
        let copy = |param: &Param<Tensor<4>>| {
            let device = param.lazy_device();
            Param::from_data(param.val().to_data(), &device)
        };
        Self { first: copy(&self.first), second: copy(&self.second), last: copy(&self.last) }
    }

    /// Logits of vectors.
    ///
    /// # Shapes
    /// - vectors: `[K, C]`
    /// - output: `[K, 1]`
    pub fn score(&self, vectors: Tensor<2>) -> Tensor<2> {
        let layer = |x: Tensor<2>, param: &Param<Tensor<4>>| {
            let weight = matrix(beside(param.val(), &x));
            x.matmul(weight.transpose())
        };
        let hidden = relu(layer(relu(layer(vectors, &self.first)), &self.second));
        layer(hidden, &self.last)
    }

    /// Logits of maps.
    ///
    /// # Shapes
    /// - maps: `[B, C, h, w]`
    /// - output: `[B, 1, h, w]`
    pub fn forward(&self, maps: Tensor<4>) -> Tensor<4> {
        let first = beside(self.first.val(), &maps);
        self.forward_with(first, maps)
    }

    /// [`Self::forward`] on what is left of `maps` when their parts along the rows of `units` are
    /// taken out. Projection and first layer are one matrix, so it costs no more than that layer.
    ///
    /// # Shapes
    /// - units: `[K, C]`, of length 1
    pub fn forward_residual(&self, maps: Tensor<4>, units: Tensor<2>) -> Tensor<4> {
        let first = matrix(beside(self.first.val(), &maps));
        let units = beside(units, &maps);
        let [outputs, channels] = first.dims();
        let along = first.clone().matmul(units.clone().transpose()).matmul(units);
        self.forward_with((first - along).reshape([outputs, channels, 1, 1]), maps)
    }

    fn forward_with(&self, first: Tensor<4>, maps: Tensor<4>) -> Tensor<4> {
        let hidden = layer(maps, first, Activation::Relu);
        let hidden = layer(hidden.clone(), beside(self.second.val(), &hidden), Activation::Relu);
        layer(hidden.clone(), beside(self.last.val(), &hidden), Activation::None)
    }
}

/// A 1x1 convolution without bias: `[B, C, h, w]` to `[B, O, h, w]`.
fn layer(x: Tensor<4>, weight: Tensor<4>, activation: Activation) -> Tensor<4> {
    if !x.is_autodiff() {
        let bias = Tensor::zeros([weight.dims()[0]], &x.device());
        return conv2d_fused(x, weight, bias, None, ConvGeometry::POINTWISE, activation);
    }
    // As a product: its gradients are products, too, sooner than those of a convolution.
    let [batch, channels, height, width] = x.dims();
    let weight = matrix(weight);
    let outputs = weight.dims()[0];
    let flat = x.reshape([batch, channels, height * width]);
    let y = weight.unsqueeze::<3>().matmul(flat).reshape([batch, outputs, height, width]);
    match activation {
        Activation::Relu => relu(y),
        Activation::None => y,
    }
}

/// `[O, C, 1, 1]` to `[O, C]`.
fn matrix(kernel: Tensor<4>) -> Tensor<2> {
    let [outputs, inputs, _, _] = kernel.dims();
    kernel.reshape([outputs, inputs])
}

/// `parameter` outside autodiff if `x` is, so that nothing is recorded.
pub(super) fn beside<const D: usize, const E: usize>(
    parameter: Tensor<D>,
    x: &Tensor<E>,
) -> Tensor<D> {
    if x.is_autodiff() { parameter } else { parameter.without_autodiff() }
}
