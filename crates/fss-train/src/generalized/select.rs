//! Which model of a run is kept.

use fss_metrics::GeneralizedScores;
use serde::{Deserialize, Serialize};

use super::recipe::{Keep, Stage};
use crate::checkpoint::exact;

/// By how much the total must rise for a model with a lower novel score to be kept.
const CLEAR_GAIN: f64 = 0.001;

/// The model kept so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// After which epoch (from 0) it was measured.
    pub epoch: u64,
    /// Its total mean IoU, a fraction; in stage 1 over background and base classes.
    #[serde(with = "exact::float")]
    pub total: Option<f64>,
    /// Its novel mean IoU, a fraction.
    #[serde(with = "exact::float")]
    pub novel: Option<f64>,
}

/// When a run is validated, what it keeps, and when it ends early.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// Which stage.
    pub stage: Stage,
    /// All epochs.
    pub epochs: u64,
    /// Stage 2: how often base images are drawn anew.
    pub update_base: usize,
    /// The rule.
    pub keep: Keep,
}

impl Selection {
    /// Whether the model is validated after epoch `epoch` (from 0). Stage 1: in the last fifth, after even
    /// epochs and the last (for 50 epochs, as published: 42, 44, 46, 48, 49). Stage 2: whenever base images
    /// are drawn anew, and after the last.
    pub fn validates(&self, epoch: u64) -> bool {
        let last = epoch + 1 == self.epochs;
        let every = self.update_base.max(1) as u64;
        last || match self.stage {
            Stage::Base => 5 * epoch > 4 * self.epochs && epoch.is_multiple_of(2),
            Stage::Novel => epoch.is_multiple_of(every),
        }
    }

    /// Whether a model with these scores replaces the one kept. Stage 1: if it is not worse. Stage 2: if its
    /// total is not worse, and it rises clearly or the novel score does not fall.
    pub fn replaces(&self, scores: &GeneralizedScores, kept: Option<&Selected>) -> bool {
        if self.keep == Keep::Last {
            return true;
        }
        let (best_total, best_novel) =
            kept.map_or((0.0, 0.0), |kept| (kept.total.unwrap_or(0.0), kept.novel.unwrap_or(0.0)));
        let Some(total) = scores.total else { return false };
        match self.stage {
            Stage::Base => total >= best_total,
            Stage::Novel => {
                let novel = scores.novel.unwrap_or(0.0);
                total >= best_total && (total - best_total > CLEAR_GAIN || novel >= best_novel)
            }
        }
    }

    /// Whether the run ends after epoch `epoch` because the model kept is older than a quarter of all
    /// epochs (at least one).
    pub fn ends_early(&self, epoch: u64, kept: Option<&Selected>) -> bool {
        epoch + 1 > (self.epochs / 4).max(1) + kept.map_or(0, |kept| kept.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(stage: Stage, epochs: u64) -> Selection {
        Selection { stage, epochs, update_base: 1, keep: Keep::Best }
    }

    fn scores(total: f64, novel: f64) -> GeneralizedScores {
        GeneralizedScores { total: Some(total), novel: Some(novel), ..Default::default() }
    }

    #[test]
    fn validations_are_the_published_ones() {
        let base = selection(Stage::Base, 50);
        let found: Vec<u64> = (0..50).filter(|epoch| base.validates(*epoch)).collect();
        assert_eq!(found, [42, 44, 46, 48, 49]);
        assert!((0..500).all(|epoch| selection(Stage::Novel, 500).validates(epoch)));
        let rarely = Selection { update_base: 3, ..selection(Stage::Novel, 8) };
        let found: Vec<u64> = (0..8).filter(|epoch| rarely.validates(*epoch)).collect();
        assert_eq!(found, [0, 3, 6, 7]);
    }

    #[test]
    fn a_small_gain_must_not_cost_novel_classes() {
        let rule = selection(Stage::Novel, 500);
        let kept = Selected { epoch: 3, total: Some(0.5), novel: Some(0.3) };
        assert!(rule.replaces(&scores(0.5, 0.3), Some(&kept)));
        assert!(!rule.replaces(&scores(0.5005, 0.29), Some(&kept)));
        assert!(rule.replaces(&scores(0.502, 0.29), Some(&kept)));
        assert!(!rule.replaces(&scores(0.49, 0.9), Some(&kept)));
        assert!(selection(Stage::Base, 50).replaces(&scores(0.5, 0.0), Some(&kept)));
        assert!(!rule.replaces(&GeneralizedScores::default(), None));
    }

    #[test]
    fn a_quarter_without_progress_ends_a_run() {
        let rule = selection(Stage::Novel, 500);
        let kept = Selected { epoch: 10, total: Some(0.5), novel: Some(0.3) };
        assert!(!rule.ends_early(134, Some(&kept)));
        assert!(rule.ends_early(135, Some(&kept)));
    }
}
