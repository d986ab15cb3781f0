//! The recurrent cell: a convolutional GRU (IMR-HSNet, section 3.3).

use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, activation::sigmoid};
use fss_backbone::params;
use fss_kernels::Activation;

use crate::hsnet::CHANNELS;
use crate::layers::Convolution;

/// Channels between the convolutions of a gate.
const INNER: usize = 512;

/// Groups of a gate's grouped convolutions.
const GROUPS: usize = 8;

/// One gate: a 1x1 convolution whose two halves pass through a grouped 3x3 convolution each.
#[derive(Module, Debug)]
pub struct Gate {
    /// 1x1 to 512 channels.
    pub first: Convolution,
    /// 3x3 in 8 groups, the first 256 channels to 64.
    pub left: GroupedConvolution,
    /// 3x3 in 8 groups, the last 256 channels to 64.
    pub right: GroupedConvolution,
}

/// A 3x3 convolution with bias in 8 groups.
#[derive(Module, Debug)]
pub struct GroupedConvolution {
    /// Kernel `[O, C / 8, 3, 3]`.
    pub weight: Param<Tensor<4>>,
    /// Bias `[O]`.
    pub bias: Param<Tensor<1>>,
}

impl GroupedConvolution {
    fn new(key: &str, seed: u64, device: &Device) -> Self {
        let inputs = INNER / 2 / GROUPS;
        let bound = 1.0 / ((inputs * 9) as f64).sqrt();
        let (kernel, outputs) = ([CHANNELS / 2, inputs, 3, 3], [CHANNELS / 2]);
        Self {
            weight: params::uniform(&format!("{key}.weight"), kernel, bound, seed, device),
            bias: params::uniform(&format!("{key}.bias"), outputs, bound, seed, device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], GROUPS);
        conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

impl Gate {
    fn new(letter: char, inputs: usize, seed: u64, device: &Device) -> Self {
        let key = |n: usize| format!("conv{letter}{n}");
        Self {
            first: Convolution::new(&key(0), [inputs, INNER, 1], seed, device),
            left: GroupedConvolution::new(&key(1), seed, device),
            right: GroupedConvolution::new(&key(2), seed, device),
        }
    }

    /// `[B, C, G, G]` to `[B, 128, G, G]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = self.first.forward(x, Activation::None);
        let left = self.left.forward(inner.clone().narrow(1, 0, INNER / 2));
        let right = self.right.forward(inner.narrow(1, INNER / 2, INNER / 2));
        Tensor::cat(vec![left, right], 1)
    }
}

/// The three gates.
#[derive(Module, Debug)]
pub struct Cell {
    /// How much of the state is replaced.
    pub update: Gate,
    /// How much of the state the candidate sees.
    pub reset: Gate,
    /// What it is replaced by.
    pub candidate: Gate,
}

/// Values of the gates in one step, each `[B, 128, G, G]`.
#[derive(Debug, Clone)]
pub struct Gates {
    /// `z`
    pub update: Tensor<4>,
    /// `r`
    pub reset: Tensor<4>,
    /// `n`, after tanh.
    pub candidate: Tensor<4>,
}

impl Cell {
    /// For inputs of so many channels, the state among them.
    pub(super) fn new(inputs: usize, seed: u64, device: &Device) -> Self {
        let gate = |letter| Gate::new(letter, inputs, seed, device);
        Self { update: gate('z'), reset: gate('r'), candidate: gate('h') }
    }

    /// The official key of a parameter inside, as in `convz0.weight`.
    pub(super) fn official_key(path: &str) -> String {
        let parts: Vec<&str> = path.split('.').collect();
        let [gate, conv, rest] = parts[..] else { return path.to_owned() };
        let letter = match gate {
            "update" => 'z',
            "reset" => 'r',
            _ => 'h',
        };
        let number = match conv {
            "first" => 0,
            "left" => 1,
            _ => 2,
        };
        format!("conv{letter}{number}.{rest}")
    }

    /// The next state: `(1 - z) h + z n` with `z`, `r` from map, matching, middle features and state, and
    /// `n` from the same with `r h` for the state.
    ///
    /// # Shapes
    /// - `map`: `[B, 1, G, G]`; `encoded`: `[B, 128, G, G]`; `middle`: `[B, C, G, G]`
    /// - `state`: `[B, 128, G, G]`
    pub(super) fn step(
        &self,
        [map, encoded, middle]: [Tensor<4>; 3],
        state: Tensor<4>,
    ) -> (Tensor<4>, Gates) {
        let with = |state: Tensor<4>| {
            Tensor::cat(vec![map.clone(), encoded.clone(), middle.clone(), state], 1)
        };
        let seen = with(state.clone());
        let update = sigmoid(self.update.forward(seen.clone()));
        let reset = sigmoid(self.reset.forward(seen));
        let candidate = self.candidate.forward(with(reset.clone() * state.clone())).tanh();
        let kept = (update.clone().neg() + 1.0) * state;
        let next = kept + update.clone() * candidate.clone();
        (next, Gates { update, reset, candidate })
    }
}
