//! Small vocabulary over Burn's float primitives, so that kernels read like formulas.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Scalar, TensorMetadata};
use burn::tensor::{FloatDType, Shape, Slice, TensorData};

/// The axis lengths of a tensor of known rank.
pub(crate) fn dims<const D: usize>(tensor: &impl TensorMetadata) -> [usize; D] {
    tensor.shape().dims()
}

pub(crate) fn float_dtype(tensor: &impl TensorMetadata) -> FloatDType {
    tensor.dtype().into()
}

/// A constant on the device and in the type of `like`.
pub(crate) fn constant<B: Backend, const D: usize>(
    values: Vec<f32>,
    shape: [usize; D],
    like: &FloatTensor<B>,
) -> FloatTensor<B> {
    let tensor = B::float_from_data(TensorData::new(values, shape), &like.device());
    match float_dtype(like) {
        FloatDType::F32 => tensor,
        other => B::float_cast(tensor, other),
    }
}

pub(crate) fn reshape<B: Backend, const D: usize>(
    tensor: FloatTensor<B>,
    shape: [usize; D],
) -> FloatTensor<B> {
    B::float_reshape(tensor, Shape::from(shape))
}

/// The part `start..end` of axis `dim`.
pub(crate) fn narrow<B: Backend>(
    tensor: FloatTensor<B>,
    dim: usize,
    start: usize,
    end: usize,
) -> FloatTensor<B> {
    let rank = tensor.shape().num_dims();
    let slices: Vec<Slice> = (0..rank)
        .map(|axis| if axis == dim { Slice::from(start..end) } else { Slice::from(..) })
        .collect();
    B::float_slice(tensor, &slices)
}

pub(crate) fn scale<B: Backend>(tensor: FloatTensor<B>, factor: f32) -> FloatTensor<B> {
    B::float_mul_scalar(tensor, Scalar::Float(f64::from(factor)))
}

/// L2 norms along `dim` (kept with length 1), never below `eps`.
///
/// The bound is put on the sum of squares, so that a zero vector has a finite gradient (zero, as in
/// PyTorch) where the derivative of the root alone would be infinite.
pub(crate) fn norms<B: Backend>(tensor: FloatTensor<B>, dim: usize, eps: f64) -> FloatTensor<B> {
    let squares = B::float_mul(tensor.clone(), tensor);
    let sums = B::float_sum_dim(squares, dim);
    B::float_sqrt(B::float_clamp_min(sums, Scalar::Float(eps * eps)))
}
