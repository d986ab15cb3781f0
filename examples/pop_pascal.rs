//! POP on PASCAL-5i: a model learns base classes from full data, then novel ones from a few images each,
//! and labels all of them in one pass.
//!
//! Without arguments it draws a synthetic data set in the layout of PASCAL VOC and trains a narrow network from
//! scratch: 15 base classes, then 5 novel ones from 5 images each. It prints base, novel and harmonic mean IoU
//! before and after the second stage:
//!
//! ```sh
//! cargo run --release --example pop_pascal
//! ```
//!
//! With `--data-root` and `--weights` it runs the paper's setting: the deep-stem ResNet-50 from an ImageNet file,
//! crops of 473x473, 50 epochs of stage 1 and up to 500 of stage 2.

mod common;

use clap::Parser;
use common::{Options, Result, Workshop};
use fss_core::GeneralizedSegmenter;
use fss_core::data::draw::{OverlayStyle, Tile, grid, legend, overlay, stack, voc_palette};
use fss_core::data::gfss::Shown;
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::Pop;
use fss_core::train::Shard;
use fss_core::train::generalized::{
    GfssData, GfssEvaluation, GfssInit, GfssOutcome, GfssRecipe, GfssRun, GfssSeed, Measure,
    StagedModel, evaluate_generalized, generalized_table, train_generalized,
};
use fss_core::train::log::RunLog;
use fss_core::train::observer::Silent;
use fss_core::train::progress::TerminalProgress;
use fss_core::train::report::{HtmlReport, Panel, PanelImage};
use fss_core::train::trainer::{Start, files};

/// Trains POP's two stages on a PASCAL-5i fold and measures base and novel classes.
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
    let shop = Workshop::open(options, "pop_pascal")?;
    let root =
        shop.data_root(|root, progress| generate(root, &objects(options.smoke), progress))?;
    let [mut base, mut novel] = recipes(options)?;
    for recipe in [&mut base, &mut novel] {
        recipe.data.fold = (*fold).into();
    }
    let data = GfssData::open(&root, &base.data)?;

    eprintln!("Stage 1, {} base classes:", data.count().base);
    let first = stage(&shop, "base", base, data.clone())?;
    let (_, weights) = train(&shop, options, &first)?;
    novel.init = GfssInit::Weights { path: weights };

    eprintln!("Stage 2, {} novel classes, {} images each:", data.count().novel, novel.data.shot);
    let second = stage(&shop, "novel", novel, data)?;
    let seed = second.recipe.samples.seeds[0];
    let untaught =
        Pop::start(&second.recipe, second.data.count(), seed, shop.device())?.inference();
    let before = measure(&shop, &second, &untaught)?;
    let (model, _) = train(&shop, options, &second)?;
    let after = measure(&shop, &second, &model)?;

    println!("{}", generalized_table(&after));
    let table = comparison(&before, &after);
    println!("{table}");
    let page = shop.out.join("report.html");
    report(&shop, &page, [&first, &second], [untaught, model], &after, table)?;
    println!("Report with pictures: {}", page.display());
    Ok(())
}

/// Large objects, which a small network can learn within minutes.
fn objects(smoke: bool) -> SyntheticConfig {
    let config = SyntheticConfig { train_images: 800, ..common::large_objects(false) };
    if smoke { SyntheticConfig { train_images: 120, val_images: 16, ..config } } else { config }
}

/// The recipes of both stages.
fn recipes(options: &Options) -> Result<[GfssRecipe; 2]> {
    let names = match options.weights {
        Some(_) => ["pop-pascal-base", "pop-pascal-novel"],
        None => ["pop-synthetic-base", "pop-synthetic-novel"],
    };
    let [mut base, mut novel] = [GfssRecipe::builtin(names[0])?, GfssRecipe::builtin(names[1])?];
    if let Some(weights) = &options.weights {
        base.init = GfssInit::Weights { path: weights.clone() };
        novel.data.shot = options.shot;
    }
    if options.smoke {
        base.samples.epochs = 1;
        novel.samples.epochs = 1;
        novel.data.shot = 1;
    }
    Ok([base, novel])
}

fn stage(shop: &Workshop<'_>, name: &str, recipe: GfssRecipe, data: GfssData) -> Result<GfssRun> {
    Ok(GfssRun {
        recipe,
        data,
        folder: shop.folder(name)?,
        device: shop.device().clone(),
        more_devices: Vec::new(),
        loader: Default::default(),
    })
}

/// Trains a stage, or goes on with it; the model kept, for inference, and its weights.
fn train(
    shop: &Workshop<'_>,
    options: &Options,
    run: &GfssRun,
) -> Result<(Pop, std::path::PathBuf)> {
    let begun = run.folder.join(files::RECIPE).exists();
    let start = if options.resume && begun { Start::Resume } else { Start::Fresh };
    match train_generalized::<Pop>(run, start, &mut TerminalProgress::new(), shop.stop())? {
        GfssOutcome::Finished { mut seeds, .. } => {
            let seed = seeds.swap_remove(0);
            Ok((seed.model.inference(), seed.weights))
        }
        GfssOutcome::Interrupted { iteration, .. } => {
            Err(format!("stopped after iteration {iteration}; --resume continues").into())
        }
    }
}

fn measure(shop: &Workshop<'_>, run: &GfssRun, model: &Pop) -> Result<GfssEvaluation> {
    let side = run.recipe.samples.side;
    let device = shop.device();
    let how = Measure::all(side, run.loader);
    let metric = evaluate_generalized(model, &run.data, how, device, &mut Silent, shop.stop())?;
    let scores = metric.scores();
    Ok(GfssEvaluation {
        model: format!("POP with {}, {} shots", run.recipe.backbone, run.recipe.data.shot),
        data: format!("{}, fold {}", run.data.val.dataset.name, run.recipe.data.fold),
        images: run.data.val.dataset.len(),
        shard: Shard::WHOLE,
        names: run.data.names(run.data.count().novel),
        seeds: vec![GfssSeed { seed: Some(run.recipe.samples.seeds[0]), metric, scores }],
    })
}

/// Base, novel and harmonic mean IoU before and after stage 2, in per cent.
fn comparison(before: &GfssEvaluation, after: &GfssEvaluation) -> String {
    let mut text = format!("{:16}{:>8}{:>8}{:>10}\n", "", "base", "novel", "harmonic");
    for (name, evaluation) in [("before stage 2", before), ("after stage 2", after)] {
        let scores = &evaluation.seeds[0].scores;
        let percent = |value: Option<f64>| 100.0 * value.unwrap_or(0.0);
        text += &format!(
            "{name:16}{:>8.2}{:>8.2}{:>10.2}\n",
            percent(scores.base),
            percent(scores.novel),
            percent(scores.harmonic)
        );
    }
    text
}

/// Writes the page with scores, the course of both stages, and pictures.
fn report(
    shop: &Workshop<'_>,
    page: &std::path::Path,
    [first, second]: [&GfssRun; 2],
    models: [Pop; 2],
    after: &GfssEvaluation,
    table: String,
) -> Result<()> {
    let log = RunLog::read(&first.folder.join(files::LOG))?;
    let picture = shop.out.join("panels.png");
    fss_core::data::io::write_png(&picture, &pictures(shop, second, models)?)?;
    HtmlReport::new(format!("POP on PASCAL-5i, fold {}", first.recipe.data.fold))
        .paragraph(
            "A model learnt base classes from full data (stage 1) and novel ones from a few images each \
             (stage 2); it labels all of them in one pass.",
        )
        .table("Base, novel and harmonic mean IoU, per cent", table)
        .table("Classes after stage 2", generalized_table(after))
        .log(&log)
        .panel(Panel {
            image: PanelImage::File("panels.png".into()),
            caption: "Image, truth, before and after stage 2".into(),
        })
        .settings(format!("{}\n{}", first.recipe.to_toml(), second.recipe.to_toml()))
        .save(page)?;
    Ok(())
}

/// The first validation images that show a novel class: image, truth, before and after stage 2.
fn pictures(shop: &Workshop<'_>, run: &GfssRun, models: [Pop; 2]) -> Result<image::RgbImage> {
    let (data, names) = (&run.data, run.data.names(run.data.count().novel));
    let side = run.recipe.samples.side;
    let segmenters = models.map(|model| {
        GeneralizedSegmenter::from_model(Box::new(model), names.clone(), side, shop.device())
    });
    let [before, after] = segmenters;
    let (before, after) = (before?, after?);
    let mut rows = Vec::new();
    for (position, listed) in data.val.listing.iter().enumerate() {
        if !data.classes.novel().iter().any(|class| listed.pixels.contains_key(class)) {
            continue;
        }
        let sample = data.val.dataset.load(position)?;
        let truth = data.classes.labels(&sample.mask, None, Shown::All, &sample.id)?;
        let draw = |labels| overlay(&sample.image, labels, &OverlayStyle::default());
        let found = [before.segment(&sample.image)?.labels, after.segment(&sample.image)?.labels];
        rows.push(vec![
            Tile::new(sample.image.clone(), sample.id.as_str()),
            Tile::new(draw(&truth)?, "truth"),
            Tile::new(draw(&found[0])?, "before"),
            Tile::new(draw(&found[1])?, "after"),
        ]);
        if rows.len() == 4 {
            break;
        }
    }
    let palette = voc_palette();
    let entries: Vec<_> =
        names.iter().enumerate().map(|(i, name)| (palette[i + 1], name.as_str())).collect();
    let mut parts = vec![grid(&rows)];
    parts.extend(entries.chunks(5).map(legend));
    Ok(stack(&parts))
}
