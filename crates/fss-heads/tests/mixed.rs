//! Mixed precision in training: every model rounds something, a little, and none of it stays for inference.

mod small;

use burn::module::Module;
use burn::tensor::FloatDType;
use fss_backbone::{
    ComputePrecision, ImagenetConfig, ImagenetNetwork, TapBackboneConfig, TapNetwork,
};
use fss_heads::denet::FullLabels;
use fss_heads::{
    AmpConfig, CanetConfig, DenetConfig, FewShotModel, HsnetConfig, ImrConfig, Losses, MlcConfig,
    PgnetConfig, SspConfig, TrainableModel,
};
use small::{SIDE, batch, deep_stem, device, images, labelled, mask, values};

const MIXED: ComputePrecision = ComputePrecision::Mixed(FloatDType::BF16);

/// `round` sets the precision, `fold` makes the model for inference.
fn check<M: FewShotModel + Module>(
    name: &str,
    model: M,
    round: impl Fn(M, ComputePrecision) -> M,
    fold: impl Fn(M) -> M,
    losses: impl Fn(&M) -> Losses,
) {
    let loss = |model: &M| f64::from(values(losses(model).total)[0]);
    let full = loss(&model);
    let mixed = round(model.clone(), MIXED);
    let error = (loss(&mixed) / full - 1.0).abs();
    assert!(error > 0.0 && error < 0.05, "{name}: the loss changes by {error:e}");
    assert_eq!(loss(&round(mixed.clone(), ComputePrecision::Full)), full, "{name}");
    let features = |model: M| -> Vec<Vec<f32>> {
        let features = fold(model.valid()).features(images(3).inner());
        features.0.into_iter().map(values).collect()
    };
    assert!(features(mixed) == features(model), "{name}: inference was rounded");
}

#[test]
fn ssp_and_mlc() {
    check(
        "ssp",
        SspConfig::new(deep_stem()).init(&device(), 1),
        |model, precision| model.with_precision(precision),
        |model| model.fold(),
        |model| model.losses(&batch()).expect("losses"),
    );
    check(
        "mlc",
        MlcConfig::new(deep_stem()).init(&device(), 1),
        |model, precision| model.with_precision(precision),
        |model| model.fold(),
        |model| model.losses(&batch()).expect("losses"),
    );
}

#[test]
fn hsnet_and_imr() {
    for network in [TapNetwork::Resnet50, TapNetwork::Vgg16] {
        let network = TapBackboneConfig::new(network).with_width(4);
        check(
            "hsnet",
            HsnetConfig::new(network).init(&device(), 1),
            |model, precision| model.with_precision(precision),
            |model| model.fold(),
            |model| model.losses(&batch()).expect("losses"),
        );
        check(
            "imr",
            ImrConfig::new(network).with_grid(SIDE / 8).init(&device(), 1).expect("a model"),
            |model, precision| model.with_precision(precision),
            |model| model.fold(),
            |model| model.losses(&batch()).expect("losses"),
        );
    }
}

#[test]
fn denet_and_its_siblings() {
    for network in [ImagenetNetwork::Resnet50, ImagenetNetwork::Densenet121] {
        let network = ImagenetConfig::new(network).with_width(4);
        let full = FullLabels { masks: mask(), classes: vec![1, 1] };
        check(
            "denet",
            DenetConfig::new(network, 3).init(&device(), 1).without_dropout(),
            |model, precision| model.with_precision(precision),
            |model| model.fold(),
            |model| model.losses(&batch(), &full, 1.0).expect("losses"),
        );
        check(
            "canet",
            CanetConfig::new(network).init(&device(), 1).without_dropout(),
            |model, precision| model.with_precision(precision),
            |model| model.fold(),
            |model| model.losses(&batch()).expect("losses"),
        );
        check(
            "pgnet",
            PgnetConfig::new(network).init(&device(), 1).without_dropout(),
            |model, precision| model.with_precision(precision),
            |model| model.fold(),
            |model| model.losses(&batch()).expect("losses"),
        );
    }
}

#[test]
fn amp() {
    for network in [ImagenetNetwork::Vgg16, ImagenetNetwork::Vgg16Bn] {
        let network = ImagenetConfig::new(network).with_width(4);
        check(
            "amp",
            AmpConfig::new(network, 3).init(&device(), 1),
            |model, precision| model.with_precision(precision),
            |model| model.fold(),
            |model| model.losses(&labelled()).expect("losses"),
        );
    }
}
