//! The metric of each protocol behind one face.

use fss_data::ClassId;
use fss_metrics::{BinaryCounts, EpisodeMetrics, HsnetEpisodeMetrics, MetricError, MetricReport};

use super::Protocol;

/// Scores of one run.
pub(super) enum Metrics {
    Official(EpisodeMetrics),
    Hsnet(HsnetEpisodeMetrics),
}

impl Metrics {
    /// Empty metrics: `classes` is the number of classes of the data set, `tested` those of the run.
    pub(super) fn new(protocol: Protocol, classes: usize, tested: &[ClassId]) -> Self {
        match protocol {
            Protocol::Official => Self::Official(EpisodeMetrics::new(classes)),
            Protocol::Hsnet(_) => {
                Self::Hsnet(HsnetEpisodeMetrics::new(tested.iter().map(|&c| usize::from(c))))
            }
        }
    }

    pub(super) fn add(
        &mut self,
        episode: usize,
        counts: &BinaryCounts,
        class: ClassId,
    ) -> Result<(), MetricError> {
        match self {
            Self::Official(metrics) => metrics.add_counts(episode, counts, class.into()),
            Self::Hsnet(metrics) => metrics.add_counts(episode, counts, class.into()),
        }
    }

    /// Mean IoU so far, a fraction.
    pub(super) fn running_miou(&self) -> Option<f64> {
        let miou = match self {
            Self::Official(metrics) => metrics.confusion.miou(),
            Self::Hsnet(metrics) => metrics.metric.scores().miou,
        };
        (!miou.is_nan()).then_some(miou)
    }

    pub(super) fn report(&self) -> MetricReport {
        match self {
            Self::Official(metrics) => metrics.report(),
            Self::Hsnet(metrics) => metrics.report(),
        }
    }
}
