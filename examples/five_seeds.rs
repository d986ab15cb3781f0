//! Time of the whole official evaluation: SSP on ResNet-50, refined, 5 seeds of 1000 episodes over 350 generated
//! images of VOC's size. One line of JSON.
//!
//! The weights are random, with norms calibrated to the images, so that features tell positions apart. They and
//! the first episodes are left in the folder, where `benches/peers/evaluation.py` finds them.
//!
//! ```sh
//! cargo run --release --example five_seeds -- --folder target/tmp/five_seeds
//! ```

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use fss_core::backbone::DeepStemResNetConfig;
use fss_core::backbone::weights::{KeyStyle, save_safetensors};
use fss_core::data::Benchmark;
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::SspConfig;
use fss_core::train::evaluate::{EvaluationPlan, Protocol, evaluate};
use fss_core::train::progress::TerminalProgress;
use fss_core::train::recipe::Recipe;
use fss_core::train::tensor::image_tensor;
use fss_core::train::{RunData, Stop};
use fss_core::{Depth, Refine, parse_device};
use serde_json::json;

/// Measures the evaluation.
#[derive(Parser)]
struct Args {
    /// Where images, weights and episodes are left
    #[arg(long, default_value = "target/tmp/five_seeds")]
    folder: PathBuf,
    /// Images to draw from
    #[arg(long, default_value_t = 350)]
    images: usize,
    /// Episodes of each of the five seeds
    #[arg(long, default_value_t = 1000)]
    episodes: usize,
    /// Where to compute
    #[arg(long, default_value = "cpu")]
    device: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { folder, images, episodes, device } = Args::parse();
    let device = parse_device(&device)?;
    let root = folder.join("data");
    let config = SyntheticConfig {
        train_images: 20,
        val_images: images,
        side: [340, 500],
        ..SyntheticConfig::default()
    };
    generate(&root, &config, |_| ControlFlow::Continue(()))?;
    let data = RunData::open(&root, &Recipe::builtin("ssp-synthetic")?.data)?;
    let plan = EvaluationPlan { episodes, ..EvaluationPlan::pascal(1) };

    let transform = Protocol::Official.transform(Some(Benchmark::Pascal));
    let image = transform.image(&data.test.dataset.load_image(0)?)?;
    let mut model = SspConfig::new(DeepStemResNetConfig::new(Depth::R50))
        .with_refine(Refine::On)
        .init(&device, 0);
    model.backbone = model.backbone.calibrate_norms(image_tensor(image.view(), &device));
    let weights = folder.join("weights.safetensors");
    save_safetensors(&model.backbone, &weights, KeyStyle::ImageNet, &Default::default())?;
    let path = |position: usize, mask: bool| {
        let dataset = &data.test.dataset;
        let path = if mask { dataset.mask_path(position) } else { dataset.image_path(position) };
        path.display().to_string()
    };
    let drawn = plan.draw(&data.test, plan.seeds[0])?;
    let listed: Vec<_> = drawn
        .iter()
        .take(50)
        .map(|episode| {
            let pair =
                |position| json!({ "image": path(position, false), "mask": path(position, true) });
            json!({
                "class": episode.class,
                "query": pair(episode.query),
                "support": pair(episode.supports[0]),
            })
        })
        .collect();
    fs::write(folder.join("episodes.json"), json!(listed).to_string())?;

    let model = model.fold();
    let begin = Instant::now();
    let mut progress = TerminalProgress::new();
    let result = evaluate(&model, &data.test, &plan, &device, &mut progress, &Stop::new())?;
    drop(progress);
    let seconds = begin.elapsed().as_secs_f64();
    let ious: Vec<_> = result.runs[0].drawn.iter().take(50).map(|episode| episode.iou).collect();
    fs::write(folder.join("ious.json"), json!(ious).to_string())?;
    println!(
        "{}",
        json!({
            "seconds": seconds,
            "episodes": plan.seeds.len() * episodes,
            "backbone_passes": result.features.backbone_passes,
        })
    );
    Ok(())
}
