//! DENet on PASCAL-5i: one model, trained on episodes of one class and one shot, tested with one class and
//! two, one shot and five.
//!
//! Without arguments it draws a synthetic data set in the layout of PASCAL VOC. The backbone, which DENet never
//! trains, is a narrow ResNet-50 with random weights there, so all that is learnt is the head; it is measured
//! on the novel classes of a fold before and after:
//!
//! ```sh
//! cargo run --release --example denet_pascal
//! ```
//!
//! With `--data-root` and `--weights` it runs the paper's setting: torchvision's ResNet-50 from an ImageNet
//! file, images of 321x321, 150,000 steps, 1,000 test episodes. `--model` trains one of the other models
//! that DENet's code holds.

mod common;

use std::path::Path;

use clap::{Parser, ValueEnum};
use common::{Options, Result, Workshop};
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::{Amp, Canet, Denet, Pgnet};
use fss_core::train::evaluate::FeatureReuse;
use fss_core::train::log::RunLog;
use fss_core::train::progress::TerminalProgress;
use fss_core::train::report::{HtmlReport, Panel, PanelImage};
use fss_core::train::trainer::{Start, files};
use fss_core::train::ways::{
    WayPanels, WaysData, WaysEvaluation, WaysInit, WaysModel, WaysOutcome, WaysPlan, WaysRecipe,
    WaysRun, WaysTest, evaluate_ways, initial_ways_model, train_ways, ways_table,
};

/// Trains DENet on the base classes of a PASCAL-5i fold and tests it on the novel ones.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// The fold whose classes are novel
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..4))]
    fold: u8,
    /// Which model of DENet's code is trained
    #[arg(long, value_enum, default_value = "denet")]
    model: Method,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    Denet,
    Amp,
    Canet,
    Pgnet,
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    common::finish(match args.model {
        Method::Denet => run::<Denet>(&args),
        Method::Amp => run::<Amp>(&args),
        Method::Canet => run::<Canet>(&args),
        Method::Pgnet => run::<Pgnet>(&args),
    })
}

fn run<M: WaysModel>(args: &Args) -> Result<()> {
    let Args { options, fold, .. } = args;
    let shop = Workshop::open(options, "denet_pascal")?;
    let mut recipe = recipe(options, M::METHOD.name())?;
    recipe.data.fold = (*fold).into();
    let root = shop.data_root(|root, progress| {
        let config = common::large_objects(options.smoke);
        // Five shots need six images of each class.
        let val_images = config.val_images.max(200);
        generate(root, &SyntheticConfig { val_images, ..config }, progress)
    })?;
    let data = WaysData::open(&root, &recipe.data)?;
    let run = WaysRun {
        recipe,
        data,
        folder: shop.folder(M::METHOD.name())?,
        device: shop.device().clone(),
        loader: Default::default(),
        reuse: FeatureReuse::default(),
    };

    eprintln!("The untrained model, on the novel classes of fold {fold}:");
    let untrained = tests(&shop, &run, &initial_ways_model::<M>(&run)?, None)?;
    eprintln!("Training on the base classes:");
    let begun = run.checkpoints().latest()?.is_some();
    let start = if options.resume && begun { Start::Resume } else { Start::Fresh };
    let model = match train_ways::<M>(&run, start, &mut TerminalProgress::new(), shop.stop())? {
        WaysOutcome::Finished { model, .. } => model,
        WaysOutcome::Interrupted { iteration, .. } => {
            return Err(format!("stopped after iteration {iteration}; --resume continues").into());
        }
    };
    eprintln!("The trained model, on the same classes:");
    let panels = shop.out.join("panels");
    let trained = tests(&shop, &run, &model, Some(&panels))?;

    for evaluation in &trained {
        println!("{}", ways_table(evaluation));
    }
    let table = comparison(&untrained, &trained);
    println!("{table}");
    let page = shop.out.join("report.html");
    report(&run, &page, &panels, &trained, table)?;
    println!("Report with pictures: {}", page.display());
    Ok(())
}

/// The published recipe for real data, a small one from scratch for synthetic data.
fn recipe(options: &Options, model: &str) -> Result<WaysRecipe> {
    let mut recipe = match &options.weights {
        Some(weights) => {
            let init = WaysInit::Weights { path: weights.clone() };
            WaysRecipe { init, ..WaysRecipe::builtin(&format!("{model}-pascal"))? }
        }
        None => WaysRecipe::builtin(&format!("{model}-synthetic"))?,
    };
    recipe.episodes.shot = options.shot;
    if options.smoke {
        recipe.episodes.steps = 2;
        recipe.episodes.batch = 4;
        recipe.episodes.list = 60;
        recipe.validation.test.episodes = 5;
        recipe.evaluation.test.episodes = 5;
    }
    Ok(recipe)
}

/// The tests of the paper: 1-way and 2-way, 1-shot and 5-shot, each class with as many episodes as in the
/// recipe. `panels` is where pictures of the 2-way test go.
fn tests<M: WaysModel>(
    shop: &Workshop<'_>,
    run: &WaysRun,
    model: &M,
    panels: Option<&Path>,
) -> Result<Vec<WaysEvaluation>> {
    let model = model.tested();
    let mut found = Vec::new();
    for (ways, shot) in [(1, 1), (1, 5), (2, 1), (2, 5)] {
        let mut protocol = run.recipe.evaluation_protocol();
        protocol.test = WaysTest { ways, shot, ..protocol.test };
        let name = format!("{} with {}", M::METHOD.name(), run.recipe.backbone);
        let plan = WaysPlan { model: Some(name), ..WaysPlan::new(protocol) };
        let mut progress = TerminalProgress::new();
        let mut keeper = WayPanels::new(2, &mut progress);
        let test = &run.data.test;
        found.push(evaluate_ways(&model, test, &plan, &run.device, &mut keeper, shop.stop())?);
        if let Some(folder) = panels.filter(|_| (ways, shot) == (2, 1)) {
            keeper.save(test, &plan.protocol, folder)?;
        }
    }
    Ok(found)
}

/// B-IOU of all tests before and after training, in per cent.
fn comparison(untrained: &[WaysEvaluation], trained: &[WaysEvaluation]) -> String {
    let mut text = format!("{:16}{:>11}{:>11}\n", "B-IOU", "untrained", "trained");
    for (before, after) in untrained.iter().zip(trained) {
        let test = &before.protocol.test;
        let percent = |one: &WaysEvaluation| {
            one.b_iou.as_ref().map_or("-".into(), |b_iou| format!("{:.2}", 100.0 * b_iou.mean))
        };
        let name = format!("{}-way {}-shot", test.ways, test.shot);
        text += &format!("{name:16}{:>11}{:>11}\n", percent(before), percent(after));
    }
    text
}

/// Writes the page with scores, the course of training, and pictures.
fn report(
    run: &WaysRun,
    page: &Path,
    panels: &Path,
    trained: &[WaysEvaluation],
    table: String,
) -> Result<()> {
    let log = RunLog::read(&run.folder.join(files::LOG))?;
    let recipe = &run.recipe;
    let mut report = HtmlReport::new(format!(
        "{} on PASCAL-5i, fold {}",
        recipe.name, recipe.data.fold
    ))
    .paragraph(
        "One model was trained on episodes of base classes, and tested on novel classes with one \
                 class and two, one shot and five.",
    )
    .table("B-IOU before and after training, per cent", table)
    .log(&log)
    .settings(recipe.to_toml());
    for evaluation in trained {
        let test = &evaluation.protocol.test;
        let name = format!("{}-way {}-shot", test.ways, test.shot);
        report = report.table(name, ways_table(evaluation));
    }
    let mut pictures: Vec<_> = std::fs::read_dir(panels)?.collect::<std::io::Result<_>>()?;
    pictures.sort_by_key(std::fs::DirEntry::file_name);
    for picture in pictures {
        let name = picture.file_name().to_string_lossy().into_owned();
        report = report.panel(Panel {
            image: PanelImage::File(Path::new("panels").join(&name)),
            caption: name.trim_end_matches(".png").into(),
        });
    }
    Ok(report.save(page)?)
}
