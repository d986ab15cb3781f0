//! One pass over the pixels of an episode.

use std::ops::{Add, AddAssign};

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::{IGNORE_INDEX, MapRole, MetricError};

/// Intersection and union of a predicted and a true region, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Areas {
    /// Pixels in both regions.
    pub intersection: u64,
    /// Pixels in at least one of them.
    pub union: u64,
}

impl Areas {
    /// Intersection over union as a fraction; `None` where both regions are empty.
    pub fn iou(&self) -> Option<f64> {
        (self.union > 0).then(|| self.intersection as f64 / self.union as f64)
    }
}

impl AddAssign for Areas {
    fn add_assign(&mut self, other: Self) {
        self.intersection += other.intersection;
        self.union += other.union;
    }
}

/// Pixel counts of a binary prediction against its truth. They add up over episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinaryCounts {
    /// Predicted foreground that is foreground.
    pub true_positive: u64,
    /// Predicted foreground that is background.
    pub false_positive: u64,
    /// Predicted background that is foreground.
    pub false_negative: u64,
    /// Predicted background that is background.
    pub true_negative: u64,
    /// Pixels left out: 255 in the truth, or marked in the ignore map.
    pub ignored: u64,
}

impl BinaryCounts {
    /// Compares flat maps of equal length: `prediction` of 0/1 with `truth` of 0/1/255.
    ///
    /// # Errors
    /// [`MetricError::Shape`] for unequal lengths, [`MetricError::Value`] for any other value.
    pub fn compare(prediction: &[u8], truth: &[u8]) -> Result<Self, MetricError> {
        check_shape(MapRole::Truth, &[truth.len()], &[prediction.len()])?;
        let mut counts = Self::default();
        let mut foreign = false;
        // Blocks keep the running sums narrow, so that the loop is vectorised.
        for (p_block, t_block) in prediction.chunks(1 << 16).zip(truth.chunks(1 << 16)) {
            let (mut tp, mut predicted, mut actual, mut ignored) = (0u32, 0u32, 0u32, 0u32);
            for (&p, &t) in p_block.iter().zip(t_block) {
                let counts_here = t != IGNORE_INDEX;
                foreign |= p > 1 || (t > 1 && counts_here);
                tp += u32::from(p == 1 && t == 1);
                predicted += u32::from(p == 1 && counts_here);
                actual += u32::from(t == 1);
                ignored += u32::from(!counts_here);
            }
            counts += Self {
                true_positive: tp.into(),
                false_positive: (predicted - tp).into(),
                false_negative: (actual - tp).into(),
                true_negative: p_block.len() as u64 - u64::from(predicted + actual - tp + ignored),
                ignored: ignored.into(),
            };
        }
        if foreign {
            check_values(MapRole::Prediction, prediction, |v| v <= 1)?;
            check_values(MapRole::Truth, truth, |v| v <= 1 || v == IGNORE_INDEX)?;
        }
        Ok(counts)
    }

    /// As [`compare`](Self::compare), leaving out the pixels that are 1 in `ignore` as well
    /// (the ignore maps of the HSNet protocol).
    ///
    /// # Errors
    /// As [`compare`](Self::compare).
    pub fn compare_ignoring(
        prediction: &[u8],
        truth: &[u8],
        ignore: &[u8],
    ) -> Result<Self, MetricError> {
        check_shape(MapRole::Truth, &[truth.len()], &[prediction.len()])?;
        check_shape(MapRole::Ignore, &[ignore.len()], &[prediction.len()])?;
        check_values(MapRole::Ignore, ignore, |v| v <= 1)?;
        let merged: Vec<u8> = truth
            .iter()
            .zip(ignore)
            .map(|(&t, &i)| if i == 1 { IGNORE_INDEX } else { t })
            .collect();
        Self::compare(prediction, &merged)
    }

    /// As [`compare`](Self::compare) for maps `[H, W]`.
    ///
    /// # Errors
    /// As [`compare`](Self::compare); maps of equal size but other shape are an error too.
    pub fn compare_maps(
        prediction: ArrayView2<'_, u8>,
        truth: ArrayView2<'_, u8>,
    ) -> Result<Self, MetricError> {
        check_shape(MapRole::Truth, truth.shape(), prediction.shape())?;
        let (prediction, truth) = (prediction.as_standard_layout(), truth.as_standard_layout());
        match (prediction.as_slice(), truth.as_slice()) {
            (Some(p), Some(t)) => Self::compare(p, t),
            // Not reached: arrays in standard layout are slices.
            _ => Self::compare(
                &prediction.iter().copied().collect::<Vec<_>>(),
                &truth.iter().copied().collect::<Vec<_>>(),
            ),
        }
    }

    /// Areas of the foreground, in pixels.
    pub fn foreground(&self) -> Areas {
        Areas {
            intersection: self.true_positive,
            union: self.true_positive + self.false_positive + self.false_negative,
        }
    }

    /// Areas of the background, in pixels.
    pub fn background(&self) -> Areas {
        Areas {
            intersection: self.true_negative,
            union: self.true_negative + self.false_positive + self.false_negative,
        }
    }

    /// Foreground IoU as a fraction; `None` where neither map has foreground.
    pub fn iou(&self) -> Option<f64> {
        self.foreground().iou()
    }

    /// Pixels that count.
    pub fn valid(&self) -> u64 {
        self.true_positive + self.false_positive + self.false_negative + self.true_negative
    }
}

impl AddAssign for BinaryCounts {
    fn add_assign(&mut self, other: Self) {
        self.true_positive += other.true_positive;
        self.false_positive += other.false_positive;
        self.false_negative += other.false_negative;
        self.true_negative += other.true_negative;
        self.ignored += other.ignored;
    }
}

impl Add for BinaryCounts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

fn check_shape(role: MapRole, got: &[usize], prediction: &[usize]) -> Result<(), MetricError> {
    if got == prediction {
        return Ok(());
    }
    Err(MetricError::Shape { role, got: got.to_vec(), prediction: prediction.to_vec() })
}

fn check_values(role: MapRole, map: &[u8], allowed: fn(u8) -> bool) -> Result<(), MetricError> {
    match map.iter().position(|&v| !allowed(v)) {
        Some(position) => Err(MetricError::Value { role, value: map[position], position }),
        None => Ok(()),
    }
}
