//! `fss data lists`: the lists of generalized few-shot segmentation.

use std::path::PathBuf;

use clap::Args;
use fss_core::data::folds::FoldScheme;
use fss_core::data::gfss::{
    GfssClasses, GfssLists, ListOptions, MIN_PIXELS, NovelOrder, base_class_file, few_shot_file,
    few_shot_list, fold_folder, novel_class_file, train_file, write_list,
};
use fss_core::data::index::MaskIndex;
use fss_core::data::{Benchmark, Split};

use crate::args::DatasetArgs;
use crate::episodes;
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::progress::Screen;

/// Write the lists of generalized segmentation (POP) in their official format
///
/// Makes `OUT/fold<F>` (`OUT/fold<F>_filter` with --filter-novel) with `train_fold<F>.txt`, a list of images for
/// each base and novel class, and `fold<F>_<K>shot_seed<S>.txt` for every shot and seed, drawn as the official
/// code draws them. Training draws the same ones by itself; lists are for looking at, changing (`data.lists` of
/// a recipe), and other programs.
#[derive(Debug, Args)]
pub struct ListsArgs {
    /// The fold, or several, whose classes are novel
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "0")]
    fold: Vec<usize>,
    /// Images a novel class
    #[arg(long, value_name = "K", value_delimiter = ',', default_value = "1,5,10")]
    shot: Vec<usize>,
    /// Seeds
    #[arg(long, value_name = "S", value_delimiter = ',', default_value = "123")]
    seed: Vec<u64>,
    /// Keep images that show a novel class from the lists of base classes
    #[arg(long)]
    filter_novel: bool,
    /// Order COCO's novel classes as Python 3.6 did, for lists of the published code
    #[arg(long)]
    python36_order: bool,
    /// Where the lists are made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    dataset: DatasetArgs,
}

/// Writes all lists.
pub fn run(args: &ListsArgs, screen: &Screen) -> Result<(), Failure> {
    let tree = args.dataset.detect()?;
    let scheme = match args.dataset.dataset {
        Benchmark::Pascal => FoldScheme::Contiguous,
        Benchmark::Coco => FoldScheme::Interleaved,
        Benchmark::Own => FoldScheme::Listed,
        Benchmark::Fss1000 => {
            return Err(Failure::request(
                "FSS-1000 has no lists of generalized segmentation",
                "use pascal, coco or own",
            ));
        }
    };
    let dataset = tree.dataset(Split::Train)?;
    let index = episodes::counted(screen, |options| MaskIndex::build_with(&dataset, options))?;
    let listing = index.listing(&dataset);
    let options = ListOptions {
        min_pixels: args.dataset.min_pixels.unwrap_or(MIN_PIXELS),
        filter_novel: args.filter_novel,
    };
    let order = match args.python36_order {
        true => NovelOrder::Python36,
        false => NovelOrder::Ascending,
    };
    let mut table = Table::new(["list", "images"]);
    for &number in &args.fold {
        let fold = tree.training_fold(number, scheme)?;
        let classes = GfssClasses::of_fold(&fold, order)?;
        let lists = GfssLists::build(&listing, &classes, options);
        let folder = args.out.join(fold_folder(number, args.filter_novel));
        std::fs::create_dir_all(&folder).map_err(|e| Failure::io("make folder", &folder, e))?;
        let mut write = |name: String, images: &[usize]| -> Result<(), Failure> {
            let path = write_list(&folder, &name, &dataset, images)?;
            table.row([path.display().to_string(), images.len().to_string()]);
            Ok(())
        };
        write(train_file(number), &lists.train)?;
        for (names, all) in [
            (base_class_file as fn(u16) -> String, classes.base()),
            (novel_class_file, classes.novel()),
        ] {
            for class in all {
                write(names(*class), lists.by_class.get(class).map_or(&[], Vec::as_slice))?;
            }
        }
        for &shot in &args.shot {
            for &seed in &args.seed {
                let images = few_shot_list(&lists, &classes, shot, seed)?;
                write(few_shot_file(number, shot, seed), &images)?;
            }
        }
    }
    output::print(&table.to_string())
}
