//! A training step of SSP: four episodes at 473x473, stem and layer1 frozen, norms frozen, refined, SGD.

mod inputs;

use std::hint::black_box;

use burn::tensor::Tensor;
use criterion::{Criterion, criterion_group, criterion_main};
use fss_core::backbone::{DeepStemResNetConfig, Stage};
use fss_core::heads::{EpisodeBatch, SspConfig};
use fss_core::train::optim::{NamedOptimizer, Rule};
use fss_core::train::trainer::training_step;
use fss_core::{Depth, Refine};
use inputs::{device, object_mask, tensor};

const IMAGE: usize = 473;
const BATCH: usize = 4;

fn ssp_step(c: &mut Criterion) {
    let device = device().autodiff();
    let images = |name: &str| tensor::<4>(name, [BATCH, 3, IMAGE, IMAGE], &device);
    let masks = || Tensor::cat(vec![object_mask([IMAGE; 2], 1.0 / 16.0, &device); BATCH], 0);
    let batch = EpisodeBatch {
        query: images("query"),
        query_mask: masks(),
        supports: vec![(images("support"), masks())],
        extra: None,
        cams: None,
    };
    let backbone = DeepStemResNetConfig::new(Depth::R50)
        .init(&device, 0)
        .freeze(&[Stage::Stem, Stage::Layer1]);
    let config = SspConfig::new(DeepStemResNetConfig::new(Depth::R50)).with_refine(Refine::On);
    let mut model = config.init_with(backbone);
    let mut optimizer = NamedOptimizer::new(Rule::sgd(0.9, 5e-4));
    let mut group = c.benchmark_group(format!("ssp resnet50 step {IMAGE}x{IMAGE}"));
    group.sample_size(10);
    group.bench_function(format!("batch {BATCH}"), |b| {
        b.iter(|| {
            // A rate that leaves the weights where they are, so that every step is like the first.
            let step = training_step(model.clone(), &mut optimizer, &batch, 1e-12, [1, 1]);
            let (stepped, report) = step.expect("a finite loss");
            model = stepped;
            black_box(report.loss)
        })
    });
    group.finish();
}

criterion_group!(benches, ssp_step);
criterion_main!(benches);
