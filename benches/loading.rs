//! What a run waits for before it computes: weights of a ResNet-50, and training crops of 473x473.
//!
//! Files are left in `target/tmp/loading`, where the peer `benches/peers/loading.py` reads the same ones.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fss_core::backbone::{
    DeepStemResNetConfig, KeyStyle, load_weights, save_burnpack, save_safetensors,
};
use fss_core::data::benchmark::{Benchmark, OpenOptions};
use fss_core::data::episode::CropFlip;
use fss_core::data::loader::{LoaderOptions, OrderedLoader};
use fss_core::data::synthetic::{SyntheticConfig, generate};
use fss_core::data::transform::TrainTransform;
use fss_core::data::{SegmentationDataset, Split};
use fss_core::{Depth, Device};
use fss_support::pth::write_pth;

const CROP: u32 = 473;
const IMAGES: usize = 64;

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("loading");
    fs::create_dir_all(&folder).expect("a folder for the files");
    folder
}

fn weights(c: &mut Criterion) {
    let (device, config) = (Device::flex(), DeepStemResNetConfig::new(Depth::R50));
    let model = config.init(&device, 0);
    let tensors = model.named_tensors().expect("weights");
    let entries: Vec<_> = tensors.into_iter().map(|t| (t.key, t.shape, t.values)).collect();
    let file = |extension: &str| folder().join(format!("resnet50.{extension}"));
    write_pth(&file("pth"), &entries);
    let nothing = BTreeMap::new();
    save_safetensors(&model, &file("safetensors"), KeyStyle::Auto, &nothing).expect("a file");
    save_burnpack(&model, &file("bpk"), KeyStyle::Auto, &nothing).expect("a file");

    let mut group = c.benchmark_group("load resnet50");
    group.sample_size(20);
    for extension in ["pth", "safetensors", "bpk"] {
        // As the peer, which fills a network that is there.
        group.bench_function(extension, |b| {
            b.iter(|| {
                let (loaded, _) = load_weights(model.clone(), &file(extension)).expect("weights");
                black_box(loaded)
            })
        });
    }
    group.finish();
}

/// Pictures of VOC's usual size.
fn pictures() -> SegmentationDataset {
    let config = SyntheticConfig {
        train_images: IMAGES,
        val_images: 1,
        side: [333, 500],
        jpeg_quality: 90,
        ..SyntheticConfig::default()
    };
    let root = folder().join("voc");
    generate(&root, &config, |_| ControlFlow::Continue(())).expect("pictures");
    Benchmark::Pascal.open(&root, Split::Train, &OpenOptions::default()).expect("the set")
}

/// Decoding, padding, cropping, mirroring and normalising an image and its mask, in two threads.
fn crops(c: &mut Criterion) {
    let dataset = Arc::new(pictures());
    let mut group = c.benchmark_group(format!("read {CROP}x{CROP}"));
    group.sample_size(10).throughput(Throughput::Elements(IMAGES as u64));
    group.bench_function("training crops", |b| {
        b.iter(|| {
            let (dataset, transform) = (Arc::clone(&dataset), TrainTransform::new(CROP));
            let options = LoaderOptions { threads: 2, prefetch: 8 };
            let read = move |position: usize| {
                let sample = dataset.load(position)?;
                let start = |side: u32| side.saturating_sub(CROP) / 2;
                let (x, y) = (start(sample.image.width()), start(sample.image.height()));
                let flip = position % 2 == 1;
                transform.apply(&sample.image, &sample.mask, CropFlip { x, y, flip })
            };
            let jobs = (0..IMAGES).map(Ok);
            for crop in OrderedLoader::new(jobs, options, read).expect("threads") {
                black_box(crop.expect("a crop"));
            }
        })
    });
    group.finish();
}

criterion_group!(benches, weights, crops);
criterion_main!(benches);
