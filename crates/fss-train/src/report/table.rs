//! Tables of plain text.

use fss_metrics::Spread;

use crate::Shard;
use crate::evaluate::{ClassScore, Evaluation, Protocol, ShotRule, Supports};

/// Above this many classes a table shows those with the lowest IoU alone.
const CLASSES_SHOWN: usize = 80;
const LOWEST_SHOWN: usize = 20;

/// The tables of an evaluation: what was measured, one line for each seed with mean and deviation,
/// and one line for each class. IoU in per cent.
pub fn evaluation_table(evaluation: &Evaluation) -> String {
    let mut text = header(evaluation, Beside::All) + "\n";
    let mut rows = vec![row(["seed", "mIoU", "FB-IoU", "episode IoU"])];
    for run in &evaluation.runs {
        let scores = &run.scores;
        rows.push(vec![
            run.seed.to_string(),
            percent(scores.miou),
            percent(scores.fb_iou),
            percent(scores.mean_episode_iou),
        ]);
    }
    let spreads = [&evaluation.miou, &evaluation.fb_iou, &evaluation.mean_episode_iou];
    let summary = |name: &str, pick: fn(&Spread) -> f64| {
        let mut line = vec![name.to_owned()];
        line.extend(spreads.iter().map(|spread| percent(spread.as_ref().map(pick))));
        line
    };
    rows.push(summary("mean", |spread| spread.mean));
    rows.push(summary("deviation", |spread| spread.deviation));
    text.push_str(&align(&rows, &[1, rows.len() - 2]));

    let mut rows = vec![row(["class", "name", "IoU", "deviation"])];
    let classes = shown(evaluation);
    for class in &classes {
        rows.push(vec![
            class.class.to_string(),
            class.name.clone(),
            percent(class.iou.as_ref().map(|spread| spread.mean)),
            percent(class.iou.as_ref().map(|spread| spread.deviation)),
        ]);
    }
    text.push('\n');
    text.push_str(&align(&rows, &[1]));
    if classes.len() < evaluation.classes.len() {
        text.push_str(&format!(
            "the {} lowest of {} classes; the JSON file has all\n",
            classes.len(),
            evaluation.classes.len()
        ));
    }
    let features = &evaluation.features;
    text.push_str(&format!(
        "\nIoU in per cent; deviations are sample deviations over the seeds. {} images were shown, \
         the backbone ran {} times ({:.1} times less).\n",
        features.images_shown,
        features.backbone_passes,
        features.saving(),
    ));
    text
}

/// The classes that a table shows.
fn shown(evaluation: &Evaluation) -> Vec<&ClassScore> {
    let mut classes: Vec<&ClassScore> = evaluation.classes.iter().collect();
    if classes.len() > CLASSES_SHOWN {
        let mean = |class: &ClassScore| class.iou.as_ref().map_or(f64::INFINITY, |iou| iou.mean);
        classes.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
        classes.truncate(LOWEST_SHOWN);
    }
    classes
}

/// Several evaluations side by side, one a line: mIoU and FB-IoU with their deviations, per cent, and
/// the protocol of each.
pub fn comparison_table(entries: &[(&str, &Evaluation)]) -> String {
    let mut rows = vec![row(["model", "mIoU", "+-", "FB-IoU", "+-", "seeds", "protocol"])];
    for (name, evaluation) in entries {
        let mut line = vec![(*name).to_owned()];
        for spread in [&evaluation.miou, &evaluation.fb_iou] {
            line.push(percent(spread.as_ref().map(|s| s.mean)));
            line.push(percent(spread.as_ref().map(|s| s.deviation)));
        }
        line.push(evaluation.runs.len().to_string());
        line.push(evaluation.protocol.label());
        rows.push(line);
    }
    let mut text = align(&rows, &[1]);
    for (name, evaluation) in entries {
        if let Some(warning) = evaluation.novelty.warning() {
            text.push_str(&format!("WARNING, {name}: {warning}\n"));
        }
    }
    text
}

/// What stands beside a number.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Beside {
    /// Everything that it depends on.
    All,
    /// The measurement without the model.
    Measurement,
}

/// What a number depends on, a line each.
pub(super) fn header(evaluation: &Evaluation, beside: Beside) -> String {
    let mut lines = Vec::new();
    let all = beside == Beside::All;
    if let Some(model) = evaluation.model.as_ref().filter(|_| all) {
        lines.push(format!("model {model}"));
    }
    let votes = match evaluation.shot_rule {
        ShotRule::Vote if evaluation.shot > 1 => " (each support votes)",
        _ => "",
    };
    lines.push(format!(
        "{}: {}, {}-shot{votes}, {} episodes a seed",
        evaluation.dataset, evaluation.fold, evaluation.shot, evaluation.episodes,
    ));
    lines.extend(shard_line(evaluation.shard));
    lines.push(format!("protocol {}", evaluation.protocol.describe()));
    if let Some(standing) = &evaluation.lists {
        lines.push(format!("lists: {standing}"));
    }
    if let Protocol::Hsnet(_) = evaluation.protocol {
        let met: Vec<String> =
            evaluation.runs.iter().map(|run| run.classes_met.to_string()).collect();
        lines.push(format!("classes met: {} of {}", met.join(", "), evaluation.tested));
    }
    if evaluation.supports == Supports::QueryItself {
        lines.push("UPPER BOUND: the query with its true mask is its own support.".to_owned());
    }
    if let Some(warning) = evaluation.novelty.warning().filter(|_| all) {
        lines.push(format!("WARNING: {warning}"));
    }
    lines.join("\n") + "\n"
}

/// What to say of scores that are those of a part.
pub(crate) fn shard_line(shard: Shard) -> Option<String> {
    let line = || {
        format!("SHARD {shard}: a part of the episodes or images; `fss merge` scores all of them.")
    };
    (!shard.is_whole()).then(line)
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A fraction in per cent with two decimals, `-` where there is none.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{:.2}", value * 100.0))
}

/// Lines with columns of equal width: text to the left, numbers to the right. A rule is drawn
/// before each of the lines in `rules`.
pub(crate) fn align(rows: &[Vec<String>], rules: &[usize]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            rows.iter().filter_map(|row| row.get(c)).map(|v| v.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let is_text = |column: usize| {
        let mut cells = rows.iter().skip(1).filter_map(|row| row.get(column));
        column == 0 || cells.any(|cell| cell != "-" && cell.parse::<f64>().is_err())
    };
    let left: Vec<bool> = (0..columns).map(is_text).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        if rules.contains(&number) {
            let rule = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>();
            text.push_str(&rule.join("  "));
            text.push('\n');
        }
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let width = widths[column];
                if left[column] { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use fss_data::folds::Fold;
    use fss_metrics::EpisodeMetrics;

    use super::*;
    use crate::evaluate::{Deviation, FeatureUse, KnownFrom, Novelty, SeedRun, TrainedFold};

    pub(crate) fn sample() -> Evaluation {
        let run = |seed, hits: u8| {
            let mut metrics = EpisodeMetrics::new(20);
            metrics.add_episode(0, &[1, hits, 0, 0], &[1, 1, 0, 0], 2).unwrap();
            SeedRun { seed, scores: metrics.report(), classes_met: 1, drawn: Vec::new() }
        };
        let runs = vec![run(0, 0), run(1, 1)];
        Evaluation {
            protocol: Protocol::Official,
            model: None,
            novelty: Novelty::Unknown,
            dataset: "pascal val".into(),
            fold: Fold::pascal(0).unwrap(),
            tested: 5,
            shot: 1,
            shot_rule: ShotRule::Joint,
            lists: None,
            supports: Supports::Drawn,
            min_pixels: 2048,
            episodes: 1,
            shard: Shard::WHOLE,
            deviation: Deviation::Sample,
            miou: Spread::of([0.5, 1.0]),
            fb_iou: Spread::of([7.0 / 12.0, 1.0]),
            mean_episode_iou: Spread::of([0.5, 1.0]),
            classes: vec![
                ClassScore { class: 2, name: "bicycle".into(), iou: Spread::of([0.5, 1.0]) },
                ClassScore { class: 3, name: "bird".into(), iou: None },
            ],
            features: FeatureUse { images_shown: 40, backbone_passes: 2, read_from_disk: 0 },
            runs,
        }
    }

    #[test]
    fn seeds_mean_deviation_and_classes_are_there() {
        let text = evaluation_table(&sample());
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert!(lines.contains(&"seed         mIoU  FB-IoU  episode IoU"), "{text}");
        assert!(lines.contains(&"0           50.00   58.33        50.00"), "{text}");
        assert!(lines.contains(&"mean        75.00   79.17        75.00"), "{text}");
        assert!(lines.contains(&"deviation   35.36   29.46        35.36"), "{text}");
        assert!(lines.contains(&"3      bird         -          -"), "{text}");
        assert!(text.contains("(20.0 times less)"), "{text}");
    }

    #[test]
    fn an_upper_bound_says_so() {
        let bound = Evaluation { supports: Supports::QueryItself, ..sample() };
        assert!(evaluation_table(&bound).contains("UPPER BOUND"));
        let text = comparison_table(&[("trained", &sample()), ("bound", &bound)]);
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("trained  75.00  35.36"), "{text}");
    }

    #[test]
    fn the_protocol_and_its_warnings_stand_beside_the_number() {
        let fold = Fold::pascal(1).unwrap();
        let trained = TrainedFold { benchmark: None, fold, known: KnownFrom::Stated };
        let tested = Fold::pascal(0).unwrap();
        let hsnet = Evaluation {
            protocol: Protocol::hsnet(),
            model: Some("ssp with resnet50".into()),
            novelty: Novelty::of(Some(&trained), None, &tested, &tested.novel_classes()),
            shot: 5,
            shot_rule: ShotRule::Vote,
            lists: Some(fss_data::lists::Standing::Published),
            ..sample()
        };
        let text = evaluation_table(&hsnet);
        for words in [
            "model ssp with resnet50",
            "5-shot (each support votes)",
            "protocol hsnet: images of 400x400",
            "classes met: 1, 1 of 5",
            "lists: equal to the published",
            "WARNING: 5 of the 5 classes tested were base classes",
        ] {
            assert!(text.contains(words), "{words:?} in {text}");
        }
        let text = comparison_table(&[("a", &sample()), ("b", &hsnet)]);
        assert!(text.contains("official") && text.contains("  hsnet\n"), "{text}");
        assert!(text.contains("WARNING, b: 5 of the 5"), "{text}");
        let json = crate::report::to_json(&hsnet);
        assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), hsnet);
    }

    #[test]
    fn of_many_classes_the_lowest_are_shown() {
        let class = |class: u16| ClassScore {
            class,
            name: format!("class{class}"),
            iou: Spread::of([f64::from(class) / 240.0]),
        };
        let many = Evaluation { classes: (1..=240).rev().map(class).collect(), ..sample() };
        let text = evaluation_table(&many);
        assert!(text.contains("class20 ") && !text.contains("class21"), "{text}");
        assert!(text.contains("the 20 lowest of 240"), "{text}");
    }

    #[test]
    fn json_comes_back() {
        let text = crate::report::to_json(&sample());
        assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), sample());
    }
}
