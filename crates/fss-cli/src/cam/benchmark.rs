//! Maps of a whole data set.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use fss_core::CamMaker;
use fss_core::cam::{GRID, Generated, generate};
use fss_core::data::benchmark::{Benchmark, BenchmarkRoot, OpenOptions};
use fss_core::data::cam::CamFolder;
use fss_core::data::lists::{ListOptions, class_pairs};
use fss_core::data::own::MaskValue;
use fss_core::data::{ClassId, MaskIndex, SegmentationDataset, Split};
use fss_core::train::Stop;
use fss_core::train::evaluate::Protocol;

use super::{CamArgs, make_folder};
use crate::args::Global;
use crate::failure::Failure;
use crate::output::Table;
use crate::own::{OwnArgs, OwnFiles};
use crate::progress::Screen;
use crate::{episodes, interrupt, output};

/// Which data set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "A whole data set")]
pub struct SetArgs {
    /// The folder of a data set whose classes are looked for (own: a folder or a file)
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// What data set it is: pascal, coco, fss1000 or own [default: pascal]
    #[arg(long, value_name = "NAME")]
    dataset: Option<Benchmark>,
    /// The images to look into: train, val or test [default: all that there are]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    split: Vec<Split>,
    /// A folder of published lists (`splits` of the HSNet code), whose pairs of image and class are
    /// taken as well [default: those in the tree]
    #[arg(long, value_name = "DIR")]
    splits: Option<PathBuf>,
    /// The smallest object, in pixels, for which an image counts for a class [default: pascal 2048, as
    /// published; others 1]
    #[arg(long, value_name = "N")]
    min_pixels: Option<u64>,
    /// Own data: a second data set, to evaluate with
    #[arg(long, value_name = "PATH")]
    val_root: Option<PathBuf>,
    /// Own data: what is foreground in mask files: nonzero, a grey value or palette index, or a #rrggbb
    /// colour [default: nonzero]
    #[arg(long, value_name = "VALUE")]
    mask_value: Option<MaskValue>,
    /// Own data: the value in mask files that is neither foreground nor background, often 255
    #[arg(long, value_name = "VALUE")]
    ignore_value: Option<u8>,
}

impl SetArgs {
    /// Whether anything was said of a data set.
    pub fn is_given(&self) -> bool {
        *self != Self::default()
    }
}

impl CamArgs {
    fn tree(&self, root: &Path) -> Result<BenchmarkRoot, Failure> {
        let benchmark = self.set.dataset.unwrap_or_default();
        let own = OwnArgs {
            novel: Vec::new(),
            val_root: self.set.val_root.clone(),
            files: OwnFiles {
                images: self.texts.images.clone(),
                mask_value: self.set.mask_value.unwrap_or_default(),
                ignore_value: self.set.ignore_value,
                skip_bad: self.skip_bad,
            },
        };
        if benchmark != Benchmark::Own && !own.is_default() {
            return Err(Failure::request(
                format!(
                    "--images, --val-root, --mask-value, --ignore-value and --skip-bad belong to own \
                     data, not to {benchmark}"
                ),
                "leave them out, or give --dataset own",
            ));
        }
        let options = OpenOptions { splits: self.set.splits.clone(), own: own.options() };
        Ok(benchmark.detect(root, &options)?)
    }
}

/// Images of a split with the pairs of image and class that are wanted.
struct Part {
    dataset: Arc<SegmentationDataset>,
    pairs: Vec<(usize, ClassId)>,
}

/// Makes the maps that are not there yet.
pub fn run(args: &CamArgs, root: &Path, global: &Global, screen: &Screen) -> Result<(), Failure> {
    if !args.texts.against.is_empty() || !args.texts.save.is_empty() {
        return Err(Failure::request(
            "--against and --save were given with --data-root",
            "leave them out: the classes of a data set compete with each other, and their maps are what \
             is written",
        ));
    }
    let tree = args.tree(root)?;
    let device = global.device()?;
    let stop = interrupt::install("keeping the maps that are made")?;
    let maker = CamMaker::load(&args.clip, &tree.class_names(), args.options(), &device)?;
    let parts = parts(args, &tree, screen)?;
    make_folder(args)?;
    let folder = CamFolder::new(&args.out, tree.benchmark());
    let made = make(&maker, &parts, &folder, screen, &stop)?;
    if made.empty > 0 {
        tracing::warn!(
            "{} of the {} maps made are empty: nothing in the image speaks for the class, and a model that \
             reads them sees nothing of these images",
            made.empty,
            made.made
        );
    }
    let mut table = Table::new(["maps", "number"]);
    table.row(["made".into(), made.made.to_string()]);
    table.row(["there already".into(), made.there.to_string()]);
    table.row(["empty, of those made".into(), made.empty.to_string()]);
    output::print(&table.to_string())
}

fn parts(args: &CamArgs, tree: &BenchmarkRoot, screen: &Screen) -> Result<Vec<Part>, Failure> {
    let mut splits = match args.set.split.as_slice() {
        [] => tree.splits(),
        asked => asked.to_vec(),
    };
    splits.sort_unstable();
    splits.dedup();
    let published = Protocol::hsnet().min_pixels(tree.benchmark());
    let options = ListOptions {
        source: args.set.splits.clone(),
        min_pixels: args.set.min_pixels.unwrap_or(published),
    };
    let part = |split: Split| {
        let dataset = tree.dataset(split)?;
        let index = index(&dataset, screen)?;
        let pairs = class_pairs(tree, &dataset, &index, split, &options)?;
        tracing::info!(
            "{}: {} pairs of image and class in {} images",
            dataset.name,
            pairs.len(),
            dataset.len()
        );
        Ok(Part { dataset: Arc::new(dataset), pairs })
    };
    let parts: Vec<Part> = splits.into_iter().map(part).collect::<Result<_, Failure>>()?;
    if parts.iter().all(|part| part.pairs.is_empty()) {
        return Err(Failure::request(
            format!("no image shows a class with {} pixels or more", options.min_pixels),
            "allow smaller objects with --min-pixels",
        ));
    }
    Ok(parts)
}

/// Counts the pixels of the masks that are new under a bar.
fn index(dataset: &SegmentationDataset, screen: &Screen) -> Result<MaskIndex, Failure> {
    Ok(episodes::counted(screen, |options| MaskIndex::build_with(dataset, options))?)
}

fn make(
    maker: &CamMaker,
    parts: &[Part],
    folder: &CamFolder,
    screen: &Screen,
    stop: &Stop,
) -> Result<Generated, Failure> {
    let total: usize = parts.iter().map(|part| part.pairs.len()).sum();
    let bar = screen.bar(total, "maps");
    let mut sum = Generated::default();
    for part in parts {
        let before = sum.made + sum.there;
        let mut begun = false;
        let made = generate(maker, &part.dataset, folder, &part.pairs, GRID, |done, _| {
            bar.set_position((before + done) as u64);
            if !std::mem::replace(&mut begun, true) {
                // What was there already says nothing of the time that the rest takes.
                bar.reset_eta();
            }
            match stop.is_requested() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                bar.finish_and_clear();
                return Err(error.into());
            }
        };
        sum.made += made.made;
        sum.there += made.there;
        sum.empty += made.empty;
        if made.stopped {
            bar.finish_and_clear();
            return Err(Failure::Interrupted {
                done: format!("{} of {total} maps are there", sum.made + sum.there),
                next: "run the same command again to go on".into(),
            });
        }
    }
    bar.finish_and_clear();
    Ok(sum)
}
