//! Tables and JSON of a test.

use fss_metrics::Spread;

use super::result::WaysEvaluation;
use crate::report::{align, percent, shard_line};

/// A test as lines of text: what was measured, one line for each seed with mean and deviation, and one for
/// each class. IoU in per cent.
pub fn ways_table(evaluation: &WaysEvaluation) -> String {
    let mut lines = Vec::new();
    if let Some(model) = &evaluation.model {
        lines.push(format!("model {model}"));
    }
    lines.push(format!(
        "{}: {}, {} episodes a seed",
        evaluation.dataset, evaluation.fold, evaluation.protocol.test.episodes
    ));
    lines.extend(shard_line(evaluation.shard));
    lines.push(format!("protocol {}", evaluation.protocol.describe()));
    if let Some(warning) = evaluation.novelty.warning() {
        lines.push(format!("WARNING: {warning}"));
    }
    let mut text = lines.join("\n") + "\n\n";

    let full = evaluation.f_iou.is_some();
    let row = |cells: [String; 5]| -> Vec<String> {
        let kept = if full { 5 } else { 3 };
        cells.into_iter().take(kept).collect()
    };
    let heads = ["seed", "B-IOU", "strict", "F-IOU", "F-IOU met"];
    let mut rows = vec![row(heads.map(str::to_owned))];
    for run in &evaluation.runs {
        rows.push(row([
            run.seed.to_string(),
            percent(run.b_iou),
            percent(run.b_iou_strict),
            percent(run.f_iou),
            percent(run.full.as_ref().and_then(fss_metrics::FullIou::mean)),
        ]));
    }
    let mut rules = vec![1];
    if evaluation.runs.len() > 1 {
        let spreads =
            [&evaluation.b_iou, &evaluation.b_iou_strict, &evaluation.f_iou, &evaluation.f_iou_met];
        let summary = |name: &str, pick: fn(&Spread) -> f64| {
            let [a, b, c, d] = spreads.map(|spread| percent(spread.as_ref().map(pick)));
            row([name.to_owned(), a, b, c, d])
        };
        rules.push(rows.len());
        rows.push(summary("mean", |spread| spread.mean));
        rows.push(summary("deviation", |spread| spread.deviation));
    }
    text.push_str(&align(&rows, &rules));

    let heads = ["class", "name", "B-IOU", "strict"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for class in &evaluation.classes {
        rows.push(vec![
            class.class.to_string(),
            class.name.clone(),
            percent(class.iou.as_ref().map(|spread| spread.mean)),
            percent(class.strict.as_ref().map(|spread| spread.mean)),
        ]);
    }
    text.push('\n');
    text.push_str(&align(&rows, &[1]));
    let skipped: u64 = evaluation.runs.iter().map(|run| run.skipped).sum();
    let features = &evaluation.features;
    text.push_str(&format!(
        "\nIoU in per cent. B-IOU is the published mIoU; it leaves out {skipped} ways whose class the query \
         does not show, the strict one counts them.\n"
    ));
    if full {
        text.push_str(
            "F-IOU is the mean over all classes, 0 for one that never occurs; beside it the mean over those \
             that do.\n",
        );
    }
    text.push_str(&format!(
        "{} images were shown, the backbone ran {} times ({:.1} times less).\n",
        features.images_shown,
        features.backbone_passes,
        features.saving(),
    ));
    text
}

/// A test as JSON; equal tests give equal texts.
pub fn ways_json(evaluation: &WaysEvaluation) -> String {
    // Every field is a number, a text, a list or an object with text keys.
    serde_json::to_string_pretty(evaluation).unwrap_or_default() + "\n"
}
