//! Every instruction set of this machine against plain sums in double precision.

use super::lanes::InstructionSet;
use super::{Attention, ConvShape, Epilogue, Factor, Product, conv2d_nchw, conv2d_with, winograd};
use crate::{Activation, ConvGeometry};

/// Reproducible numbers in -1..1.
fn numbers(seed: u64, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..length).map(|_| next()).collect()
}

struct Case {
    shape: ConvShape,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(input: [usize; 4], outputs: usize, kernel: [usize; 2], geometry: [usize; 3]) -> Self {
        let [stride, padding, dilation] = geometry;
        let geometry = ConvGeometry { stride, padding, dilation };
        let weight = [outputs, input[1], kernel[0], kernel[1]];
        let shape = ConvShape { input, weight, geometry };
        let seed = (input[2] * 1000 + input[3] * 10 + outputs) as u64;
        Self {
            x: numbers(seed, input.iter().product()),
            weight: numbers(seed + 1, weight.iter().product()),
            bias: numbers(seed + 2, outputs),
            residual: numbers(seed + 3, shape.output_dims().iter().product()),
            shape,
        }
    }

    fn epilogue(&self, residual: Option<()>, activation: Activation) -> Epilogue<'_> {
        let residual = residual.map(|()| self.residual.as_slice());
        Epilogue { bias: &self.bias, residual, activation }
    }

    /// The plain sums, without residual and activation.
    fn exact(&self) -> Vec<f64> {
        let [batch, channels, h, w] = self.shape.input;
        let [outputs, _, kh, kw] = self.shape.weight;
        let [_, _, out_h, out_w] = self.shape.output_dims();
        let ConvGeometry { stride, padding, dilation } = self.shape.geometry;
        let source = |position: usize, tap: usize, length: usize| {
            (position * stride + tap * dilation).checked_sub(padding).filter(|&p| p < length)
        };
        let mut y = Vec::with_capacity(batch * outputs * out_h * out_w);
        for index in 0..batch * outputs * out_h * out_w {
            let (column, row) = (index % out_w, index / out_w % out_h);
            let (o, b) = (index / (out_w * out_h) % outputs, index / (out_w * out_h * outputs));
            let mut sum = f64::from(self.bias[o]);
            for c in 0..channels {
                for ky in 0..kh {
                    let Some(iy) = source(row, ky, h) else { continue };
                    for kx in 0..kw {
                        let Some(ix) = source(column, kx, w) else { continue };
                        let x = self.x[((b * channels + c) * h + iy) * w + ix];
                        let g = self.weight[((o * channels + c) * kh + ky) * kw + kx];
                        sum += f64::from(x) * f64::from(g);
                    }
                }
            }
            y.push(sum);
        }
        y
    }

    /// Compares all instruction sets, with and without residual and activation, to the plain sums: the
    /// largest difference may be `tolerance` times the largest sum, or times 1.
    fn check(&self, tolerance: f64) {
        let sums = self.exact();
        for set in InstructionSet::available() {
            for (residual, activation) in [
                (None, Activation::None),
                (None, Activation::Relu),
                (Some(()), Activation::None),
                (Some(()), Activation::Relu),
            ] {
                let finish = |(i, sum): (usize, &f64)| {
                    let added = if residual.is_some() { f64::from(self.residual[i]) } else { 0.0 };
                    let value = sum + added;
                    if activation == Activation::Relu { value.max(0.0) } else { value }
                };
                let want: Vec<f64> = sums.iter().enumerate().map(finish).collect();
                let epilogue = self.epilogue(residual, activation);
                let (got, dims) = conv2d_with(set, &self.x, &self.weight, &self.shape, epilogue);
                assert_eq!(dims, self.shape.output_dims());
                assert_eq!(got.len(), want.len());
                let largest = sums.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
                for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                    assert!(
                        (f64::from(got) - want).abs() <= tolerance * largest,
                        "{set:?} {:?} {residual:?} {activation:?}: value {i} is {got}, not {want}",
                        self.shape
                    );
                }
            }
        }
    }
}

#[test]
fn direct_convolutions_are_exact_at_odd_sizes() {
    for channels in [1, 3, 5, 17] {
        for outputs in [1, 5, 9] {
            for (h, w) in [(1, 1), (1, 7), (5, 3), (9, 53)] {
                for kernel in [[1, 1], [3, 3], [2, 5]] {
                    for geometry in [[1, 4, 1], [2, 4, 1], [2, 6, 2], [1, 6, 3], [3, 5, 1]] {
                        Case::new([2, channels, h, w], outputs, kernel, geometry).check(1e-6);
                    }
                }
            }
        }
    }
}

#[test]
fn pointwise_convolutions_are_exact() {
    for (h, w) in [(1, 1), (3, 5), (4, 12), (7, 31)] {
        for stride in [1, 2] {
            Case::new([2, 33, h, w], 19, [1, 1], [stride, 0, 1]).check(1e-6);
        }
    }
}

#[test]
fn winograd_convolutions_are_near_exact() {
    for dilation in [1, 2, 4] {
        for (h, w) in [(17, 19), (10, 70), (40, 33), (23, 131)] {
            for (channels, outputs) in [(16, 17), (19, 33)] {
                for padding in [0, dilation, 2 * dilation + 1] {
                    let geometry = [1, padding, dilation];
                    let case = Case::new([1, channels, h, w], outputs, [3, 3], geometry);
                    let pixels = case.shape.output_pixels();
                    assert_eq!(winograd::unit(&case.shape).is_some(), pixels >= 64);
                    case.check(3e-6);
                }
            }
        }
    }
}

#[test]
fn winograd_keeps_its_accuracy_over_many_channels() {
    for dilation in [1, 2] {
        Case::new([1, 256, 9, 13], 144, [3, 3], [1, dilation, dilation]).check(5e-6);
    }
}

#[test]
fn winograd_cuts_many_panels_as_it_cuts_few() {
    // More panels than are shared out by channels, so that each thread carries its panels through.
    Case::new([1, 16, 90, 150], 16, [3, 3], [1, 1, 1]).check(3e-6);
}

fn on_threads(count: usize, case: &Case) -> Vec<f32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().expect("a thread pool");
    let epilogue = case.epilogue(Some(()), Activation::Relu);
    pool.install(|| conv2d_nchw(&case.x, &case.weight, &case.shape, epilogue).0)
}

fn of_each_kind(batch: usize) -> [Case; 4] {
    [
        Case::new([batch, 20, 31, 45], 24, [3, 3], [1, 1, 1]),
        Case::new([batch, 16, 80, 120], 16, [3, 3], [1, 2, 2]),
        Case::new([batch, 20, 31, 45], 24, [3, 3], [2, 1, 1]),
        Case::new([batch, 20, 31, 45], 24, [1, 1], [1, 0, 1]),
    ]
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in of_each_kind(2) {
        let want = on_threads(1, &case);
        for threads in [2, 3] {
            assert_eq!(on_threads(threads, &case), want, "{:?} on {threads} threads", case.shape);
        }
    }
}

#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    for case in of_each_kind(5) {
        let epilogue = case.epilogue(None, Activation::None);
        let (together, dims) = conv2d_nchw(&case.x, &case.weight, &case.shape, epilogue);
        let (image, output) = (case.x.len() / 5, dims[1..].iter().product());
        let mut shape = case.shape;
        shape.input[0] = 1;
        let images = case.x.chunks(image).zip(together.chunks(output));
        for (x, want) in images {
            assert_eq!(conv2d_nchw(x, &case.weight, &shape, epilogue).0, want, "{shape:?}");
        }
    }
}

#[test]
fn nan_stays_nan_and_stays_near() {
    for kernel in [[1, 1], [3, 3]] {
        let mut case = Case::new([1, 16, 20, 20], 16, kernel, [1, kernel[0] / 2, 1]);
        case.x[0] = f32::NAN;
        for set in InstructionSet::available() {
            let epilogue = case.epilogue(None, Activation::Relu);
            let (y, _) = conv2d_with(set, &case.x, &case.weight, &case.shape, epilogue);
            assert!(y[0].is_nan(), "{set:?} {kernel:?}");
            assert!(y[8 * 20..400].iter().all(|v| v.is_finite()), "{set:?} {kernel:?}");
        }
    }
}

#[test]
fn instruction_sets_pool_alike() {
    use super::pool::{Pooling, pool_with};
    for (size, [kernel, stride, padding]) in [([9, 70], [3, 2, 1]), ([8, 66], [2, 2, 0])] {
        let case = Case::new([2, 3, size[0], size[1]], 3, [kernel; 2], [stride, padding, 1]);
        for pooling in [Pooling::Max, Pooling::Mean] {
            let want = pool_with(InstructionSet::Portable, &case.x, &case.shape, pooling);
            for set in InstructionSet::available() {
                assert_eq!(pool_with(set, &case.x, &case.shape, pooling), want, "{set:?}");
            }
        }
    }
}

#[test]
fn empty_batches_and_outputs_are_empty() {
    let none = Case::new([0, 3, 8, 8], 4, [3, 3], [1, 1, 1]);
    let epilogue = none.epilogue(None, Activation::None);
    let (y, dims) = conv2d_nchw(&none.x, &none.weight, &none.shape, epilogue);
    assert_eq!((y.len(), dims), (0, [0, 4, 8, 8]));
}

#[test]
fn no_input_channels_leave_the_bias() {
    let case = Case::new([1, 0, 4, 4], 3, [1, 1], [1, 0, 1]);
    case.check(1e-6);
}

#[test]
#[should_panic(expected = "differ in channels")]
fn wrong_channels_are_refused() {
    let mut case = Case::new([1, 4, 4, 4], 3, [1, 1], [1, 0, 1]);
    case.shape.weight[1] = 3;
    conv2d_nchw(&case.x, &case.weight, &case.shape, case.epilogue(None, Activation::None));
}

/// A product of all instruction sets against plain sums in double precision. Factors are parts of larger matrices,
/// as they stand or transposed.
fn check_product([rows, columns, depth]: [usize; 3], turned: [bool; 2], add: bool) {
    let factor = |seed: u64, [rows, columns]: [usize; 2], turned: bool| {
        let (row_stride, column_stride) = if turned { (1, rows + 3) } else { (columns + 5, 1) };
        let values = numbers(seed, 8 + rows * row_stride.max(1) + columns * (column_stride + rows));
        (values, [row_stride, column_stride])
    };
    let (left, [left_row, left_column]) = factor(1, [rows, depth], turned[0]);
    let (right, [right_row, right_column]) = factor(2, [depth, columns], turned[1]);
    let picked: Option<Vec<usize>> =
        (!turned[1] && add).then(|| (0..depth).map(|k| (5 * k + 3) % depth).collect());
    let right_rows = |k: usize| picked.as_ref().map_or(k, |rows| rows[k]);
    let pitch = columns + 7;
    let before = numbers(3, rows * pitch);
    for set in InstructionSet::available() {
        let mut target = before.clone();
        let product = Product {
            rows,
            columns,
            depth,
            left: Factor { start: left.as_ptr(), row_stride: left_row, column_stride: left_column },
            right: Factor {
                start: right.as_ptr(),
                row_stride: right_row,
                column_stride: right_column,
            },
            picked: picked.as_deref(),
            target: target.as_mut_ptr(),
            pitch,
            add,
        };
        // SAFETY: the factors are as long as their strides demand, and the set is one of this machine's.
        unsafe { product.run_with(set) };
        for (i, found) in target.iter().enumerate() {
            let (row, column) = (i / pitch, i % pitch);
            if column >= columns {
                assert_eq!(*found, before[i], "{set:?} wrote behind a row's end");
                continue;
            }
            let terms = (0..depth).map(|k| {
                let (l, r) = (
                    left[row * left_row + k * left_column],
                    right[right_rows(k) * right_row + column * right_column],
                );
                f64::from(l) * f64::from(r)
            });
            let exact = terms.sum::<f64>() + if add { f64::from(before[i]) } else { 0.0 };
            let error = (f64::from(*found) - exact).abs();
            assert!(
                error < 2e-6 * depth as f64,
                "{set:?} {product:?} at {row}, {column}: {found} for {exact}"
            );
        }
    }
}

#[test]
fn products_of_large_matrices() {
    for turned in [[false, false], [false, true], [true, false], [true, true]] {
        for size in [[1, 1, 1], [9, 23, 40], [65, 50, 33], [70, 97, 3]] {
            check_product(size, turned, false);
            check_product(size, turned, true);
        }
    }
    // More terms than one block has, and rows for several tasks.
    check_product([13, 30, 1100], [true, false], false);
    check_product([530, 25, 17], [false, true], true);
}

#[test]
fn attention_is_the_mean_weighted_by_the_softmax() {
    let (channels, positions, temperature) = (5, 117, 2.0f32);
    let features = numbers(1, channels * positions);
    let length =
        |i: usize| (0..channels).map(|c| features[c * positions + i].powi(2)).sum::<f32>().sqrt();
    let factors: Vec<f32> = (0..positions).map(|i| 1.0 / length(i)).collect();
    for (members, step) in [(1, 3), (40, 3), (99, 1), (117, 2), (117, 1)] {
        // Every `step`-th position first, then the others.
        let is_first = |i: &usize| i.is_multiple_of(step);
        let (first, later): (Vec<_>, Vec<_>) = (0..positions).partition(is_first);
        let order: Vec<usize> = first.into_iter().chain(later).collect();
        let attention = Attention {
            values: &features,
            keys: &features,
            factors: Some(&factors),
            order: &order,
            members,
            temperature,
        };
        for set in InstructionSet::available() {
            for kept_bytes in [0, usize::MAX] {
                let found = attention.run_with(set, kept_bytes);
                for i in 0..positions {
                    let weight = |m: usize| {
                        let terms = (0..channels).map(|c| {
                            let (a, b) = (features[c * positions + i], features[c * positions + m]);
                            f64::from(a) * f64::from(b)
                        });
                        let cosine = terms.sum::<f64>() * f64::from(factors[i] * factors[m]);
                        (f64::from(temperature) * cosine).exp()
                    };
                    let weights: Vec<f64> = order[..members].iter().map(|&m| weight(m)).collect();
                    for c in 0..channels {
                        let terms = order[..members].iter().zip(&weights);
                        let sum: f64 =
                            terms.map(|(&m, w)| f64::from(features[c * positions + m]) * w).sum();
                        let exact = sum / weights.iter().sum::<f64>();
                        let found = f64::from(found[c * positions + i]);
                        assert!(
                            (found - exact).abs() < 2e-6,
                            "{set:?}, {members}: {found} for {exact}"
                        );
                    }
                }
            }
        }
    }
}
