//! The three transforms of Winograd's F(4x4, 3x3).
//!
//! Four outputs of a three-tap filter along one axis are `A^T ((G g) . (B^T d))` with six products instead
//! of twelve (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016); along two
//! axes 36 instead of 144. The matrices follow from six interpolation points by the Toom-Cook
//! construction. The usual points 0, +-1, +-2 and infinity lose a digit to rounding; with
//! 0, +-3/4, +-3/2 and infinity, whose powers stay near 1 and are exact in binary, a deep-stem ResNet
//! is 1e-6 of its largest value away from the exact result, where the plain sum is 0.6e-6 away.

use super::lanes::Lanes;

/// Outputs of a tile along one axis.
pub(super) const TILE: usize = 4;
/// Inputs of a tile along one axis, which is also the number of products.
pub(super) const SPAN: usize = TILE + 2;
/// Weights of a 3x3 kernel.
pub(super) const TAPS: usize = 9;
/// Products of a tile.
pub(super) const POINTS: usize = SPAN * SPAN;

/// The inner pair of points, `+-INNER`.
const INNER: f64 = 0.75;
/// The outer pair of points, `+-OUTER`.
const OUTER: f64 = 1.5;
const INNER2: f64 = INNER * INNER;
const OUTER2: f64 = OUTER * OUTER;

/// `B^T d`: six inputs to six factors.
///
/// # Safety
/// Inside [`Lanes::enter`].
#[inline(always)]
pub(super) unsafe fn input<S: Lanes>(d: [S::Vector; SPAN]) -> [S::Vector; SPAN] {
    // SAFETY: the caller's.
    unsafe {
        let inner = S::splat(INNER as f32);
        let outer = S::splat(OUTER as f32);
        let inner2 = S::splat(INNER2 as f32);
        let outer2 = S::splat(OUTER2 as f32);
        let sum = S::splat((INNER2 + OUTER2) as f32);
        let product = S::splat((INNER2 * OUTER2) as f32);
        let [d0, d1, d2, d3, d4, d5] = d;
        let zero = S::fma(product, d0, S::fnma(sum, d2, d4));
        let infinity = S::fma(product, d1, S::fnma(sum, d3, d5));
        let (even, odd) = (S::fnma(outer2, d2, d4), S::fnma(outer2, d1, d3));
        let (plus_inner, minus_inner) = (S::fma(inner, odd, even), S::fnma(inner, odd, even));
        let (even, odd) = (S::fnma(inner2, d2, d4), S::fnma(inner2, d1, d3));
        let (plus_outer, minus_outer) = (S::fma(outer, odd, even), S::fnma(outer, odd, even));
        [zero, plus_inner, minus_inner, plus_outer, minus_outer, infinity]
    }
}

/// `A^T m`: six products to four outputs.
///
/// # Safety
/// Inside [`Lanes::enter`].
#[inline(always)]
pub(super) unsafe fn output<S: Lanes>(m: [S::Vector; SPAN]) -> [S::Vector; TILE] {
    // SAFETY: the caller's.
    unsafe {
        let [zero, plus_inner, minus_inner, plus_outer, minus_outer, infinity] = m;
        let (inner_even, inner_odd) =
            (S::add(plus_inner, minus_inner), S::sub(plus_inner, minus_inner));
        let (outer_even, outer_odd) =
            (S::add(plus_outer, minus_outer), S::sub(plus_outer, minus_outer));
        [
            S::add(zero, S::add(inner_even, outer_even)),
            S::fma(S::splat(OUTER as f32), outer_odd, S::mul(S::splat(INNER as f32), inner_odd)),
            S::fma(
                S::splat(OUTER2 as f32),
                outer_even,
                S::mul(S::splat(INNER2 as f32), inner_even),
            ),
            S::fma(
                S::splat((OUTER2 * OUTER) as f32),
                outer_odd,
                S::fma(S::splat((INNER2 * INNER) as f32), inner_odd, infinity),
            ),
        ]
    }
}

/// `G g`: three weights to six factors.
///
/// # Safety
/// Inside [`Lanes::enter`].
#[inline(always)]
pub(super) unsafe fn weight<S: Lanes>(g: [S::Vector; 3]) -> [S::Vector; SPAN] {
    const ZERO: f64 = 1.0 / (INNER2 * OUTER2);
    const AT_INNER: f64 = 1.0 / (2.0 * INNER2 * (INNER2 - OUTER2));
    const AT_OUTER: f64 = 1.0 / (2.0 * OUTER2 * (OUTER2 - INNER2));
    let [g0, g1, g2] = g;
    // SAFETY: the caller's.
    unsafe {
        let inner_even =
            S::fma(S::splat((AT_INNER * INNER2) as f32), g2, S::mul(S::splat(AT_INNER as f32), g0));
        let outer_even =
            S::fma(S::splat((AT_OUTER * OUTER2) as f32), g2, S::mul(S::splat(AT_OUTER as f32), g0));
        let inner = S::splat((AT_INNER * INNER) as f32);
        let outer = S::splat((AT_OUTER * OUTER) as f32);
        [
            S::mul(S::splat(ZERO as f32), g0),
            S::fma(inner, g1, inner_even),
            S::fnma(inner, g1, inner_even),
            S::fma(outer, g1, outer_even),
            S::fnma(outer, g1, outer_even),
            g2,
        ]
    }
}
