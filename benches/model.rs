//! Backbones alone and whole episodes: SSP and MLC at 473x473, HSNet and IMR at 400x400, DENet at 321x321,
//! CLIP's maps at 224x224.

mod inputs;

use std::hint::black_box;

use burn::tensor::{Int, Tensor};
use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use fss_core::backbone::clip::{CamPair, CamTarget, ClipConfig};
use fss_core::backbone::{
    DeepStemResNetConfig, ImagenetConfig, ImagenetNetwork, TapBackboneConfig, TapNetwork,
};
use fss_core::heads::{
    DenetConfig, Features, FewShotModel, HsnetConfig, ImrConfig, MlcConfig, Shot, Ssp, SspConfig,
    SspSupport,
};
use fss_core::{Depth, Device, Refine};
use inputs::{device, done, object_mask, tensor};

const IMAGE: usize = 473;
/// The image side of HSNet and IMR.
const SMALL: usize = 400;

fn ssp(refine: Refine, device: &Device) -> Ssp {
    SspConfig::new(DeepStemResNetConfig::new(Depth::R50)).with_refine(refine).init(device, 0).fold()
}

fn backbone(c: &mut Criterion) {
    let device = device();
    let image = tensor::<4>("image", [1, 3, IMAGE, IMAGE], &device);
    let folded = ssp(Refine::Off, &device);
    let plain = SspConfig::new(DeepStemResNetConfig::new(Depth::R50)).init(&device, 0);
    let mut group = c.benchmark_group("backbone resnet50 473x473");
    group.sample_size(10);
    for (name, model) in [("folded", &folded), ("unfolded", &plain)] {
        group.bench_function(name, |b| b.iter(|| done(model.features(image.clone()).0[0].clone())));
    }
    group.finish();
}

/// Support images and a query of some side, with an object that covers a share of each.
fn episode<M: FewShotModel>(b: &mut Bencher<'_>, model: &M, side: usize, shots: usize, share: f32) {
    let device = device();
    let query = tensor::<4>("query", [1, 3, side, side], &device);
    let supports: Vec<_> = (0..shots)
        .map(|k| {
            let image = tensor::<4>(&format!("support {k}"), [1, 3, side, side], &device);
            (image, object_mask([side; 2], share, &device))
        })
        .collect();
    b.iter(|| {
        let support = model.encode_support_images(&supports).expect("a support set");
        let logits = model.segment_images(&support, query.clone()).expect("a query");
        black_box(logits.argmax(1).into_data())
    })
}

fn ssp_episode(c: &mut Criterion) {
    let mut group = c.benchmark_group("ssp resnet50 episode 473x473");
    group.sample_size(10);
    let settings = [1, 5].into_iter().flat_map(|n| [(n, Refine::Off), (n, Refine::On)]);
    for (shots, refine) in settings {
        let model = ssp(refine, &device());
        group.bench_function(format!("{shots}-shot refine {refine:?}"), |b| {
            episode(b, &model, IMAGE, shots, 1.0 / 16.0)
        });
    }
    group.finish();
}

fn mlc_episode(c: &mut Criterion) {
    let network = DeepStemResNetConfig::new(Depth::R50);
    let model = MlcConfig::new(network).init(&device(), 0).fold();
    let mut group = c.benchmark_group("mlc resnet50 episode 473x473");
    group.sample_size(10);
    for shots in [1, 5] {
        group.bench_function(format!("{shots}-shot"), |b| {
            episode(b, &model, IMAGE, shots, 1.0 / 16.0)
        });
    }
    group.finish();
}

/// A query among several classes, whose support sets are encoded already.
fn ways<M: FewShotModel>(c: &mut Criterion, name: &str, model: &M, side: usize) {
    let device = device();
    let query = tensor::<4>("query", [1, 3, side, side], &device);
    let supports: Vec<M::Support> = (0..5)
        .map(|way| {
            let image = tensor::<4>(&format!("way {way}"), [1, 3, side, side], &device);
            let mask = object_mask([side; 2], 1.0 / 16.0, &device);
            model.encode_support_images(&[(image, mask)]).expect("a support set")
        })
        .collect();
    let mut group = c.benchmark_group(format!("{name} resnet50 query {side}x{side}"));
    group.sample_size(10);
    for count in [1, 5] {
        group.bench_function(format!("ways {count}"), |b| {
            b.iter(|| {
                let features = model.features(query.clone());
                let logits = model.segment_ways(&supports[..count], &features, [side; 2]);
                black_box(logits.expect("a query").argmax(1).into_data())
            })
        });
    }
    group.finish();
}

/// SSP's query among several classes, in a scene as trained features show it: five objects side by side,
/// each in a direction of its own, so that four fifths of the picture are background to each class. (Random
/// weights take nearly nothing for sure, which leaves the self-support step without work.) The backbone runs on
/// an image all the same.
fn ssp_ways(c: &mut Criterion) {
    let device = device();
    let query = tensor::<4>("query", [1, 3, IMAGE, IMAGE], &device);
    let [side, channels, objects] = [60, 1024, 5];
    let directions = tensor::<2>("directions", [objects, channels], &device);
    let columns = Tensor::<1, Int>::arange(0..side as i64, &device).div_scalar(12);
    let scene = directions.clone().transpose().select(1, columns).reshape([1, channels, 1, side]);
    let noise = tensor::<4>("noise", [1, channels, side, side], &device) * 0.5;
    let scene = Features::single(scene.expand([1, channels, side, side]) + noise);
    let supports: Vec<SspSupport> = (0..objects)
        .map(|way| {
            let foreground = directions.clone().narrow(0, way, 1);
            let background = directions.clone().sum_dim(0) - foreground.clone();
            SspSupport { foreground, background: background / (objects - 1) as f64 }
        })
        .collect();
    for (name, refine) in [("ssp", Refine::Off), ("ssp refined", Refine::On)] {
        let model = ssp(refine, &device);
        let mut group = c.benchmark_group(format!("{name} resnet50 query {IMAGE}x{IMAGE}"));
        group.sample_size(10);
        for count in [1, 5] {
            group.bench_function(format!("ways {count}"), |b| {
                b.iter(|| {
                    done(model.features(query.clone()).0[0].clone());
                    let logits = model.segment_ways(&supports[..count], &scene, [IMAGE; 2]);
                    black_box(logits.expect("a query").argmax(1).into_data())
                })
            });
        }
        group.finish();
    }
}

fn several_ways(c: &mut Criterion) {
    let device = device();
    let deep = DeepStemResNetConfig::new(Depth::R50);
    ways(c, "mlc", &MlcConfig::new(deep).init(&device, 0).fold(), IMAGE);
    let taps = TapBackboneConfig::new(TapNetwork::Resnet50);
    ways(c, "hsnet", &HsnetConfig::new(taps).init(&device, 0).fold(), SMALL);
}

fn taps(c: &mut Criterion) {
    let device = device();
    let image = tensor::<4>("image", [1, 3, SMALL, SMALL], &device);
    let mut group = c.benchmark_group("taps 400x400");
    group.sample_size(10);
    for network in TapNetwork::ALL {
        let backbone = TapBackboneConfig::new(network).init(&device, 0).fold();
        group.bench_function(network.name(), |b| {
            b.iter(|| {
                let taps = backbone.forward(image.clone());
                taps.into_iter().next_back().into_iter().for_each(done)
            })
        });
    }
    group.finish();
}

fn hsnet_episode(c: &mut Criterion) {
    let backbone = TapBackboneConfig::new(TapNetwork::Resnet50);
    let model = HsnetConfig::new(backbone).init(&device(), 0).fold();
    let mut group = c.benchmark_group("hsnet resnet50 episode 400x400");
    group.sample_size(10);
    // Masked-out support positions cost us nothing, so the object's size counts.
    for (name, shots, share) in
        [("1-shot", 1, 0.25), ("1-shot whole support", 1, 1.0), ("5-shot", 5, 0.25)]
    {
        group.bench_function(name, |b| episode(b, &model, SMALL, shots, share));
    }
    group.finish();
}

fn imr_episode(c: &mut Criterion) {
    let device = device();
    let backbone = TapBackboneConfig::new(TapNetwork::Resnet50);
    let config = ImrConfig::new(backbone);
    let model = config.init(&device, 0).expect("published settings").fold();
    let image = |name: &str| tensor::<4>(name, [1, 3, SMALL, SMALL], &device);
    let (query, support) = (image("query"), image("support"));
    let mask = object_mask([SMALL; 2], 0.25, &device);
    let cams =
        [tensor("cam", [1, 1, config.grid, config.grid], &device).abs(), model.cam_of_mask(&mask)];
    let mut group = c.benchmark_group("imr resnet50 episode 400x400");
    group.sample_size(10);
    group.bench_function("1-shot 2 stages", |b| {
        b.iter(|| {
            let [query_cam, support_cam] = cams.clone();
            let features = model.features(support.clone()).with_cam(support_cam);
            let shot = Shot { features, mask: mask.clone() };
            let support = model.encode_support(&[shot]).expect("a support set");
            let features = model.features(query.clone()).with_cam(query_cam);
            let logits = model.segment(&support, &features, [SMALL; 2]).expect("a query");
            black_box(logits.argmax(1).into_data())
        })
    });
    group.finish();
}

fn denet_episode(c: &mut Criterion) {
    for network in [ImagenetNetwork::Resnet50, ImagenetNetwork::Densenet121] {
        let config = DenetConfig::new(ImagenetConfig::new(network), 21);
        let model = config.init(&device(), 0).fold();
        let mut group = c.benchmark_group(format!("denet {network} episode 321x321"));
        group.sample_size(10);
        for shots in [1, 5] {
            group.bench_function(format!("{shots}-shot"), |b| {
                episode(b, &model, config.side, shots, 1.0 / 16.0)
            });
        }
        group.finish();
    }
}

/// A coarse map of one of 20 names in a 224x224 image, whose text features are known.
fn clip(c: &mut Criterion) {
    let device = device();
    let clip = ClipConfig::rn50().init(&device, 0).fold();
    let image = tensor::<4>("image", [1, 3, 224, 224], &device);
    let text = tensor::<2>("text", [20, clip.config().embedding], &device);
    let mut group = c.benchmark_group("clip rn50 224x224");
    group.sample_size(20);
    group.bench_function("image", |b| {
        b.iter(|| done(clip.encode_image(image.clone()).expect("an image")))
    });
    group.bench_function("grad-cam", |b| {
        b.iter(|| {
            let (pairs, target) = ([CamPair { image: 0, class: 3 }], CamTarget::Probability);
            let found = clip.grad_cam(image.clone(), text.clone(), &pairs, target);
            black_box(found.expect("an image").raw.into_data())
        })
    });
    group.finish();
}

criterion_group!(
    benches,
    backbone,
    ssp_episode,
    mlc_episode,
    taps,
    hsnet_episode,
    imr_episode,
    denet_episode,
    ssp_ways,
    several_ways,
    clip
);
criterion_main!(benches);
