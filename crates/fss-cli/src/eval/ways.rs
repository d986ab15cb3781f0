//! The test of DENet's code: episodes of one class or several.

use std::collections::BTreeMap;
use std::sync::Arc;

use fss_core::data::benchmark::BenchmarkRoot;
use fss_core::data::index::IndexOptions;
use fss_core::data::io::write_atomic;
use fss_core::data::ways::{Purpose, SEED, WayImages};
use fss_core::train::Stop;
use fss_core::train::evaluate::Protocol;
use fss_core::train::observer::Silent;
use fss_core::train::progress::TerminalProgress;
use fss_core::train::ways::{
    PerWay, TestData, WayPanels, WayTester, WaysObserver, WaysPlan, WaysProtocol, evaluate_ways_on,
    ways_json, ways_table,
};
use fss_core::{Device, ModelOptions};

use super::{EvalArgs, load_on};
use crate::args::{Global, Verbosity};
use crate::episodes;
use crate::failure::Failure;
use crate::output;
use crate::progress::Screen;

/// Evaluates and reports.
pub fn run(
    args: &EvalArgs,
    options: &ModelOptions,
    metadata: &BTreeMap<String, String>,
    protocol: WaysProtocol,
    global: &Global,
    screen: &Screen,
    stop: &Stop,
) -> Result<(), Failure> {
    let benchmark = args.dataset.dataset;
    let tree = args.dataset.detect()?;
    // The folds of both protocols are the same ones.
    let fold = args.folds.tested(&tree, Protocol::hsnet())?;
    let devices = global.devices()?;
    let trained = args.folds.trained(options, metadata, benchmark, &fold)?;
    let seeds = match &args.episodes.seeds {
        None => vec![SEED],
        Some(seeds) => {
            let narrow = seeds.iter().map(|&seed| u32::try_from(seed));
            narrow.collect::<Result<Vec<_>, _>>().map_err(|_| {
                Failure::request("a seed of DENet's protocol has 32 bits", "give one below 2^32")
            })?
        }
    };
    let plan = WaysPlan {
        seeds,
        model: Some(options.to_string()),
        trained,
        seen: args.folds.seen(),
        reuse: args.features.reuse(options),
        loader: episodes::reading(),
        shard: args.shard(),
        ..WaysPlan::new(protocol)
    };
    plan.protocol.check()?;
    let images = Arc::new(open(args, &tree, screen)?);
    let data = TestData { images, fold, benchmark: Some(benchmark) };
    let test = Test { args, data, plan, devices, global, stop };
    let weights = &args.model.weights;
    if let ModelOptions::Denet(_) | ModelOptions::Amp(_) = options {
        args.model.refuse_half("denet and amp under the denet protocol")?;
    }
    match options {
        ModelOptions::Denet(config) => {
            config.validate().map_err(fss_core::Error::from)?;
            test.measure(|device| {
                let model = config.init(device, 0).load(weights);
                Ok(model.map_err(fss_core::Error::from)?.0.fold())
            })
        }
        ModelOptions::Amp(config) => {
            config.validate().map_err(fss_core::Error::from)?;
            test.measure(|device| {
                let model = config.init(device, 0).load(weights);
                Ok(model.map_err(fss_core::Error::from)?.0.fold())
            })
        }
        _ => test.measure(|device| Ok(PerWay(args.model.load(options, device)?))),
    }
}

/// The images of the test.
fn open(args: &EvalArgs, tree: &BenchmarkRoot, screen: &Screen) -> Result<WayImages, Failure> {
    let open = |options: &IndexOptions<'_>| match args.episodes.split {
        None => WayImages::open(tree, Purpose::Test, options),
        Some(split) => tree.dataset(split).and_then(|dataset| WayImages::of(dataset, options)),
    };
    Ok(episodes::counted(screen, open)?)
}

/// A test about to be made.
struct Test<'a> {
    args: &'a EvalArgs,
    data: TestData,
    plan: WaysPlan,
    devices: Vec<Device>,
    global: &'a Global,
    stop: &'a Stop,
}

impl Test<'_> {
    fn measure<T: WayTester + Send>(
        &self,
        load: impl Fn(&Device) -> Result<T, Failure>,
    ) -> Result<(), Failure> {
        let models = load_on(&self.devices, load)?;
        let mut observer: Box<dyn WaysObserver> = match self.global.verbosity() {
            Verbosity::Quiet => Box::new(Silent),
            _ => Box::new(TerminalProgress::new()),
        };
        let each = self.args.save_panels.unwrap_or(0);
        let mut panels = WayPanels::new(each.into(), observer.as_mut());
        let evaluation = evaluate_ways_on(models, &self.data, &self.plan, &mut panels, self.stop)?;
        if each > 0 {
            let folder = &self.args.panels;
            let files = panels.save(&self.data, &self.plan.protocol, folder)?;
            tracing::info!("{} pictures in {}", files.len(), folder.display());
        }
        // The bars go with it.
        drop(observer);
        if let Some(json) = &self.args.json {
            write_atomic(json, ways_json(&evaluation).as_bytes())?;
        }
        output::print(&ways_table(&evaluation))
    }
}
