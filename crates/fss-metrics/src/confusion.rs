//! Confusion counts over the classes of a data set: the metric of SSP and MLC.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::{Areas, BinaryCounts, MetricError};

/// IoU of one class, pooled over its episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassIou {
    /// The class label.
    pub class: usize,
    /// IoU as a fraction; `None` where the class occurs in neither truth nor prediction.
    pub iou: Option<f64>,
    /// The areas behind it, in pixels.
    pub areas: Areas,
}

/// One confusion matrix `[n + 1, n + 1]` over all episodes of a run.
///
/// In an episode of class `c` foreground counts as `c` and everything else as 0, so the IoU of a
/// class is the sum of its intersections over the sum of its unions (pooled over episodes, not
/// averaged over images). The mean goes over the classes `1..=n` that occur in truth or
/// prediction; a class without any pixel is left out rather than counted as 0, and the background
/// is never part of the mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// Row-major `[n + 1, n + 1]`: truth, prediction.
    counts: Vec<u64>,
    classes: usize,
}

impl ConfusionMatrix {
    /// An empty matrix for the classes `1..=classes` (20 for PASCAL-5i, 80 for COCO-20i).
    pub fn new(classes: usize) -> Self {
        Self { counts: vec![0; (classes + 1) * (classes + 1)], classes }
    }

    /// Adds one episode: flat maps, `prediction` of 0/1, `truth` of 0/1/255, the class label.
    ///
    /// # Errors
    /// Those of [`BinaryCounts::compare`], and [`MetricError::Class`] for an unknown class.
    pub fn add_episode(
        &mut self,
        prediction: &[u8],
        truth: &[u8],
        class: usize,
    ) -> Result<(), MetricError> {
        self.add_counts(&BinaryCounts::compare(prediction, truth)?, class)
    }

    /// Adds an episode that was counted already.
    ///
    /// # Errors
    /// [`MetricError::Class`] for a class outside `1..=n`.
    pub fn add_counts(&mut self, counts: &BinaryCounts, class: usize) -> Result<(), MetricError> {
        if class == 0 || class > self.classes {
            return Err(MetricError::Class { class, known: self.describe() });
        }
        *self.at(0, 0) += counts.true_negative;
        *self.at(0, class) += counts.false_positive;
        *self.at(class, 0) += counts.false_negative;
        *self.at(class, class) += counts.true_positive;
        Ok(())
    }

    /// Adds the counts of another matrix.
    ///
    /// # Errors
    /// [`MetricError::Merge`] where the two have different numbers of classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        if self.classes != other.classes {
            return Err(MetricError::Merge { left: self.describe(), right: other.describe() });
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        Ok(())
    }

    /// Number of classes `n`, background not included.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Pixels of class `truth` that were predicted as `prediction`; `None` outside `0..=n`.
    pub fn count(&self, truth: usize, prediction: usize) -> Option<u64> {
        (truth <= self.classes && prediction <= self.classes)
            .then(|| self.counts[truth * (self.classes + 1) + prediction])
    }

    /// All counts, `[n + 1, n + 1]`: truth, prediction. Exact below 2^53 pixels.
    pub fn matrix(&self) -> Array2<f64> {
        let side = self.classes + 1;
        Array2::from_shape_fn((side, side), |(t, p)| self.counts[t * side + p] as f64)
    }

    /// Areas of one label, 0 for the background; empty outside `0..=n`.
    pub fn areas(&self, label: usize) -> Areas {
        if label > self.classes {
            return Areas::default();
        }
        let side = self.classes + 1;
        let intersection = self.counts[label * side + label];
        let actual: u64 = self.counts[label * side..(label + 1) * side].iter().sum();
        let predicted: u64 = self.counts.iter().skip(label).step_by(side).sum();
        Areas { intersection, union: actual + predicted - intersection }
    }

    /// IoU of the labels `0..=n` as fractions; NaN for a label that never occurs.
    pub fn per_class_iou(&self) -> Vec<f64> {
        (0..=self.classes).map(|label| self.areas(label).iou().unwrap_or(f64::NAN)).collect()
    }

    /// IoU and areas of the classes that occur, in ascending order.
    pub fn class_ious(&self) -> Vec<ClassIou> {
        (1..=self.classes)
            .map(|class| {
                let areas = self.areas(class);
                ClassIou { class, iou: areas.iou(), areas }
            })
            .filter(|c| c.iou.is_some())
            .collect()
    }

    /// Mean IoU over the classes `1..=n` that occur, as a fraction; NaN where none does.
    pub fn miou(&self) -> f64 {
        let ious: Vec<f64> = (1..=self.classes).filter_map(|c| self.areas(c).iou()).collect();
        // An empty sum over zero is NaN, which is what "no class at all" means.
        ious.iter().sum::<f64>() / ious.len() as f64
    }

    fn at(&mut self, truth: usize, prediction: usize) -> &mut u64 {
        &mut self.counts[truth * (self.classes + 1) + prediction]
    }

    fn describe(&self) -> String {
        format!("1..={}", self.classes)
    }
}
