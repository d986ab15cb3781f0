//! The weights that a run leaves behind.

use std::collections::BTreeMap;

use fss_heads::Refine;

use super::TrainingRun;
use crate::checkpoint::Best;
use crate::evaluate::Evaluation;
use crate::recipe::{ModelSettings, SspSettings};

/// What is written beside the weights: enough to use them, and to tell what they are.
pub(super) fn metadata(
    run: &TrainingRun,
    best: &Best,
    evaluation: Option<&Evaluation>,
) -> BTreeMap<String, String> {
    let recipe = &run.recipe;
    let mut entries = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("fss.model".to_owned(), recipe.model.kind().to_owned()),
        ("fss.iteration".to_owned(), best.iteration.to_string()),
        ("fss.shot".to_owned(), recipe.episodes.shot.to_string()),
        ("fss.recipe_fingerprint".to_owned(), recipe.fingerprint()),
    ]);
    if let ModelSettings::Ssp(SspSettings { refine }) = &recipe.model {
        let steps = if *refine == Refine::On { "on" } else { "off" };
        entries.insert("fss.refine".to_owned(), steps.to_owned());
    }
    if let Ok(recipe) = serde_json::to_string(recipe) {
        entries.insert("fss.recipe".to_owned(), recipe);
    }
    entries.extend(run.trained().to_metadata());
    if let Some(miou) = best.miou {
        entries.insert("fss.validation_miou".to_owned(), miou.to_string());
        entries.insert("fss.validation_protocol".to_owned(), recipe.validation.protocol.label());
    }
    if let Some(evaluation) = evaluation {
        entries.insert("fss.evaluation_protocol".to_owned(), evaluation.protocol.label());
    }
    if let Some(miou) = evaluation.and_then(|e| e.miou.as_ref()) {
        entries.insert("fss.evaluation_miou".to_owned(), miou.mean.to_string());
        entries.insert("fss.evaluation_deviation".to_owned(), miou.deviation.to_string());
    }
    entries
}
