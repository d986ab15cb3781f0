//! All numbers of a run at once.

use serde::{Deserialize, Serialize};

use crate::{
    BinaryCounts, ClassIou, ConfusionMatrix, EpisodeIou, EpisodeIous, FbIou, HsnetMetric,
    MetricError,
};

/// Confusion counts, FB-IoU and the IoU of every episode, from one pass over the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeMetrics {
    /// Confusion counts over the classes.
    pub confusion: ConfusionMatrix,
    /// Foreground-background IoU.
    pub fb: FbIou,
    /// IoU of every episode.
    pub episodes: EpisodeIous,
}

impl EpisodeMetrics {
    /// Empty metrics over the classes `1..=classes`.
    pub fn new(classes: usize) -> Self {
        Self {
            confusion: ConfusionMatrix::new(classes),
            fb: FbIou::new(),
            episodes: EpisodeIous::new(),
        }
    }

    /// Adds the episode with number `episode`: flat maps, `prediction` of 0/1, `truth` of
    /// 0/1/255, and its class label. Gives back what was counted.
    ///
    /// # Errors
    /// Those of [`ConfusionMatrix::add_episode`]; nothing is added then.
    pub fn add_episode(
        &mut self,
        episode: usize,
        prediction: &[u8],
        truth: &[u8],
        class: usize,
    ) -> Result<BinaryCounts, MetricError> {
        let counts = BinaryCounts::compare(prediction, truth)?;
        self.add_counts(episode, &counts, class)?;
        Ok(counts)
    }

    /// Adds an episode that was counted already.
    ///
    /// # Errors
    /// [`MetricError::Class`]; nothing is added then.
    pub fn add_counts(
        &mut self,
        episode: usize,
        counts: &BinaryCounts,
        class: usize,
    ) -> Result<(), MetricError> {
        self.confusion.add_counts(counts, class)?;
        self.fb.add_counts(counts);
        self.episodes.push(EpisodeIou { episode, class, iou: counts.iou() });
        Ok(())
    }

    /// Adds another shard of the same run.
    ///
    /// # Errors
    /// [`MetricError::Merge`] where the numbers of classes differ; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        self.confusion.merge(&other.confusion)?;
        self.fb.merge(&other.fb);
        self.episodes.merge(&other.episodes);
        Ok(())
    }

    /// The numbers so far.
    pub fn report(&self) -> MetricReport {
        let miou = self.confusion.miou();
        MetricReport {
            episodes: self.episodes.episodes().len(),
            miou: (!miou.is_nan()).then_some(miou),
            fb_iou: self.fb.fb_iou(),
            foreground_iou: self.fb.foreground(),
            background_iou: self.fb.background(),
            mean_episode_iou: self.episodes.mean(),
            classes: self.confusion.class_ious(),
        }
    }
}

/// The HSNet protocol's metric and the IoU of every episode, from one pass over the pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HsnetEpisodeMetrics {
    /// What the protocol reports.
    pub metric: HsnetMetric,
    /// IoU of every episode. The protocol knows none.
    pub episodes: EpisodeIous,
}

impl HsnetEpisodeMetrics {
    /// Empty metrics over the test classes of a fold, as labels.
    pub fn new(test_classes: impl IntoIterator<Item = usize>) -> Self {
        Self { metric: HsnetMetric::new(test_classes), episodes: EpisodeIous::new() }
    }

    /// Adds an episode that was counted already.
    ///
    /// # Errors
    /// [`MetricError::Class`]; nothing is added then.
    pub fn add_counts(
        &mut self,
        episode: usize,
        counts: &BinaryCounts,
        class: usize,
    ) -> Result<(), MetricError> {
        self.metric.add_counts(counts, class)?;
        self.episodes.push(EpisodeIou { episode, class, iou: counts.iou() });
        Ok(())
    }

    /// Adds another shard of the same run.
    ///
    /// # Errors
    /// [`MetricError::Merge`] where the test classes differ; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MetricError> {
        self.metric.merge(&other.metric)?;
        self.episodes.merge(&other.episodes);
        Ok(())
    }

    /// The classes of the episodes so far, ascending.
    pub fn classes_met(&self) -> Vec<usize> {
        let mut met: Vec<usize> = self.episodes.episodes().iter().map(|e| e.class).collect();
        met.sort_unstable();
        met.dedup();
        met
    }

    /// The numbers so far. Mean IoU and FB-IoU are the protocol's; `classes` are those met, with the
    /// protocol's 0 for one that shows no foreground in truth and prediction.
    pub fn report(&self) -> MetricReport {
        let scores = self.metric.scores();
        let [background, foreground] = self.metric.pooled().map(|areas| areas.iou());
        let class = |class: usize| {
            let areas = self.metric.foreground(class);
            ClassIou { class, iou: Some(areas.iou().unwrap_or(0.0)), areas }
        };
        let met = self.classes_met();
        MetricReport {
            episodes: self.episodes.episodes().len(),
            miou: (!met.is_empty()).then_some(scores.miou),
            fb_iou: (!scores.fb_iou.is_nan()).then_some(scores.fb_iou),
            foreground_iou: foreground,
            background_iou: background,
            mean_episode_iou: self.episodes.mean(),
            classes: met.into_iter().map(class).collect(),
        }
    }
}

/// The numbers of one run. Every IoU is a fraction in `[0, 1]`, `None` where it is undefined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// How many episodes were scored.
    pub episodes: usize,
    /// Mean IoU over the classes that occur; under the HSNet protocol over all test classes.
    pub miou: Option<f64>,
    /// Mean of foreground and background IoU.
    pub fb_iou: Option<f64>,
    /// IoU of the foreground, pooled over all episodes.
    pub foreground_iou: Option<f64>,
    /// IoU of the background, pooled over all episodes.
    pub background_iou: Option<f64>,
    /// Mean of the episodes' own IoU.
    pub mean_episode_iou: Option<f64>,
    /// The classes that occur, in ascending order.
    pub classes: Vec<ClassIou>,
}
