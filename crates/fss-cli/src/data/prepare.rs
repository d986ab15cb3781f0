//! `fss data prepare`: from the official archives to a tree that every protocol reads.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use clap::{Args, Subcommand, ValueEnum};
use fss_core::data::DataError;
use fss_core::data::annotations::{BadEntries, Crowds, Outlines};
use fss_core::data::prepare::{
    CocoOptions, CocoYear, FssOptions, ImageFiles, PrepareOptions, Progress, Stage, Summary,
    prepare_coco, prepare_fss1000, prepare_pascal,
};
use indicatif::ProgressBar;

use crate::failure::Failure;
use crate::output::Table;
use crate::progress::Screen;
use crate::{interrupt, output};

/// How many differing counts a warning names.
const EXAMPLES: usize = 4;

/// Make masks and lists from the official archives, as unpacked
///
/// One --out serves all data sets: it becomes the --data-root of every other command. Ctrl-C loses
/// nothing: the same command goes on where it stopped, and makes anew only what has changed.
#[derive(Debug, Args)]
pub struct PrepareArgs {
    #[command(subcommand)]
    set: Set,
}

#[derive(Debug, Subcommand)]
enum Set {
    Pascal(PascalArgs),
    Coco(CocoArgs),
    Fss1000(FssArgs),
}

/// PASCAL-5i, from VOC 2012 (VOCtrainval_11-May-2012.tar) and SBD (benchmark.tgz)
///
/// Makes OUT/VOC2012/{JPEGImages,SegmentationClassAug,ImageSets} and OUT/splits/pascal: 10,582
/// training and 1,449 validation images, with the masks of VOC where it has them and of SBD else.
#[derive(Debug, Args)]
struct PascalArgs {
    #[command(flatten)]
    common: Common,
}

/// COCO-20i, from MS COCO (train2014.zip, val2014.zip, annotations_trainval2014.zip)
///
/// Makes OUT/COCO2014/{train2014,val2014,annotations,ImageSets} and OUT/splits/coco. A mask holds the
/// rank of the category (1 to 80), later annotations over earlier ones.
#[derive(Debug, Args)]
struct CocoArgs {
    #[command(flatten)]
    common: Common,
    /// The release; published results are those of 2014
    #[arg(long, value_enum, default_value = "2014")]
    year: Year,
    /// What becomes of crowds
    #[arg(long, value_enum, default_value = "leave")]
    crowds: CrowdsArg,
    /// Which pixels the outline of an object covers; masks of the two differ along borders
    #[arg(long, value_enum, default_value = "coco-api")]
    outlines: OutlinesArg,
}

/// FSS-1000, from its archive (a folder of 1,000 categories)
///
/// Checks every image and mask and makes OUT/FSS-1000. Which categories are for training is a matter
/// of the published lists: name them with --splits.
#[derive(Debug, Args)]
struct FssArgs {
    #[command(flatten)]
    common: Common,
    /// The folder of the published lists of categories (trn.txt, val.txt, test.txt)
    #[arg(long, value_name = "DIR")]
    splits: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// Where the archives were unpacked; repeat if they lie in different places
    #[arg(long, value_name = "DIR", required = true)]
    from: Vec<PathBuf>,
    /// Where the data sets are made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What becomes of the images
    #[arg(long, value_enum, default_value = "link")]
    images: Images,
    /// Leave out what is missing or damaged, and list it
    #[arg(long)]
    skip_bad: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Images {
    /// Linked, which takes no space; copied where that is not possible
    Link,
    /// Copied
    Copy,
    /// Left where they are: only masks and lists are made
    Skip,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Year {
    #[value(name = "2014")]
    Y2014,
    #[value(name = "2017")]
    Y2017,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CrowdsArg {
    /// Left out: background unless a single object lies there
    Leave,
    /// Painted as objects of their category
    Paint,
    /// Painted as 255, which is ignored
    Ignore,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutlinesArg {
    /// As pycocotools draws it (SSP, HSNet and others)
    CocoApi,
    /// As OpenCV's fillPoly does (POP)
    Opencv,
}

impl From<OutlinesArg> for Outlines {
    fn from(outlines: OutlinesArg) -> Self {
        match outlines {
            OutlinesArg::CocoApi => Self::CocoApi,
            OutlinesArg::Opencv => Self::Opencv,
        }
    }
}

impl From<CrowdsArg> for Crowds {
    fn from(crowds: CrowdsArg) -> Self {
        match crowds {
            CrowdsArg::Leave => Self::Leave,
            CrowdsArg::Paint => Self::Paint,
            CrowdsArg::Ignore => Self::Ignore,
        }
    }
}

impl Common {
    fn options<'a>(
        &self,
        progress: &'a (dyn Fn(Progress) -> ControlFlow<()> + Sync),
    ) -> PrepareOptions<'a> {
        PrepareOptions {
            images: match self.images {
                Images::Link => ImageFiles::Link,
                Images::Copy => ImageFiles::Copy,
                Images::Skip => ImageFiles::Skip,
            },
            bad: if self.skip_bad { BadEntries::Skip } else { BadEntries::Refuse },
            progress: Some(progress),
        }
    }
}

pub fn run(args: &PrepareArgs, screen: &Screen) -> Result<(), Failure> {
    let stop = interrupt::install("finishing the files at hand")?;
    let bars = Bars { screen, current: Mutex::new(None) };
    let progress = |progress: Progress| {
        bars.show(progress);
        if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let prepared = match &args.set {
        Set::Pascal(PascalArgs { common }) => {
            prepare_pascal(&common.from, &common.out, &common.options(&progress))
        }
        Set::Coco(CocoArgs { common, year, crowds, outlines }) => {
            let year = match year {
                Year::Y2014 => CocoYear::Y2014,
                Year::Y2017 => CocoYear::Y2017,
            };
            let coco = CocoOptions { year, crowds: (*crowds).into(), outlines: (*outlines).into() };
            prepare_coco(&common.from, &common.out, &coco, &common.options(&progress))
        }
        Set::Fss1000(FssArgs { common, splits }) => {
            let fss = FssOptions { splits: splits.clone() };
            prepare_fss1000(&common.from, &common.out, &fss, &common.options(&progress))
        }
    };
    bars.clear();
    let summary = prepared.map_err(|error| match error {
        DataError::Io { source, .. } if source.kind() == ErrorKind::Interrupted => {
            Failure::Interrupted {
                done: source.to_string(),
                next: "run the same command again to go on".into(),
            }
        }
        other => other.into(),
    })?;
    warn(&summary);
    output::print(&text(&summary))
}

/// A bar for the stage at hand.
struct Bars<'a> {
    screen: &'a Screen,
    current: Mutex<Option<(Stage, ProgressBar)>>,
}

impl Bars<'_> {
    fn show(&self, progress: Progress) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
            if let Some((_, last)) = current.take() {
                last.finish_and_clear();
            }
            let what = match progress.stage {
                Stage::Annotations => "annotations",
                Stage::Images => "images",
                Stage::Lists => "lists",
            };
            *current = Some((progress.stage, self.screen.bar(progress.total, what)));
        }
        if let Some((_, bar)) = &*current {
            bar.set_position(progress.done as u64);
        }
    }

    fn clear(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = current.take() {
            last.finish_and_clear();
        }
    }
}

/// What the user should know besides the result.
fn warn(summary: &Summary) {
    let mut differences: Vec<String> = summary
        .differences()
        .map(|count| {
            format!("{} {} (published {})", count.found, count.what, count.published.unwrap_or(0))
        })
        .collect();
    if !differences.is_empty() {
        let more = differences.len().saturating_sub(EXAMPLES);
        differences.truncate(EXAMPLES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        tracing::warn!(
            "this is not the published data set: {}{more}; unless that is as it should be, unpack the \
             archives again",
            differences.join(", ")
        );
    }
    if let Some(first) = summary.left_out.first() {
        tracing::warn!(
            "{} bad entries were left out; {} lists them; the first: {first}",
            summary.left_out.len(),
            summary.left_out_file().display()
        );
    }
}

fn text(summary: &Summary) -> String {
    let masks = summary.masks;
    let images = summary.images;
    let mut text = format!(
        "{} is ready: {} masks made, {} kept",
        summary.tree.display(),
        masks.made,
        masks.kept
    );
    let images = [
        (images.linked, "linked"),
        (images.symlinked, "linked by name"),
        (images.copied, "copied"),
        (images.kept, "kept"),
        (images.left, "left where they are"),
    ];
    let images: Vec<String> =
        images.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    text += &format!("; images: {}\n\n", images.join(", "));

    let mut counts = Table::new(["", "here", "published"]);
    for count in &summary.counts {
        let published = count.published.map_or("-".to_owned(), |n| n.to_string());
        counts.row([count.what.clone(), count.found.to_string(), published]);
    }
    text += &counts.to_string();
    if !summary.lists.is_empty() {
        text.push('\n');
    }
    for list in &summary.lists {
        let entries = format!("{} entries", list.entries);
        let about = if list.standing.is_empty() { &entries } else { &list.standing };
        text += &format!("{}: {about}\n", list.path.display());
    }
    text
}
