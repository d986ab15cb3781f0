//! The metric of generalized few-shot segmentation: base, novel and all classes at once.

use serde::{Deserialize, Serialize};

use crate::{Areas, IGNORE_INDEX, MapRole, MetricError};

/// One confusion matrix over background, base and novel classes, summed over all images.
///
/// Labels are indices: 0 background, `1..=base` base classes, then novel ones; pixels with label 255 in the
/// truth do not count. IoU is that of the sums. Counts are exact, so matrices of parts of a data set can be
/// [merged](Self::merge).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneralizedMetric {
    base: usize,
    novel: usize,
    /// Row-major `[n, n]`: truth, prediction; n counts the background, too.
    counts: Vec<u64>,
}

/// What a [`GeneralizedMetric`] comes to. All values are fractions; classes that occur in neither truth
/// nor prediction are left out of means, and a mean over none is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneralizedScores {
    /// Mean IoU over background and base classes, as POP publishes it ("base").
    pub base: Option<f64>,
    /// Mean IoU over base classes alone, as some other papers report it.
    pub base_without_background: Option<f64>,
    /// Mean IoU over novel classes.
    pub novel: Option<f64>,
    /// Mean IoU over background, base and novel classes. Base classes dominate it by their number.
    pub total: Option<f64>,
    /// `2 base novel / (base + novel)`. POP does not publish it; other papers do.
    pub harmonic: Option<f64>,
    /// IoU of every index, background first.
    pub classes: Vec<Option<f64>>,
}

impl GeneralizedMetric {
    /// An empty matrix for numbers of base and novel classes.
    pub fn new(base: usize, novel: usize) -> Self {
        let side = 1 + base + novel;
        Self { base, novel, counts: vec![0; side * side] }
    }

    /// How many base classes there are.
    pub fn base(&self) -> usize {
        self.base
    }

    /// How many novel classes there are.
    pub fn novel(&self) -> usize {
        self.novel
    }

    /// Adds an image, flat maps of indices. Nothing is added if anything is wrong.
    ///
    /// # Errors
    /// [`MetricError::Shape`] for maps of different sizes; [`MetricError::Label`] for an index of no class
    /// (the published code drops or miscounts such pixels).
    pub fn add(&mut self, prediction: &[u8], truth: &[u8]) -> Result<(), MetricError> {
        if prediction.len() != truth.len() {
            return Err(MetricError::Shape {
                role: MapRole::Truth,
                got: vec![truth.len()],
                prediction: vec![prediction.len()],
            });
        }
        let side = self.side();
        let mut pairs = vec![0u64; 256 * 256];
        for (prediction, truth) in prediction.iter().zip(truth) {
            pairs[usize::from(*truth) << 8 | usize::from(*prediction)] += 1;
        }
        let seen = || {
            let all = pairs.iter().enumerate().filter(|(_, count)| **count > 0);
            all.map(|(pair, count)| (pair >> 8, pair & 255, *count))
                .filter(|(truth, ..)| *truth != usize::from(IGNORE_INDEX))
        };
        for (truth, prediction, _) in seen() {
            for (role, label) in [(MapRole::Truth, truth), (MapRole::Prediction, prediction)] {
                if label >= side {
                    let (label, known) = (label as u8, self.describe());
                    return Err(MetricError::Label { role, label, known });
                }
            }
        }
        let counts = &mut self.counts;
        seen().for_each(|(truth, prediction, count)| counts[truth * side + prediction] += count);
        Ok(())
    }

    /// Adds the counts of another matrix.
    ///
    /// # Errors
    /// [`MetricError::Merge`] where the two have different classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        if (self.base, self.novel) != (other.base, other.novel) {
            return Err(MetricError::Merge { left: self.describe(), right: other.describe() });
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    }

    /// Pixels of index `truth` that were predicted as `prediction`; `None` beyond the classes.
    pub fn count(&self, truth: usize, prediction: usize) -> Option<u64> {
        let side = self.side();
        (truth < side && prediction < side).then(|| self.counts[truth * side + prediction])
    }

    /// Areas of one index; empty beyond the classes.
    pub fn areas(&self, index: usize) -> Areas {
        let side = self.side();
        if index >= side {
            return Areas::default();
        }
        let intersection = self.counts[index * side + index];
        let actual: u64 = self.counts[index * side..(index + 1) * side].iter().sum();
        let predicted: u64 = self.counts.iter().skip(index).step_by(side).sum();
        Areas { intersection, union: actual + predicted - intersection }
    }

    /// All means.
    pub fn scores(&self) -> GeneralizedScores {
        let classes: Vec<Option<f64>> =
            (0..self.side()).map(|index| self.areas(index).iou()).collect();
        let mean = |part: &[Option<f64>]| {
            let known: Vec<f64> = part.iter().copied().flatten().collect();
            (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
        };
        let (base, novel) = (mean(&classes[..=self.base]), mean(&classes[1 + self.base..]));
        let harmonic = base.zip(novel).map(|(base, novel)| match base + novel {
            0.0 => 0.0,
            sum => 2.0 * base * novel / sum,
        });
        GeneralizedScores {
            base,
            base_without_background: mean(&classes[1..=self.base]),
            novel,
            total: mean(&classes),
            harmonic,
            classes,
        }
    }

    fn side(&self) -> usize {
        1 + self.base + self.novel
    }

    fn describe(&self) -> String {
        format!("{} base and {} novel classes", self.base, self.novel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_leave_out_what_does_not_occur() {
        let mut metric = GeneralizedMetric::new(2, 1);
        metric.add(&[0, 0, 1, 3, 3], &[0, 1, 1, 3, 255]).unwrap();
        let scores = metric.scores();
        assert_eq!(scores.classes, [Some(0.5), Some(0.5), None, Some(1.0)]);
        assert_eq!((scores.base, scores.base_without_background), (Some(0.5), Some(0.5)));
        assert_eq!((scores.novel, scores.total), (Some(1.0), Some(2.0 / 3.0)));
        assert_eq!(scores.harmonic, Some(2.0 / 3.0));
        assert_eq!(GeneralizedMetric::new(1, 0).scores().total, None);
    }

    #[test]
    fn labels_of_no_class_are_refused_and_add_nothing() {
        let mut metric = GeneralizedMetric::new(1, 1);
        assert!(metric.add(&[0, 3], &[0, 1]).is_err());
        assert!(metric.add(&[0, 1], &[0, 7]).is_err());
        assert!(metric.add(&[0], &[0, 1]).is_err());
        assert_eq!(metric, GeneralizedMetric::new(1, 1));
        // Whatever is predicted where nothing counts.
        metric.add(&[9], &[255]).unwrap();
        assert_eq!(metric, GeneralizedMetric::new(1, 1));
    }

    #[test]
    fn parts_add_up() {
        let mut whole = GeneralizedMetric::new(1, 1);
        whole.add(&[0, 1, 2, 2], &[0, 1, 1, 2]).unwrap();
        let mut parts = GeneralizedMetric::new(1, 1);
        let mut second = parts.clone();
        parts.add(&[0, 1], &[0, 1]).unwrap();
        second.add(&[2, 2], &[1, 2]).unwrap();
        parts.merge(&second).unwrap();
        assert_eq!(parts, whole);
        assert!(parts.merge(&GeneralizedMetric::new(2, 1)).is_err());
    }
}
