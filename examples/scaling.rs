//! Time, and on Linux the peak memory, of one piece of work with SSP on ResNet-50, to see how both grow: an episode by
//! the size of its images, its shots or its ways, or an evaluation by its episodes. One line of JSON.
//!
//! ```sh
//! cargo run --release --example scaling -- --size 641
//! cargo run --release --example scaling -- --shots 5 --ways 2
//! cargo run --release --example scaling -- --episodes 200
//! ```

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::tensor::{Distribution, Int, Tensor};
use clap::Parser;
use fss_core::backbone::DeepStemResNetConfig;
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::{FewShotModel, Shot, Ssp, SspConfig};
use fss_core::train::evaluate::{EvaluationPlan, evaluate};
use fss_core::train::observer::Silent;
use fss_core::train::recipe::Recipe;
use fss_core::train::{RunData, Stop};
use fss_core::{Depth, Device, Refine, parse_device};
use fss_support::peak_mib;

/// Measures one point.
#[derive(Parser)]
struct Args {
    /// Side of the images, in pixels
    #[arg(long, default_value_t = 473)]
    size: usize,
    /// Supports of a class
    #[arg(long, default_value_t = 1)]
    shots: usize,
    /// Classes of the episode
    #[arg(long, default_value_t = 1)]
    ways: usize,
    /// Measure an evaluation of so many episodes over 60 images of 180 to 220 pixels instead
    #[arg(long, conflicts_with_all = ["size", "shots", "ways"])]
    episodes: Option<usize>,
    /// Measure so often; the median counts
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    device: String,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let device = parse_device(&args.device)?;
    let model = SspConfig::new(DeepStemResNetConfig::new(Depth::R50))
        .with_refine(Refine::On)
        .init(&device, 0)
        .fold();
    let times = match args.episodes {
        Some(episodes) => evaluation(&model, episodes, args.repeat, &device)?,
        None => episode(&model, &args, &device)?,
    };
    let seconds = median(times).as_secs_f64();
    let peak = peak_mib().map_or("null".into(), |peak| format!("{peak:.0}"));
    println!("{{\"seconds\": {seconds:.4}, \"peak_mib\": {peak}}}");
    Ok(())
}

/// An episode whose classes lie side by side, from images to labels; once more, to warm up.
fn episode(model: &Ssp, args: &Args, device: &Device) -> Result<Vec<Duration>, Failure> {
    let Args { size, shots, ways, .. } = *args;
    let image = || Tensor::<4>::random([1, 3, size, size], Distribution::Default, device);
    let column = Tensor::<1, Int>::arange(0..size as i64, device).reshape([1, 1, size]);
    let wide = size as i64 / (ways as i64 + 1);
    let mut times = Vec::new();
    for _ in 0..=args.repeat {
        let begin = Instant::now();
        let supports = (0..ways as i64).map(|way| {
            let mask = column.clone().div_scalar(wide.max(1)).equal_elem(way).int();
            let shot = |_| Shot {
                features: model.features(image()),
                mask: mask.clone().expand([1, size, size]),
            };
            model.encode_support(&(0..shots).map(shot).collect::<Vec<_>>())
        });
        let supports = supports.collect::<Result<Vec<_>, _>>()?;
        let query = model.features(image());
        let logits = match supports.as_slice() {
            [support] => model.segment(support, &query, [size; 2])?,
            several => model.segment_ways(several, &query, [size; 2])?,
        };
        black_box(logits.argmax(1).into_data());
        times.push(begin.elapsed());
    }
    Ok(times.split_off(1))
}

/// The official evaluation on generated data, the features of an image computed once.
fn evaluation(
    model: &Ssp,
    episodes: usize,
    repeat: usize,
    device: &Device,
) -> Result<Vec<Duration>, Failure> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("data");
    let config = SyntheticConfig {
        train_images: 20,
        val_images: 60,
        side: [180, 220],
        ..Default::default()
    };
    generate(&root, &config, |_| ControlFlow::Continue(()))?;
    let data = RunData::open(&root, &Recipe::builtin("ssp-synthetic")?.data)?;
    let plan = EvaluationPlan { seeds: vec![0], episodes, ..EvaluationPlan::pascal(1) };
    (0..repeat)
        .map(|_| {
            let begin = Instant::now();
            black_box(evaluate(model, &data.test, &plan, device, &mut Silent, &Stop::new())?);
            Ok(begin.elapsed())
        })
        .collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
