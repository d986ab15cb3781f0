//! IMR-HSNet on PASCAL-5i: the supports have no masks, only the name of their class.
//!
//! With `--data-root`, `--weights` and `--clip` it runs the paper's setting: CLIP makes a coarse map of
//! every image and class from the class's name (once; they are kept), and IMR learns to refine them.
//!
//! Without arguments it draws a synthetic data set in the layout of PASCAL VOC. No CLIP knows the things
//! drawn there, so the maps are **stand-ins made from the masks**, as coarse and as wrong as CLIP's may be:
//! what is shown is how maps are refined, not where they come from.
//!
//! ```sh
//! cargo run --release --example imr_pascal
//! ```

mod common;

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Parser;
use common::{Bound, Options, Result, Workshop};
use fss_core::cam::{CamMaker, CamOptions, GRID, generate as generate_maps};
use fss_core::data::cam::{CamFolder, CamSizes};
use fss_core::data::synthetic::generate;
use fss_core::data::{Benchmark, ClassId, SegmentationDataset, rng::KeyedRandom};
use fss_core::heads::Imr;
use fss_core::train::cams::{CamSource, Cams};
use fss_core::train::trainer::{RunCams, TrainingRun};
use fss_core::train::{EpisodeData, RunData, TrainError};
use ndarray::Array2;

/// Trains IMR on the base classes of a PASCAL-5i fold and measures it on the novel ones.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// The fold whose classes are novel
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..4))]
    fold: u8,
    /// OpenAI's CLIP (RN50.pt), which makes the maps of real data
    #[arg(long, value_name = "FILE", requires = "data_root")]
    clip: Option<PathBuf>,
}

fn main() -> std::process::ExitCode {
    common::finish(run(&Args::parse()))
}

fn run(Args { options, fold, clip }: &Args) -> Result<()> {
    let shop = Workshop::open(options, "imr_pascal")?;
    let mut recipe = shop.recipe("imr-pascal", "imr-synthetic")?;
    recipe.data.fold = (*fold).into();
    let root = shop.data_root(|root, progress| {
        let config = common::large_objects(options.smoke);
        generate(root, &config, progress)
    })?;
    let data = RunData::open(&root, &recipe.data)?;
    let (cams, source) = match (clip, &options.data_root) {
        (None, Some(_)) => return Err("real data need CLIP for their maps: --clip RN50.pt".into()),
        (None, None) => (Cams::new(StandIn), "stand-ins for CLIP's maps, made from the masks"),
        (Some(clip), _) => {
            let folder = CamFolder::new(shop.out.join("cams"), Benchmark::Pascal);
            let dataset = &data.train.dataset;
            let names: Vec<String> = (1..=dataset.classes() as ClassId)
                .map(|class| dataset.class_name(class).to_owned())
                .collect();
            let maker = CamMaker::load(clip, &names, CamOptions::default(), shop.device())?;
            for part in [&data.train, &data.validation] {
                make_maps(&shop, &maker, part, &folder)?;
            }
            (Cams::new(folder), "coarse maps by CLIP")
        }
    };
    let training = TrainingRun {
        cams: RunCams { train: Some(cams.clone()), novel: Some(cams) },
        ..shop.training("run", recipe, data)?
    };
    let title = format!("IMR-HSNet on PASCAL-5i, fold {fold}, with {source}");
    let measured = shop.measured_on(&format!("fold {fold}"), "PASCAL-5i", "PASCAL VOC");
    println!("No support has a mask; instead: {source}.");
    let introduction = format!("Supports without masks; instead: {source}. {measured}");
    shop.before_and_after::<Imr>(&training, Bound::None, title, introduction)
}

/// The maps of all images and classes that episodes are drawn from; those that are there stay.
fn make_maps(
    shop: &Workshop,
    maker: &CamMaker,
    data: &EpisodeData,
    folder: &CamFolder,
) -> Result<()> {
    let lists = data.hsnet_lists()?;
    let pairs: Vec<(usize, ClassId)> =
        lists.listing.pairs().map(|(image, class)| (lists.positions[image], class)).collect();
    eprintln!("Coarse maps of {} images and classes:", pairs.len());
    let made = generate_maps(maker, &data.dataset, folder, &pairs, GRID, |done, total| {
        if done % 100 == 0 || done == total {
            eprintln!("{done} of {total}");
        }
        if shop.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if made.stopped {
        return Err("stopped; the maps that were made stay, and the next run goes on there".into());
    }
    Ok(())
}

/// Maps made from masks: the share that the object has of each of 7x7 cells, shifted by up to a cell,
/// with a wrong spot in every third image; then scaled and enlarged as CLIP's are.
/// They follow from the image's name and the class alone.
#[derive(Debug)]
struct StandIn;

impl CamSource for StandIn {
    fn cam(
        &self,
        dataset: &SegmentationDataset,
        position: usize,
        class: ClassId,
        grid: usize,
    ) -> std::result::Result<Array2<f32>, TrainError> {
        const CELLS: usize = 7;
        let mask = dataset.class_mask(position, &dataset.load_mask(position)?, class);
        let (height, width) = mask.dim();
        let name = dataset.ids[position].bytes();
        let image = name.fold(0u64, |key, byte| key.wrapping_mul(257).wrapping_add(byte.into()));
        let mut random = KeyedRandom::new(image, u64::from(class));
        let [down, right] = [0, 1].map(|_| random.below(3) as isize - 1);
        // Where nothing speaks for the class a map is zero, as CLIP's are behind their ReLU.
        let mut cells = Array2::<f32>::zeros((CELLS, CELLS));
        for ((y, x), label) in mask.indexed_iter() {
            let cell = |at: usize, length: usize, shift: isize| {
                let cell = (at * CELLS / length) as isize + shift;
                cell.clamp(0, CELLS as isize - 1) as usize
            };
            let share = (CELLS * CELLS) as f32 / (height * width) as f32;
            cells[[cell(y, height, down), cell(x, width, right)]] +=
                if *label == 1 { share } else { 0.0 };
        }
        if random.below(3) == 0 {
            let [y, x] = [0, 1].map(|_| random.below(CELLS));
            cells[[y, x]] += 0.5;
        }
        Ok(CamSizes { network: 224, grid }.coarse(&cells)?)
    }

    fn check(
        &self,
        _dataset: &SegmentationDataset,
        _pairs: &[(usize, ClassId)],
        _grid: usize,
    ) -> std::result::Result<(), TrainError> {
        Ok(())
    }
}
