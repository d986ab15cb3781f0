//! MLC (mining latent classes) on PASCAL-5i: the published baseline beside the paper's full method.
//!
//! Without arguments it draws a synthetic data set in the layout of PASCAL VOC, and trains a small
//! network from scratch, which stands in for a pretrained backbone. From there two networks learn on
//! the base classes of a fold: by episodes alone, and jointly with pseudo masks of latent classes that
//! the pretrained network finds in the training images, with rectified prototypes. Both are measured
//! on the novel classes:
//!
//! ```sh
//! cargo run --release --example mlc_pascal
//! ```
//!
//! With `--data-root` and `--weights` it runs the paper's setting: ResNet-50 from an ImageNet file,
//! 24,000 episodes, five seeds of 1,000 test episodes.

mod common;

use clap::Parser;
use common::{Options, Result, Workshop};
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::Mlc;
use fss_core::train::RunData;
use fss_core::train::recipe::{Init, Mining, MlcSettings, ModelSettings, Recipe};
use fss_core::train::report::{comparison_table, evaluation_table};
use fss_core::train::trainer::{files, initial_model};

/// Training episodes after the pretraining on synthetic data.
const PAIR_EPISODES: usize = 1_500;

/// Trains MLC on the base classes of a PASCAL-5i fold, without and with mining, and measures both on
/// the novel ones.
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
    let shop = Workshop::open(options, "mlc_pascal")?;
    let mut full = shop.recipe("mlc-full-pascal", "mlc-full-synthetic")?;
    full.data.fold = (*fold).into();
    let mut baseline = Recipe { name: "mlc-baseline".into(), ..full.clone() };
    // Neither mining nor rectification.
    baseline.model = ModelSettings::Mlc(MlcSettings::default());
    let root = shop.data_root(|root, progress| {
        let few = SyntheticConfig { train_images: 120, val_images: 80, ..Default::default() };
        let config = if options.smoke { few } else { SyntheticConfig::default() };
        generate(root, &config, progress)
    })?;
    let data = RunData::open(&root, &baseline.data)?;
    let mut entries = Vec::new();
    if options.weights.is_none() {
        let training = shop.training("pretraining", baseline.clone(), data.clone())?;
        eprintln!("A network with random weights, on the novel classes of fold {fold}:");
        let random = initial_model::<Mlc>(&training)?;
        let plan = training.evaluation_plan();
        entries.push(("random weights", shop.measure(&random, &training, &training.test, &plan)?));
        eprintln!("Training a network to start from:");
        shop.train::<Mlc>(&training)?;
        for recipe in [&mut baseline, &mut full] {
            recipe.init = Init::Weights { path: training.folder.join(files::BEST) };
            recipe.optim.lr /= 5.0;
            recipe.episodes.total = recipe.episodes.total.min(PAIR_EPISODES);
            recipe.episodes.snapshot = recipe.episodes.snapshot.min(PAIR_EPISODES / 3);
        }
    }
    let training = shop.training("baseline", baseline, data.clone())?;
    eprintln!("The network to start from:");
    let start = initial_model::<Mlc>(&training)?;
    let plan = training.evaluation_plan();
    entries.push(("start", shop.measure(&start, &training, &training.test, &plan)?));
    eprintln!("Training the baseline on the base classes:");
    entries.push(("baseline", shop.train::<Mlc>(&training)?.1));

    eprintln!("Mining latent classes in the training images:");
    if let ModelSettings::Mlc(settings) = &mut full.model
        && let Mining::Joint(joint) = &mut settings.mining
    {
        joint.masks = shop.folder(&format!("mined-fold{fold}"))?;
    }
    let mined = shop.mine(&full, &data.train)?;
    let latent = mined.clusters().count();
    eprintln!("{} images have pseudo masks of {latent} latent classes", mined.len());
    eprintln!("Training the full method:");
    let training = shop.training("full", full, data)?;
    let (model, joint) = shop.train::<Mlc>(&training)?;
    println!("{}", evaluation_table(&joint));
    entries.push(("full method", joint));

    let entries: Vec<_> = entries.iter().map(|(name, scores)| (*name, scores)).collect();
    println!("{}", comparison_table(&entries));
    let title = format!("MLC on PASCAL-5i, fold {fold}");
    let introduction = format!(
        "The published baseline, and the full method: joint training with pseudo masks of {latent} \
         latent classes mined in the training images, and rectified prototypes. {}",
        shop.measured_on(&format!("fold {fold}"), "PASCAL-5i", "PASCAL VOC"),
    );
    shop.report(title, introduction, &entries, &training, &model)
}
