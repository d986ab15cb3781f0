//! From the mixed map to logits (HSNet, section 3.3); IMR has one of its own alike.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_kernels::{Activation, Corners, resize_bilinear};

use super::squeeze::CHANNELS;
use crate::layers::Convolution;

/// Four 3x3 convolutions, with an enlargement in the middle.
#[derive(Module, Debug)]
pub struct Decoder {
    /// 128 to 128 to 64 channels.
    pub decoder1: Vec<Convolution>,
    /// 64 to 64 to 2 channels.
    pub decoder2: Vec<Convolution>,
}

impl Decoder {
    /// `prefix` comes before the keys that the starting values follow from.
    pub(crate) fn new(prefix: &str, seed: u64, device: &Device) -> Self {
        let pair = |name: &str, widths: [usize; 3]| {
            let conv = |n: usize| {
                let key = format!("{prefix}{name}.{}", 2 * n);
                Convolution::new(&key, [widths[n], widths[n + 1], 3], seed, device)
            };
            vec![conv(0), conv(1)]
        };
        Self {
            decoder1: pair("decoder1", [CHANNELS, CHANNELS, 64]),
            decoder2: pair("decoder2", [64, 64, 2]),
        }
    }

    /// The official key of a parameter inside: sub-layers are numbered convolution, ReLU.
    pub(crate) fn official_key(path: &str) -> String {
        let mut parts: Vec<String> = path.split('.').map(str::to_owned).collect();
        if let Some(Ok(n)) = parts.get(1).map(|n| n.parse::<usize>()) {
            parts[1] = (2 * n).to_string();
        }
        parts.join(".")
    }

    /// The first half, `[B, 128, h, w]` to `[B, 64, h, w]`.
    pub fn first_half(&self, x: Tensor<4>) -> Tensor<4> {
        self.decoder1.iter().fold(x, |x, conv| conv.forward(x, Activation::Relu))
    }

    /// Logits `[B, 2, 2w, 2w]` of `[B, 128, h, w]`. Both sides follow from the width, as in the
    /// published code; square maps keep their shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.first_half(x);
        let [_, _, _, width] = x.dims();
        let x = resize_bilinear(x, [2 * width; 2], Corners::Aligned);
        let x = self.decoder2[0].forward(x, Activation::Relu);
        self.decoder2[1].forward(x, Activation::None)
    }
}
