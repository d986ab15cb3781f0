//! Adaptive prototypes of several sets of members among the same positions.
//!
//! The weight of a member for a query, `exp(t · cos - |t|)`, does not depend on the set. Positions that belong
//! to the same sets form a group; the weighted sum over a set is the sum of those over its groups. So each
//! member is weighed and multiplied once, however many sets it belongs to. Weights between members are
//! symmetric: half of them is computed.

use rayon::prelude::*;

use super::adaptive::{Keys, gather, with_ones};
use super::product::{View, ViewMut, Write, product};
use crate::cpu::{exp_scaled, zeros};

/// Queries that are worked on at a time: their sums for a few sets fit into the caches.
const TILE: usize = 256;

/// Elements that one task adds.
const CHUNK: usize = 1 << 14;

/// Weights between members are kept, since they serve both sides, if they take no more bytes than this.
const KEPT_BYTES: usize = 64 << 20;

/// Sets that one pass can tell apart.
pub(super) const MOST_SETS: usize = 64;

/// Adaptive prototypes `[sets, C, N]` of one sample with features `[C, N]`, for up to [`MOST_SETS`] sets of
/// ascending positions, each at least one.
pub(super) fn prototypes(
    features: &[f32],
    keys: Keys,
    sets: &[Vec<usize>],
    [channels, positions]: [usize; 2],
    temperature: f32,
) -> Vec<f32> {
    prototypes_within(features, keys, sets, [channels, positions], temperature, KEPT_BYTES)
}

fn prototypes_within(
    features: &[f32],
    keys: Keys,
    sets: &[Vec<usize>],
    [channels, positions]: [usize; 2],
    temperature: f32,
    kept_bytes: usize,
) -> Vec<f32> {
    let mut output = zeros(sets.len() * channels * positions);
    let groups = Groups::of(sets, positions);
    let members = groups.members;
    if members == 0 || output.is_empty() {
        return output;
    }
    let unit = keys.gather(&groups.order, positions);
    let values = with_ones(gather(features, &groups.order[..members], positions), members);
    let sample = Sample {
        unit: View::new(&unit, channels, positions),
        values: View::new(&values, channels + 1, members),
        channels,
        members,
        temperature,
    };
    let keep = size_of::<f32>() * members * members <= kept_bytes;
    let kept = if keep { sample.between_members() } else { Vec::new() };
    let kept = keep.then(|| View::new(&kept, members, members));

    let mut weights = vec![0.0; TILE.min(positions) * members];
    let mut of_group = vec![0.0; (channels + 1) * TILE];
    let mut sums = vec![0.0; sets.len() * (channels + 1) * TILE];
    // No tile reaches over the last member.
    for (start, end) in tiles(0, members).chain(tiles(members, positions)) {
        let size = (channels + 1) * (end - start);
        let of_group = &mut of_group[..size];
        let sums = &mut sums[..sets.len() * size];
        sums.par_chunks_mut(CHUNK).for_each(|sums| sums.fill(0.0));
        let weights = match kept.filter(|_| start < members) {
            Some(kept) => Weights::Kept(kept),
            None => Weights::Made(sample.weigh(&mut weights, [start, end], [0, members])),
        };
        for group in &groups.groups {
            if let [set] = group.sets.as_slice() {
                let target = &mut sums[set * size..][..size];
                sample.add_group(target, group, &weights, [start, end], Write::Add);
                continue;
            }
            sample.add_group(of_group, group, &weights, [start, end], Write::Replace);
            for set in &group.sets {
                add(&mut sums[set * size..][..size], of_group);
            }
        }
        for (set, sums) in sums.chunks_exact(size).enumerate() {
            let output = &mut output[set * channels * positions..][..channels * positions];
            divide(sums, &groups.order[start..end], output, positions);
        }
    }
    output
}

fn tiles(from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
    (from..to).step_by(TILE).map(move |start| (start, (start + TILE).min(to)))
}

/// Weights of members for the queries of a tile.
enum Weights<'a> {
    /// `[tile, members]`.
    Made(View<'a>),
    /// Between all members `[members, members]`, each tile of rows from its own first column on.
    Kept(View<'a>),
}

struct Sample<'a> {
    /// Unit vectors `[C, N]`, members first.
    unit: View<'a>,
    /// `[C + 1, members]`, the last row all ones.
    values: View<'a>,
    channels: usize,
    members: usize,
    temperature: f32,
}

impl Sample<'_> {
    /// Weights `[rows, columns]` of the queries of a range for the members of another.
    fn weigh<'b>(
        &self,
        buffer: &'b mut [f32],
        [start, end]: [usize; 2],
        [first, last]: [usize; 2],
    ) -> View<'b> {
        let (rows, columns) = (end - start, last - first);
        let weights = &mut buffer[..rows * columns];
        let queries = self.unit.columns(start, end).transposed();
        let target = ViewMut::new(weights, rows, columns);
        product(target, queries, self.unit.columns(first, last), Write::Replace);
        exp_scaled(weights, self.temperature, self.temperature.abs());
        View::new(weights, rows, columns)
    }

    /// Weights between members `[members, members]`, each tile of rows from its own first column on; the
    /// rest is never touched.
    fn between_members(&self) -> Vec<f32> {
        let mut kept = zeros(self.members * self.members);
        let mut buffer = vec![0.0; TILE.min(self.members) * self.members];
        for (start, end) in tiles(0, self.members) {
            let columns = self.members - start;
            self.weigh(&mut buffer, [start, end], [start, self.members]);
            let rows = kept[start * self.members..end * self.members].par_chunks_mut(self.members);
            rows.zip(buffer.par_chunks(columns)).for_each(|(row, weights)| {
                row[start..].copy_from_slice(weights);
            });
        }
        kept
    }

    /// Weighted sums `[C + 1, tile]` over a group for the queries `start..end`.
    fn add_group(
        &self,
        target: &mut [f32],
        group: &Group,
        weights: &Weights<'_>,
        [start, end]: [usize; 2],
        write: Write,
    ) {
        let values = |from: usize, to: usize| self.values.columns(from, to);
        let mut target = |left: View<'_>, right: View<'_>, write: Write| {
            product(ViewMut::new(target, self.channels + 1, end - start), left, right, write);
        };
        match weights {
            Weights::Made(weights) => {
                let weights = weights.columns(group.start, group.end).transposed();
                target(values(group.start, group.end), weights, write);
            }
            Weights::Kept(kept) => {
                // Members before the tile: its queries are columns of their rows.
                let middle = group.end.min(start).max(group.start);
                if group.start < middle {
                    let weights = kept.rows(group.start, middle).columns(start, end);
                    target(values(group.start, middle), weights, write);
                }
                if middle < group.end {
                    let weights = kept.rows(start, end).columns(middle, group.end).transposed();
                    let write = if group.start < middle { Write::Add } else { write };
                    target(values(middle, group.end), weights, write);
                }
            }
        }
    }
}

fn add(sums: &mut [f32], terms: &[f32]) {
    sums.par_chunks_mut(CHUNK).zip(terms.par_chunks(CHUNK)).for_each(|(sums, terms)| {
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    });
}

/// Divides sums `[C + 1, picked]` by their last row and writes them to the columns `picked`.
fn divide(sums: &[f32], picked: &[usize], output: &mut [f32], positions: usize) {
    let count = picked.len();
    let (sums, totals) = sums.split_at(sums.len() - count);
    let factors: Vec<f32> = totals.iter().map(|total| 1.0 / total).collect();
    output.par_chunks_mut(positions).zip(sums.par_chunks(count)).with_min_len(16).for_each(
        |(row, sums)| {
            for ((&place, sum), factor) in picked.iter().zip(sums).zip(&factors) {
                row[place] = sum * factor;
            }
        },
    );
}

/// All positions: members of any set first, those of the same sets next to each other.
struct Groups {
    order: Vec<usize>,
    /// How many of them belong to any set.
    members: usize,
    groups: Vec<Group>,
}

/// A range of the order, and the sets that its positions belong to.
struct Group {
    start: usize,
    end: usize,
    sets: Vec<usize>,
}

impl Groups {
    fn of(sets: &[Vec<usize>], positions: usize) -> Self {
        let mut belongs = vec![0u64; positions];
        for (set, members) in sets.iter().enumerate() {
            members.iter().for_each(|&position| belongs[position] |= 1 << set);
        }
        let mut order: Vec<usize> = (0..positions).collect();
        order.sort_by_key(|&position| (belongs[position] == 0, belongs[position], position));
        let members = order.iter().take_while(|position| belongs[**position] != 0).count();
        let mut start = 0;
        let groups = order[..members]
            .chunk_by(|&one, &other| belongs[one] == belongs[other])
            .map(|group| {
                let of = belongs[group[0]];
                let sets = (0..sets.len()).filter(|set| of >> set & 1 == 1).collect();
                let range = (start, start + group.len());
                start = range.1;
                Group { start: range.0, end: range.1, sets }
            })
            .collect();
        Self { order, members, groups }
    }
}

#[cfg(test)]
mod tests {
    use super::super::adaptive;
    use super::*;
    use fss_support::fill;
    use fss_support::golden::assert_close;

    #[test]
    fn several_sets_are_what_each_is_alone() {
        let (channels, positions) = (5, 600);
        let features = fill("features", &[channels * positions]);
        let factors: Vec<f32> = (0..positions)
            .map(|i| {
                let squares = (0..channels).map(|c| features[c * positions + i].powi(2));
                1.0 / squares.sum::<f32>().sqrt()
            })
            .collect();
        let keys = Keys::scaled(&features, &factors);
        let every = |step: usize, from: usize| (from..positions).step_by(step).collect::<Vec<_>>();
        let sets = [every(1, 0), every(2, 1), every(3, 0), vec![7], every(2, 1)];
        let size = [channels, positions];
        for (sets, kept) in [(&sets[..], usize::MAX), (&sets[..], 0), (&sets[1..3], usize::MAX)] {
            let found = prototypes_within(&features, keys, sets, size, 2.0, kept);
            for (set, found) in sets.iter().zip(found.chunks_exact(channels * positions)) {
                let alone = adaptive::prototypes(&features, keys, set, size, 2.0);
                assert_close("a set", found, &alone, 2e-6);
            }
        }
    }
}
