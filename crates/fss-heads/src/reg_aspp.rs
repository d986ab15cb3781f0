//! Atrous spatial pyramid pooling without norms, as DENet, CANet and PGNet have it in one code base.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::ComputePrecision;
use fss_kernels::{Activation, ConvGeometry};

use crate::dropout::Dropout;
use crate::layers::Convolution;

/// Channels of what goes in and comes out.
pub const CHANNELS: usize = 256;

/// Dilations of the 3x3 branches.
const DILATIONS: [usize; 3] = [6, 12, 18];

/// ASPP without norms: five branches (a 1x1 convolution, three dilated 3x3 ones, and one of the mean of
/// the map), each with ReLU and dropped channels, mixed by a 1x1 convolution with ReLU and dropped values.
///
/// The branch of the mean is constant over the map, so the last convolution's part of it is a bias of
/// each sample: neither the constant map nor the concatenation of all branches is made.
#[derive(Module, Debug)]
pub struct RegAspp {
    /// The 1x1 branch.
    pub pointwise: Convolution,
    /// The 3x3 branches, dilated by 6, 12 and 18.
    pub dilated: Vec<Convolution>,
    /// The 1x1 convolution of the mean.
    pub mean: Convolution,
    /// The 1x1 convolution over all branches, 1280 to 256 channels.
    pub project: Convolution,
}

impl RegAspp {
    /// Starting values as PyTorch's, from `seed` and `prefix` alone.
    pub fn new(prefix: &str, seed: u64, device: &Device) -> Self {
        let convolution =
            |key: &str, shape| Convolution::new(&format!("{prefix}{key}"), shape, seed, device);
        let branch = |i: usize| convolution(&format!("convs.{i}.0"), [CHANNELS, CHANNELS, 3]);
        Self {
            pointwise: convolution("convs.0.0", [CHANNELS, CHANNELS, 1]),
            dilated: (1..=DILATIONS.len()).map(branch).collect(),
            mean: convolution("convs.4.1", [CHANNELS, CHANNELS, 1]),
            project: convolution("project.0", [5 * CHANNELS, CHANNELS, 1]),
        }
    }

    /// The official key of a parameter, without the prefix of the module.
    pub fn official_key(path: &str) -> String {
        let (place, rest) = match path.split_once('.') {
            Some(("pointwise", rest)) => ("convs.0.0".to_owned(), rest),
            Some(("mean", rest)) => ("convs.4.1".to_owned(), rest),
            Some(("project", rest)) => ("project.0".to_owned(), rest),
            Some(("dilated", rest)) => match rest.split_once('.') {
                Some((branch, rest)) => {
                    let branch = branch.parse::<usize>().map_or(0, |branch| branch + 1);
                    (format!("convs.{branch}.0"), rest)
                }
                None => return path.to_owned(),
            },
            _ => return path.to_owned(),
        };
        format!("{place}.{rest}")
    }

    /// `[B, 256, h, w]` to the same; dropped is what `dropout` draws, branch by branch.
    pub fn forward(&self, x: Tensor<4>, dropout: &mut Dropout) -> Tensor<4> {
        self.forward_in(ComputePrecision::Full, x, dropout)
    }

    /// [`Self::forward`] with all of its convolutions in a precision of their own; their sum stays in full.
    pub fn forward_in(
        &self,
        precision: ComputePrecision,
        x: Tensor<4>,
        dropout: &mut Dropout,
    ) -> Tensor<4> {
        let [batch, ..] = x.dims();
        let weight = self.project.weight.val();
        let [outputs, ..] = weight.dims();
        let part = |branch: usize| weight.clone().narrow(1, branch * CHANNELS, CHANNELS);
        let zero = self.project.bias.val().zeros_like();
        let mixed = |map: Tensor<4>, branch: usize, sum: Option<Tensor<4>>| {
            let geometry = ConvGeometry::POINTWISE;
            let (kernel, none) = (part(branch), zero.clone());
            precision.convolve_fused(map, kernel, none, sum, geometry, Activation::None)
        };
        let pointwise = self.pointwise.forward_in(precision, x.clone(), 1, Activation::Relu);
        let mut sum = mixed(dropout.channels(pointwise), 0, None);
        for (i, (conv, dilation)) in self.dilated.iter().zip(DILATIONS).enumerate() {
            let map = conv.forward_in(precision, x.clone(), dilation, Activation::Relu);
            sum = mixed(dropout.channels(map), i + 1, Some(sum));
        }
        let mean = x.mean_dims(&[2, 3]);
        let mean = dropout.channels(self.mean.forward_in(precision, mean, 1, Activation::Relu));
        let mean = mixed(mean, DILATIONS.len() + 1, None).reshape([batch, outputs, 1, 1]);
        let bias = self.project.bias.val().reshape([1, outputs, 1, 1]);
        dropout.values(burn::tensor::activation::relu(sum + mean + bias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_keys() {
        let key = RegAspp::official_key;
        assert_eq!(key("pointwise.weight"), "convs.0.0.weight");
        assert_eq!(key("dilated.2.bias"), "convs.3.0.bias");
        assert_eq!(key("mean.weight"), "convs.4.1.weight");
        assert_eq!(key("project.bias"), "project.0.bias");
    }
}
