//! The three stages of a Winograd convolution: weights forward, pixels forward, products back.

use std::mem::MaybeUninit;

use super::gemm::{RegisterTile, multiply};
use super::lanes::{Kernel, LINE, Lanes, MAX_ROWS};
use super::output::Output;
use super::pack::{group_rows, pack};
use super::scratch::Scratch;
use super::shape::{Piece, inside, pieces};
use super::winograd::Plan;
use super::winograd_tile::{self as tile, POINTS, SPAN, TAPS, TILE};

/// Transforms the weights of one group of `ROWS` output channels to `[POINTS][C][ROWS]`, points `pitch`
/// apart.
pub(super) struct PackWeights<'a> {
    pub(super) weight: &'a [f32],
    pub(super) outputs: usize,
    pub(super) channels: usize,
    pub(super) group: usize,
    pub(super) pitch: usize,
    pub(super) to: *mut f32,
}

impl Kernel for PackWeights<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        /// Channels that are packed before they are transformed: few enough to stay near, enough that what
        /// is read back was written a while ago.
        const BLOCK: usize = 16;
        let depth = self.channels * TAPS;
        let rows = group_rows::<S>(self.weight, [self.outputs, depth], self.group);
        // A vector's length more than the last channel's taps.
        let mut packed = MaybeUninit::<[f32; (BLOCK * TAPS + 2) * MAX_ROWS]>::uninit();
        let packed = packed.as_mut_ptr().cast::<f32>();
        // The rows of two channels fill a vector and are transformed together.
        const { assert!(S::WIDTH == 2 * S::ROWS) };
        for first in (0..self.channels).step_by(BLOCK) {
            let count = BLOCK.min(self.channels - first);
            // SAFETY: the block's numbers have room. Of a missing second channel nothing is read or stored.
            unsafe {
                pack::<S>(&rows, first * TAPS, count * TAPS, packed);
                for pair in (0..count).step_by(2) {
                    let second = S::ROWS * (count - pair).min(2);
                    let masks = [S::mask(0, S::ROWS), S::mask(S::ROWS, second)];
                    let from = packed.wrapping_add(pair * TAPS * S::ROWS);
                    let tap = |i: usize| {
                        let low = from.wrapping_add(i * S::ROWS);
                        let high = from.wrapping_add((TAPS + i - 1) * S::ROWS);
                        S::add(S::load_masked(low, masks[0]), S::load_masked(high, masks[1]))
                    };
                    let to = self.to.wrapping_add((first + pair) * S::ROWS);
                    transform::<S>(tap, to, self.pitch, S::mask(0, second));
                }
            }
        }
    }
}

/// Transforms the weights of as many 3x3 kernels as a vector has lanes; `tap` gives their taps.
///
/// # Safety
/// Inside [`Lanes::enter`]; the masked lanes from `to` on, `POINTS` times `pitch` apart, can be written.
#[inline(always)]
unsafe fn transform<S: Lanes>(
    tap: impl Fn(usize) -> S::Vector,
    to: *mut f32,
    pitch: usize,
    mask: S::Mask,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut half = [[S::splat(0.0); 3]; SPAN];
        for row in 0..3 {
            let g = [tap(row * 3), tap(row * 3 + 1), tap(row * 3 + 2)];
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

/// How many channels ahead pixels are asked for.
const AHEAD: usize = 1;

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
                // No prefetching of the processor's own goes from channel to channel.
                let next = corner.wrapping_add(AHEAD * height * width);
                for y in (0..SPAN).filter(|&y| row_is_inside[y]) {
                    for line in (0..(TILE + 1) * S::WIDTH).step_by(LINE) {
                        S::prefetch(next.wrapping_add(y * UNIT * width + line));
                    }
                }
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
    /// Transformed weights of these channels, `[POINTS][group][C][ROWS]`.
    pub(super) weights: *const f32,
    /// Distance between two of their points.
    pub(super) pitch: usize,
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
        let groups = (self.outputs[1] - self.outputs[0]).div_ceil(S::ROWS);
        for point in 0..POINTS {
            let pixels = self.from.wrapping_add(point * self.plan.pitch_in::<S>());
            let sums = sums.wrapping_add(point * Plan::<UNIT>::pitch_back::<S>());
            // The groups of this point ask for the next point's pixels, each for its share.
            let next = pixels.wrapping_add(self.plan.pitch_in::<S>());
            let share = S::PANEL.div_ceil(groups);
            for group in 0..groups {
                let weights = self.weights.wrapping_add(point * self.pitch);
                // SAFETY: the sums have room for the last group's rows, since `CHANNELS_BACK` is a multiple of
                // `ROWS`.
                unsafe {
                    multiply::<S>(RegisterTile {
                        k: channels,
                        weights: weights.wrapping_add(group * channels * S::ROWS),
                        pixels,
                        sums: sums.wrapping_add(group * S::ROWS * S::PANEL),
                        pitch: S::PANEL,
                        vectors: count.div_ceil(S::WIDTH),
                        ahead: next.wrapping_add(group * share * channels),
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
            let end = width.min(x + piece.length * TILE);
            let pixels = end - x;
            for (i, mask) in masks.iter_mut().enumerate() {
                let (_, to) = inside((x + i * S::WIDTH) as isize, S::WIDTH, end);
                *mask = S::mask(0, to);
            }
            for o in self.outputs[0]..self.outputs[1] {
                let from = sums.add((o - self.outputs[0]) * S::PANEL + piece.at);
                let at = ((self.image * plan.outputs + o) * height + y) * width + x;
                for row in (0..TILE).filter(|row| y + row * UNIT < height) {
                    self.output.prefetch::<S>(at + height * width + row * UNIT * width, pixels);
                }
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
                    let at = at + i * UNIT * width;
                    let row = vectors.add(i * SPAN).cast::<[S::Vector; SPAN]>().read();
                    if y + i * UNIT >= height {
                        break;
                    }
                    let [y0, y1, y2, y3] = tile::output::<S>(row);
                    let (a, b) = S::interleave::<UNIT>(y0, y2);
                    let (c, d) = S::interleave::<UNIT>(y1, y3);
                    let (v0, v1) = S::interleave::<UNIT>(a, c);
                    let (v2, v3) = S::interleave::<UNIT>(b, d);
                    for (i, v) in [v0, v1, v2, v3].into_iter().enumerate() {
                        self.output.put::<S>(at + i * S::WIDTH, masks[i], v, bias);
                    }
                }
            }
        }
    }
}
