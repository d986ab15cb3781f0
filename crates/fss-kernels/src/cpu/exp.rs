//! The exponential over whole slices.
//!
//! The standard library's `exp` takes one number at a time; a softmax over a few thousand positions squared
//! needs the vector units. The body below has no branches, so the compiler widens it to whatever
//! the enabling function allows.

use rayon::prelude::*;

/// Elements that one task handles.
const CHUNK: usize = 1 << 14;

/// Replaces each value by `exp(factor * value - shift)`.
///
/// The relative error is below 3e-7 where the result is a normal number; smaller results are flushed
/// to about 1e-38.
pub(crate) fn exp_scaled(values: &mut [f32], factor: f32, shift: f32) {
    values.par_chunks_mut(CHUNK).for_each(|chunk| exp_chunk(chunk, factor, shift));
}

/// Replaces each value by its exponential, on this thread alone.
pub(crate) fn exp_row(values: &mut [f32]) {
    exp_chunk(values, 1.0, 0.0);
}

/// [`exp_scaled`] on this thread alone.
pub(super) fn exp_chunk(values: &mut [f32], factor: f32, shift: f32) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function is compiled for.
            #[allow(unsafe_code)]
            return unsafe { exp_avx512(values, factor, shift) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            #[allow(unsafe_code)]
            return unsafe { exp_avx2(values, factor, shift) };
        }
    }
    exp_body(values, factor, shift);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn exp_avx512(values: &mut [f32], factor: f32, shift: f32) {
    exp_body(values, factor, shift);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn exp_avx2(values: &mut [f32], factor: f32, shift: f32) {
    exp_body(values, factor, shift);
}

#[inline(always)]
fn exp_body(values: &mut [f32], factor: f32, shift: f32) {
    for value in values {
        *value = exp(factor * *value - shift);
    }
}

/// `2^n · exp(r)` with `x = n ln 2 + r`, `|r| <= ln 2 / 2`, and a polynomial for `exp(r)`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer and leaves that integer in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with few enough bits that its products with `n` are exact.
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;

    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor's series; its remainder, r^8/8!, is below 6e-9 of the result.
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_exact_value() {
        let inputs: Vec<f32> = (-86_000..88_000).map(|i| i as f32 * 1e-3).collect();
        let mut got = inputs.clone();
        exp_scaled(&mut got, 1.0, 0.0);
        for (x, y) in inputs.iter().zip(got) {
            let exact = f64::from(*x).exp();
            assert!((f64::from(y) - exact).abs() <= 3e-7 * exact, "exp({x}) = {exact}, not {y}");
        }
    }

    #[test]
    fn scales_and_shifts() {
        let mut values = [0.5, -1.0, f32::NEG_INFINITY, 1e9];
        exp_scaled(&mut values, 2.0, 1.0);
        assert_eq!(values[0], 1.0);
        assert!((values[1] - (-3.0f32).exp()).abs() < 1e-7);
        assert!(values[2] < 1e-37 && values[3] > 1e38);
    }
}
