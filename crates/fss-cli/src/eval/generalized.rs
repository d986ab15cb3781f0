//! The evaluation of generalized segmentation: base, novel and total mean IoU.

use std::path::PathBuf;

use fss_core::GeneralizedOptions;
use fss_core::data::Benchmark;
use fss_core::data::folds::FoldScheme;
use fss_core::data::gfss::NovelOrder;
use fss_core::data::io::write_atomic;
use fss_core::generalized::{GeneralizedFile, load_generalized};
use fss_core::train::generalized::{
    GfssData, GfssDataSettings, GfssEvaluation, GfssObserver, GfssPart, GfssRecipe, GfssSeed,
    Measure, evaluate_generalized_on, generalized_json, generalized_table,
};
use fss_core::train::observer::Silent;
use fss_core::train::progress::TerminalProgress;

use super::{EvalArgs, load_on};
use crate::args::{Global, Verbosity};
use crate::episodes;
use crate::failure::Failure;
use crate::progress::Screen;
use crate::{interrupt, output};

/// Evaluates the weights, and those of further seeds, and reports.
pub fn run(
    args: &EvalArgs,
    options: &GeneralizedOptions,
    global: &Global,
    screen: &Screen,
) -> Result<(), Failure> {
    args.model.refuse_half("pop and pspnet")?;
    let stop = interrupt::install("ending after the current image")?;
    let devices = global.devices()?;
    let weights: Vec<&PathBuf> =
        std::iter::once(&args.model.weights).chain(&args.generalized.more_weights).collect();
    let first = GeneralizedFile::inspect(weights[0], options)?;
    let settings = data_settings(args, &first)?;
    let data = GfssData::open_with(
        &args.dataset.data_root,
        &settings,
        |dataset| -> Result<GfssPart, Failure> {
            Ok(episodes::counted(screen, |options| GfssPart::new(dataset, options))?)
        },
    )?;
    check_classes(&first, &data)?;
    let mut seeds = Vec::new();
    let mut novel = 0;
    for path in weights {
        let file = GeneralizedFile::inspect(path, options)?;
        let models = load_on(&devices, |device| Ok(load_generalized(&file, path, device)?))?;
        novel = file.classes.novel;
        let mut observer: Box<dyn GfssObserver> = match global.verbosity() {
            Verbosity::Quiet => Box::new(Silent),
            _ => Box::new(TerminalProgress::new()),
        };
        let (loader, shard) = (episodes::reading(), args.shard());
        let how = Measure { side: file.side, loader, shard };
        let metric = evaluate_generalized_on(models, &data, how, observer.as_mut(), &stop);
        drop(observer);
        let metric = metric?;
        let seed = file.metadata.get("fss.seed").and_then(|text| text.parse().ok());
        let scores = metric.scores();
        seeds.push(GfssSeed { seed, metric, scores });
    }
    let evaluation = GfssEvaluation {
        model: format!("{} with {}", first.method.name(), first.network),
        data: format!("{}, fold {}", data.val.dataset.name, settings.fold),
        images: data.val.dataset.len(),
        shard: args.shard(),
        names: data.names(novel),
        seeds,
    };
    if let Some(json) = &args.json {
        write_atomic(json, generalized_json(&evaluation).as_bytes())?;
    }
    output::print(&generalized_table(&evaluation))
}

/// The data that were asked for: what is not said is as the weights say, else as published.
fn data_settings(args: &EvalArgs, file: &GeneralizedFile) -> Result<GfssDataSettings, Failure> {
    let recipe =
        file.metadata.get("fss.recipe").map(|text| GfssRecipe::from_toml(text, "of the weights"));
    let stored = recipe.and_then(Result::ok).map(|recipe| recipe.data);
    let benchmark = args.dataset.dataset;
    let usual = GfssRecipe::builtin("pop-pascal-novel")?.data;
    let settings = stored.filter(|stored| stored.dataset == benchmark).unwrap_or(usual);
    Ok(GfssDataSettings {
        dataset: benchmark,
        folds: match benchmark {
            Benchmark::Coco => FoldScheme::Interleaved,
            Benchmark::Own => FoldScheme::Listed,
            _ => FoldScheme::Contiguous,
        },
        fold: args.folds.number().unwrap_or(settings.fold),
        val_split: args.episodes.split.unwrap_or(benchmark.evaluation_split()),
        // Only the images to measure on are of interest.
        train_split: args.episodes.split.unwrap_or(benchmark.evaluation_split()),
        novel_order: match args.generalized.python36_order {
            true => NovelOrder::Python36,
            false => settings.novel_order,
        },
        own: args.dataset.own.options(),
        ..settings
    })
}

/// Refuses weights whose classes are known to be others.
fn check_classes(file: &GeneralizedFile, data: &GfssData) -> Result<(), Failure> {
    let (known, stored) = (data.count(), file.classes);
    if stored.base != known.base || (stored.novel > 0 && stored.novel != known.novel) {
        return Err(Failure::request(
            format!("the weights have {stored}, this fold has {known}"),
            "give the data set and fold that they were trained for",
        ));
    }
    let ids = file.metadata.get("fss.class_ids");
    let ids: Option<Vec<u16>> = ids.and_then(|text| serde_json::from_str(text).ok());
    let here = [data.classes.base(), &data.classes.novel()[..stored.novel]].concat();
    if ids.is_some_and(|ids| ids != here) {
        return Err(Failure::request(
            "the weights were trained for other classes than those of this fold",
            "give the fold of their training with --fold",
        ));
    }
    Ok(())
}
