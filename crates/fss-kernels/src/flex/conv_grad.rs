//! The backward step of a convolution: two products over the same numbers as the forward one.
//!
//! With respect to its input a convolution is one of the output's gradient by the kernel turned round, so
//! that the kernels of the forward pass serve it; the output of a stride is spread out with zeros first. With
//! respect to its weights it is, for each tap of the kernel, one product of the output's gradient with the
//! pixels that the tap saw.

use rayon::prelude::*;

use super::product::{View, ViewMut, Write, product};
use crate::cpu::{ConvShape, Epilogue, conv2d_nchw, zeros};
use crate::{Activation, ConvGeometry};

/// Gradient `[B, C, h, w]` with respect to the input, from `grad` `[B, O, H, W]`.
pub(super) fn for_input(grad: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let [b, c, h, w] = shape.input;
    let [o, _, kh, kw] = shape.weight;
    let [_, _, rows, columns] = shape.output_dims();
    let ConvGeometry { stride, padding, dilation } = shape.geometry;
    let turned = turned(weight, shape.weight);
    let no_bias = vec![0.0; c];
    let epilogue = Epilogue { bias: &no_bias, residual: None, activation: Activation::None };
    if stride > 1 && [kh, kw] == [1, 1] && padding == 0 {
        // Single pixels: multiplied where they are, and put in their places.
        let shape = ConvShape {
            input: [b, o, rows, columns],
            weight: [c, o, 1, 1],
            geometry: ConvGeometry::POINTWISE,
        };
        let (dense, _) = conv2d_nchw(grad, &turned, &shape, epilogue);
        return spread(&dense, [rows, columns], [h, w], stride, [0, 0]);
    }
    // Zeros around the gradient, so that the turned kernel reaches every pixel of the input. The padding of
    // the forward pass may exceed the kernel's reach; what it saw then was zeros alone.
    let [reach_h, reach_w] = [dilation * (kh - 1), dilation * (kw - 1)];
    let same = reach_h == reach_w && padding <= reach_h && stride == 1;
    let (padded, size, padding) = match same {
        true => (None, [rows, columns], reach_h - padding),
        false => {
            let before = [reach_h as isize - padding as isize, reach_w as isize - padding as isize];
            let size = [h + reach_h, w + reach_w];
            (Some(spread(grad, [rows, columns], size, stride, before)), size, 0)
        }
    };
    let shape = ConvShape {
        input: [b, o, size[0], size[1]],
        weight: [c, o, kh, kw],
        geometry: ConvGeometry { stride: 1, padding, dilation },
    };
    let (result, dims) = conv2d_nchw(padded.as_deref().unwrap_or(grad), &turned, &shape, epilogue);
    debug_assert_eq!(dims, [b, c, h, w]);
    result
}

/// `[O, C, kh, kw]` to `[C, O, kh, kw]`, turned by half a circle.
fn turned(weight: &[f32], [o, c, kh, kw]: [usize; 4]) -> Vec<f32> {
    let taps = kh * kw;
    let mut result = vec![0.0; weight.len()];
    result.par_chunks_mut((o * taps).max(1)).enumerate().for_each(|(channel, row)| {
        for (out, taps_of) in row.chunks_exact_mut(taps).enumerate() {
            let source = &weight[(out * c + channel) * taps..][..taps];
            taps_of.iter_mut().zip(source.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    });
    result
}

/// Maps `[M, H, W]` among zeros in maps of another size: pixel `i` of a row goes to `before + stride * i`;
/// what would lie outside is left out.
fn spread(
    maps: &[f32],
    [rows, columns]: [usize; 2],
    [height, width]: [usize; 2],
    stride: usize,
    before: [isize; 2],
) -> Vec<f32> {
    let count = maps.len() / (rows * columns).max(1);
    let mut result = zeros(count * height * width);
    let place = |i: usize, before: isize, length: usize| {
        usize::try_from(before + (stride * i) as isize).ok().filter(|place| *place < length)
    };
    result
        .par_chunks_mut((height * width).max(1))
        .zip(maps.par_chunks((rows * columns).max(1)))
        .with_min_len(8)
        .for_each(|(to, from)| {
            for (row, from) in from.chunks_exact(columns).enumerate() {
                let Some(y) = place(row, before[0], height) else { continue };
                let to = &mut to[y * width..][..width];
                for (column, value) in from.iter().enumerate() {
                    if let Some(x) = place(column, before[1], width) {
                        to[x] = *value;
                    }
                }
            }
        });
    result
}

/// Gradient `[O, C, kh, kw]` with respect to the weights, from the input and `grad` `[B, O, H, W]`.
pub(super) fn for_weight(x: &[f32], grad: &[f32], shape: &ConvShape) -> Vec<f32> {
    let [b, c, h, w] = shape.input;
    let [o, _, kh, kw] = shape.weight;
    let [_, _, rows, columns] = shape.output_dims();
    let (pixels, taps) = (rows * columns, kh * kw);
    let mut result = vec![0.0; o * c * taps];
    if pixels * b * result.len() == 0 {
        return result;
    }
    let as_they_are = taps == 1
        && shape.geometry
            == ConvGeometry { dilation: shape.geometry.dilation, ..ConvGeometry::POINTWISE };
    let mut seen = if as_they_are { Vec::new() } else { zeros(c * pixels) };
    let mut of_tap = vec![0.0; o * c];
    for tap in 0..taps {
        for sample in 0..b {
            let x = &x[sample * c * h * w..][..c * h * w];
            let grad = &grad[sample * o * pixels..][..o * pixels];
            let seen: &[f32] = if as_they_are {
                x
            } else {
                see(x, &mut seen, shape, [tap / kw, tap % kw]);
                &seen
            };
            let write = if sample == 0 { Write::Replace } else { Write::Add };
            product(
                ViewMut::new(&mut of_tap, o, c),
                View::new(grad, o, pixels),
                View::new(seen, c, pixels).transposed(),
                write,
            );
        }
        result.iter_mut().skip(tap).step_by(taps).zip(&of_tap).for_each(|(to, from)| *to = *from);
    }
    result
}

/// The pixels `[C, H, W]` that a tap saw of an input `[C, h, w]`; zeros beyond its border.
fn see(x: &[f32], seen: &mut [f32], shape: &ConvShape, tap: [usize; 2]) {
    let [_, _, h, w] = shape.input;
    let [_, _, rows, columns] = shape.output_dims();
    let ConvGeometry { stride, padding, dilation } = shape.geometry;
    let [from_row, from_column] = tap.map(|tap| (tap * dilation) as isize - padding as isize);
    seen.par_chunks_mut(rows * columns).zip(x.par_chunks(h * w)).with_min_len(4).for_each(
        |(seen, x)| {
            for (row, seen) in seen.chunks_exact_mut(columns).enumerate() {
                let y = from_row + (row * stride) as isize;
                let Some(x) = usize::try_from(y).ok().filter(|y| *y < h).map(|y| &x[y * w..][..w])
                else {
                    seen.fill(0.0);
                    continue;
                };
                if stride == 1 {
                    // The run of columns that lies inside.
                    let clamp = |v: isize| v.clamp(0, columns as isize) as usize;
                    let (first, last) = (
                        clamp(-from_column),
                        clamp(w as isize - from_column).max(clamp(-from_column)),
                    );
                    seen[..first].fill(0.0);
                    seen[last..].fill(0.0);
                    let start = (first as isize + from_column) as usize;
                    if first < last {
                        seen[first..last].copy_from_slice(&x[start..start + last - first]);
                    }
                    continue;
                }
                for (column, seen) in seen.iter_mut().enumerate() {
                    let place = usize::try_from(from_column + (column * stride) as isize);
                    *seen = place.ok().and_then(|place| x.get(place)).copied().unwrap_or(0.0);
                }
            }
        },
    );
}
