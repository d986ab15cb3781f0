//! Graph attention: what a query's positions gather from those of all supports.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Device, Tensor};
use fss_kernels::Activation;
use serde::{Deserialize, Serialize};

use super::EqualWeights;
use crate::layers::Convolution;
use crate::reg_aspp::CHANNELS;

/// How gathered features become a map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// As published: the array of positions and channels is read as one of channels and positions
    /// without being transposed, which scrambles both. Weights that were trained so need it.
    #[default]
    Scrambled,
    /// Channels are channels.
    Sound,
}

/// A graph attention unit (section 3.2 of the paper).
#[derive(Module, Debug)]
pub struct GraphAttention {
    /// Of the query, 1x1.
    pub phi: Convolution,
    /// Of the supports, 1x1.
    pub theta: Convolution,
    /// Of what was gathered beside the query's own, 1x1 with ReLU (published name: Phi).
    pub joined: Convolution,
}

/// All positions of all shots, shot by shot and row by row, as one unit reads them.
#[derive(Debug, Clone)]
pub struct SupportGraph {
    /// What queries are compared with, `[B, 256, P]`.
    pub keys: Tensor<3>,
    /// What is gathered, `[B, P, 256]`.
    pub values: Tensor<3>,
    /// The weight `1 / (h w)` of each position of a shot of `h x w` among equals, `[1, 1, P]`.
    pub equal: Tensor<3>,
}

impl SupportGraph {
    /// How many samples it has.
    pub fn batch(&self) -> usize {
        self.keys.dims()[0]
    }
}

impl GraphAttention {
    pub(super) fn new(key: &str, seed: u64, device: &Device) -> Self {
        let conv = |name: &str, inputs| {
            Convolution::new(&format!("{key}.{name}"), [inputs, CHANNELS, 1], seed, device)
        };
        Self {
            phi: conv("phi", CHANNELS),
            theta: conv("theta", CHANNELS),
            joined: conv("Phi.0", 2 * CHANNELS),
        }
    }

    /// The positions of shots, each with its masked features and its values, `[B, 256, h, w]`.
    pub fn support(&self, shots: &[(Tensor<4>, Tensor<4>)]) -> SupportGraph {
        let keys = shots
            .iter()
            .map(|(features, _)| flat(self.theta.forward(features.clone(), Activation::None)));
        let values = shots.iter().map(|(_, values)| flat(values.clone()).swap_dims(1, 2));
        let equal = shots.iter().map(|(features, _)| {
            let [_, _, height, width] = features.dims();
            let positions = height * width;
            Tensor::full([1, 1, positions], 1.0 / positions as f64, &features.device())
        });
        SupportGraph {
            keys: Tensor::cat(keys.collect(), 2),
            values: Tensor::cat(values.collect(), 1),
            equal: Tensor::cat(equal.collect(), 2),
        }
    }

    /// What a query map `[B, 256, h, w]` gathers by attention: `[B, h w, 256]`.
    pub fn attend(&self, query: &Tensor<4>, support: &SupportGraph) -> Tensor<3> {
        softmax(self.scores(query, support), 2).matmul(for_batch(&support.values, query.dims()[0]))
    }

    /// What it gathers with equal weights, whatever the query looks like: the sum over the shots of each
    /// shot's mean, as published. `[B, h w, 256]`.
    pub fn equally(
        &self,
        query: &Tensor<4>,
        support: &SupportGraph,
        gradient: EqualWeights,
    ) -> Tensor<3> {
        let [batch, channels, height, width] = query.dims();
        let values = for_batch(&support.values, batch);
        let equal = support.equal.clone();
        let sum = equal.clone().expand([batch, 1, values.dims()[1]]).matmul(values.clone());
        let sum = sum.expand([batch, height * width, channels]);
        if gradient == EqualWeights::Constant || !query.is_autodiff() {
            return sum;
        }
        // The derivative of a softmax whose result is taken to be the equal weights, of value 0.
        let scores = self.scores(query, support);
        let change = scores.clone() - scores.detach();
        let mean = (change.clone() * equal.clone()).sum_dim(2);
        sum + ((change - mean) * equal).matmul(values)
    }

    /// The gathered features beside the query's own values `[B, 256, h, w]`, mixed.
    pub fn joined(&self, gathered: Tensor<3>, values: Tensor<4>, layout: Layout) -> Tensor<4> {
        let shape = values.dims();
        let gathered = match layout {
            Layout::Scrambled => gathered,
            Layout::Sound => gathered.swap_dims(1, 2),
        };
        let both = Tensor::cat(vec![gathered.reshape(shape), values], 1);
        self.joined.forward(both, Activation::Relu)
    }

    /// `[B, h w, P]`.
    fn scores(&self, query: &Tensor<4>, support: &SupportGraph) -> Tensor<3> {
        let batch = query.dims()[0];
        let query = flat(self.phi.forward(query.clone(), Activation::None)).swap_dims(1, 2);
        query.matmul(for_batch(&support.keys, batch))
    }

    /// The official name of a parameter inside the unit.
    pub(super) fn official_key(path: &str) -> String {
        match path.split_once('.') {
            Some(("joined", rest)) => format!("Phi.0.{rest}"),
            _ => path.to_owned(),
        }
    }
}

/// A map averaged to a smaller one (adaptive average pooling); the same at its own size.
pub(super) fn pooled(map: &Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = map.dims();
    match size == [height, width] {
        true => map.clone(),
        false => adaptive_avg_pool2d(map.clone(), size),
    }
}

/// `[B, C, h, w]` to `[B, C, h w]`.
fn flat(map: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = map.dims();
    map.reshape([batch, channels, height * width])
}

/// `[1, ..]` as `[batch, ..]`.
fn for_batch(x: &Tensor<3>, batch: usize) -> Tensor<3> {
    let [own, rows, columns] = x.dims();
    if own == batch { x.clone() } else { x.clone().expand([batch, rows, columns]) }
}
