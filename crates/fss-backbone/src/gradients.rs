//! Gradients under the official key names.

use burn::module::Param;
use burn::tensor::{Gradients, Tensor};

use crate::block::{ConvNorm, ConvUnit};
use crate::resnet::DeepStemResNet;
use crate::weights::NamedTensor;

impl DeepStemResNet {
    /// The gradients of all trained parameters, in the order of the official state dict.
    ///
    /// Parameters that the loss does not depend on, and frozen ones, are left out; so is everything
    /// in a folded network.
    pub fn named_gradients(&self, gradients: &Gradients) -> Vec<NamedTensor> {
        let mut named = Vec::new();
        for (keys, unit) in self.units() {
            let ConvUnit::Separate(ConvNorm { conv, norm }) = unit else { continue };
            named.extend(gradient(format!("{}.weight", keys.conv), &conv.weight, gradients));
            named.extend(gradient(format!("{}.weight", keys.norm), &norm.weight, gradients));
            named.extend(gradient(format!("{}.bias", keys.norm), &norm.bias, gradients));
        }
        named
    }
}

fn gradient<const D: usize>(
    key: String,
    param: &Param<Tensor<D>>,
    gradients: &Gradients,
) -> Option<NamedTensor> {
    let gradient = param.val().grad(gradients)?;
    let shape = gradient.dims().to_vec();
    let values = gradient.try_into_vec_as::<f32>().ok()?;
    Some(NamedTensor { key, shape, values })
}
