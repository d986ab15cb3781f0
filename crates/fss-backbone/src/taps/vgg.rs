//! Torchvision's VGG-16 without batch norm.

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use fss_kernels::{Activation, ConvGeometry, max_pool2d};

use crate::fold::FoldedConv;
use crate::init::Init;
use crate::params::filled;
use crate::pass::ComputePrecision;

/// Convolutions of each group; a max-pooling ends each.
const GROUPS: [usize; 5] = [2, 2, 3, 3, 3];

/// Where the convolutions stand in torchvision's list `features`, which counts every ReLU and
/// pooling as well.
pub(crate) const FEATURES: [usize; 13] = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];

/// The first of the groups whose convolutions are tapped.
const FIRST_TAPPED: usize = 3;

/// Channels of the convolutions of each group as multiples of the width.
const CHANNELS: [usize; 5] = [1, 2, 4, 8, 8];

/// VGG-16, tapped at conv4_1..3, conv5_1..3 and pool5.
#[derive(Module, Debug)]
pub(super) struct TapVgg {
    convs: Vec<FoldedConv>,
}

/// Kernel shapes `[C_out, C_in, 3, 3]` in order.
pub(crate) fn kernels(width: usize) -> Vec<[usize; 4]> {
    let channels = GROUPS.iter().zip(CHANNELS).flat_map(|(n, c)| vec![c * width; *n]);
    let mut c_in = 3;
    channels.map(|c_out| [c_out, std::mem::replace(&mut c_in, c_out), 3, 3]).collect()
}

impl TapVgg {
    pub(super) fn new(init: &Init<'_>, width: usize) -> Self {
        let geometry = ConvGeometry { stride: 1, padding: 1, dilation: 1 };
        let convs = FEATURES.into_iter().zip(kernels(width)).map(|(i, shape)| FoldedConv {
            weight: init.kaiming_normal(&format!("features.{i}.weight"), shape),
            bias: filled(0.0, shape[0], init.device),
            geometry,
        });
        Self { convs: convs.collect() }
    }

    pub(super) fn taps(&self, images: Tensor<4>, precision: ComputePrecision) -> Vec<Tensor<4>> {
        let mut taps = Vec::new();
        let mut x = images;
        let mut convs = self.convs.iter();
        for (group, count) in GROUPS.into_iter().enumerate() {
            for (i, conv) in convs.by_ref().take(count).enumerate() {
                if group < FIRST_TAPPED {
                    x = conv.forward_in(precision, x, None, Activation::Relu);
                    continue;
                }
                let input = if i == 0 { x } else { relu(x) };
                x = conv.forward_in(precision, input, None, Activation::None);
                taps.push(x.clone());
            }
            x = max_pool2d(x, 2, 2, 0);
            if group >= FIRST_TAPPED {
                // The largest of rectified values is the rectified largest: fewer to rectify.
                x = relu(x);
            }
        }
        taps.push(x);
        taps
    }

    pub(super) fn device(&self) -> Device {
        self.convs[0].weight.lazy_device()
    }
}
