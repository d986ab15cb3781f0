//! The metric of the HSNet protocol.

use serde::{Deserialize, Serialize};

use crate::{Areas, BinaryCounts, MetricError};

/// What the HSNet protocol reports, as fractions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HsnetScores {
    /// Mean foreground IoU over **all** test classes; a class that never came up counts as 0.
    pub miou: f64,
    /// Mean of background and foreground IoU, each pooled over the test classes.
    pub fb_iou: f64,
}

/// Intersections and unions of background and foreground at the class of each episode.
///
/// Two things differ from [`ConfusionMatrix`](crate::ConfusionMatrix): a test class without any
/// episode counts as 0 in the mean instead of being left out, and FB-IoU is part of it. The
/// published code adds areas up in single precision, which begins to round above 2^24 pixels;
/// here sums are exact, so long runs may differ from it in the third decimal of a per cent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HsnetMetric {
    /// The test classes, ascending.
    classes: Vec<usize>,
    background: Vec<Areas>,
    foreground: Vec<Areas>,
}

impl HsnetMetric {
    /// A metric over the given test classes of a fold, as labels `1..=n` (the class ids of the
    /// HSNet lists begin at 0: label = id + 1). Order and repetitions do not matter.
    pub fn new(test_classes: impl IntoIterator<Item = usize>) -> Self {
        let mut classes: Vec<usize> = test_classes.into_iter().collect();
        classes.sort_unstable();
        classes.dedup();
        let empty = vec![Areas::default(); classes.len()];
        Self { classes, background: empty.clone(), foreground: empty }
    }

    /// Adds one episode of flat maps, `prediction` of 0/1 and `truth` of 0/1/255.
    ///
    /// # Errors
    /// Those of [`BinaryCounts::compare`], and [`MetricError::Class`].
    pub fn add_episode(
        &mut self,
        prediction: &[u8],
        truth: &[u8],
        class: usize,
    ) -> Result<(), MetricError> {
        self.add_counts(&BinaryCounts::compare(prediction, truth)?, class)
    }

    /// Adds one episode with a map of pixels to leave out, 0/1.
    ///
    /// # Errors
    /// Those of [`BinaryCounts::compare_ignoring`], and [`MetricError::Class`].
    pub fn add_episode_ignoring(
        &mut self,
        prediction: &[u8],
        truth: &[u8],
        ignore: &[u8],
        class: usize,
    ) -> Result<(), MetricError> {
        self.add_counts(&BinaryCounts::compare_ignoring(prediction, truth, ignore)?, class)
    }

    /// Adds an episode that was counted already.
    ///
    /// # Errors
    /// [`MetricError::Class`] for a class that is not a test class.
    pub fn add_counts(&mut self, counts: &BinaryCounts, class: usize) -> Result<(), MetricError> {
        let at = self
            .classes
            .binary_search(&class)
            .map_err(|_| MetricError::Class { class, known: self.describe() })?;
        self.background[at] += counts.background();
        self.foreground[at] += counts.foreground();
        Ok(())
    }

    /// Adds the areas of another metric.
    ///
    /// # Errors
    /// [`MetricError::Merge`] where the test classes differ.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        if self.classes != other.classes {
            return Err(MetricError::Merge { left: self.describe(), right: other.describe() });
        }
        for (mine, theirs) in
            [(&mut self.background, &other.background), (&mut self.foreground, &other.foreground)]
        {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += *b);
        }
        Ok(())
    }

    /// The test classes, ascending.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Background areas of a class; empty for a class that is not a test class.
    pub fn background(&self, class: usize) -> Areas {
        self.lookup(&self.background, class)
    }

    /// Foreground areas of a class; empty for a class that is not a test class.
    pub fn foreground(&self, class: usize) -> Areas {
        self.lookup(&self.foreground, class)
    }

    /// Foreground IoU of each test class as a fraction, 0 for a class that never came up.
    pub fn per_class_iou(&self) -> Vec<(usize, f64)> {
        let iou = |a: &Areas| a.iou().unwrap_or(0.0);
        self.classes.iter().copied().zip(self.foreground.iter().map(iou)).collect()
    }

    /// Both numbers of the protocol, as fractions. NaN where nothing was added, and for FB-IoU
    /// where no episode had any foreground or any background.
    pub fn scores(&self) -> HsnetScores {
        let ious = self.per_class_iou();
        let [background, foreground] = self.pooled().map(|a| a.iou().unwrap_or(f64::NAN));
        HsnetScores {
            miou: ious.iter().map(|(_, iou)| iou).sum::<f64>() / ious.len() as f64,
            fb_iou: (background + foreground) / 2.0,
        }
    }

    /// Areas of background and foreground, summed over the test classes.
    pub fn pooled(&self) -> [Areas; 2] {
        [&self.background, &self.foreground].map(|areas| {
            let mut sum = Areas::default();
            areas.iter().for_each(|a| sum += *a);
            sum
        })
    }

    fn lookup(&self, areas: &[Areas], class: usize) -> Areas {
        self.classes.binary_search(&class).map(|at| areas[at]).unwrap_or_default()
    }

    fn describe(&self) -> String {
        let labels: Vec<String> = self.classes.iter().map(usize::to_string).collect();
        format!("[{}]", labels.join(", "))
    }
}
