//! SSP on FSS-1000, from images to a report.
//!
//! Without arguments it draws a synthetic data set in the layout of FSS-1000 (a folder of ten images
//! and masks for each category), trains a small network from scratch on the training categories, and
//! measures it on the test categories under HSNet's protocol, with one and with five supports:
//!
//! ```sh
//! cargo run --release --example fss1000
//! ```
//!
//! With `--data-root` and `--weights` it trains ResNet-50 from an ImageNet file on the 520 training
//! categories, and tests on the 2,400 images of the published test categories. SSP's authors published
//! no setting for FSS-1000; the recipe `ssp-fss1000` is this library's.

mod common;

use clap::Parser;
use common::{Options, Result, Workshop};
use fss_core::data::synthetic::{Fss1000Config, generate_fss1000};
use fss_core::heads::Ssp;
use fss_core::train::RunData;
use fss_core::train::evaluate::EvaluationPlan;
use fss_core::train::report::{comparison_table, evaluation_table};
use fss_core::train::trainer::initial_model;

/// Trains SSP on the training categories of FSS-1000 and measures it on the test categories.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
}

fn main() -> std::process::ExitCode {
    common::finish(run(&Args::parse()))
}

fn run(Args { options }: &Args) -> Result<()> {
    let shop = Workshop::open(options, "fss1000")?;
    let recipe = shop.recipe("ssp-fss1000", "ssp-fss1000-synthetic")?;
    let root = shop.data_root(|root, progress| {
        let few = Fss1000Config { categories: [12, 4, 6], ..Default::default() };
        let config = if options.smoke { few } else { Fss1000Config::default() };
        generate_fss1000(root, &config, progress)
    })?;
    let data = RunData::open(&root, &recipe.data)?;
    let training = shop.training("run", recipe, data)?;
    let plan = training.evaluation_plan();

    eprintln!("The untrained network, on the test categories:");
    let untrained = initial_model::<Ssp>(&training)?;
    let untrained = shop.measure(&untrained, &training, &training.test, &plan)?;
    eprintln!("Training on the training categories:");
    let (model, trained) = shop.train::<Ssp>(&training)?;
    eprintln!("The same network with five supports:");
    let plan = EvaluationPlan { shot: 5, ..plan };
    let five = shop.measure(&model, &training, &training.test, &plan)?;

    println!("{}", evaluation_table(&trained));
    let name = format!("trained, {}-shot", options.shot);
    let entries =
        [("untrained", &untrained), ("trained, 5-shot", &five), (name.as_str(), &trained)];
    println!("{}", comparison_table(&entries));
    let introduction = shop.measured_on("the only fold", "FSS-1000", "FSS-1000");
    shop.report("SSP on FSS-1000".into(), introduction, &entries, &training, &model)
}
