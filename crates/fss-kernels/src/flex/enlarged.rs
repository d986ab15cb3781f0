//! Cross entropy of enlarged logits, one row of pixels at a time.

use rayon::prelude::*;

use crate::cpu::exp_row;
use crate::resize::{Corners, Tap, taps};

/// Logits and labels of a batch.
#[derive(Clone, Copy)]
pub(super) struct Enlarged<'a> {
    /// `[B, K, h, w]`
    pub logits: &'a [f32],
    /// K, h and w.
    pub shape: [usize; 3],
    /// `[B, H, W]`
    pub labels: &'a [f32],
    /// H and W.
    pub size: [usize; 2],
    /// The label of pixels that do not count.
    pub ignore: f32,
}

/// One row of an enlarged plane `[h, w]`; `blended` `[w]` is scratch.
fn enlarge_row(
    plane: &[f32],
    Tap { lower, upper, weight }: Tap,
    columns: &[Tap],
    blended: &mut [f32],
    wide: &mut [f32],
) {
    let w = blended.len();
    let (above, below) = (&plane[lower * w..][..w], &plane[upper * w..][..w]);
    for ((blended, above), below) in blended.iter_mut().zip(above).zip(below) {
        *blended = (1.0 - weight) * above + weight * below;
    }
    for (wide, tap) in wide.iter_mut().zip(columns) {
        *wide = (1.0 - tap.weight) * blended[tap.lower] + tap.weight * blended[tap.upper];
    }
}

/// The number of the largest of K planes `[B, K, h, w]`, enlarged to `size`, at every position of the
/// window `[H, W]` at the top left: `[B, H, W]`. Of equal ones the first.
pub(super) fn argmax(
    planes: &[f32],
    [classes, h, w]: [usize; 3],
    size: [usize; 2],
    [height, width]: [usize; 2],
    corners: Corners,
) -> Vec<f32> {
    let (rows, columns) = (taps(h, size[0], corners), taps(w, size[1], corners));
    let columns = &columns[..width];
    let mut output = vec![0.0; planes.len() / (classes * h * w) * height * width];
    output.par_chunks_mut(width).enumerate().for_each_init(
        || (vec![0.0; w], vec![0.0; width], vec![0.0; width]),
        |(blended, wide, best), (index, output)| {
            let (sample, tap) = (index / height, rows[index % height]);
            for k in 0..classes {
                let plane = &planes[(sample * classes + k) * h * w..][..h * w];
                if k == 0 {
                    enlarge_row(plane, tap, columns, blended, best);
                    continue;
                }
                enlarge_row(plane, tap, columns, blended, wide);
                let number = k as f32;
                for ((best, value), output) in best.iter_mut().zip(&*wide).zip(&mut *output) {
                    let larger = value > best;
                    *output = if larger { number } else { *output };
                    *best = if larger { *value } else { *best };
                }
            }
        },
    );
    output
}

/// Buffers for one row.
struct Row {
    /// `[K, w]`, between two rows of logits.
    blended: Vec<f32>,
    /// `[K, W]`: logits, then `exp(logit - largest)`.
    wide: Vec<f32>,
    /// `[W]`
    largest: Vec<f32>,
    /// `[W]`
    sums: Vec<f32>,
}

impl Enlarged<'_> {
    fn row(&self) -> Row {
        let ([classes, _, w], [_, width]) = (self.shape, self.size);
        Row {
            blended: vec![0.0; classes * w],
            wide: vec![0.0; classes * width],
            largest: vec![0.0; width],
            sums: vec![0.0; width],
        }
    }

    /// Which class a label is: `None` where the pixel does not count, an error for any other label.
    fn class(&self, label: f32) -> Result<Option<usize>, ()> {
        match label {
            label if label == self.ignore => Ok(None),
            label if label >= 0.0 && label < self.shape[0] as f32 => Ok(Some(label as usize)),
            _ => Err(()),
        }
    }

    /// The logits of a row of pixels.
    fn enlarge(&self, row: &mut Row, sample: usize, tap: Tap, columns: &[Tap]) {
        let [classes, h, w] = self.shape;
        for k in 0..classes {
            let plane = &self.logits[(sample * classes + k) * h * w..][..h * w];
            let blended = &mut row.blended[k * w..][..w];
            let wide = &mut row.wide[k * columns.len()..][..columns.len()];
            enlarge_row(plane, tap, columns, blended, wide);
        }
    }

    /// From logits to their exponentials and the sums of these.
    fn exponentiate(&self, row: &mut Row) {
        let width = self.size[1];
        row.largest.copy_from_slice(&row.wide[..width]);
        for logits in row.wide.chunks_exact(width).skip(1) {
            row.largest.iter_mut().zip(logits).for_each(|(max, logit)| *max = max.max(*logit));
        }
        for logits in row.wide.chunks_exact_mut(width) {
            logits.iter_mut().zip(&row.largest).for_each(|(logit, max)| *logit -= max);
        }
        exp_row(&mut row.wide);
        row.sums.fill(0.0);
        for exponentials in row.wide.chunks_exact(width) {
            row.sums.iter_mut().zip(exponentials).for_each(|(sum, value)| *sum += value);
        }
    }

    /// The sum of all pixels that count.
    pub(super) fn sum(&self, corners: Corners) -> f32 {
        let ([_, h, w], [height, width]) = (self.shape, self.size);
        let (rows, columns) = (taps(h, height, corners), taps(w, width, corners));
        let count = self.labels.len() / width;
        let sums: Vec<f64> = (0..count)
            .into_par_iter()
            .map_init(
                || self.row(),
                |row, index| {
                    let labels = &self.labels[index * width..][..width];
                    self.enlarge(row, index / height, rows[index % height], &columns);
                    // The logit of each label is read before it is overwritten.
                    let mut sum = 0.0;
                    for (x, label) in labels.iter().enumerate() {
                        match self.class(*label) {
                            Ok(Some(class)) => sum -= f64::from(row.wide[class * width + x]),
                            Ok(None) => {}
                            Err(()) => return f64::NAN,
                        }
                    }
                    self.exponentiate(row);
                    for (x, label) in labels.iter().enumerate() {
                        if *label != self.ignore {
                            sum += f64::from(row.largest[x] + row.sums[x].ln());
                        }
                    }
                    sum
                },
            )
            .collect();
        sums.iter().sum::<f64>() as f32
    }

    /// The gradient of [`Self::sum`], `[B, K, h, w]`.
    ///
    /// A row of pixels adds to two rows of the gradient. All that lie between the same two make one
    /// task with a result of its own, so that the sums are the same with any number of threads.
    pub(super) fn backward(&self, corners: Corners) -> Vec<f32> {
        let ([classes, h, w], [height, width]) = (self.shape, self.size);
        let (rows, columns) = (taps(h, height, corners), taps(w, width, corners));
        let batch = self.logits.len() / (classes * h * w);
        let between: Vec<[Vec<f32>; 2]> = (0..batch * h)
            .into_par_iter()
            .map_init(
                || self.row(),
                |row, index| {
                    let (sample, lower) = (index / h, index % h);
                    let mut found = [vec![0.0; classes * w], vec![0.0; classes * w]];
                    let inside = (0..height).filter(|y| rows[*y].lower == lower);
                    for y in inside {
                        let labels = &self.labels[(sample * height + y) * width..][..width];
                        self.enlarge(row, sample, rows[y], &columns);
                        self.exponentiate(row);
                        self.differentiate(row, labels, &columns);
                        let weight = rows[y].weight;
                        for (i, share) in [1.0 - weight, weight].into_iter().enumerate() {
                            let into = found[i].iter_mut().zip(&row.blended);
                            into.for_each(|(sum, value)| *sum += share * value);
                        }
                    }
                    found
                },
            )
            .collect();
        let mut gradient = vec![0.0; self.logits.len()];
        for (index, [first, second]) in between.iter().enumerate() {
            let (sample, lower) = (index / h, index % h);
            for (part, row) in [(first, lower), (second, (lower + 1).min(h - 1))] {
                for (k, part) in part.chunks_exact(w).enumerate() {
                    let into = &mut gradient[((sample * classes + k) * h + row) * w..][..w];
                    into.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        gradient
    }

    /// From exponentials to the gradient of a row, narrowed to `[K, w]` in `blended`.
    fn differentiate(&self, row: &mut Row, labels: &[f32], columns: &[Tap]) {
        let ([_, _, w], width) = (self.shape, labels.len());
        for (sum, label) in row.sums.iter_mut().zip(labels) {
            *sum = if *label == self.ignore { 0.0 } else { 1.0 / *sum };
        }
        for shares in row.wide.chunks_exact_mut(width) {
            shares.iter_mut().zip(&row.sums).for_each(|(share, factor)| *share *= factor);
        }
        for (x, label) in labels.iter().enumerate() {
            match self.class(*label) {
                Ok(Some(class)) => row.wide[class * width + x] -= 1.0,
                Ok(None) => {}
                Err(()) => row.wide[x] = f32::NAN,
            }
        }
        row.blended.fill(0.0);
        for (wide, narrow) in row.wide.chunks_exact(width).zip(row.blended.chunks_exact_mut(w)) {
            for (value, tap) in wide.iter().zip(columns) {
                narrow[tap.lower] += (1.0 - tap.weight) * value;
                narrow[tap.upper] += tap.weight * value;
            }
        }
    }
}
