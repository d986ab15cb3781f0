//! The three stages of a Winograd convolution: weights forward, pixels forward, products back.

use std::mem::MaybeUninit;

use super::gemm::{RegisterTile, multiply};
use super::lanes::{Kernel, Lanes, MAX_ROWS};
use super::output::Output;
use super::scratch::Scratch;
use super::shape::{Piece, inside, pieces};
use super::winograd::Plan;
use super::winograd_tile::{self as tile, POINTS, SPAN, TILE};

/// Transforms the weights of one group of `ROWS` output channels to `[POINTS][group][C][ROWS]`. Rows
/// behind the last channel repeat it: their products are not used.
pub(super) struct PackWeights<'a, const UNIT: usize> {
    pub(super) plan: Plan<UNIT>,
    pub(super) weight: &'a [f32],
    pub(super) group: usize,
    pub(super) to: *mut f32,
}

impl<const UNIT: usize> Kernel for PackWeights<'_, UNIT> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        const TAPS: usize = 9;
        let channels = self.plan.channels;
        let pitch = self.plan.pitch_weights::<S>();
        let row_of = |r: usize| {
            let o = (self.group * S::ROWS + r).min(self.plan.outputs - 1);
            &self.weight[o * channels * TAPS..][..channels * TAPS]
        };
        let rows: [&[f32]; MAX_ROWS] = std::array::from_fn(row_of);
        // The rows of as many channels as fill a vector are transformed together.
        let together = S::WIDTH / S::ROWS;
        let mut taps = [[0.0f32; 16]; TAPS];
        for first in (0..channels).step_by(together) {
            let count = together.min(channels - first);
            for (r, row) in rows.iter().enumerate().take(S::ROWS) {
                for (c, g) in row[first * TAPS..][..count * TAPS].chunks_exact(TAPS).enumerate() {
                    for (taps, &g) in taps.iter_mut().zip(g) {
                        taps[c * S::ROWS + r] = g;
                    }
                }
            }
            let to = self.to.wrapping_add((self.group * channels + first) * S::ROWS);
            // SAFETY: the buffer has `POINTS` times the pitch, and the mask admits existing channels only.
            unsafe {
                let mask = S::mask(0, count * S::ROWS);
                let tap = |i: usize| taps[i].as_ptr();
                let mut half = [[S::splat(0.0); 3]; SPAN];
                for row in 0..3 {
                    let g = [
                        S::load(tap(row * 3)),
                        S::load(tap(row * 3 + 1)),
                        S::load(tap(row * 3 + 2)),
                    ];
                    for (half, v) in half.iter_mut().zip(tile::weight::<S>(g)) {
                        half[row] = v;
                    }
                }
                for (column, half) in half.into_iter().enumerate() {
                    for (row, v) in tile::weight::<S>(half).into_iter().enumerate() {
                        S::store_masked(to.wrapping_add((row * SPAN + column) * pitch), mask, v);
                    }
                }
            }
        }
    }
}

/// Transforms some channels of the panel of tiles from `start` on to `[POINTS][C][PANEL]`.
pub(super) struct Forward<'a, const UNIT: usize> {
    pub(super) plan: Plan<UNIT>,
    pub(super) x: &'a [f32],
    pub(super) image: usize,
    pub(super) start: usize,
    pub(super) channels: [usize; 2],
    pub(super) to: *mut f32,
}

impl<const UNIT: usize> Kernel for Forward<'_, UNIT> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let plan = self.plan;
        // In order: lanes behind a piece's end are overwritten by the next piece.
        for piece in pieces(self.start, plan.count::<S>(self.start), plan.row_length, S::WIDTH) {
            // SAFETY: the caller's.
            unsafe { self.piece::<S>(piece) }
        }
    }
}

impl<const UNIT: usize> Forward<'_, UNIT> {
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn piece<S: Lanes>(&self, piece: Piece) {
        let plan = self.plan;
        let [height, width] = plan.input;
        let pitch = plan.pitch_in::<S>();
        let x = (piece.column * TILE) as isize - plan.padding as isize;
        let top = plan.first_row(piece.row) as isize - plan.padding as isize;
        let row_is_inside: [bool; SPAN] =
            std::array::from_fn(|i| (0..height as isize).contains(&(top + (i * UNIT) as isize)));
        let room = (S::PANEL - piece.at).min(S::WIDTH);
        // SAFETY: masks admit pixels inside the row only and lanes inside the panel only; rows outside the
        // image are not read.
        unsafe {
            // Four vectors hold the tiles' first four inputs, the last two of the last tile follow.
            let mut masks = [S::mask(0, 0); TILE + 1];
            for (i, mask) in masks.iter_mut().enumerate() {
                let (from, to) = inside(x + (i * S::WIDTH) as isize, S::WIDTH, width);
                *mask = S::mask(from, to);
            }
            let lanes = S::mask(0, room);
            for c in self.channels[0]..self.channels[1] {
                let plane = (self.image * plan.channels + c) * height * width;
                let corner = (plane as isize + top * width as isize + x) as usize;
                let corner = self.x.as_ptr().wrapping_add(corner);
                // Written column by column before it is read; not worth clearing each time.
                let mut rows = MaybeUninit::<[[S::Vector; TILE + 1]; SPAN]>::uninit();
                let vectors = rows.as_mut_ptr().cast::<S::Vector>();
                for (i, mask) in masks.into_iter().enumerate() {
                    let mut d = [S::splat(0.0); SPAN];
                    for (y, d) in d.iter_mut().enumerate() {
                        if row_is_inside[y] {
                            let at = y * UNIT * width + i * S::WIDTH;
                            *d = S::load_masked(corner.wrapping_add(at), mask);
                        }
                    }
                    for (row, v) in tile::input::<S>(d).into_iter().enumerate() {
                        vectors.add(row * (TILE + 1) + i).write(v);
                    }
                }
                let mut to = self.to.add(c * S::PANEL + piece.at);
                for row in 0..SPAN {
                    let row = vectors.add(row * (TILE + 1));
                    let [a, b, c, d, next] = row.cast::<[S::Vector; TILE + 1]>().read();
                    let (even, odd) = S::deinterleave::<UNIT>(a, b);
                    let (more_even, more_odd) = S::deinterleave::<UNIT>(c, d);
                    let (x0, x2) = S::deinterleave::<UNIT>(even, more_even);
                    let (x1, x3) = S::deinterleave::<UNIT>(odd, more_odd);
                    let x4 = S::advance::<UNIT>(x0, next, 0);
                    let x5 = S::advance::<UNIT>(x1, next, 1);
                    for v in tile::input::<S>([x0, x1, x2, x3, x4, x5]) {
                        if room == S::WIDTH {
                            S::store(to, v);
                        } else {
                            S::store_masked(to, lanes, v);
                        }
                        to = to.wrapping_add(pitch);
                    }
                }
            }
        }
    }
}

/// Multiplies the panel of tiles from `start` on by the weights of some output channels (from, to; from is a
/// multiple of `ROWS`, and they are at most `CHANNELS_BACK`), transforms the products back and stores
/// them.
pub(super) struct Back<'a, const UNIT: usize> {
    pub(super) plan: Plan<UNIT>,
    pub(super) output: &'a Output<'a>,
    pub(super) weights: *const f32,
    pub(super) from: *const f32,
    pub(super) image: usize,
    pub(super) start: usize,
    pub(super) outputs: [usize; 2],
}

impl<const UNIT: usize> Kernel for Back<'_, UNIT> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let plan = self.plan;
        let count = plan.count::<S>(self.start);
        // A vector that starts at the last tile of the last row ends in the spare line.
        let mut scratch = Scratch::take(POINTS * Plan::<UNIT>::pitch_back::<S>());
        let sums = scratch.as_mut_ptr();
        // SAFETY: the caller's.
        unsafe {
            self.products::<S>(count, sums);
            for piece in pieces(self.start, count, plan.row_length, S::WIDTH) {
                self.piece::<S>(piece, sums);
            }
        }
    }
}

impl<const UNIT: usize> Back<'_, UNIT> {
    /// # Safety
    /// As [`Kernel::run`]; `sums` has room for `POINTS` blocks.
    #[inline(always)]
    unsafe fn products<S: Lanes>(&self, count: usize, sums: *mut f32) {
        let channels = self.plan.channels;
        let [first, last] = [self.outputs[0] / S::ROWS, self.outputs[1].div_ceil(S::ROWS)];
        for point in 0..POINTS {
            let pixels = self.from.wrapping_add(point * self.plan.pitch_in::<S>());
            let sums = sums.wrapping_add(point * Plan::<UNIT>::pitch_back::<S>());
            // The groups of this point ask for the next point's pixels, each for its share.
            let next = pixels.wrapping_add(self.plan.pitch_in::<S>());
            let share = S::PANEL.div_ceil(last - first);
            for group in first..last {
                let weights = self.weights.wrapping_add(point * self.plan.pitch_weights::<S>());
                let index = group - first;
                // SAFETY: weights are `[POINTS][groups][channels][ROWS]`, and the sums have room for the last
                // group's rows, since `CHANNELS_BACK` is a multiple of `ROWS`.
                unsafe {
                    multiply::<S>(RegisterTile {
                        k: channels,
                        weights: weights.wrapping_add(group * channels * S::ROWS),
                        pixels,
                        sums: sums.wrapping_add(index * S::ROWS * S::PANEL),
                        pitch: S::PANEL,
                        vectors: count.div_ceil(S::WIDTH),
                        ahead: next.wrapping_add(index * share * channels),
                        ahead_step: share,
                    });
                }
            }
        }
    }

    /// # Safety
    /// As [`Kernel::run`]; `sums` holds the products.
    #[inline(always)]
    unsafe fn piece<S: Lanes>(&self, piece: Piece, sums: *const f32) {
        let plan = self.plan;
        let [height, width] = plan.output;
        let pitch = Plan::<UNIT>::pitch_back::<S>();
        let x = piece.column * TILE;
        let y = plan.first_row(piece.row);
        // SAFETY: masks admit pixels inside the row and of the piece's tiles only, and rows outside the map
        // are skipped.
        unsafe {
            let mut masks = [S::mask(0, 0); TILE];
            for (i, mask) in masks.iter_mut().enumerate() {
                let end = width.min(x + piece.length * TILE);
                let (_, to) = inside((x + i * S::WIDTH) as isize, S::WIDTH, end);
                *mask = S::mask(0, to);
            }
            for o in self.outputs[0]..self.outputs[1] {
                let from = sums.add((o - self.outputs[0]) * S::PANEL + piece.at);
                let mut rows = MaybeUninit::<[[S::Vector; SPAN]; TILE]>::uninit();
                let vectors = rows.as_mut_ptr().cast::<S::Vector>();
                for column in 0..SPAN {
                    let mut m = [S::splat(0.0); SPAN];
                    for (row, m) in m.iter_mut().enumerate() {
                        *m = S::load(from.add((row * SPAN + column) * pitch));
                    }
                    for (row, v) in tile::output::<S>(m).into_iter().enumerate() {
                        vectors.add(row * SPAN + column).write(v);
                    }
                }
                let bias = S::splat(self.output.bias(o));
                for i in 0..TILE {
                    let row = vectors.add(i * SPAN).cast::<[S::Vector; SPAN]>().read();
                    let y = y + i * UNIT;
                    if y >= height {
                        break;
                    }
                    let [y0, y1, y2, y3] = tile::output::<S>(row);
                    let (a, b) = S::interleave::<UNIT>(y0, y2);
                    let (c, d) = S::interleave::<UNIT>(y1, y3);
                    let (v0, v1) = S::interleave::<UNIT>(a, c);
                    let (v2, v3) = S::interleave::<UNIT>(b, d);
                    let at = ((self.image * plan.outputs + o) * height + y) * width + x;
                    for (i, v) in [v0, v1, v2, v3].into_iter().enumerate() {
                        self.output.put::<S>(at + i * S::WIDTH, masks[i], v, bias);
                    }
                }
            }
        }
    }
}
