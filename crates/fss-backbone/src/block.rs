//! Convolutions with their norms, and the residual blocks made of them.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::relu};
use fss_kernels::{Activation, ConvGeometry, conv2d_fused};

use crate::config::BlockKind;
use crate::fold::FoldedConv;
use crate::init::Init;
use crate::norm::{FrozenBatchNorm2d, follow_autodiff};
use crate::pass::{BatchMoments, ComputePrecision, TrainingPass};

/// A convolution without bias.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// Kernel `[C_out, C_in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// Stride, padding and dilation.
    #[module(skip)]
    pub geometry: ConvGeometry,
}

impl Conv2d {
    /// Convolves: `[B, C_in, H, W]` to `[B, C_out, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = beside(self.weight.val(), &x);
        let bias = Tensor::zeros([weight.dims()[0]], &x.device());
        conv2d_fused(x, weight, bias, None, self.geometry, Activation::None)
    }
}

/// A convolution and the norm behind it.
#[derive(Module, Debug)]
pub struct ConvNorm {
    /// The convolution.
    pub conv: Conv2d,
    /// The norm.
    pub norm: FrozenBatchNorm2d,
}

impl ConvNorm {
    /// Convolution and norm as one convolution: kernel `[C_out, C_in, k, k]` and bias `[C_out]`.
    /// Differentiable with respect to the kernel and the norm's scale and shift.
    pub fn folded_parameters(&self) -> (Tensor<4>, Tensor<1>) {
        let (scale, shift) = self.norm.scale_shift();
        let channels = scale.dims()[0];
        (self.conv.weight.val() * scale.reshape([channels, 1, 1, 1]), shift)
    }
}

/// One convolution step of the network, in either of its two states.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a few dozen of them hold a whole network
pub enum ConvUnit {
    /// Convolution and norm apart: can be trained, loaded and saved.
    Separate(ConvNorm),
    /// Merged into one convolution with bias: inference only.
    Folded(FoldedConv),
}

/// How a separate unit computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Convolution, norm, addition and ReLU one after the other: the definition.
    Stepwise,
    /// The norm multiplied into the kernel first. The maps are then walked once instead of four
    /// times, and the gradient reaches the kernel through one small product.
    Merged,
    /// [`Route::Merged`] with every convolution in a precision of its own.
    MergedIn(ComputePrecision),
}

impl ConvUnit {
    pub(crate) fn new(
        init: &Init<'_>,
        key: &str,
        [c_in, c_out, kernel]: [usize; 3],
        geometry: ConvGeometry,
    ) -> Self {
        let weight = init.kaiming_normal(key, [c_out, c_in, kernel, kernel]);
        let norm = FrozenBatchNorm2d::new(c_out, init.device);
        Self::Separate(ConvNorm { conv: Conv2d { weight, geometry }, norm })
    }

    /// `activation(norm(conv(x)) [+ residual])`
    pub(crate) fn forward(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: Activation,
        route: Route,
    ) -> Tensor<4> {
        let unit = match self {
            Self::Folded(conv) => return conv.forward(x, residual, activation),
            Self::Separate(unit) => unit,
        };
        let precision = match route {
            Route::Stepwise => {
                return finish(unit.norm.forward(unit.conv.forward(x)), residual, activation);
            }
            Route::Merged => ComputePrecision::Full,
            Route::MergedIn(precision) => precision,
        };
        let (weight, bias) = unit.folded_parameters();
        let (weight, bias) = (beside(weight, &x), beside(bias, &x));
        precision.convolve_fused(x, weight, bias, residual, unit.conv.geometry, activation)
    }

    /// [`Self::apply`] as training has it: norm and precision as the pass says. A folded unit has
    /// nothing to train and computes as ever.
    pub fn forward_training(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: Activation,
        pass: &mut TrainingPass,
    ) -> Tensor<4> {
        match self {
            Self::Separate(unit) => {
                let y = pass.convolve(x, unit.conv.weight.val(), unit.conv.geometry);
                finish(pass.normalise(&unit.norm, y), residual, activation)
            }
            folded => folded.forward(x, residual, activation, Route::Merged),
        }
    }

    /// `activation(norm(conv(x)) [+ residual])` under the running statistics.
    ///
    /// # Shapes
    /// - x: `[B, C_in, H, W]`
    /// - residual and output: `[B, C_out, h, w]`
    pub fn apply(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: Activation,
    ) -> Tensor<4> {
        self.forward(x, residual, activation, Route::Merged)
    }

    /// Kernel `[C_out, C_in, k, k]` and bias `[C_out]` of convolution and norm as one.
    pub fn merged(&self) -> (Tensor<4>, Tensor<1>) {
        match self {
            Self::Separate(unit) => unit.folded_parameters(),
            Self::Folded(conv) => (conv.weight.val(), conv.bias.val()),
        }
    }

    /// Moves the running statistics towards the next moments of a pass.
    pub fn absorb(&mut self, moments: &mut impl Iterator<Item = BatchMoments>) {
        if let (Self::Separate(unit), Some(moments)) = (self, moments.next()) {
            unit.norm.absorb(moments);
        }
    }

    /// The norm, unless it was merged.
    pub(crate) fn norm_mut(&mut self) -> Option<&mut FrozenBatchNorm2d> {
        match self {
            Self::Separate(unit) => Some(&mut unit.norm),
            Self::Folded(_) => None,
        }
    }

    /// Lets scale and shift of the norm take part in training.
    pub(crate) fn learn_scale_and_shift(&mut self) {
        if let Self::Separate(ConvNorm { norm, .. }) = self {
            norm.weight = norm.weight.clone().set_require_grad(true);
            norm.bias = norm.bias.clone().set_require_grad(true);
        }
    }

    /// A unit with PyTorch's starting values: kernel uniform within `1 / sqrt(fan_in)` from `seed`
    /// and `key` alone, norm with scale 1, shift 0, mean 0 and variance 1. All of it learns but the
    /// running statistics.
    pub fn uniform(
        key: &str,
        [c_in, c_out, kernel]: [usize; 3],
        geometry: ConvGeometry,
        seed: u64,
        device: &Device,
    ) -> Self {
        let bound = 1.0 / ((c_in * kernel * kernel) as f64).sqrt();
        let init = Init { seed, device };
        let weight = init.uniform(key, [c_out, c_in, kernel, kernel], bound);
        let norm = FrozenBatchNorm2d::new(c_out, device);
        let mut unit = Self::Separate(ConvNorm { conv: Conv2d { weight, geometry }, norm });
        unit.learn_scale_and_shift();
        unit
    }

    /// Whether convolution and norm were merged.
    pub fn is_folded(&self) -> bool {
        matches!(self, Self::Folded(_))
    }

    /// The parameter of the kernel `[C_out, C_in, k, k]`, merged or not.
    pub(crate) fn kernel(&self) -> &Param<Tensor<4>> {
        match self {
            Self::Separate(unit) => &unit.conv.weight,
            Self::Folded(conv) => &conv.weight,
        }
    }

    /// Merges the norm into the convolution, for inference.
    #[must_use]
    pub fn fold(self) -> Self {
        match self {
            Self::Separate(unit) => Self::Folded(FoldedConv::new(&unit)),
            folded @ Self::Folded(_) => folded,
        }
    }
}

/// Residual addition and activation, one after the other.
pub(crate) fn finish(
    y: Tensor<4>,
    residual: Option<Tensor<4>>,
    activation: Activation,
) -> Tensor<4> {
    let y = match residual {
        Some(residual) => y + residual,
        None => y,
    };
    match activation {
        Activation::Relu => relu(y),
        Activation::None => y,
    }
}

/// `parameter` ready to meet `x`: outside autodiff if `x` is, so that nothing is recorded.
pub(crate) fn beside<const D: usize, const E: usize>(
    parameter: Tensor<D>,
    x: &Tensor<E>,
) -> Tensor<D> {
    match x.is_autodiff() {
        true => follow_autodiff(parameter, x),
        false => parameter.without_autodiff(),
    }
}

/// A basic or bottleneck block: a chain of convolutions and a shortcut around it.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    /// All convolutions of the branch but its last, each followed by ReLU.
    pub branch: Vec<ConvUnit>,
    /// The last convolution of the branch; the shortcut is added to its output.
    pub last: ConvUnit,
    /// 1x1 projection where the block changes shape; otherwise the shortcut is the input itself.
    pub projection: Option<ConvUnit>,
    /// ReLU everywhere but in the last block of the network.
    #[module(skip)]
    pub activation: Activation,
}

/// What [`ResidualBlock::new`] needs to know.
pub(crate) struct BlockPlan {
    pub kind: BlockKind,
    pub c_in: usize,
    pub planes: usize,
    pub stride: usize,
    pub dilation: usize,
    pub activation: Activation,
}

impl ResidualBlock {
    pub(crate) fn new(init: &Init<'_>, prefix: &str, plan: &BlockPlan) -> Self {
        let BlockPlan { kind, c_in, planes, stride, dilation, activation } = *plan;
        let c_out = planes * kind.expansion();
        let spatial = |stride| ConvGeometry { stride, padding: dilation, dilation };
        let pointwise = |stride| ConvGeometry { stride, padding: 0, dilation: 1 };
        let unit = |name: &str, shape, geometry| {
            ConvUnit::new(init, &format!("{prefix}.{name}.weight"), shape, geometry)
        };
        let (branch, last) = match kind {
            BlockKind::Basic => (
                vec![unit("conv1", [c_in, planes, 3], spatial(stride))],
                unit("conv2", [planes, c_out, 3], spatial(1)),
            ),
            BlockKind::Bottleneck => (
                vec![
                    unit("conv1", [c_in, planes, 1], pointwise(1)),
                    unit("conv2", [planes, planes, 3], spatial(stride)),
                ],
                unit("conv3", [planes, c_out, 1], pointwise(1)),
            ),
        };
        let projection = (stride != 1 || c_in != c_out)
            .then(|| unit("downsample.0", [c_in, c_out, 1], pointwise(stride)));
        Self { branch, last, projection, activation }
    }

    /// `[B, C_in, H, W]` to `[B, C_out, h, w]`.
    pub(crate) fn forward(&self, x: Tensor<4>, route: Route) -> Tensor<4> {
        self.forward_with(x, self.activation, route)
    }

    /// [`Self::forward`] with another activation at its end: [`Activation::None`] gives the sum of
    /// branch and shortcut.
    pub(crate) fn forward_with(
        &self,
        x: Tensor<4>,
        activation: Activation,
        route: Route,
    ) -> Tensor<4> {
        let shortcut = match &self.projection {
            Some(unit) => unit.forward(x.clone(), None, Activation::None, route),
            None => x.clone(),
        };
        let x =
            self.branch.iter().fold(x, |x, unit| unit.forward(x, None, Activation::Relu, route));
        self.last.forward(x, Some(shortcut), activation, route)
    }

    /// [`Self::forward`] as training has it. The order in which the pass meets the units is that of
    /// [`Self::passed_mut`].
    pub(crate) fn forward_training(&self, x: Tensor<4>, pass: &mut TrainingPass) -> Tensor<4> {
        let shortcut = match &self.projection {
            Some(unit) => unit.forward_training(x.clone(), None, Activation::None, pass),
            None => x.clone(),
        };
        let x = self
            .branch
            .iter()
            .fold(x, |x, unit| unit.forward_training(x, None, Activation::Relu, pass));
        self.last.forward_training(x, Some(shortcut), self.activation, pass)
    }

    /// All units in the order in which [`Self::forward_training`] goes through them.
    pub(crate) fn passed_mut(&mut self) -> impl Iterator<Item = &mut ConvUnit> {
        self.projection.iter_mut().chain(&mut self.branch).chain([&mut self.last])
    }

    pub(crate) fn fold(self) -> Self {
        Self {
            branch: self.branch.into_iter().map(ConvUnit::fold).collect(),
            last: self.last.fold(),
            projection: self.projection.map(ConvUnit::fold),
            activation: self.activation,
        }
    }

    /// Units with their names inside the block, in the order of the official state dict.
    pub(crate) fn units(&self) -> impl Iterator<Item = (UnitName, &ConvUnit)> {
        let chain = self.branch.iter().chain([&self.last]);
        let named = chain.enumerate().map(|(i, unit)| (UnitName::chain(i), unit));
        named.chain(self.projection.iter().map(|unit| (UnitName::projection(), unit)))
    }

    /// [`Self::units`], mutable.
    pub(crate) fn units_mut(&mut self) -> impl Iterator<Item = (UnitName, &mut ConvUnit)> {
        let chain = self.branch.iter_mut().chain([&mut self.last]);
        let named = chain.enumerate().map(|(i, unit)| (UnitName::chain(i), unit));
        named.chain(self.projection.iter_mut().map(|unit| (UnitName::projection(), unit)))
    }
}

/// Official names of a unit's convolution and norm, relative to its block.
pub(crate) struct UnitName {
    pub conv: String,
    pub norm: String,
}

impl UnitName {
    fn chain(i: usize) -> Self {
        Self { conv: format!("conv{}", i + 1), norm: format!("bn{}", i + 1) }
    }

    fn projection() -> Self {
        Self { conv: "downsample.0".to_owned(), norm: "downsample.1".to_owned() }
    }
}

/// Blocks in a row: `[B, C_in, H, W]` to `[B, C_out, h, w]`.
pub(crate) fn run(blocks: &[ResidualBlock], x: Tensor<4>, route: Route) -> Tensor<4> {
    blocks.iter().fold(x, |x, block| block.forward(x, route))
}

/// Blocks of one layer: the first one may change channels and stride, dilation starts behind it.
pub(crate) fn layer(
    init: &Init<'_>,
    prefix: &str,
    first: &BlockPlan,
    later_dilation: usize,
    count: usize,
) -> Vec<ResidualBlock> {
    (0..count)
        .map(|i| {
            let (c_in, stride, dilation) = match i {
                0 => (first.c_in, first.stride, first.dilation),
                _ => (first.planes * first.kind.expansion(), 1, later_dilation),
            };
            let activation = if i + 1 == count { first.activation } else { Activation::Relu };
            let plan = BlockPlan { c_in, stride, dilation, activation, ..*first };
            ResidualBlock::new(init, &format!("{prefix}.{i}"), &plan)
        })
        .collect()
}
