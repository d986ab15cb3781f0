//! Convolution with bias, residual and activation in one pass over the output.
//!
//! A folded backbone (convolution and frozen norm made one) is a chain of exactly this operation.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchTensor, ExtensionType, ops::ConvOptions};
use burn::tensor::Tensor;

use crate::backend::MatchingBackend;

/// Stride, zero padding and dilation of a square convolution, equal along both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Step between output positions, in input pixels (at least 1).
    pub stride: usize,
    /// Zeros added on each side, in pixels.
    pub padding: usize,
    /// Distance between kernel taps, in pixels (at least 1).
    pub dilation: usize,
}

impl ConvGeometry {
    /// A kernel that touches each pixel alone: stride 1, no padding, no dilation.
    pub const POINTWISE: Self = Self { stride: 1, padding: 0, dilation: 1 };

    /// The length of an output axis for an input axis of `length` pixels and a kernel of `kernel` taps,
    /// or 0 if the kernel does not fit.
    pub fn output_length(&self, length: usize, kernel: usize) -> usize {
        let reach = self.dilation * (kernel.max(1) - 1) + 1;
        let padded = length + 2 * self.padding;
        if padded < reach { 0 } else { (padded - reach) / self.stride + 1 }
    }

    /// As Burn has it.
    pub(crate) fn options(self) -> ConvOptions<2> {
        let Self { stride, padding, dilation } = self;
        ConvOptions::new([stride; 2], [padding; 2], [dilation; 2], 1)
    }
}

/// What is done to the sum of convolution, bias and residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
}

/// The shortcut that a fused convolution adds before its activation, at the primitive level.
#[derive(Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub enum Residual<B: Backend> {
    /// No shortcut.
    None,
    /// A map of the output's shape, `[B, O, H, W]`.
    Add(FloatTensor<B>),
}

/// `activation(conv(x, weight) + bias [+ residual])`.
///
/// On the CPU this runs as one kernel; elsewhere, and where gradients are tracked, it is composed of
/// Burn's operations.
///
/// # Shapes
/// - `x`: `[B, C, h, w]`
/// - `weight`: `[O, C, kh, kw]`
/// - `bias`: `[O]`
/// - `residual`: `[B, O, H, W]`
/// - output: `[B, O, H, W]`, see [`ConvGeometry::output_length`]
///
/// # Panics
/// If shapes do not fit each other, or the kernel reaches over the padded input.
pub fn conv2d_fused(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    residual: Option<Tensor<4>>,
    geometry: ConvGeometry,
    activation: Activation,
) -> Tensor<4> {
    check_shapes(&x, &weight, &bias, residual.as_ref(), geometry);
    let residual = match residual {
        Some(map) => Residual::<Dispatch>::Add(map.into_dispatch()),
        None => Residual::None,
    };
    let output: DispatchTensor = <Dispatch as MatchingBackend>::conv2d_fused(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        residual,
        geometry,
        activation,
    );
    Tensor::from_dispatch(output)
}

fn check_shapes(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: &Tensor<1>,
    residual: Option<&Tensor<4>>,
    geometry: ConvGeometry,
) {
    let ([b, c, h, w], [o, wc, kh, kw], [bo]) = (x.dims(), weight.dims(), bias.dims());
    assert!(
        c == wc && o == bo,
        "a convolution of {:?} by {:?} with a bias of {bo}: channels do not fit",
        x.dims(),
        weight.dims()
    );
    assert!(geometry.stride > 0 && geometry.dilation > 0, "stride and dilation start at 1");
    let output = [b, o, geometry.output_length(h, kh), geometry.output_length(w, kw)];
    assert!(
        output[2] > 0 && output[3] > 0,
        "a {kh}x{kw} kernel with {geometry:?} does not fit into a {h}x{w} map"
    );
    if let Some(residual) = residual {
        assert_eq!(residual.dims(), output, "the residual must have the output's shape");
    }
}

/// [`conv2d_fused`] composed of differentiable operations.
pub(crate) fn conv_by_steps<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    residual: Residual<B>,
    geometry: ConvGeometry,
    activation: Activation,
) -> FloatTensor<B> {
    let output = B::conv2d(x, weight, Some(bias), geometry.options());
    let output = match residual {
        Residual::None => output,
        Residual::Add(map) => B::float_add(output, map),
    };
    match activation {
        Activation::None => output,
        Activation::Relu => B::relu(output),
    }
}
