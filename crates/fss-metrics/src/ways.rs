//! The metrics of DENet's code, for episodes of one way or several.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BinaryCounts, IGNORE_INDEX, MapRole, MetricError};

/// What is done with ways whose class the query does not show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbsentWays {
    /// They do not count, as published: what is found of such a class costs nothing.
    #[default]
    Skipped,
    /// They count: what is found of them is wrong.
    Counted,
}

/// Binary IoU of each class, pooled over all episodes ("B-IOU", DENet's published mIoU): intersections and
/// unions of the foreground are summed by class, and the mean goes over the classes that came up.
///
/// Sums are exact, so those of parts of a test can be [merged](Self::merge).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayIou {
    absent: AbsentWays,
    /// Class to intersection and union, in pixels.
    sums: BTreeMap<usize, [u64; 2]>,
    skipped: u64,
}

impl WayIou {
    /// No episode yet.
    pub fn new(absent: AbsentWays) -> Self {
        Self { absent, ..Self::default() }
    }

    /// Adds one way of an episode: flat maps, `prediction` of 0/1, `truth` of 0/1/255, and its class.
    ///
    /// # Errors
    /// Those of [`BinaryCounts::compare`].
    pub fn add(
        &mut self,
        prediction: &[u8],
        truth: &[u8],
        class: usize,
    ) -> Result<(), MetricError> {
        let counts = BinaryCounts::compare(prediction, truth)?;
        let shown = counts.true_positive + counts.false_negative;
        if shown == 0 && self.absent == AbsentWays::Skipped {
            self.skipped += 1;
            return Ok(());
        }
        let [intersection, union] = self.sums.entry(class).or_default();
        *intersection += counts.true_positive;
        *union += shown + counts.false_positive;
        Ok(())
    }

    /// Adds the sums of another part of the same test.
    pub fn merge(&mut self, other: &Self) {
        for (class, [intersection, union]) in &other.sums {
            let sums = self.sums.entry(*class).or_default();
            sums[0] += intersection;
            sums[1] += union;
        }
        self.skipped += other.skipped;
    }

    /// IoU of each class that came up, by ascending class; `None` where neither truth nor prediction ever had
    /// foreground.
    pub fn class_ious(&self) -> BTreeMap<usize, Option<f64>> {
        let iou = |[intersection, union]: &[u64; 2]| {
            (*union > 0).then(|| *intersection as f64 / *union as f64)
        };
        self.sums.iter().map(|(class, sums)| (*class, iou(sums))).collect()
    }

    /// The mean over the classes that came up; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        mean(self.class_ious().into_values())
    }

    /// The IoU of all foreground together; `None` without any.
    pub fn pooled(&self) -> Option<f64> {
        let sum = |part: usize| self.sums.values().map(|sums| sums[part]).sum::<u64>();
        (sum(1) > 0).then(|| sum(0) as f64 / sum(1) as f64)
    }

    /// How many ways were left out because the query does not show their class.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// IoU of maps of all classes ("F-IOU"): one confusion matrix over a whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullIou {
    classes: usize,
    /// Row-major `[C, C]`: truth, prediction.
    counts: Vec<u64>,
}

impl FullIou {
    /// An empty matrix for C classes, background included.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Adds an image, flat maps of class ids. Pixels whose truth is no class (255 among them) do not count.
    /// Nothing is added if anything is wrong.
    ///
    /// # Errors
    /// [`MetricError::Shape`] for maps of different sizes; [`MetricError::Label`] for a predicted id that is
    /// no class.
    pub fn add(&mut self, prediction: &[u8], truth: &[u8]) -> Result<(), MetricError> {
        if prediction.len() != truth.len() {
            return Err(MetricError::Shape {
                role: MapRole::Truth,
                got: vec![truth.len()],
                prediction: vec![prediction.len()],
            });
        }
        let is_class = |label: u8| usize::from(label) < self.classes;
        if let Some(position) = prediction.iter().position(|label| !is_class(*label)) {
            return Err(MetricError::Label {
                role: MapRole::Prediction,
                label: prediction[position],
                known: self.describe(),
            });
        }
        for (&prediction, &truth) in prediction.iter().zip(truth) {
            if truth != IGNORE_INDEX && is_class(truth) {
                self.counts[usize::from(truth) * self.classes + usize::from(prediction)] += 1;
            }
        }
        Ok(())
    }

    /// Adds the matrix of another part of the same run.
    ///
    /// # Errors
    /// [`MetricError::Merge`] if it is of another number of classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        if self.classes != other.classes {
            return Err(MetricError::Merge { left: self.describe(), right: other.describe() });
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        Ok(())
    }

    fn describe(&self) -> String {
        format!("{} classes", self.classes)
    }

    /// The counts, row-major `[C, C]`: truth, prediction.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// IoU of each class, background first; `None` for classes that occur in neither truth nor prediction.
    pub fn class_ious(&self) -> Vec<Option<f64>> {
        let n = self.classes;
        (0..n)
            .map(|class| {
                let both = self.counts[class * n + class];
                let truth: u64 = self.counts[class * n..(class + 1) * n].iter().sum();
                let prediction: u64 = self.counts.iter().skip(class).step_by(n).sum();
                let union = truth + prediction - both;
                (union > 0).then(|| both as f64 / union as f64)
            })
            .collect()
    }

    /// The mean over *all* classes, in which those that never occur count 0, as published.
    pub fn published_mean(&self) -> f64 {
        let sum: f64 = self.class_ious().into_iter().flatten().sum();
        sum / self.classes.max(1) as f64
    }

    /// The mean over the classes that occur; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        mean(self.class_ious().into_iter())
    }
}

fn mean(ious: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let ious: Vec<f64> = ious.flatten().collect();
    (!ious.is_empty()).then(|| ious.iter().sum::<f64>() / ious.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_ways_count_if_asked() {
        for (absent, want) in [(AbsentWays::Skipped, 0.5), (AbsentWays::Counted, 0.25)] {
            let mut metric = WayIou::new(absent);
            metric.add(&[1, 1, 0, 0], &[1, 0, 0, 255], 3).unwrap();
            metric.add(&[1, 1, 0, 0], &[0, 0, 0, 0], 3).unwrap();
            assert_eq!(metric.mean(), Some(want));
            let mut parts = WayIou::new(absent);
            parts.merge(&metric);
            assert_eq!(parts.class_ious(), metric.class_ious());
        }
        assert_eq!(WayIou::default().mean(), None);
    }

    #[test]
    fn classes_that_never_occur() {
        let mut metric = FullIou::new(4);
        metric.add(&[0, 1, 1, 0], &[0, 1, 0, 255]).unwrap();
        assert_eq!(metric.class_ious(), [Some(0.5), Some(0.5), None, None]);
        assert_eq!((metric.published_mean(), metric.mean()), (0.25, Some(0.5)));
        assert!(metric.add(&[4], &[0]).unwrap_err().to_string().contains('4'));
        assert!(metric.add(&[0], &[0, 1]).is_err());
        assert!(metric.merge(&FullIou::new(3)).is_err());
    }
}
