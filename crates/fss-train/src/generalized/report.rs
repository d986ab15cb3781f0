//! Scores as a table and as JSON.

use fss_metrics::{GeneralizedScores, Spread};

use super::evaluate::GfssEvaluation;
use crate::report::shard_line;

/// A name and how its values are made of something.
type Named<T, V> = (&'static str, fn(&T) -> V);

/// The columns of the table.
const COLUMNS: [Named<GeneralizedScores, Option<f64>>; 4] = [
    ("base", |scores| scores.base),
    ("novel", |scores| scores.novel),
    ("total", |scores| scores.total),
    ("harmonic", |scores| scores.harmonic),
];

/// An evaluation as lines of text: base (with background, as published), novel, total and harmonic mean
/// IoU for each seed, their mean and sample deviation, and the IoU of each class, all in per cent.
pub fn generalized_table(evaluation: &GfssEvaluation) -> String {
    let percent =
        |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.2}", 100.0 * v));
    let mut head = vec!["seed".to_owned()];
    head.extend(COLUMNS.iter().map(|(name, _)| (*name).to_owned()));
    let mut rows = vec![head];
    for seed in &evaluation.seeds {
        let name = seed.seed.map_or("-".to_owned(), |seed| seed.to_string());
        let values = COLUMNS.iter().map(|(_, of)| percent(of(&seed.scores)));
        rows.push(std::iter::once(name).chain(values).collect());
    }
    if evaluation.seeds.len() > 1 {
        let spreads: Vec<Option<Spread>> =
            COLUMNS.iter().map(|(_, of)| evaluation.spread(*of)).collect();
        let parts: [Named<Spread, f64>; 2] =
            [("mean", |spread| spread.mean), ("deviation", |spread| spread.deviation)];
        for (name, of) in parts {
            let values = spreads.iter().map(|spread| percent(spread.as_ref().map(of)));
            rows.push(std::iter::once(name.to_owned()).chain(values).collect());
        }
    }
    let mut text = format!(
        "{}\n{}, {} images; mean IoU in per cent (base includes the background)\n\n{}",
        evaluation.model,
        evaluation.data,
        evaluation.images,
        lines(&rows)
    );
    if let Some(line) = shard_line(evaluation.shard) {
        text = format!("{line}\n{text}");
    }
    let mut head = vec!["class".to_owned()];
    head.extend(
        evaluation
            .seeds
            .iter()
            .map(|seed| seed.seed.map_or("IoU".to_owned(), |seed| format!("seed {seed}"))),
    );
    let mut rows = vec![head];
    let names = std::iter::once("background").chain(evaluation.names.iter().map(String::as_str));
    for (index, name) in names.enumerate() {
        let values = evaluation.seeds.iter();
        let values = values.map(|s| percent(s.scores.classes.get(index).copied().flatten()));
        rows.push(std::iter::once(name.to_owned()).chain(values).collect());
    }
    text += "\n";
    text += &lines(&rows);
    text
}

/// An evaluation as JSON; equal evaluations give equal texts.
pub fn generalized_json(evaluation: &GfssEvaluation) -> String {
    let mut value = serde_json::to_value(evaluation).unwrap_or_default();
    let spreads: serde_json::Map<String, serde_json::Value> = COLUMNS
        .iter()
        .filter_map(|(name, of)| {
            let spread = serde_json::to_value(evaluation.spread(*of)?).ok()?;
            Some(((*name).to_owned(), spread))
        })
        .collect();
    value["spread"] = spreads.into();
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

/// Columns, the first set left, the others right.
fn lines(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            rows.iter().filter_map(|row| row.get(i)).map(|c| c.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match i {
                0 => text += &format!("{cell:<width$}"),
                _ => text += &format!("  {cell:>width$}"),
            }
        }
        text.push('\n');
    }
    text
}
