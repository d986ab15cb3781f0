//! What was found, in tables.

use fss_core::data::ClassId;
use fss_core::data::check::{DatasetReport, FoldReport, ListReport, SplitReport};
use fss_core::data::folds::FoldScheme;

use crate::output::Table;

/// More classes than these are summed up in a line.
const MAX_CLASSES: usize = 100;

pub fn text(report: &DatasetReport) -> String {
    let mut parts = vec![splits(report).to_string(), folds(report).to_string()];
    if !report.lists.is_empty() {
        parts.push(format!("lists of the HSNet protocol:\n{}", lists(report)));
    }
    parts.push(classes(&report.splits));
    parts.join("\n")
}

fn splits(report: &DatasetReport) -> Table {
    let mut table = Table::new([
        "split",
        "listed",
        "sound",
        "missing",
        "unreadable",
        "other size",
        "other labels",
        "no object",
    ]);
    for split in &report.splits {
        table.row([
            split.split.to_string(),
            split.listed.to_string(),
            split.sound.to_string(),
            (split.missing_images.len() + split.missing_masks.len()).to_string(),
            split.unreadable.len().to_string(),
            split.size_mismatches.len().to_string(),
            split.unknown_labels.len().to_string(),
            split.without_object.len().to_string(),
        ]);
    }
    table
}

fn folds(report: &DatasetReport) -> Table {
    let shots = report.folds.first().map_or(&[][..], |fold| &fold.episodes);
    let mut head: Vec<String> =
        ["fold", "split", "classes", "images", "pixels"].map(str::to_owned).to_vec();
    head.extend(shots.iter().map(|count| format!("{}-shot queries", count.shot)));
    let mut table = Table::new(head);
    for fold in &report.folds {
        let mut row = vec![
            fold_name(report, fold.fold, fold.scheme),
            fold.split.to_string(),
            class_numbers(fold),
            fold.images.to_string(),
            fold.classes.iter().map(|class| class.pixels).sum::<u64>().to_string(),
        ];
        row.extend(fold.episodes.iter().map(|count| count.queries.to_string()));
        table.row(row);
    }
    table
}

/// The number of a fold; with its scheme where several were checked.
fn fold_name(report: &DatasetReport, fold: usize, scheme: FoldScheme) -> String {
    match report.folds.iter().all(|other| other.scheme == scheme) {
        true => fold.to_string(),
        false => format!("{fold} {scheme}"),
    }
}

/// As `1-5, 9`, or their number where that would be long.
fn class_numbers(fold: &FoldReport) -> String {
    let labels: Vec<ClassId> = fold.classes.iter().map(|class| class.label).collect();
    let text = ranges(&labels);
    match text.len() {
        0..=20 => text,
        _ => labels.len().to_string(),
    }
}

/// A line a list: where it comes from is too long for a column.
fn lists(report: &DatasetReport) -> String {
    let line = |list: &ListReport| {
        let name = fold_name(report, list.fold, list.scheme);
        let what = match &list.problem {
            Some(_) => "cannot be used".to_owned(),
            None => format!("{} pairs, {} images; {}", list.pairs, list.images, list.origin),
        };
        format!("  {name} {}: {what}\n", list.split)
    };
    report.lists.iter().map(line).collect()
}

fn classes(splits: &[SplitReport]) -> String {
    let count = splits.iter().map(|split| split.classes.len()).max().unwrap_or(0);
    if count > MAX_CLASSES {
        return most_and_least(splits);
    }
    let mut head = vec!["class".to_owned()];
    for split in splits {
        head.push(format!("{} images", split.split));
        head.push("too small".to_owned());
    }
    let mut table = Table::new(head);
    for position in 0..count {
        let mut row = Vec::new();
        for class in splits.iter().filter_map(|split| split.classes.get(position)) {
            if row.is_empty() {
                row.push(format!("{:>2} {}", class.label, class.name));
            }
            row.push(class.images.to_string());
            row.push(class.too_small.to_string());
        }
        table.row(row);
    }
    table.to_string()
}

fn most_and_least(splits: &[SplitReport]) -> String {
    let mut table = Table::new(["split", "classes", "fewest images", "most images"]);
    for split in splits {
        let images = split.classes.iter().map(|class| class.images).filter(|&n| n > 0);
        table.row([
            split.split.to_string(),
            images.clone().count().to_string(),
            images.clone().min().unwrap_or(0).to_string(),
            images.max().unwrap_or(0).to_string(),
        ]);
    }
    table.to_string()
}

/// Ascending labels with runs drawn together, as in `1-5, 9`.
fn ranges(labels: &[ClassId]) -> String {
    let mut runs: Vec<(ClassId, ClassId)> = Vec::new();
    for &label in labels {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == label => *last = label,
            _ => runs.push((label, label)),
        }
    }
    let texts: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn runs_of_labels() {
        assert_eq!(ranges(&[1, 2, 3, 9, 11, 12]), "1-3, 9, 11-12");
        assert_eq!(ranges(&[]), "");
    }
}
