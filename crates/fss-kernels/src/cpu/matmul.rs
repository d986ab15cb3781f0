//! Products of large matrices.
//!
//! As in [`direct`](super::direct) convolutions, all rows of the left factor are packed first; a panel of columns
//! of the right one is packed, stays in the second-level cache and meets all of them. Long sums are cut
//! into blocks, which are added in order.

use rayon::prelude::*;

use super::gemm::{RegisterTile, multiply};
use super::lanes::{InstructionSet, Kernel, LINE, Lanes, PANEL_VECTORS, Task};
use super::pack::{interleave, transpose};
use super::scratch::{Scratch, Shared};

/// Terms of a sum between two writes to the target: with more, panels fall out of the second-level cache.
const DEPTH: usize = 1024;
/// Rows of the left factor that one task packs. They are several cache lines of a column.
const ROWS_PACKED: usize = 64;
/// Rows that a task multiplies, at least, for the panel that it packs.
const ROWS_A_TASK: usize = 256;
/// How many rows ahead those of the right factor, each in another page, are asked for.
const ROWS_AHEAD: usize = 8;
/// Tasks for each thread, where the matrices have so many.
const TASKS_A_THREAD: usize = 8;

/// A factor: where it starts, and how far apart neighbours in a column and in a row are. One of the two is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor {
    pub start: *const f32,
    pub row_stride: usize,
    pub column_stride: usize,
}

impl Factor {
    fn at(&self, row: usize, column: usize) -> *const f32 {
        self.start.wrapping_add(row * self.row_stride + column * self.column_stride)
    }
}

/// `target (+)= left · right`, with sums over `depth` terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub left: Factor,
    pub right: Factor,
    /// Which rows of the right factor are meant, if not the first `depth`; its neighbours in a row are then next to
    /// each other.
    pub picked: Option<&'a [usize]>,
    /// Row-major.
    pub target: *mut f32,
    /// Distance between rows of the target.
    pub pitch: usize,
    /// Whether the product is added to what the target holds.
    pub add: bool,
}

// SAFETY: pointers are numbers; the accesses state why they are sound.
unsafe impl Send for Product<'_> {}
// SAFETY: as above.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Whether the matrices are large enough for packing to pay.
    pub(crate) fn is_large(&self) -> bool {
        self.rows >= 32 && self.columns >= 48 && self.depth >= 32
    }

    /// Computes it on all threads.
    ///
    /// # Safety
    /// All elements that the fields name can be read, and those of the target written; the target is used by
    /// nobody else and overlaps no factor. One stride of each factor is 1.
    pub(crate) unsafe fn run(self) {
        // SAFETY: the caller's.
        unsafe { self.run_with(InstructionSet::best()) }
    }

    /// # Safety
    /// As [`Product::run`], and the machine has the instruction set.
    pub(super) unsafe fn run_with(self, set: InstructionSet) {
        // SAFETY: the caller's.
        unsafe { set.run(self) }
    }

    /// # Safety
    /// As [`Product::run_with`].
    unsafe fn block<S: Lanes>(self) {
        const { assert!(ROWS_PACKED.is_multiple_of(S::ROWS)) };
        let groups = self.rows.div_ceil(S::ROWS);
        let mut packed = Scratch::take(groups * S::ROWS * self.depth);
        let packed = Shared::new(packed.as_mut_ptr());
        (0..self.rows.div_ceil(ROWS_PACKED)).into_par_iter().for_each(|task| {
            let first = task * ROWS_PACKED;
            let to = packed.at(first * self.depth);
            // SAFETY: the instructions exist; each task has its own part of the buffer.
            unsafe { S::enter(PackLeft { product: self, first, to }) }
        });
        let panels = self.columns.div_ceil(S::PANEL);
        let wanted = (TASKS_A_THREAD * rayon::current_num_threads()).div_ceil(panels);
        let parts = wanted.min(self.rows / ROWS_A_TASK).max(1);
        let share = groups.div_ceil(parts);
        (0..panels * parts).into_par_iter().for_each(|task| {
            let start = task / parts * S::PANEL;
            let first = task % parts * share;
            let groups = [first, groups.min(first + share)];
            // SAFETY: the instructions exist, the rows are packed, and no two tasks have a panel's rows in common.
            unsafe { S::enter(Panel { product: self, packed: packed.at(0), start, groups }) }
        });
    }
}

impl Task for Product<'_> {
    type Output = ();

    /// # Safety
    /// As [`Product::run_with`].
    unsafe fn run<S: Lanes>(self) {
        let depth = self.depth.div_ceil(self.depth.div_ceil(DEPTH));
        for first in (0..self.depth).step_by(depth) {
            let block = Self {
                depth: depth.min(self.depth - first),
                left: Factor { start: self.left.at(0, first), ..self.left },
                right: match self.picked {
                    Some(_) => self.right,
                    None => Factor { start: self.right.at(first, 0), ..self.right },
                },
                picked: self.picked.map(|rows| &rows[first..]),
                add: self.add || first > 0,
                ..self
            };
            // SAFETY: the caller's.
            unsafe { block.block::<S>() }
        }
    }
}

/// Packs up to [`ROWS_PACKED`] rows of the left factor as `[group][depth][ROWS]`. Rows behind the last one repeat
/// it: their sums are not used.
struct PackLeft<'a> {
    product: Product<'a>,
    first: usize,
    to: *mut f32,
}

impl Kernel for PackLeft<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let Product { rows, depth, left, .. } = self.product;
        let count = (rows - self.first).min(ROWS_PACKED);
        let groups = count.div_ceil(S::ROWS);
        let group_length = depth * S::ROWS;
        if left.row_stride != 1 {
            for group in 0..groups {
                let row = |r: usize| left.at((self.first + group * S::ROWS + r).min(rows - 1), 0);
                let to = self.to.wrapping_add(group * group_length);
                // SAFETY: each row has `depth` elements next to each other, and the group has room.
                unsafe { interleave::<S>(std::array::from_fn(row), depth, to) }
            }
            return;
        }
        let whole = count / S::ROWS;
        for k in 0..depth {
            let from = left.at(self.first, k);
            let to = self.to.wrapping_add(k * S::ROWS);
            for group in 0..groups {
                let to = to.wrapping_add(group * group_length);
                for r in 0..S::ROWS {
                    let r_in = group * S::ROWS + r;
                    let r_in = if group < whole { r_in } else { r_in.min(count - 1) };
                    // SAFETY: an element of column `k`, and a place in the group.
                    unsafe { to.add(r).write(from.add(r_in).read()) }
                }
            }
        }
    }
}

/// The columns from `start` on, for some groups of rows (from, to).
struct Panel<'a> {
    product: Product<'a>,
    packed: *const f32,
    start: usize,
    groups: [usize; 2],
}

impl Kernel for Panel<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let Product { rows, depth, target, pitch, add, .. } = self.product;
        let count = (self.product.columns - self.start).min(S::PANEL);
        let mut scratch = Scratch::take((depth + S::ROWS) * S::PANEL);
        let panel = scratch.as_mut_ptr();
        let spare = panel.wrapping_add(depth * S::PANEL);
        // SAFETY: the scratch holds `depth` rows of a panel and `ROWS` rows of sums. Sums of rows and columns behind
        // the last go to the spare rows, of which only the others are read.
        unsafe {
            self.pack_right::<S>(count, panel);
            for group in self.groups[0]..self.groups[1] {
                let first = group * S::ROWS;
                let filled = (rows - first).min(S::ROWS);
                let place = target.wrapping_add(first * pitch + self.start);
                let at_once = !add && filled == S::ROWS && count == S::PANEL;
                for r in 0..filled {
                    for at in (0..count).step_by(LINE) {
                        S::prefetch(place.wrapping_add(r * pitch + at));
                    }
                }
                let (sums, sums_pitch) = if at_once { (place, pitch) } else { (spare, S::PANEL) };
                multiply::<S>(RegisterTile {
                    k: depth,
                    weights: self.packed.wrapping_add(first * depth),
                    pixels: panel,
                    sums,
                    pitch: sums_pitch,
                    vectors: count.div_ceil(S::WIDTH),
                    ahead: panel,
                    ahead_step: 0,
                });
                if at_once {
                    continue;
                }
                for r in 0..filled {
                    for at in (0..count).step_by(S::WIDTH) {
                        let mask = S::mask(0, (count - at).min(S::WIDTH));
                        let mut v = S::load(spare.add(r * S::PANEL + at));
                        let to = place.wrapping_add(r * pitch + at);
                        if add {
                            v = S::add(v, S::load_masked(to, mask));
                        }
                        S::store_masked(to, mask, v);
                    }
                }
            }
        }
    }
}

impl Panel<'_> {
    /// Packs `count` columns of the right factor as `[depth][PANEL]`. Lanes of a vector behind the last column hold
    /// anything.
    ///
    /// # Safety
    /// As [`Kernel::run`].
    #[inline(always)]
    unsafe fn pack_right<S: Lanes>(&self, count: usize, to: *mut f32) {
        let Product { depth, right, picked, .. } = self.product;
        let row = |k: usize| picked.map_or(k, |rows| rows[k]);
        let vectors = count.div_ceil(S::WIDTH);
        let masks: [S::Mask; PANEL_VECTORS] = std::array::from_fn(|v| {
            // SAFETY: the caller's.
            unsafe { S::mask(0, count.saturating_sub(v * S::WIDTH).min(S::WIDTH)) }
        });
        if right.column_stride == 1 {
            for k in 0..depth {
                let ahead = right.at(row((k + ROWS_AHEAD).min(depth - 1)), self.start);
                let from = right.at(row(k), self.start);
                // SAFETY: `count` columns from `start` on exist, of `depth` elements each.
                unsafe {
                    for (v, &mask) in masks[..vectors].iter().enumerate() {
                        let column = v * S::WIDTH;
                        S::prefetch(ahead.wrapping_add(column));
                        let values = S::load_masked(from.wrapping_add(column), mask);
                        S::store(to.add(k * S::PANEL + column), values);
                    }
                }
            }
            return;
        }
        for first in (0..count).step_by(S::WIDTH) {
            let from = right.at(0, self.start + first);
            let filled = (count - first).min(S::WIDTH);
            // SAFETY: as above.
            unsafe {
                transpose::<S>(from, right.column_stride, filled, depth, to.wrapping_add(first));
            }
        }
    }
}
