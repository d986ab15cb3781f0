//! Every head trains and predicts on the test device: no call lacks a backward step there. Numbers are the golden
//! cases' to check.

mod small;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fss_backbone::{
    Depth, DilatedResNetConfig, ImagenetConfig, ImagenetNetwork, TapBackboneConfig, TapNetwork,
};
use fss_heads::denet::FullLabels;
use fss_heads::{
    AmpConfig, CanetConfig, DenetConfig, FewShotModel, GeneralizedModel, HsnetConfig, ImrConfig,
    Losses, MlcConfig, PgnetConfig, PopConfig, PspnetConfig, Shot, SspConfig, TrainableModel,
};
use small::{SIDE, batch, cam, deep_stem, device, images, labelled, mask, values};

/// The sum of squares `[1]` of each gradient.
struct Squares<'a>(&'a GradientsParams, Vec<Tensor<1>>);

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.1.extend(self.0.get::<D>(param.id).map(|gradient| gradient.square().sum()));
    }
}

/// At least `learning` parameters have a gradient, all of them numbers, and most of them not zero.
fn step<M: Module>(name: &str, model: &M, losses: Losses, learning: usize) {
    let gradients = GradientsParams::from_grads(losses.total.backward(), model);
    let mut squares = Squares(&gradients, Vec::new());
    model.visit(&mut squares);
    let squares = values(Tensor::cat(squares.1, 0));
    assert!(squares.len() >= learning, "{name}: {} parameters learn", squares.len());
    assert!(squares.iter().all(|square| square.is_finite()), "{name}: {squares:?}");
    let moved = squares.iter().filter(|square| **square > 0.0).count();
    assert!(2 * moved > squares.len(), "{name}: {moved} of {} gradients", squares.len());
}

fn predict<M: FewShotModel>(name: &str, model: M) {
    let features = |shift| {
        let features = model.features(images(shift).inner());
        if model.cam_grid().is_some() { features.with_cam(cam().inner()) } else { features }
    };
    let shot = Shot { features: features(5), mask: mask().inner() };
    let support = model.encode_support(&[shot]).expect("a support set");
    let logits = model.segment(&support, &features(0), [SIDE; 2]).expect("a query");
    assert_eq!(logits.dims(), [2, 2, SIDE, SIDE], "{name}");
    assert!(values(logits).iter().all(|logit| logit.is_finite()), "{name}");
}

#[test]
fn ssp_learns() {
    let model = SspConfig::new(deep_stem()).init(&device(), 1);
    step("ssp", &model, model.losses(&batch()).expect("losses"), 40);
    predict("ssp", model.valid().fold());
}

#[test]
fn mlc_learns() {
    let model = MlcConfig::new(deep_stem()).init(&device(), 1);
    step("mlc", &model, model.losses(&batch()).expect("losses"), 40);
    predict("mlc", model.valid().fold());
}

#[test]
fn hsnet_learns() {
    let network = TapBackboneConfig::new(TapNetwork::Vgg16).with_width(4);
    let model = HsnetConfig::new(network).init(&device(), 1);
    step("hsnet", &model, model.losses(&batch()).expect("losses"), 20);
    predict("hsnet", model.valid().fold());
}

#[test]
fn imr_learns() {
    let network = TapBackboneConfig::new(TapNetwork::Vgg16).with_width(4);
    let model = ImrConfig::new(network).with_grid(SIDE / 8).init(&device(), 1).expect("a model");
    step("imr", &model, model.losses(&batch()).expect("losses"), 20);
    predict("imr", model.valid().fold());
}

#[test]
fn pop_learns_in_both_stages() {
    let network = DilatedResNetConfig::new(Depth::R50).with_width(4);
    let model = PopConfig::new(network, 1).init(&device(), 1);
    step("pop", &model, model.base_losses(&labelled()).expect("losses"), 60);
    assert!(values(model.valid().logits(images(0).inner())).iter().all(|logit| logit.is_finite()));
    let model = PopConfig::new(network, 1).with_novel(1).init(&device(), 1);
    step("pop", &model, model.novel_losses(&labelled(), &labelled()).expect("losses"), 1);
}

#[test]
fn pspnet_learns() {
    let network = DilatedResNetConfig::new(Depth::R50).with_width(4);
    let model = PspnetConfig::new(network, 1).init(&device(), 1);
    step("pspnet", &model, model.base_losses(&labelled()).expect("losses"), 60);
}

fn resnet() -> ImagenetConfig {
    ImagenetConfig::new(ImagenetNetwork::Resnet50).with_width(4)
}

#[test]
fn denet_learns() {
    let model = DenetConfig::new(resnet(), 3).init(&device(), 1);
    let full = FullLabels { masks: mask(), classes: vec![1, 1] };
    step("denet", &model, model.losses(&batch(), &full, 1.0).expect("losses"), 10);
    predict("denet", model.valid().fold());
}

#[test]
fn canet_learns() {
    let model = CanetConfig::new(resnet()).init(&device(), 1);
    step("canet", &model, model.losses(&batch()).expect("losses"), 10);
    predict("canet", model.valid().fold());
}

#[test]
fn pgnet_learns() {
    let model = PgnetConfig::new(resnet()).init(&device(), 1);
    step("pgnet", &model, model.losses(&batch()).expect("losses"), 10);
    predict("pgnet", model.valid().fold());
}

#[test]
fn amp_learns() {
    let network = ImagenetConfig::new(ImagenetNetwork::Vgg16).with_width(4);
    let model = AmpConfig::new(network, 3).init(&device(), 1);
    step("amp", &model, model.losses(&labelled()).expect("losses"), 5);
    predict("amp", model.valid().fold());
}
