//! The product of packed panels, which all convolutions end in.
//!
//! The left factor is weights, packed `[k][ROWS]`; the right one is pixels (or transformed tiles), packed
//! `[k][PANEL]`. One register tile holds `ROWS x PANEL` sums; each step of `k` reads `PANEL_VECTORS`
//! vectors and `ROWS` scalars for `ROWS * PANEL_VECTORS` multiply-adds, few enough reads that the
//! multipliers are what limits it. Every sum runs over `k` in order, whatever the tiling, so results
//! do not depend on how the work is cut.

use super::lanes::{Lanes, PANEL_VECTORS};

/// One register tile's operands.
#[derive(Clone, Copy)]
pub(super) struct RegisterTile {
    /// Length of the sums.
    pub k: usize,
    /// Weights, `[k][ROWS]`.
    pub weights: *const f32,
    /// Pixels, `[k][PANEL]`.
    pub pixels: *const f32,
    /// Sums, `[ROWS][pitch]`.
    pub sums: *mut f32,
    /// Distance between rows of the sums.
    pub pitch: usize,
    /// Vectors of the panel that are in use, 1 to [`PANEL_VECTORS`].
    pub vectors: usize,
    /// What later tiles will read: asked for on the way, `ahead_step` further at each step of `k`.
    pub ahead: *const f32,
    /// See `ahead`.
    pub ahead_step: usize,
}

/// How far ahead the weights, which come from the third-level cache, are asked for.
pub(super) const WEIGHTS_AHEAD: usize = 512;

impl RegisterTile {
    /// # Safety
    /// Inside [`Lanes::enter`]; `ROWS` is `S::ROWS`; the three pointers are valid for the lengths that
    /// the fields state, and nobody else uses the sums.
    #[inline(always)]
    pub(super) unsafe fn run<S: Lanes, const ROWS: usize>(self) {
        // SAFETY: the caller's.
        unsafe {
            match self.vectors {
                1 => self.sum::<S, ROWS, 1>(),
                2 => self.sum::<S, ROWS, 2>(),
                _ => self.sum::<S, ROWS, PANEL_VECTORS>(),
            }
        }
    }

    #[inline(always)]
    unsafe fn sum<S: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        // SAFETY: row `r` of the sums starts `r * pitch` in, and step `k` of a panel `k` rows in.
        unsafe {
            let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
            let (mut weights, mut pixels, mut ahead) = (self.weights, self.pixels, self.ahead);
            for _ in 0..self.k {
                let mut x = [S::splat(0.0); VECTORS];
                for (v, x) in x.iter_mut().enumerate() {
                    *x = S::load(pixels.add(v * S::WIDTH));
                }
                for (r, row) in sums.iter_mut().enumerate() {
                    let w = S::splat(*weights.add(r));
                    for (sum, x) in row.iter_mut().zip(x) {
                        *sum = S::fma(w, x, *sum);
                    }
                }
                S::prefetch(weights.wrapping_add(WEIGHTS_AHEAD));
                S::prefetch_near(ahead);
                ahead = ahead.wrapping_add(self.ahead_step);
                weights = weights.add(ROWS);
                pixels = pixels.add(S::PANEL);
            }
            for (r, row) in sums.into_iter().enumerate() {
                for (v, sum) in row.into_iter().enumerate() {
                    S::store(self.sums.add(r * self.pitch + v * S::WIDTH), sum);
                }
            }
        }
    }
}

/// `sums (+)= weights * pixels` for one register tile.
///
/// # Safety
/// As [`RegisterTile::run`] with `ROWS = S::ROWS`.
#[inline(always)]
pub(super) unsafe fn multiply<S: Lanes>(tile: RegisterTile) {
    // SAFETY: the caller's.
    unsafe { S::register_tile(tile) }
}
