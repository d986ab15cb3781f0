//! From correlations at three levels to one map: center-pivot 4D convolutions (HSNet, section 3.2).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_backbone::params;
use fss_kernels::{
    Corners, PivotGeometry, PivotWeights, center_pivot_conv4d, correlation_conv4d, group_norm_relu,
    resize_bilinear,
};

use super::Pyramid;
use crate::HeadError;
use crate::layers::{Convolution, GroupNorm};

/// Channels of what the three convolutions of a block make.
const WIDTHS: [usize; 3] = [16, 64, 128];

/// Groups of every norm.
const GROUPS: usize = 4;

/// Channels of the squeezed maps.
pub(crate) const CHANNELS: usize = WIDTHS[2];

/// Kernel sides and support strides of the three convolutions of a block.
type Plan = [(usize, usize); 3];

const DEEP: Plan = [(3, 2), (3, 2), (3, 2)];
const MIDDLE: Plan = [(5, 4), (3, 2), (3, 2)];
const SHALLOW: Plan = [(5, 4), (5, 4), (3, 2)];
const MIXING: Plan = [(3, 1), (3, 1), (3, 1)];

/// Maps over query and support positions.
#[derive(Debug, Clone)]
pub struct Maps4d {
    /// `[B, S, C, h, w]`: for each of S support positions, row by row, C maps over the query.
    pub values: Tensor<5>,
    /// Rows and columns of the support; their product is S.
    pub support: [usize; 2],
}

/// Center-pivot convolution, norm over 4 groups, ReLU.
#[derive(Module, Debug)]
pub struct PivotUnit {
    /// Over the query axes.
    pub conv1: Convolution,
    /// Over the support axes.
    pub conv2: Convolution,
    /// The norm.
    pub norm: GroupNorm,
    #[module(skip)]
    stride: usize,
}

impl PivotUnit {
    fn weights(&self) -> PivotWeights {
        PivotWeights {
            query: self.conv1.weight.val(),
            support: self.conv2.weight.val(),
            bias: self.conv1.bias.val() + self.conv2.bias.val(),
        }
    }

    fn finish(&self, values: Tensor<5>, support: [usize; 2]) -> Maps4d {
        let geometry = PivotGeometry { support, stride: self.stride };
        let (weight, bias) = (self.norm.weight.val(), self.norm.bias.val());
        let values = group_norm_relu(values, GROUPS, weight, bias);
        Maps4d { values, support: geometry.output() }
    }

    fn forward(&self, maps: Maps4d) -> Maps4d {
        let geometry = PivotGeometry { support: maps.support, stride: self.stride };
        let values = center_pivot_conv4d(maps.values, self.weights(), geometry);
        self.finish(values, maps.support)
    }

    /// Of the correlation of two levels, which is never made as a whole.
    fn correlate(&self, query: Tensor<5>, support: Tensor<5>) -> Maps4d {
        let [.., rows, columns] = support.dims();
        let (query, support) = (
            params::beside(query, &self.conv1.weight),
            params::beside(support, &self.conv1.weight),
        );
        let values = correlation_conv4d(query, support, self.weights(), self.stride);
        self.finish(values, [rows, columns])
    }
}

/// The blocks that squeeze the correlations of each level and mix them (`hpn_learner`).
#[derive(Module, Debug)]
pub struct Squeeze {
    /// Squeezes the deep level.
    pub encoder_layer4: Vec<PivotUnit>,
    /// Squeezes the middle level.
    pub encoder_layer3: Vec<PivotUnit>,
    /// Squeezes the shallow level.
    pub encoder_layer2: Vec<PivotUnit>,
    /// Mixes deep and middle level.
    pub encoder_layer4to3: Vec<PivotUnit>,
    /// Mixes in the shallow level.
    pub encoder_layer3to2: Vec<PivotUnit>,
}

/// What [`Squeeze::mix`] makes on its way.
#[derive(Debug, Clone)]
pub struct Mixed {
    /// The deep maps at the middle level's query size.
    pub deep_up: Maps4d,
    /// Deep and middle level, mixed.
    pub middle: Maps4d,
    /// All levels, averaged over the support, `[B, 128, h, w]` at the shallow level's query size.
    pub encoded: Tensor<4>,
}

impl Squeeze {
    /// For L taps at each level: shallow, middle, deep.
    pub(crate) fn new(taps: [usize; 3], seed: u64, device: &Device) -> Self {
        let block = |name: &str, inputs: usize, plan: Plan, widths: [usize; 3]| {
            let mut inputs = inputs;
            let unit = |(n, ((side, stride), outputs)): (usize, ((usize, usize), usize))| {
                let shape = [inputs, outputs, side];
                inputs = outputs;
                let conv = |part: &str| {
                    Convolution::new(&format!("hpn_learner.{name}.{n}.{part}"), shape, seed, device)
                };
                let norm = GroupNorm::new(outputs, device);
                PivotUnit { conv1: conv("conv1"), conv2: conv("conv2"), norm, stride }
            };
            plan.into_iter().zip(widths).enumerate().map(unit).collect()
        };
        let [shallow, middle, deep] = taps;
        Self {
            encoder_layer4: block("encoder_layer4", deep, DEEP, WIDTHS),
            encoder_layer3: block("encoder_layer3", middle, MIDDLE, WIDTHS),
            encoder_layer2: block("encoder_layer2", shallow, SHALLOW, WIDTHS),
            encoder_layer4to3: block("encoder_layer4to3", CHANNELS, MIXING, [CHANNELS; 3]),
            encoder_layer3to2: block("encoder_layer3to2", CHANNELS, MIXING, [CHANNELS; 3]),
        }
    }

    /// The official key of a parameter inside: sub-layers are numbered convolution, norm, ReLU.
    pub(crate) fn official_key(path: &str) -> String {
        let mut parts: Vec<&str> = path.split('.').collect();
        let Some(unit) = parts.get(1).and_then(|n| n.parse::<usize>().ok()) else {
            return path.to_owned();
        };
        let is_norm = parts.get(2) == Some(&"norm");
        let number = (3 * unit + usize::from(is_norm)).to_string();
        parts[1] = &number;
        if is_norm {
            parts.remove(2);
        }
        parts.join(".")
    }

    /// The rows and columns of a support, after a level is squeezed.
    fn left(plan: Plan, support: [usize; 2]) -> [usize; 2] {
        plan.into_iter()
            .fold(support, |support, (_, stride)| PivotGeometry { support, stride }.output())
    }

    /// Refuses supports whose levels are squeezed to different sizes, so that they cannot be added.
    pub(crate) fn check_support(sizes: [[usize; 2]; 3]) -> Result<(), HeadError> {
        let [shallow, middle, deep] = sizes;
        let left = [(SHALLOW, shallow), (MIDDLE, middle), (DEEP, deep)]
            .map(|(plan, size)| Self::left(plan, size));
        if left.iter().all(|size| *size == left[0]) {
            return Ok(());
        }
        Err(HeadError::ImageSize {
            what: "a support image".into(),
            problem: format!(
                "its three levels are squeezed to {left:?} positions, which do not add up"
            ),
            remedy: "resize it to 400x400, as published".into(),
        })
    }

    /// Squeezes the correlations of a query with a support: deep, middle, shallow level.
    pub(crate) fn squeeze(&self, query: &Pyramid, support: &Pyramid) -> [Maps4d; 3] {
        let blocks = [&self.encoder_layer4, &self.encoder_layer3, &self.encoder_layer2];
        let mut levels = [2, 1, 0].into_iter();
        blocks.map(|block| {
            let level = levels.next().unwrap_or_default();
            let first = block[0].correlate(query.0[level].clone(), support.0[level].clone());
            block[1..].iter().fold(first, |maps, unit| unit.forward(maps))
        })
    }

    /// The same from correlations that are given: deep, middle, shallow level.
    pub fn squeeze_correlations(&self, correlations: [Maps4d; 3]) -> [Maps4d; 3] {
        let [deep, middle, shallow] = correlations;
        [
            run(&self.encoder_layer4, deep),
            run(&self.encoder_layer3, middle),
            run(&self.encoder_layer2, shallow),
        ]
    }

    /// Adds up and mixes the squeezed levels: deep, middle, shallow.
    ///
    /// # Panics
    /// If they have different numbers of support positions.
    pub fn mix(&self, [deep, middle, shallow]: [Maps4d; 3]) -> Mixed {
        let deep_up = deep.at_query_size_of(&middle);
        let middle = run(&self.encoder_layer4to3, deep_up.clone().add(middle));
        let all = middle.at_query_size_of(&shallow).add(shallow);
        let all = run(&self.encoder_layer3to2, all).values;
        let [b, _, c, h, w] = all.dims();
        Mixed { deep_up, middle, encoded: all.mean_dim(1).reshape([b, c, h, w]) }
    }

    /// The map `[B, 128, h, w]` that a query's and a support's features give together.
    pub(crate) fn forward(&self, query: &Pyramid, support: &Pyramid) -> Tensor<4> {
        self.mix(self.squeeze(query, support)).encoded
    }
}

fn run(block: &[PivotUnit], maps: Maps4d) -> Maps4d {
    block.iter().fold(maps, |maps, unit| unit.forward(maps))
}

impl Maps4d {
    fn add(self, other: Self) -> Self {
        Self { values: self.values + other.values, support: self.support }
    }

    /// Every map over the query at the size of another's.
    fn at_query_size_of(&self, other: &Self) -> Self {
        let [b, s, c, h, w] = self.values.dims();
        let [.., height, width] = other.values.dims();
        let flat = self.values.clone().reshape([b, s * c, h, w]);
        let resized = resize_bilinear(flat, [height, width], Corners::Aligned);
        Self { values: resized.reshape([b, s, c, height, width]), support: self.support }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_keys_number_the_sublayers() {
        let key = Squeeze::official_key;
        assert_eq!(key("encoder_layer4.0.conv1.weight"), "encoder_layer4.0.conv1.weight");
        assert_eq!(key("encoder_layer4.2.conv2.bias"), "encoder_layer4.6.conv2.bias");
        assert_eq!(key("encoder_layer3to2.1.norm.bias"), "encoder_layer3to2.4.bias");
    }

    #[test]
    fn supports_that_do_not_add_up_are_refused() {
        Squeeze::check_support([[50, 50], [25, 25], [13, 13]]).unwrap();
        let message = Squeeze::check_support([[33, 33], [16, 16], [8, 8]]).unwrap_err().to_string();
        assert!(message.contains("400x400"), "{message}");
    }
}
