//! Attention of all positions of a map to some of them, without a matrix of all weights.
//!
//! As in [`matmul`](super::matmul), what all tasks share is packed first: the members' unit vectors and their
//! values. A task then takes a panel of positions through both products: its weights for all members come out
//! of the first one as the second one reads them, and are turned into exponentials in the cache. Cosines are
//! bounded, so `exp(t · cos - |t|)` needs no maximum, and weights can be divided by their sum at the
//! end. The sum is the second product's row for an additional channel of ones.
//!
//! Weights between members are symmetric: where they fit into memory, half of them is computed and kept.

use rayon::prelude::*;

use super::exp::exp_chunk;
use super::gemm::{RegisterTile, multiply};
use super::lanes::{InstructionSet, Kernel, Lanes, MAX_ROWS, PANEL_VECTORS, Task};
use super::pack::transpose;
use super::scratch::{Scratch, Shared};
use super::zeros;

/// Weights between members may take this many bytes.
const KEPT_BYTES: usize = 64 << 20;

/// The most lanes of a panel.
const MAX_PANEL: usize = 48;

/// How many channels ahead what lies in other pages is asked for.
const CHANNELS_AHEAD: usize = 8;

/// What is attended to.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// What is summed up, `[C, N]`.
    pub values: &'a [f32],
    /// Vectors whose products are cosines, once scaled, `[C, N]`.
    pub keys: &'a [f32],
    /// Factor on each position's key, `[N]`.
    pub factors: Option<&'a [f32]>,
    /// All positions; those that are attended to, at least one, come first.
    pub order: &'a [usize],
    /// How many these are.
    pub members: usize,
    /// Factor on the cosines, small enough for `exp(-2 |t|)` to be a normal number.
    pub temperature: f32,
}

/// All positions of an attention.
struct All<'a> {
    attention: &'a Attention<'a>,
    kept_bytes: usize,
    output: Shared,
}

impl Task for All<'_> {
    type Output = ();

    /// # Safety
    /// As there; the output has room for all channels of all positions.
    unsafe fn run<S: Lanes>(self) {
        // SAFETY: the caller's.
        unsafe { self.attention.panels::<S>(self.output, self.kept_bytes) }
    }
}

impl Attention<'_> {
    /// Means of the members' values, weighted for each position by the softmax of its cosines, `[C, N]`.
    ///
    /// # Panics
    /// If a slice's length is not a multiple of the number of positions, or a position does not exist.
    pub(crate) fn run(&self) -> Vec<f32> {
        self.run_with(InstructionSet::best(), KEPT_BYTES)
    }

    /// [`Attention::run`] with a given instruction set, which the machine must have.
    pub(super) fn run_with(&self, set: InstructionSet, kept_bytes: usize) -> Vec<f32> {
        let positions = self.order.len();
        let length = self.channels() * positions;
        assert!(self.values.len() == length && self.keys.len() == length, "channels");
        assert!(self.factors.is_none_or(|factors| factors.len() == positions), "factors");
        assert!((1..=positions).contains(&self.members), "{} members", self.members);
        assert!(self.order.iter().all(|&position| position < positions), "positions");
        let mut output = zeros(length);
        if length == 0 {
            return output;
        }
        let to = Shared::new(output.as_mut_ptr());
        // SAFETY: the set was detected on this machine, and the output has room for all.
        unsafe { set.run(All { attention: self, kept_bytes, output: to }) };
        output
    }

    fn channels(&self) -> usize {
        self.values.len() / self.order.len().max(1)
    }

    /// The channels and that of ones, in whole groups of rows.
    fn value_groups<S: Lanes>(&self) -> usize {
        (self.channels() + 1).div_ceil(S::ROWS)
    }

    fn member_groups<S: Lanes>(&self) -> usize {
        self.members.div_ceil(S::ROWS)
    }

    fn member_panels<S: Lanes>(&self) -> usize {
        self.members.div_ceil(S::PANEL)
    }

    /// The elements of a panel of weights; its rows are whole panels, too.
    fn panel_length<S: Lanes>(&self) -> usize {
        self.member_panels::<S>() * S::PANEL * S::PANEL
    }

    /// # Safety
    /// The machine has the instructions of `S`; `output` has room for all channels of all positions.
    unsafe fn panels<S: Lanes>(&self, output: Shared, kept_bytes: usize) {
        const { assert!(S::PANEL.is_multiple_of(S::ROWS) && S::PANEL <= MAX_PANEL) };
        let (key_groups, value_groups) = (self.member_groups::<S>(), self.value_groups::<S>());
        let (key_length, value_length) = (self.channels() * S::ROWS, self.members * S::ROWS);
        let mut keys = Scratch::take(key_groups * key_length);
        let mut values = Scratch::take(value_groups * value_length);
        let keys = Shared::new(keys.as_mut_ptr());
        let values = Shared::new(values.as_mut_ptr());
        (0..key_groups).into_par_iter().for_each(|group| {
            let to = keys.at(group * key_length);
            // SAFETY: the caller's; each group has its own part of the buffer.
            unsafe { S::enter(PackKeys { attention: self, group, to }) }
        });
        // SAFETY: as above.
        (0..value_groups).into_par_iter().for_each(|group| unsafe {
            self.pack_values::<S>(group, values.at(group * value_length));
        });

        let panels = self.member_panels::<S>();
        let length = self.panel_length::<S>();
        let keep = panels * length * size_of::<f32>() <= kept_bytes;
        let mut kept = Scratch::take(if keep { panels * length } else { 0 });
        let kept = Shared::new(kept.as_mut_ptr());
        let at = |panel: usize| (panel * S::PANEL, self.members.min((panel + 1) * S::PANEL));
        if keep {
            (0..panels).into_par_iter().for_each(|panel| {
                // SAFETY: the caller's; the keys are packed, and each pair of panels has its two places in `kept`.
                unsafe { S::enter(Between { attention: self, keys: keys.at(0), kept, panel }) }
            });
        }
        let other_panels = (self.order.len() - self.members).div_ceil(S::PANEL);
        (0..panels + other_panels).into_par_iter().for_each(|task| {
            let (range, weights) = if task < panels {
                (at(task), keep.then(|| kept.at(task * length).cast_const()))
            } else {
                let start = self.members + (task - panels) * S::PANEL;
                ((start, (start + S::PANEL).min(self.order.len())), None)
            };
            let (keys, values) = (keys.at(0), values.at(0));
            let sums = Sums { attention: self, keys, values, weights, range, output };
            // SAFETY: the caller's; keys, values and weights are ready, and each position has its own outputs.
            unsafe { S::enter(sums) }
        });
    }

    /// Factors on the keys of up to a panel of positions.
    fn factors_of(&self, positions: &[usize]) -> [f32; MAX_PANEL] {
        let mut factors = [1.0; MAX_PANEL];
        if let Some(all) = self.factors {
            factors.iter_mut().zip(positions).for_each(|(factor, &i)| *factor = all[i]);
        }
        factors
    }

    /// Packs a group of channels of the members' values as `[members][ROWS]`; behind the last channel follow one
    /// of ones, and zeros.
    ///
    /// # Safety
    /// `to` has room for the group.
    unsafe fn pack_values<S: Lanes>(&self, group: usize, to: *mut f32) {
        let positions = self.order.len();
        for r in 0..S::ROWS {
            let channel = group * S::ROWS + r;
            let values = self.values.get(channel * positions..);
            let else_all = if channel == self.channels() { 1.0 } else { 0.0 };
            for (m, &position) in self.order[..self.members].iter().enumerate() {
                let value = values.and_then(|values| values.get(position)).unwrap_or(&else_all);
                // SAFETY: the caller's.
                unsafe { to.add(m * S::ROWS + r).write(*value) }
            }
        }
    }

    /// Packs the unit vectors of the positions of a panel as `[C][PANEL]`. Lanes behind the last one hold anything.
    ///
    /// # Safety
    /// Inside [`Lanes::enter`]; `to` has room.
    #[inline(always)]
    unsafe fn pack_queries<S: Lanes>(&self, positions: &[usize], to: *mut f32) {
        let factors = self.factors_of(positions);
        let parts = Part::all::<S>(positions);
        for (c, channel) in self.keys.chunks_exact(self.order.len()).enumerate() {
            let to = to.wrapping_add(c * S::PANEL);
            for part in &parts[..positions.len().div_ceil(S::WIDTH)] {
                let from = channel.as_ptr().wrapping_add(part.start);
                // SAFETY: the caller's; any address can be asked for, and a part says which lanes it has.
                unsafe {
                    S::prefetch(from.wrapping_add(CHANNELS_AHEAD * channel.len()));
                    if part.is_run {
                        let factor = S::load(factors.as_ptr().add(part.lane));
                        S::store(to.add(part.lane), S::mul(S::load(from), factor));
                        continue;
                    }
                    for lane in part.lanes::<S>(positions) {
                        to.add(lane).write(channel[positions[lane]] * factors[lane]);
                    }
                }
            }
        }
    }

    /// Weights of the members from group `first` on for the positions of a panel, rows of `[members][PANEL]`.
    ///
    /// # Safety
    /// Inside [`Lanes::enter`]; `keys` are packed, and `to` has room for the whole groups.
    #[inline(always)]
    unsafe fn weigh<S: Lanes>(
        &self,
        keys: *const f32,
        first: usize,
        range: [usize; 2],
        to: *mut f32,
    ) {
        let channels = self.channels();
        let mut queries = Scratch::take(channels * S::PANEL);
        let pixels = queries.as_mut_ptr();
        // SAFETY: the caller's; a group's rows end before `to` does.
        unsafe {
            self.pack_queries::<S>(&self.order[range[0]..range[1]], pixels);
            for group in first..self.member_groups::<S>() {
                multiply::<S>(RegisterTile {
                    k: channels,
                    weights: keys.wrapping_add(group * channels * S::ROWS),
                    pixels,
                    sums: to.wrapping_add(group * S::ROWS * S::PANEL),
                    pitch: S::PANEL,
                    vectors: (range[1] - range[0]).div_ceil(S::WIDTH),
                    ahead: pixels,
                    ahead_step: 0,
                });
            }
            let length = (self.member_groups::<S>() - first) * S::ROWS * S::PANEL;
            let start = to.wrapping_add(first * S::ROWS * S::PANEL);
            let weights = std::slice::from_raw_parts_mut(start, length);
            exp_chunk(weights, self.temperature, self.temperature.abs());
        }
    }
}

/// Packs the unit vectors of a group of members as `[C][ROWS]`. Rows behind the last one repeat it.
struct PackKeys<'a> {
    attention: &'a Attention<'a>,
    group: usize,
    to: *mut f32,
}

impl Kernel for PackKeys<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let attention = self.attention;
        let row = |r: usize| (self.group * S::ROWS + r).min(attention.members - 1);
        let members: [usize; MAX_ROWS] = std::array::from_fn(|r| attention.order[row(r)]);
        let members = &members[..S::ROWS];
        let factors = attention.factors_of(members);
        for (c, channel) in attention.keys.chunks_exact(attention.order.len()).enumerate() {
            let ahead = members[0] + CHANNELS_AHEAD * channel.len();
            // SAFETY: the caller's; any address can be asked for.
            unsafe {
                S::prefetch(channel.as_ptr().wrapping_add(ahead));
                for (r, (&position, factor)) in members.iter().zip(&factors).enumerate() {
                    self.to.add(c * S::ROWS + r).write(channel[position] * factor);
                }
            }
        }
    }
}

/// Weights of the members from those of a panel on for those of this panel; and, mirrored, the other way round.
struct Between<'a> {
    attention: &'a Attention<'a>,
    keys: *const f32,
    /// All panels of weights.
    kept: Shared,
    panel: usize,
}

impl Kernel for Between<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let attention = self.attention;
        let length = attention.panel_length::<S>();
        let first = self.panel * S::PANEL;
        let range = [first, attention.members.min(first + S::PANEL)];
        let own = self.kept.at(self.panel * length);
        // SAFETY: rows of this panel from its own on are this task's, and so are the rows of later panels that
        // mirror them. A panel before the last one is full.
        unsafe {
            attention.weigh::<S>(self.keys, first / S::ROWS, range, own);
            for other in self.panel + 1..attention.member_panels::<S>() {
                let from = own.wrapping_add(other * S::PANEL * S::PANEL);
                let to = self.kept.at(other * length + first * S::PANEL);
                for lane in (0..S::PANEL).step_by(S::WIDTH) {
                    let from = from.wrapping_add(lane * S::PANEL);
                    transpose::<S>(from, S::PANEL, S::WIDTH, S::PANEL, to.wrapping_add(lane));
                }
            }
        }
    }
}

/// The means for a range of positions that fill a panel.
struct Sums<'a> {
    attention: &'a Attention<'a>,
    keys: *const f32,
    values: *const f32,
    /// Their weights, if they were kept.
    weights: Option<*const f32>,
    range: (usize, usize),
    /// `[C, N]`
    output: Shared,
}

impl Kernel for Sums<'_> {
    #[inline(always)]
    unsafe fn run<S: Lanes>(self) {
        let attention = self.attention;
        let members = attention.members;
        let (start, end) = self.range;
        let groups = attention.value_groups::<S>();
        let mut made =
            Scratch::take(if self.weights.is_some() { 0 } else { attention.panel_length::<S>() });
        let mut scratch = Scratch::take(groups * S::ROWS * S::PANEL);
        let sums = scratch.as_mut_ptr();
        // SAFETY: the sums have room for all groups of rows; the outputs of these positions are this task's.
        unsafe {
            let pixels = match self.weights {
                Some(weights) => weights,
                None => {
                    attention.weigh::<S>(self.keys, 0, [start, end], made.as_mut_ptr());
                    made.as_ptr()
                }
            };
            for group in 0..groups {
                multiply::<S>(RegisterTile {
                    k: members,
                    weights: self.values.wrapping_add(group * members * S::ROWS),
                    pixels,
                    sums: sums.wrapping_add(group * S::ROWS * S::PANEL),
                    pitch: S::PANEL,
                    vectors: (end - start).div_ceil(S::WIDTH),
                    ahead: pixels,
                    ahead_step: 0,
                });
            }
            self.write::<S>(&attention.order[start..end], sums);
        }
    }
}

impl Sums<'_> {
    /// Divides the sums of a panel by those of the weights, and writes them.
    ///
    /// # Safety
    /// As [`Kernel::run`]; the sums of all channels and of the weights are there.
    #[inline(always)]
    unsafe fn write<S: Lanes>(&self, positions: &[usize], sums: *const f32) {
        let (channels, all) = (self.attention.channels(), self.attention.order.len());
        let parts = Part::all::<S>(positions);
        let mut factors = [0.0; MAX_PANEL];
        // SAFETY: the caller's; any address can be asked for, and a part says which lanes it has.
        unsafe {
            let totals = sums.add(channels * S::PANEL);
            for (lane, factor) in factors[..positions.len()].iter_mut().enumerate() {
                *factor = 1.0 / totals.add(lane).read();
            }
            for c in 0..channels {
                let (from, to) = (sums.add(c * S::PANEL), self.output.at(c * all));
                for part in &parts[..positions.len().div_ceil(S::WIDTH)] {
                    S::prefetch(to.wrapping_add(part.start + CHANNELS_AHEAD * all));
                    if part.is_run {
                        let factor = S::load(factors.as_ptr().add(part.lane));
                        let means = S::mul(S::load(from.add(part.lane)), factor);
                        S::store(to.add(part.start), means);
                        continue;
                    }
                    for lane in part.lanes::<S>(positions) {
                        to.add(positions[lane]).write(from.add(lane).read() * factors[lane]);
                    }
                }
            }
        }
    }
}

/// The positions of a vector of a panel.
#[derive(Clone, Copy, Default)]
struct Part {
    /// The first lane.
    lane: usize,
    /// Its position.
    start: usize,
    /// Whether the positions of a whole vector follow each other.
    is_run: bool,
}

impl Part {
    /// The parts of up to a panel of positions. Behind the last one, they mean nothing.
    fn all<S: Lanes>(positions: &[usize]) -> [Self; PANEL_VECTORS] {
        let mut parts = [Self::default(); PANEL_VECTORS];
        for (i, (part, run)) in parts.iter_mut().zip(positions.chunks(S::WIDTH)).enumerate() {
            let start = run[0];
            let follow = run.iter().enumerate().all(|(lane, &position)| position == start + lane);
            *part = Self { lane: i * S::WIDTH, start, is_run: follow && run.len() == S::WIDTH };
        }
        parts
    }

    /// The lanes that have positions.
    fn lanes<S: Lanes>(&self, positions: &[usize]) -> std::ops::Range<usize> {
        self.lane..positions.len().min(self.lane + S::WIDTH)
    }
}
