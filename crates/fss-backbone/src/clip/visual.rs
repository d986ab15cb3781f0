//! The image encoder: a ResNet whose every stride is an average pool, and an attention pool.

use burn::module::Module;
use burn::tensor::Tensor;
use fss_kernels::{Activation, ConvGeometry, avg_pool2d};

use super::config::ClipConfig;
use super::pool::AttentionPool;
use crate::block::{ConvUnit, Route};
use crate::error::BackboneError;
use crate::init::Init;

const EXPANSION: usize = 4;

/// The image encoder.
#[derive(Module, Debug)]
pub struct ClipVisual {
    /// First convolution of the stem, stride 2.
    pub conv1: ConvUnit,
    /// Second convolution of the stem.
    pub conv2: ConvUnit,
    /// Third convolution of the stem; an average pool follows.
    pub conv3: ConvUnit,
    /// Blocks at 1/4 of the image.
    pub layer1: Vec<ClipBlock>,
    /// Blocks at 1/8 of the image.
    pub layer2: Vec<ClipBlock>,
    /// Blocks at 1/16 of the image.
    pub layer3: Vec<ClipBlock>,
    /// Blocks at 1/32 of the image.
    pub layer4: Vec<ClipBlock>,
    /// The attention pool.
    pub attnpool: AttentionPool,
}

/// Outputs of all stages, as [`ClipVisual::stages`] returns them. `w` is the width, `R` the side.
#[derive(Debug, Clone)]
pub struct ClipStages {
    /// After the stem's pool, `[B, w, R/4, R/4]`.
    pub stem: Tensor<4>,
    /// `[B, 4w, R/4, R/4]`
    pub layer1: Tensor<4>,
    /// `[B, 8w, R/8, R/8]`
    pub layer2: Tensor<4>,
    /// `[B, 16w, R/16, R/16]`
    pub layer3: Tensor<4>,
    /// The activations, `[B, 32w, R/32, R/32]`.
    pub layer4: Tensor<4>,
}

impl ClipVisual {
    pub(super) fn new(init: &Init<'_>, config: &ClipConfig) -> Self {
        let width = config.width;
        let mut inner = width;
        let mut layer = |number: usize| {
            let planes = width << (number - 1);
            let blocks = (0..config.layers[number - 1]).map(|i| {
                let stride = if i == 0 && number > 1 { 2 } else { 1 };
                let key = format!("visual.layer{number}.{i}");
                let block = ClipBlock::new(init, &key, [inner, planes, stride]);
                inner = EXPANSION * planes;
                block
            });
            blocks.collect()
        };
        let layers = [1, 2, 3, 4].map(&mut layer);
        let [layer1, layer2, layer3, layer4]: [Vec<ClipBlock>; 4] = layers;
        let stem = |key: &str, shape, stride| {
            ConvUnit::new(init, key, shape, ConvGeometry { stride, padding: 1, dilation: 1 })
        };
        Self {
            conv1: stem("visual.conv1.weight", [3, width / 2, 3], 2),
            conv2: stem("visual.conv2.weight", [width / 2, width / 2, 3], 1),
            conv3: stem("visual.conv3.weight", [width / 2, width, 3], 1),
            layer1,
            layer2,
            layer3,
            layer4,
            attnpool: AttentionPool::new(init, config),
        }
    }

    /// The map that the attention pool looks at: layer4 after its ReLU.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`, normalised; sides a multiple of 32
    /// - output: `[B, 32w, H/32, W/32]`
    pub fn activations(&self, images: Tensor<4>) -> Tensor<4> {
        let x = self.stem(images);
        self.layers().into_iter().flatten().fold(x, |x, block| block.forward(x))
    }

    /// All intermediate results. Everything stays in memory: for looking and comparing.
    ///
    /// # Shapes
    /// - images: `[B, 3, H, W]`
    pub fn stages(&self, images: Tensor<4>) -> ClipStages {
        let stem = self.stem(images);
        let run = |blocks: &[ClipBlock], x: &Tensor<4>| {
            blocks.iter().fold(x.clone(), |x, block| block.forward(x))
        };
        let layer1 = run(&self.layer1, &stem);
        let layer2 = run(&self.layer2, &layer1);
        let layer3 = run(&self.layer3, &layer2);
        let layer4 = run(&self.layer4, &layer3);
        ClipStages { stem, layer1, layer2, layer3, layer4 }
    }

    /// Image features from [`ClipVisual::activations`], not normalised. Differentiable.
    ///
    /// # Shapes
    /// - activations: `[B, 32w, h, w]`
    /// - output: `[B, E]`
    ///
    /// # Errors
    /// [`BackboneError::ClipInput`] if the map is not of the size that the pool knows positions for.
    pub fn pool(&self, activations: Tensor<4>) -> Result<Tensor<2>, BackboneError> {
        Ok(self.attnpool.forward(activations)?.features)
    }

    fn stem(&self, images: Tensor<4>) -> Tensor<4> {
        let stem = [&self.conv1, &self.conv2, &self.conv3];
        halve(stem.iter().fold(images, |x, unit| relu(unit, x)))
    }

    fn layers(&self) -> [&Vec<ClipBlock>; 4] {
        [&self.layer1, &self.layer2, &self.layer3, &self.layer4]
    }

    pub(super) fn fold(self) -> Self {
        let fold = |blocks: Vec<ClipBlock>| blocks.into_iter().map(ClipBlock::fold).collect();
        Self {
            conv1: self.conv1.fold(),
            conv2: self.conv2.fold(),
            conv3: self.conv3.fold(),
            layer1: fold(self.layer1),
            layer2: fold(self.layer2),
            layer3: fold(self.layer3),
            layer4: fold(self.layer4),
            attnpool: self.attnpool,
        }
    }
}

/// A bottleneck block. Its convolutions have stride 1; where it strides, an average pool does.
#[derive(Module, Debug)]
pub struct ClipBlock {
    /// 1x1.
    pub conv1: ConvUnit,
    /// 3x3; the average pool follows.
    pub conv2: ConvUnit,
    /// 1x1.
    pub conv3: ConvUnit,
    /// 1x1 behind an average pool, in the first block of a layer.
    pub downsample: Option<ConvUnit>,
    /// 1 or 2.
    #[module(skip)]
    pub stride: usize,
}

impl ClipBlock {
    fn new(init: &Init<'_>, key: &str, [inner, planes, stride]: [usize; 3]) -> Self {
        let outer = EXPANSION * planes;
        let unit = |name: &str, shape, geometry| {
            ConvUnit::new(init, &format!("{key}.{name}.weight"), shape, geometry)
        };
        let spatial = ConvGeometry { stride: 1, padding: 1, dilation: 1 };
        let point = ConvGeometry::POINTWISE;
        Self {
            conv1: unit("conv1", [inner, planes, 1], point),
            conv2: unit("conv2", [planes, planes, 3], spatial),
            conv3: unit("conv3", [planes, outer, 1], point),
            downsample: (stride != 1 || inner != outer)
                .then(|| unit("downsample.0", [inner, outer, 1], point)),
            stride,
        }
    }

    /// `[B, C_in, H, W]` to `[B, C_out, H/stride, W/stride]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let pool = |x| if self.stride == 1 { x } else { halve(x) };
        let branch = pool(relu(&self.conv2, relu(&self.conv1, x.clone())));
        let shortcut = match &self.downsample {
            Some(unit) => unit.forward(pool(x), None, Activation::None, Route::Merged),
            None => x,
        };
        self.conv3.forward(branch, Some(shortcut), Activation::Relu, Route::Merged)
    }

    fn fold(self) -> Self {
        Self {
            conv1: self.conv1.fold(),
            conv2: self.conv2.fold(),
            conv3: self.conv3.fold(),
            downsample: self.downsample.map(ConvUnit::fold),
            stride: self.stride,
        }
    }
}

fn relu(unit: &ConvUnit, x: Tensor<4>) -> Tensor<4> {
    unit.forward(x, None, Activation::Relu, Route::Merged)
}

/// Average over 2x2 pixels.
fn halve(x: Tensor<4>) -> Tensor<4> {
    avg_pool2d(x, 2, 2)
}
