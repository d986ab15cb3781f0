//! Scores from the counts of episodes, of one process or of several.

use fss_data::ClassId;
use fss_metrics::Spread;

use super::result::spread;
use super::score::Metrics;
use super::{ClassScore, EpisodeRecord, Evaluation, FeatureUse, SeedRun};
use crate::TrainError;
use crate::shard::{Shard, interleave, same};

impl Evaluation {
    /// Puts together what several processes or devices measured, all the parts of `shard` of the same evaluation.
    ///
    /// All scores are computed again from the counts of the episodes, in their order. The result is that of one
    /// process that measured them all, to the last bit; only [`features`](Self::features) tells of the backbone
    /// passes that were really made.
    ///
    /// # Errors
    /// [`TrainError::Setting`] if shards are missing, there twice, or belong to different evaluations.
    pub fn merge(shard: Shard, parts: Vec<Self>) -> Result<Self, TrainError> {
        let parts = parts.into_iter().map(|part| (part.shard, part)).collect();
        let parts = Shard::join(shard, parts)?;
        let first = &parts[0];
        for part in &parts {
            part.check_beside(first)?;
        }
        let seeds: Vec<u64> = first.runs.iter().map(|run| run.seed).collect();
        let features = parts.iter().map(|part| part.features).fold(FeatureUse::NONE, |a, b| a + b);
        let whole = Self { shard, features, ..first.clone() };
        let mut dealt: Vec<Vec<Vec<EpisodeRecord>>> = seeds.iter().map(|_| Vec::new()).collect();
        for part in parts {
            for (runs, run) in dealt.iter_mut().zip(part.runs) {
                runs.push(run.drawn);
            }
        }
        whole.scored(seeds.into_iter().zip(dealt.into_iter().map(interleave)).collect())
    }

    /// Fills in all scores from the episodes of each seed.
    pub(super) fn scored(
        mut self,
        runs: Vec<(u64, Vec<EpisodeRecord>)>,
    ) -> Result<Self, TrainError> {
        let tested: Vec<ClassId> = self.classes.iter().map(|class| class.class).collect();
        let runs = runs.into_iter().map(|(seed, drawn)| {
            let mut metrics = Metrics::new(self.protocol, self.fold.classes(), &tested);
            for (place, record) in drawn.iter().enumerate() {
                let number = self.shard.index() + place * self.shard.of();
                metrics.add(number, &record.counts, record.class)?;
            }
            Ok(SeedRun::new(seed, metrics.report(), drawn))
        });
        self.runs = runs.collect::<Result<_, TrainError>>()?;
        self.miou = spread(&self.runs, |scores| scores.miou);
        self.fb_iou = spread(&self.runs, |scores| scores.fb_iou);
        self.mean_episode_iou = spread(&self.runs, |scores| scores.mean_episode_iou);
        for ClassScore { class, iou, .. } in &mut self.classes {
            *iou = Spread::of(self.runs.iter().filter_map(|run| run.class_iou(*class)));
        }
        Ok(self)
    }

    /// Refuses a shard of another evaluation than `first`, or one that is not complete.
    fn check_beside(&self, first: &Self) -> Result<(), TrainError> {
        same(&self.protocol, &first.protocol, "the protocol")?;
        same(&self.model, &first.model, "the model")?;
        same(&self.novelty, &first.novelty, "what the model was trained on")?;
        same(&self.dataset, &first.dataset, "the data set")?;
        same(&self.fold, &first.fold, "the fold")?;
        same(&self.shot, &first.shot, "the number of shots")?;
        same(&self.shot_rule, &first.shot_rule, "what is made of several supports")?;
        same(&self.supports, &first.supports, "where supports come from")?;
        same(&self.min_pixels, &first.min_pixels, "the smallest object that counts")?;
        same(&self.lists, &first.lists, "the lists of images")?;
        same(&self.episodes, &first.episodes, "the number of episodes")?;
        let seeds = |of: &Self| of.runs.iter().map(|run| run.seed).collect::<Vec<_>>();
        same(&seeds(self), &seeds(first), "the seeds")?;
        let classes = |of: &Self| of.classes.iter().map(|c| c.class).collect::<Vec<_>>();
        same(&classes(self), &classes(first), "the classes")?;
        let expected = self.shard.count(self.episodes);
        if let Some(run) = self.runs.iter().find(|run| run.drawn.len() != expected) {
            return Err(TrainError::setting(
                format!(
                    "shard {} holds {} episodes of seed {}, and should hold {expected}",
                    self.shard,
                    run.drawn.len(),
                    run.seed
                ),
                "measure it again",
            ));
        }
        Ok(())
    }
}
