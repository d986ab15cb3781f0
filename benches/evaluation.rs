//! The official evaluation, with the features of an image computed once and for every episode anew.
//!
//! ResNet-50 at its published width on a synthetic data set of 150 validation images; 2 seeds of 30
//! episodes. The saving grows with episodes and seeds: the paper's 5 x 1,000 show an image some 30
//! times.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{Criterion, criterion_group, criterion_main};
use fss_core::backbone::DeepStemResNetConfig;
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::heads::SspConfig;
use fss_core::train::evaluate::{EvaluationPlan, FeatureReuse, evaluate};
use fss_core::train::observer::Silent;
use fss_core::train::recipe::Recipe;
use fss_core::train::{RunData, Stop};
use fss_core::{Depth, Device, Refine};

fn evaluation(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("data");
    let config = SyntheticConfig::default();
    generate(&root, &config, |_| ControlFlow::Continue(())).expect("synthetic data");
    let recipe = Recipe::builtin("ssp-synthetic").expect("a built-in recipe");
    let data = RunData::open(&root, &recipe.data).expect("the synthetic data");

    let device = Device::flex();
    let model = SspConfig::new(DeepStemResNetConfig::new(Depth::R50))
        .with_refine(Refine::On)
        .init(&device, 0)
        .fold();
    let mut group = c.benchmark_group("evaluation resnet50, 2 seeds x 30 episodes");
    group.sample_size(10);
    for (name, reuse) in [("features once", FeatureReuse::default()), ("anew", FeatureReuse::Off)] {
        let plan =
            EvaluationPlan { seeds: vec![0, 1], episodes: 30, reuse, ..EvaluationPlan::pascal(1) };
        group.bench_function(name, |b| {
            b.iter(|| {
                let result =
                    evaluate(&model, &data.test, &plan, &device, &mut Silent, &Stop::new());
                black_box(result.expect("an evaluation"))
            })
        });
    }
    group.finish();
}

criterion_group!(benches, evaluation);
criterion_main!(benches);
