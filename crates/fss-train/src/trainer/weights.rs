//! The weights that a run leaves behind.

use std::collections::BTreeMap;

use crate::checkpoint::Best;
use crate::evaluate::Evaluation;
use crate::recipe::Recipe;

/// What is written beside the weights: enough to use them, and to tell what they are.
pub(super) fn metadata(
    recipe: &Recipe,
    best: &Best,
    evaluation: Option<&Evaluation>,
) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("fss.iteration".to_owned(), best.iteration.to_string()),
        ("fss.fold".to_owned(), recipe.data.fold.to_string()),
        ("fss.fold_scheme".to_owned(), recipe.data.folds.to_string()),
        ("fss.shot".to_owned(), recipe.episodes.shot.to_string()),
        ("fss.recipe_fingerprint".to_owned(), recipe.fingerprint()),
    ]);
    if let Ok(recipe) = serde_json::to_string(recipe) {
        entries.insert("fss.recipe".to_owned(), recipe);
    }
    if let Ok(fold) = recipe.data.fold() {
        let novel: Vec<String> = fold.novel_classes().iter().map(ToString::to_string).collect();
        entries.insert("fss.novel_classes".to_owned(), novel.join(","));
    }
    if let Some(miou) = best.miou {
        entries.insert("fss.validation_miou".to_owned(), miou.to_string());
    }
    if let Some(miou) = evaluation.and_then(|e| e.miou.as_ref()) {
        entries.insert("fss.evaluation_miou".to_owned(), miou.mean.to_string());
        entries.insert("fss.evaluation_deviation".to_owned(), miou.deviation.to_string());
    }
    entries
}
