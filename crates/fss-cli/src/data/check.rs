//! `fss data check`: what a data set holds and what is wrong with it.

use clap::Args;
use fss_core::data::{ClassId, Split};
use fss_core::data::check::{CheckOptions, DatasetReport, ImageCheck, SplitReport, check_dataset};
use fss_core::data::pascal::PascalRoot;

use crate::args::DatasetArgs;
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::progress::Screen;

/// Check the files of a data set and count what each fold can draw from them
///
/// Exit code 1 if anything is wrong; the problems are listed with what to do about them.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Numbers of supports to count episodes for
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,5")]
    shots: Vec<usize>,
    /// Read only the headers of the images: faster, but damage further down goes unseen
    #[arg(long)]
    headers: bool,
    #[command(flatten)]
    dataset: DatasetArgs,
}

pub fn run(args: &CheckArgs, screen: &Screen) -> Result<(), Failure> {
    let root = PascalRoot::detect(&args.dataset.data_root)?;
    let splits = Split::TRAIN_VAL
        .into_iter()
        .map(|split| Ok((split, root.dataset(split)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let files: usize = splits.iter().map(|(_, dataset)| 2 * dataset.len()).sum();
    let bar = screen.bar(files, "files");
    let progress = |done: usize, _: usize| bar.set_position(done as u64);
    let options = CheckOptions {
        shots: args.shots.clone(),
        min_pixels: args.dataset.min_pixels,
        images: if args.headers { ImageCheck::Header } else { ImageCheck::Decode },
        progress: Some(&progress),
        ..CheckOptions::default()
    };
    let report = check_dataset(&splits, &options);
    bar.finish_and_clear();
    let report = report?;
    output::print(&text(&report))?;
    let findings = report.findings();
    for finding in &findings {
        tracing::error!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err(Failure::Problems("1 problem was found".into())),
        n => Err(Failure::Problems(format!("{n} problems were found"))),
    }
}

fn text(report: &DatasetReport) -> String {
    let mut splits = Table::new([
        "split",
        "listed",
        "sound",
        "missing",
        "unreadable",
        "other size",
        "no object",
    ]);
    for split in &report.splits {
        splits.row([
            split.split.to_string(),
            split.listed.to_string(),
            split.sound.to_string(),
            (split.missing_images.len() + split.missing_masks.len()).to_string(),
            split.unreadable.len().to_string(),
            split.size_mismatches.len().to_string(),
            split.without_object.len().to_string(),
        ]);
    }
    format!("{splits}\n{}\n{}", folds(report), classes(&report.splits))
}

fn folds(report: &DatasetReport) -> Table {
    let shots = report.folds.first().map_or(&[][..], |fold| &fold.episodes);
    let mut head: Vec<String> = ["fold", "split", "classes", "images"].map(str::to_owned).to_vec();
    head.extend(shots.iter().map(|count| format!("{}-shot queries", count.shot)));
    let mut table = Table::new(head);
    for fold in &report.folds {
        let labels: Vec<ClassId> = fold.classes.iter().map(|class| class.label).collect();
        let mut row = vec![
            fold.fold.to_string(),
            fold.split.to_string(),
            ranges(&labels),
            fold.images.to_string(),
        ];
        row.extend(fold.episodes.iter().map(|count| count.queries.to_string()));
        table.row(row);
    }
    table
}

fn classes(splits: &[SplitReport]) -> Table {
    let mut head = vec!["class".to_owned()];
    for split in splits {
        head.push(format!("{} images", split.split));
        head.push("too small".to_owned());
    }
    let mut table = Table::new(head);
    let count = splits.iter().map(|split| split.classes.len()).max().unwrap_or(0);
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
    table
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
