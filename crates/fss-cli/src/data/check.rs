//! `fss data check`: what a data set holds and what is wrong with it.

mod tables;

use clap::{Args, ValueEnum};
use fss_core::data::benchmark::{Benchmark, BenchmarkRoot};
use fss_core::data::check::{CheckOptions, ImageCheck, ListCheck, Severity, check_dataset};
use fss_core::data::folds::{Fold, FoldScheme};
use fss_core::data::lists::ListOptions;
use fss_core::data::{DataError, Split};
use fss_core::train::evaluate::Protocol;

use crate::args::DatasetArgs;
use crate::failure::Failure;
use crate::output;
use crate::progress::Screen;

/// Check the files of a data set and count what each fold can draw from them
///
/// Exit code 1 if anything is wrong; the problems are listed with what to do about them.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check these splits only, as train,val [default: all that the data set has]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    split: Vec<Split>,
    /// How classes are dealt to folds [default: as is usual; coco: both]
    #[arg(long, value_enum)]
    folds: Option<FoldChoice>,
    /// Numbers of supports to count episodes for
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,5")]
    shots: Vec<usize>,
    /// Read only the headers of the images: faster, but damage further down goes unseen
    #[arg(long)]
    headers: bool,
    #[command(flatten)]
    dataset: DatasetArgs,
}

/// How classes are dealt to the folds that are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FoldChoice {
    /// Classes in a row: the protocol of SSP and MLC
    Contiguous,
    /// Every fourth class: the protocol of HSNet
    Interleaved,
    /// One after the other
    Both,
}

impl CheckArgs {
    fn folds(&self, root: &BenchmarkRoot) -> Result<Vec<Fold>, DataError> {
        let schemes = match (self.folds, self.dataset.dataset) {
            (Some(FoldChoice::Contiguous), _) => vec![FoldScheme::Contiguous],
            (Some(FoldChoice::Interleaved), _) => vec![FoldScheme::Interleaved],
            (Some(FoldChoice::Both), _) | (None, Benchmark::Coco) => {
                vec![FoldScheme::Contiguous, FoldScheme::Interleaved]
            }
            (None, other) => vec![other.default_scheme()],
        };
        let folds = schemes.into_iter().map(|scheme| root.folds(scheme));
        Ok(folds.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn lists(&self) -> Option<ListCheck> {
        let DatasetArgs { dataset: benchmark, splits, .. } = &self.dataset;
        let published = Benchmark::PUBLISHED.contains(benchmark);
        published.then(|| ListCheck {
            benchmark: *benchmark,
            options: ListOptions {
                source: splits.clone(),
                min_pixels: self.dataset.min_pixels(Protocol::Official),
            },
        })
    }
}

pub fn run(args: &CheckArgs, screen: &Screen) -> Result<(), Failure> {
    let root = args.dataset.detect()?;
    let splits = match &args.split[..] {
        [] => root.splits(),
        some => some.to_vec(),
    };
    let splits = splits
        .into_iter()
        .map(|split| Ok((split, root.dataset(split)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let files: usize = splits.iter().map(|(_, dataset)| 2 * dataset.len()).sum();
    let bar = screen.bar(files, "files");
    let progress = |done: usize, _: usize| bar.set_position(done as u64);
    let options = CheckOptions {
        folds: args.folds(&root)?,
        shots: args.shots.clone(),
        min_pixels: args.dataset.min_pixels(Protocol::Official),
        images: if args.headers { ImageCheck::Header } else { ImageCheck::Decode },
        lists: args.lists(),
        progress: Some(&progress),
        ..CheckOptions::default()
    };
    let report = check_dataset(&splits, &options);
    bar.finish_and_clear();
    let report = report?;
    output::print(&format!("{}\n\n{}", root.summary(), tables::text(&report)))?;
    let findings = report.findings();
    let mut problems = 0;
    for finding in &findings {
        match finding.severity {
            Severity::Problem => {
                problems += 1;
                tracing::error!("{finding}");
            }
            Severity::Note => tracing::warn!("{finding}"),
        }
    }
    match problems {
        0 => Ok(()),
        1 => Err(Failure::Problems("1 problem was found".into())),
        n => Err(Failure::Problems(format!("{n} problems were found"))),
    }
}
