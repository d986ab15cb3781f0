//! SSP on PASCAL-5i, from images to a report.
//!
//! Without arguments it draws a synthetic data set in the layout of PASCAL VOC, reads it back
//! through the loader, trainer and evaluator of the paper's run, trains a small network from scratch
//! on the base classes of a fold, and measures it on the novel ones:
//!
//! ```sh
//! cargo run --release --example ssp_pascal
//! ```
//!
//! With `--data-root` and `--weights` it runs the paper's setting: ResNet-50 from an ImageNet file,
//! 24,000 episodes, five seeds of 1,000 test episodes.

mod common;

use clap::Parser;
use common::{Bound, Options, Result, Workshop};
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::Ssp;
use fss_core::train::RunData;

/// Trains SSP on the base classes of a PASCAL-5i fold and measures it on the novel ones.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// The fold whose classes are novel
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..4))]
    fold: u8,
}

fn main() -> std::process::ExitCode {
    common::finish(run(&Args::parse()))
}

fn run(Args { options, fold }: &Args) -> Result<()> {
    let shop = Workshop::open(options, "ssp_pascal")?;
    let mut recipe = shop.recipe("ssp-pascal", "ssp-synthetic")?;
    recipe.data.fold = (*fold).into();
    let root = shop.data_root(|root, progress| {
        let few = SyntheticConfig { train_images: 120, val_images: 80, ..Default::default() };
        let config = if options.smoke { few } else { SyntheticConfig::default() };
        generate(root, &config, progress)
    })?;
    let data = RunData::open(&root, &recipe.data)?;
    let training = shop.training("run", recipe, data)?;
    let title = format!("SSP on PASCAL-5i, fold {fold}");
    let introduction = shop.measured_on(&format!("fold {fold}"), "PASCAL-5i", "PASCAL VOC");
    shop.before_and_after::<Ssp>(&training, Bound::OwnMask, title, introduction)
}
