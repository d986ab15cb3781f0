//! The network: construction and forward passes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use fss_kernels::{Activation, ConvGeometry, max_pool2d};

use crate::block::{BlockPlan, ConvUnit, ResidualBlock, Route, layer, run};
use crate::config::DeepStemResNetConfig;
use crate::freeze::{Frozen, Stage};
use crate::init::Init;
use crate::norm::follow_autodiff;
use crate::pass::ComputePrecision;

/// The deep-stem ResNet of SSP and MLC, up to `layer3`, without its last ReLU.
///
/// Made by [`DeepStemResNetConfig::init`]; see there for a starting point.
#[derive(Module, Debug)]
pub struct DeepStemResNet {
    pub(crate) stem: [ConvUnit; 3],
    pub(crate) layer1: Vec<ResidualBlock>,
    pub(crate) layer2: Vec<ResidualBlock>,
    pub(crate) layer3: Vec<ResidualBlock>,
    #[module(skip)]
    pub(crate) config: DeepStemResNetConfig,
    #[module(skip)]
    pub(crate) frozen: Frozen,
    #[module(skip)]
    precision: ComputePrecision,
}

/// Outputs of all stages for one batch, as [`DeepStemResNet::forward_stages`] returns them.
#[derive(Debug, Clone)]
pub struct Stages {
    /// Raw outputs of the three stem convolutions (before norm and ReLU), `[B, C, H/2, W/2]`.
    /// `None` in a folded network, where they do not exist.
    pub stem: Option<[Tensor<4>; 3]>,
    /// After the stem and max pooling, `[B, 128, H/4, W/4]`.
    pub layer0: Tensor<4>,
    /// After layer1, `[B, 256, H/4, W/4]`.
    pub layer1: Tensor<4>,
    /// After layer2, `[B, 512, H/8, W/8]`.
    pub layer2: Tensor<4>,
    /// After the first block of layer3, `[B, 1024, H/8, W/8]`.
    pub layer3_0: Tensor<4>,
    /// The features, `[B, 1024, H/8, W/8]`, signed.
    pub layer3: Tensor<4>,
}

impl DeepStemResNetConfig {
    /// Builds the network with starting values made from `seed` alone: convolutions
    /// Kaiming-normal (fan-out, ReLU gain), norms with scale 1, shift 0, mean 0 and variance 1.
    ///
    /// Nothing is frozen but the norms. On an autodiff device the network is ready for training.
    pub fn init(&self, device: &Device, seed: u64) -> DeepStemResNet {
        let init = Init { seed, device };
        let width = self.base_width();
        let kind = self.depth.block_kind();
        let spatial = |stride| ConvGeometry { stride, padding: 1, dilation: 1 };
        let stem = [
            ConvUnit::new(&init, "layer0.0.0.weight", [3, width, 3], spatial(2)),
            ConvUnit::new(&init, "layer0.0.3.weight", [width, width, 3], spatial(1)),
            ConvUnit::new(&init, "layer0.0.6.weight", [width, 2 * width, 3], spatial(1)),
        ];
        let plan = |c_in, planes, stride, activation| BlockPlan {
            kind,
            c_in,
            planes,
            stride,
            dilation: 1,
            activation,
        };
        let [n1, n2, n3] = self.depth.blocks();
        let out = |planes| planes * kind.expansion();
        let (stride3, dilation3) = if self.layer3_is_dilated() { (1, 2) } else { (2, 1) };
        let first1 = plan(2 * width, width, 1, Activation::Relu);
        let first2 = plan(out(width), 2 * width, 2, Activation::Relu);
        let first3 = plan(out(2 * width), 4 * width, stride3, Activation::None);
        let mut network = DeepStemResNet {
            stem,
            layer1: layer(&init, "layer1", &first1, 1, n1),
            layer2: layer(&init, "layer2", &first2, 1, n2),
            layer3: layer(&init, "layer3", &first3, dilation3, n3),
            config: *self,
            frozen: Frozen::default(),
            precision: ComputePrecision::Full,
        };
        network.apply_frozen();
        network
    }
}

impl DeepStemResNet {
    /// Features of a batch of normalised images.
    ///
    /// Frozen stages at the front run outside autodiff. A batch gives each image the numbers it
    /// gets alone.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    /// - output: `[B, C, h, w]` with `C` = [`Self::channels`], `[h, w]` = [`Self::feature_size`]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        // Someone who asks for the gradient of the images needs the graph through every stage.
        let entry = Entry { wants_graph: images.is_tracked(), network: self };
        let route = Route::MergedIn(self.precision);
        let mut x = entry.enter(images, Stage::Stem);
        for unit in &self.stem {
            x = unit.forward(x, None, Activation::Relu, route);
        }
        x = max_pool(x);
        for (stage, blocks) in self.layers() {
            x = run(blocks, entry.enter(x, stage), route);
        }
        x
    }

    /// All intermediate results, computed step by step as the definition has it, in full precision (a
    /// folded network uses its merged convolutions). Everything stays in memory: for looking and comparing.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    pub fn forward_stages(&self, images: Tensor<4>) -> Stages {
        let mut raw = Vec::with_capacity(3);
        let mut x = follow_autodiff(images, &self.stem[0].kernel().val());
        for unit in &self.stem {
            if let ConvUnit::Separate(unit) = unit {
                raw.push(unit.conv.forward(x.clone()));
            }
            x = unit.forward(x, None, Activation::Relu, Route::Stepwise);
        }
        let layer0 = max_pool(x);
        let layer1 = run(&self.layer1, layer0.clone(), Route::Stepwise);
        let layer2 = run(&self.layer2, layer1.clone(), Route::Stepwise);
        let (first, rest) = self.layer3.split_at(self.layer3.len().min(1));
        let layer3_0 = run(first, layer2.clone(), Route::Stepwise);
        let layer3 = run(rest, layer3_0.clone(), Route::Stepwise);
        Stages { stem: raw.try_into().ok(), layer0, layer1, layer2, layer3_0, layer3 }
    }

    /// Sets in which precision an unfolded network convolves.
    #[must_use]
    pub fn with_precision(mut self, precision: ComputePrecision) -> Self {
        self.precision = precision;
        self
    }

    /// In which precision an unfolded network convolves.
    pub fn precision(&self) -> ComputePrecision {
        self.precision
    }

    /// What the network was made from.
    pub fn config(&self) -> &DeepStemResNetConfig {
        &self.config
    }

    /// Channels C of the features.
    pub fn channels(&self) -> usize {
        self.config.channels()
    }

    /// Image pixels per feature position along each axis.
    pub fn output_stride(&self) -> usize {
        self.config.output_stride()
    }

    /// Feature size `[h, w]` of an image of size `[H, W]`.
    pub fn feature_size(&self, image: [usize; 2]) -> [usize; 2] {
        self.config.feature_size(image)
    }

    /// The device that the parameters are on.
    pub fn device(&self) -> Device {
        self.stem[0].kernel().lazy_device()
    }

    fn layers(&self) -> [(Stage, &[ResidualBlock]); 3] {
        [
            (Stage::Layer1, &self.layer1),
            (Stage::Layer2, &self.layer2),
            (Stage::Layer3, &self.layer3),
        ]
    }

    /// Every unit with its official keys, in the order of the official state dict.
    pub(crate) fn units(&self) -> Vec<(UnitKeys, &ConvUnit)> {
        let mut units = Vec::new();
        for (keys, unit) in stem_keys().into_iter().zip(&self.stem) {
            units.push((keys, unit));
        }
        for (stage, blocks) in self.layers() {
            for (i, block) in blocks.iter().enumerate() {
                for (name, unit) in block.units() {
                    units.push((UnitKeys::in_block(stage, i, &name.conv, &name.norm), unit));
                }
            }
        }
        units
    }

    /// [`Self::units`], mutable.
    pub(crate) fn units_mut(&mut self) -> Vec<(UnitKeys, &mut ConvUnit)> {
        let mut units = Vec::new();
        for (keys, unit) in stem_keys().into_iter().zip(&mut self.stem) {
            units.push((keys, unit));
        }
        let layers = [
            (Stage::Layer1, &mut self.layer1),
            (Stage::Layer2, &mut self.layer2),
            (Stage::Layer3, &mut self.layer3),
        ];
        for (stage, blocks) in layers {
            for (i, block) in blocks.iter_mut().enumerate() {
                for (name, unit) in block.units_mut() {
                    units.push((UnitKeys::in_block(stage, i, &name.conv, &name.norm), unit));
                }
            }
        }
        units
    }
}

/// Decides at the door of each stage whether the stage is recorded.
struct Entry<'a> {
    wants_graph: bool,
    network: &'a DeepStemResNet,
}

impl Entry<'_> {
    fn enter(&self, x: Tensor<4>, stage: Stage) -> Tensor<4> {
        let up_to_here = [Stage::Stem, Stage::Layer1, Stage::Layer2, Stage::Layer3];
        let all_frozen = up_to_here
            .into_iter()
            .take_while(|&s| s as usize <= stage as usize)
            .all(|s| self.network.frozen.is_frozen(s));
        let untrained = all_frozen || self.network.is_folded();
        match untrained && !self.wants_graph {
            true => x.without_autodiff(),
            false => follow_autodiff(x, &self.network.stem[0].kernel().val()),
        }
    }
}

/// Official (SSP) keys of one convolution and its norm, without `.weight` and the like.
pub(crate) struct UnitKeys {
    pub stage: Stage,
    pub conv: String,
    pub norm: String,
}

impl UnitKeys {
    fn in_block(stage: Stage, block: usize, conv: &str, norm: &str) -> Self {
        let layer = stage as usize;
        Self {
            stage,
            conv: format!("layer{layer}.{block}.{conv}"),
            norm: format!("layer{layer}.{block}.{norm}"),
        }
    }
}

fn stem_keys() -> [UnitKeys; 3] {
    [("0.0", "0.1"), ("0.3", "0.4"), ("0.6", "1")].map(|(conv, norm)| UnitKeys {
        stage: Stage::Stem,
        conv: format!("layer0.{conv}"),
        norm: format!("layer0.{norm}"),
    })
}

/// Max pooling 3x3, stride 2, padding 1: `[B, C, H, W]` to `[B, C, ceil(H/2), ceil(W/2)]`.
pub(crate) fn max_pool(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, 3, 2, 1)
}
