//! k-means over prototypes.

use fss_data::rng::KeyedRandom;
use rayon::prelude::*;

use super::points::Points;
use crate::{Stop, TrainError};

/// How points are clustered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KMeansOptions {
    /// How many clusters.
    pub clusters: usize,
    /// The most rounds of assigning and averaging.
    pub iterations: usize,
    /// Seed of the first centres.
    pub seed: u64,
}

/// Clusters of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The centres `[clusters, channels]`, row by row.
    pub centres: Vec<f64>,
    /// The cluster of each point.
    pub labels: Vec<u32>,
    /// How many points each cluster has; 0 only if the rounds ended before it could get one.
    pub sizes: Vec<usize>,
    /// Rounds that were made.
    pub iterations: usize,
    /// Sum of the squared distances of all points to their centres.
    pub inertia: f64,
    /// Whether the last round changed no label.
    pub converged: bool,
}

/// Clusters points: first centres by k-means++ (Arthur and Vassilvitskii, 2007), then rounds of
/// assigning and averaging (Lloyd, 1982) until nothing changes.
///
/// The result follows from points, options and nothing else, whatever the number of threads: sums
/// run in the order of the points, in f64, and of equally near centres a point keeps the one it has,
/// else takes the first. A cluster that loses all its points gets the point that lies farthest from
/// its own centre.
///
/// `progress` is told of every round; `stop` is looked at between them.
///
/// # Errors
/// [`TrainError::Setting`] for no clusters, or more of them than points;
/// [`TrainError::Interrupted`]; or if the points cannot be read.
pub fn kmeans(
    points: &dyn Points,
    options: &KMeansOptions,
    progress: &mut dyn FnMut(usize),
    stop: &Stop,
) -> Result<Clustering, TrainError> {
    let (count, clusters) = (points.count(), options.clusters);
    if clusters == 0 || clusters > count {
        return Err(TrainError::setting(
            format!("{clusters} clusters of {count} points"),
            "ask for at least one cluster and at most as many as there are regions",
        ));
    }
    let mut state = Lloyd {
        points,
        centres: first_centres(points, options, stop)?,
        labels: vec![u32::MAX; count],
        distances: vec![0.0; count],
    };
    let mut rounds = 0;
    loop {
        check(stop)?;
        let (sums, mut sizes, changed) = state.assign(clusters)?;
        let converged = !changed;
        if converged || rounds >= options.iterations {
            let inertia = state.distances.iter().sum();
            let Lloyd { centres, labels, .. } = state;
            return Ok(Clustering {
                centres,
                labels,
                sizes,
                iterations: rounds,
                inertia,
                converged,
            });
        }
        state.average(sums, &mut sizes)?;
        rounds += 1;
        progress(rounds);
    }
}

struct Lloyd<'a> {
    points: &'a dyn Points,
    centres: Vec<f64>,
    labels: Vec<u32>,
    distances: Vec<f64>,
}

impl Lloyd<'_> {
    /// Labels all points; gives the sums and numbers of each cluster's points, and whether a label
    /// changed.
    fn assign(&mut self, clusters: usize) -> Result<(Vec<f64>, Vec<usize>, bool), TrainError> {
        let channels = self.points.channels();
        let mut sums = vec![0.0; clusters * channels];
        let mut sizes = vec![0; clusters];
        let mut changed = false;
        let Self { points, centres, labels, distances } = self;
        let halves: Vec<f64> =
            centres.chunks_exact(channels).map(|c| 0.5 * dot_f64(c, c)).collect();
        points.for_each_block(&mut |first, rows| {
            let found: Vec<(u32, f64)> = rows
                .par_chunks_exact(channels)
                .zip(&labels[first..])
                .map(|(row, &old)| nearest(row, centres, &halves, old))
                .collect();
            for (offset, (row, (label, distance))) in
                rows.chunks_exact(channels).zip(found).enumerate()
            {
                let place = first + offset;
                changed |= labels[place] != label;
                labels[place] = label;
                distances[place] = distance;
                let cluster = label as usize;
                sizes[cluster] += 1;
                add(&mut sums[cluster * channels..][..channels], row, 1.0);
            }
            Ok(())
        })?;
        Ok((sums, sizes, changed))
    }

    /// Makes each centre the mean of its points.
    fn average(&mut self, mut sums: Vec<f64>, sizes: &mut [usize]) -> Result<(), TrainError> {
        let channels = self.points.channels();
        for cluster in 0..sizes.len() {
            if sizes[cluster] > 0 {
                continue;
            }
            // There is one: not every cluster of more points than clusters can have a single point.
            let Some(far) = self.farthest(sizes) else { continue };
            let row = row_of(self.points, far)?;
            let old = self.labels[far] as usize;
            add(&mut sums[old * channels..][..channels], &row, -1.0);
            add(&mut sums[cluster * channels..][..channels], &row, 1.0);
            sizes[old] -= 1;
            sizes[cluster] = 1;
            self.labels[far] = cluster as u32;
            self.distances[far] = 0.0;
        }
        for ((centre, sum), &size) in self
            .centres
            .chunks_exact_mut(channels)
            .zip(sums.chunks_exact(channels))
            .zip(sizes.iter())
        {
            if size > 0 {
                for (value, sum) in centre.iter_mut().zip(sum) {
                    *value = sum / size as f64;
                }
            }
        }
        Ok(())
    }

    /// The point that lies farthest from its centre and is not alone there; of equal ones the first.
    fn farthest(&self, sizes: &[usize]) -> Option<usize> {
        (0..self.labels.len()).filter(|&place| sizes[self.labels[place] as usize] > 1).reduce(
            |best, place| {
                if self.distances[place] > self.distances[best] { place } else { best }
            },
        )
    }
}

/// k-means++: each further centre is a point, drawn by its squared distance to the nearest so far.
fn first_centres(
    points: &dyn Points,
    options: &KMeansOptions,
    stop: &Stop,
) -> Result<Vec<f64>, TrainError> {
    let count = points.count();
    let mut random = KeyedRandom::new(options.seed, 0);
    let mut chosen = vec![random.below(count)];
    let mut nearest = vec![f64::INFINITY; count];
    let mut centres = Vec::with_capacity(options.clusters * points.channels());
    loop {
        check(stop)?;
        let centre: Vec<f64> =
            row_of(points, chosen[chosen.len() - 1])?.into_iter().map(f64::from).collect();
        let channels = points.channels();
        points.for_each_block(&mut |first, rows| {
            let found: Vec<f64> =
                rows.par_chunks_exact(channels).map(|row| squared_distance(row, &centre)).collect();
            for (kept, new) in nearest[first..].iter_mut().zip(found) {
                *kept = kept.min(new);
            }
            Ok(())
        })?;
        centres.extend(centre);
        if chosen.len() == options.clusters {
            return Ok(centres);
        }
        let total: f64 = nearest.iter().sum();
        let next = if total > 0.0 {
            weighted(&nearest, random.next_f64() * total)
        } else {
            // All points coincide with a centre; any other one serves.
            (0..count).find(|place| !chosen.contains(place)).unwrap_or(0)
        };
        chosen.push(next);
    }
}

/// The first place at which the running sum of the weights exceeds `target`.
fn weighted(weights: &[f64], target: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (place, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            sum += weight;
            last = place;
            if sum > target {
                return place;
            }
        }
    }
    last
}

/// The nearest centre and the squared distance to it. `halves` are half the centres' squared
/// lengths, so that one product a centre tells which is nearest; `old` is the one so far.
fn nearest(row: &[f32], centres: &[f64], halves: &[f64], old: u32) -> (u32, f64) {
    let centre = |index: u32| &centres[index as usize * row.len()..][..row.len()];
    let score = |index: u32| halves[index as usize] - dot(row, centre(index));
    let count = halves.len() as u32;
    let first = if old < count { (old, score(old)) } else { (0, f64::INFINITY) };
    let (best, _) = (0..count)
        .map(|index| (index, score(index)))
        .fold(first, |best, next| if next.1 < best.1 { next } else { best });
    (best, squared_distance(row, centre(best)))
}

/// Independent sums, so that the loop runs in vector registers; their order is fixed.
const LANES: usize = 8;

fn dot(row: &[f32], centre: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let (centres, centre_rest) = centre.as_chunks::<LANES>();
    for (row, centre) in rows.iter().zip(centres) {
        for lane in 0..LANES {
            lanes[lane] += f64::from(row[lane]) * centre[lane];
        }
    }
    let rest: f64 = row_rest.iter().zip(centre_rest).map(|(a, b)| f64::from(*a) * b).sum();
    lanes.iter().sum::<f64>() + rest
}

fn dot_f64(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn squared_distance(row: &[f32], centre: &[f64]) -> f64 {
    row.iter().zip(centre).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum()
}

fn add(sum: &mut [f64], row: &[f32], factor: f64) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += factor * f64::from(*value);
    }
}

/// One point.
fn row_of(points: &dyn Points, place: usize) -> Result<Vec<f32>, TrainError> {
    let channels = points.channels();
    let mut found = Vec::new();
    points.for_each_block(&mut |first, rows| {
        if let Some(row) =
            place.checked_sub(first).and_then(|offset| rows.chunks_exact(channels).nth(offset))
        {
            found = row.to_vec();
        }
        Ok(())
    })?;
    Ok(found)
}

fn check(stop: &Stop) -> Result<(), TrainError> {
    match stop.is_requested() {
        true => Err(TrainError::Interrupted { what: "the clustering" }),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "kmeans_tests.rs"]
mod tests;
