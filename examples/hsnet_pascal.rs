//! HSNet on PASCAL-5i: correlations of all positions with all others, squeezed by 4D convolutions.
//!
//! Without arguments it draws a synthetic data set in the layout of PASCAL VOC. The backbone, which
//! HSNet never trains, is a narrow ResNet-50 with random weights there, so all that is learnt is what to
//! make of correlations; it is measured on the novel classes of a fold before and after:
//!
//! ```sh
//! cargo run --release --example hsnet_pascal
//! ```
//!
//! With `--data-root` and `--weights` it runs the paper's setting: torchvision's ResNet-50 from an
//! ImageNet file, images of 400x400, Adam, 1,000 test episodes.

mod common;

use clap::Parser;
use common::{Bound, Options, Result, Workshop};
use fss_core::data::synthetic::generate;
use fss_core::heads::Hsnet;
use fss_core::train::RunData;

/// Trains HSNet on the base classes of a PASCAL-5i fold and measures it on the novel ones.
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
    let shop = Workshop::open(options, "hsnet_pascal")?;
    let mut recipe = shop.recipe("hsnet-pascal", "hsnet-synthetic")?;
    recipe.data.fold = (*fold).into();
    let root = shop.data_root(|root, progress| {
        let config = common::large_objects(options.smoke);
        generate(root, &config, progress)
    })?;
    let data = RunData::open(&root, &recipe.data)?;
    let training = shop.training("run", recipe, data)?;
    let title = format!("HSNet on PASCAL-5i, fold {fold}");
    let introduction = shop.measured_on(&format!("fold {fold}"), "PASCAL-5i", "PASCAL VOC");
    shop.before_and_after::<Hsnet>(&training, Bound::OwnMask, title, introduction)
}
