//! What a report says in words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{DatasetReport, ListReport, SplitReport};
use crate::Split;
use crate::folds::FoldScheme;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look, but it may be as it should.
    Note,
    /// Results will be wrong, or a run will fail.
    Problem,
}

/// One kind of problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, with the number of cases.
    pub problem: String,
    /// The first few cases.
    pub examples: Vec<String>,
    /// What to do about it.
    pub remedy: String,
}

/// How many cases are shown.
const EXAMPLES: usize = 3;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem)?;
        if !self.examples.is_empty() {
            write!(f, " ({})", self.examples.join("; "))?;
        }
        write!(f, ": {}", self.remedy)
    }
}

pub(super) fn findings(report: &DatasetReport) -> Vec<Finding> {
    let mut all = Vec::new();
    for split in &report.splits {
        of_files(split, &mut all);
    }
    note(
        &mut all,
        report.shared_ids.iter().cloned(),
        |n| format!("{n} images are in several lists, so they would be trained on and tested on"),
        "take them off the training list",
    );
    for split in &report.splits {
        of_content(split, &mut all);
    }
    of_folds(report, &mut all);
    of_lists(report, &mut all);
    all
}

fn note(
    all: &mut Vec<Finding>,
    cases: impl ExactSizeIterator<Item = String>,
    problem: impl FnOnce(usize) -> String,
    remedy: &str,
) {
    let number = cases.len();
    if number > 0 {
        all.push(Finding {
            severity: Severity::Problem,
            problem: problem(number),
            examples: cases.take(EXAMPLES).collect(),
            remedy: remedy.to_owned(),
        });
    }
}

/// What makes files unusable.
fn of_files(split: &SplitReport, all: &mut Vec<Finding>) {
    let name = &split.name;
    note(
        all,
        split.missing_images.iter().cloned(),
        |n| format!("{n} images of {name} are missing"),
        "unpack the image archive again, or check the list",
    );
    note(
        all,
        split.missing_masks.iter().cloned(),
        |n| format!("{n} masks of {name} are missing"),
        "choose the mask folder that belongs to the list (lists of more than 1464 training images \
         need SegmentationClassAug), or unpack the masks again",
    );
    note(
        all,
        split.unreadable.iter().map(|file| file.problem.clone()),
        |n| format!("{n} files of {name} cannot be read"),
        "fetch them again",
    );
    note(
        all,
        split.size_mismatches.iter().map(|file| file.problem.clone()),
        |n| format!("{n} masks of {name} differ in size from their images"),
        "take images and masks from the same release",
    );
    note(
        all,
        split.repeated_ids.iter().cloned(),
        |n| format!("{n} ids are more than once in the list of {name}"),
        "list each image once: a support must differ from the query",
    );
}

/// What is strange about sound files.
fn of_content(split: &SplitReport, all: &mut Vec<Finding>) {
    let name = &split.name;
    note(
        all,
        split.unknown_labels.iter().map(|mask| {
            let labels: Vec<String> =
                mask.labels.iter().map(|(label, pixels)| format!("{label}: {pixels} px")).collect();
            format!("{} has {}", mask.file, labels.join(", "))
        }),
        |n| format!("{n} masks of {name} hold labels of no class"),
        "map labels to 1..n and 255: others are background in training and left out of scores",
    );
    let first_note = all.len();
    note(
        all,
        split.without_object.iter().cloned(),
        |n| format!("{n} images of {name} show no object"),
        "nothing needs to be done if that is so; else check that masks hold labels, not colours",
    );
    all[first_note..].iter_mut().for_each(|finding| finding.severity = Severity::Note);
}

/// As `fold 0 of val`; with the scheme where several were checked.
fn place(report: &DatasetReport, fold: usize, scheme: FoldScheme, split: Split) -> String {
    match report.folds.iter().all(|other| other.scheme == scheme) {
        true => format!("fold {fold} of {split}"),
        false => format!("fold {fold} ({scheme}) of {split}"),
    }
}

/// What is wrong with lists, and lists that are not the published ones.
fn of_lists(report: &DatasetReport, all: &mut Vec<Finding>) {
    let names = |list: &ListReport| place(report, list.fold, list.scheme, list.split);
    let broken: Vec<String> = report
        .lists
        .iter()
        .filter_map(|list| Some(format!("{}: {}", names(list), list.problem.as_ref()?)))
        .collect();
    let first_note = all.len();
    let given = report.lists.iter().any(|list| list.given);
    note(
        all,
        broken.into_iter(),
        |n| format!("{n} lists of the HSNet protocol cannot be used"),
        match given {
            true => "give the published lists, and the images that they name",
            false => "nothing needs to be done unless you evaluate by that protocol",
        },
    );
    if !given {
        all[first_note..].iter_mut().for_each(|finding| finding.severity = Severity::Note);
    }
    let others: Vec<String> = report
        .lists
        .iter()
        .filter(|list| list.given && !list.published && list.problem.is_none())
        .map(|list| format!("{}: {}", names(list), list.origin))
        .collect();
    let first_note = all.len();
    note(
        all,
        others.into_iter(),
        |n| format!("{n} lists that were given are not the published ones"),
        "nothing needs to be done if they are your own; else fetch the published lists again",
    );
    all[first_note..].iter_mut().for_each(|finding| finding.severity = Severity::Note);
}

/// What episodes lack.
fn of_folds(report: &DatasetReport, all: &mut Vec<Finding>) {
    for fold in &report.folds {
        let place = place(report, fold.fold, fold.scheme, fold.split);
        if fold.images == 0 {
            all.push(Finding {
                severity: Severity::Problem,
                problem: format!("no image can be drawn in {place}"),
                examples: Vec::new(),
                remedy: format!(
                    "check masks and lists, or lower the smallest object size of {} pixels",
                    report.min_pixels
                ),
            });
            continue;
        }
        for count in &fold.episodes {
            note(
                all,
                count.short_classes.iter().map(|&(label, eligible)| {
                    let name = fold.classes.iter().find(|class| class.label == label);
                    let name = name.map_or("", |class| class.name.as_str());
                    format!("{label} {name}: {eligible} large enough")
                }),
                |n| {
                    let classes =
                        if n == 1 { "1 class lacks" } else { &format!("{n} classes lack") };
                    format!("{classes} images for {} supports in {place}", count.shot)
                },
                "add images, draw with fewer shots, or lower the smallest object size (min-pixels)",
            );
        }
    }
}
