//! Torchvision's VGG-16 with and without batch norm, as AMP changes it: poolings that round up, and
//! dilation in conv4 and conv5.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, activation::relu};
use fss_kernels::{Activation, ConvGeometry, max_pool2d};

use super::network::ImagenetFeatures;
use crate::fold::FoldedConv;
use crate::init::Init;
use crate::norm::FrozenBatchNorm2d;
use crate::params::filled;
use crate::pass::TrainingPass;
use crate::taps::vgg_kernels;

/// Dilations of the convolutions of each group; a max-pooling ends each.
pub(super) const GROUPS: [&[usize]; 5] = [&[1, 1], &[1, 1], &[1, 1, 1], &[1, 1, 2], &[2, 4, 4]];

/// VGG-16 whose features are those behind its last three poolings.
#[derive(Module, Debug)]
pub(super) struct ImagenetVgg {
    convs: Vec<VggConv>,
}

/// A convolution of VGG, a ReLU behind it.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // thirteen of them hold a whole network
enum VggConv {
    /// No norm, or one that was merged.
    Plain(FoldedConv),
    /// With a norm between convolution and ReLU.
    Normed(NormedConv),
}

/// A convolution with bias, and the norm behind it.
#[derive(Module, Debug)]
struct NormedConv {
    conv: FoldedConv,
    norm: FrozenBatchNorm2d,
}

impl ImagenetVgg {
    /// `places` are the indices of the convolutions in torchvision's list.
    pub(super) fn new(init: &Init<'_>, width: usize, places: &[usize], batch_norm: bool) -> Self {
        let dilations = GROUPS.into_iter().flatten();
        let convs =
            places.iter().zip(vgg_kernels(width)).zip(dilations).map(|((i, shape), &dilation)| {
                let conv = FoldedConv {
                    weight: init.kaiming_normal(&format!("features.{i}.weight"), shape),
                    bias: filled(0.0, shape[0], init.device),
                    geometry: ConvGeometry { stride: 1, padding: dilation, dilation },
                };
                match batch_norm {
                    true => {
                        let norm = FrozenBatchNorm2d::new(shape[0], init.device);
                        VggConv::Normed(NormedConv { conv, norm })
                    }
                    false => VggConv::Plain(conv),
                }
            });
        Self { convs: convs.collect() }
    }

    pub(super) fn forward(&self, images: Tensor<4>) -> ImagenetFeatures {
        self.levels(images, |conv, x| match conv {
            VggConv::Plain(conv) => conv.forward(x, None, Activation::Relu),
            VggConv::Normed(normed) => normed.merged().forward(x, None, Activation::Relu),
        })
    }

    pub(super) fn forward_training(
        &self,
        images: Tensor<4>,
        pass: &mut TrainingPass,
    ) -> ImagenetFeatures {
        self.levels(images, |conv, x| match conv {
            VggConv::Plain(conv) => conv.forward_in(pass.precision(), x, None, Activation::Relu),
            VggConv::Normed(normed) => normed.forward_training(x, pass),
        })
    }

    /// What lies behind the last three poolings.
    fn levels(
        &self,
        images: Tensor<4>,
        mut step: impl FnMut(&VggConv, Tensor<4>) -> Tensor<4>,
    ) -> ImagenetFeatures {
        let mut convs = self.convs.iter();
        let mut group = |x, number: usize| {
            let convs = convs.by_ref().take(GROUPS[number].len());
            max_pool_up(convs.fold(x, |x, conv| step(conv, x)))
        };
        let x = group(images, 0);
        let x = group(x, 1);
        let level1 = group(x, 2);
        let level2 = group(level1.clone(), 3);
        let level3 = group(level2.clone(), 4);
        ImagenetFeatures { level1, level2, level3 }
    }

    /// All norms in the order in which [`Self::forward_training`] meets them.
    pub(super) fn norms_mut(&mut self) -> Vec<&mut FrozenBatchNorm2d> {
        let norms = self.convs.iter_mut().filter_map(|conv| match conv {
            VggConv::Plain(_) => None,
            VggConv::Normed(normed) => Some(&mut normed.norm),
        });
        norms.collect()
    }

    pub(super) fn fold(self) -> Self {
        let convs = self.convs.into_iter().map(|conv| match conv {
            VggConv::Normed(normed) => VggConv::Plain(normed.merged()),
            plain @ VggConv::Plain(_) => plain,
        });
        Self { convs: convs.collect() }
    }

    pub(super) fn has_norms(&self) -> bool {
        matches!(self.convs[0], VggConv::Normed(_))
    }

    pub(super) fn device(&self) -> Device {
        match &self.convs[0] {
            VggConv::Plain(conv) => conv.weight.lazy_device(),
            VggConv::Normed(normed) => normed.conv.weight.lazy_device(),
        }
    }
}

impl NormedConv {
    /// Convolution and norm as one convolution.
    fn merged(&self) -> FoldedConv {
        let (scale, shift) = self.norm.scale_shift();
        let (scale, shift) = (scale.without_autodiff(), shift.without_autodiff());
        let channels = scale.dims()[0];
        let bias = self.conv.bias.val().without_autodiff() * scale.clone() + shift;
        let weight = self.conv.weight.val().without_autodiff() * scale.reshape([channels, 1, 1, 1]);
        FoldedConv {
            weight: Param::initialized(ParamId::new(), weight),
            bias: Param::initialized(ParamId::new(), bias),
            geometry: self.conv.geometry,
        }
    }

    fn forward_training(&self, x: Tensor<4>, pass: &mut TrainingPass) -> Tensor<4> {
        let FoldedConv { weight, bias, geometry } = &self.conv;
        let bias = bias.val();
        let channels = bias.dims()[0];
        let y = pass.convolve(x, weight.val(), *geometry) + bias.reshape([1, channels, 1, 1]);
        relu(pass.normalise(&self.norm, y))
    }
}

/// Max pooling 2x2, stride 2, that keeps an odd last row or column: `[B, C, H, W]` to
/// `[B, C, ceil(H/2), ceil(W/2)]`.
fn max_pool_up(x: Tensor<4>) -> Tensor<4> {
    // A row beside its own copy is as large as alone.
    let doubled = |x: Tensor<4>, axis: usize| match x.dims()[axis] {
        side if side % 2 == 1 => {
            let last = x.clone().narrow(axis, side - 1, 1);
            Tensor::cat(vec![x, last], axis)
        }
        _ => x,
    };
    max_pool2d(doubled(doubled(x, 2), 3), 2, 2, 0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn odd_sides_are_pooled_rounding_up() {
        let values: Vec<f32> = (0..15).map(|i| -((i * 7 % 15) as f32)).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 3, 5]), &Device::flex());
        let y = max_pool_up(x);
        assert_eq!(y.dims(), [1, 1, 2, 3]);
        // Rows: 0 -7 -14 -6 -13 | -5 -12 -4 -11 -3 | -10 -2 -9 -1 -8
        let found: Vec<f32> = y.into_data().try_to_vec().unwrap();
        assert_eq!(found, [0.0, -4.0, -3.0, -2.0, -1.0, -8.0]);
    }
}
