//! CANet and PGNet.

use burn::tensor::{Device, Tensor};
use fss_backbone::{
    ComputePrecision, ImagenetConfig, ImagenetFeatures, NormSource, TrainingPass, module_tensors,
};
use fss_heads::pgnet::{EqualWeights, GraphAttention, Layout};
use fss_heads::{
    Canet, CanetConfig, Dropout, Features, FewShotModel, Pgnet, PgnetConfig, Shot, TrainableModel,
    rival_ways,
};
use fss_support::golden::{Case, cases, report_optional};

use crate::device::test_device;
use crate::extending::{
    EVALUATION, TRAINING, batch, check_gradients, check_sgd, check_statistics, close, key_lists,
    masks, named_gradients, of_shot, shots,
};
use crate::support::{filled_module, tensor, values};

fn canet(case: &Case, device: &Device) -> Canet {
    let mut config = CanetConfig::new(backbone(case));
    if let Some(refinements) = case.settings["refine_time"].as_u64() {
        config = config.with_refinements(refinements as usize);
    }
    filled_module(config.init(device, 0), "", |_, values| values)
}

fn pgnet(case: &Case, equal_weights: EqualWeights, device: &Device) -> Pgnet {
    let config = PgnetConfig::new(backbone(case)).with_equal_weights(equal_weights);
    filled_module(config.init(device, 0), "", |_, values| values)
}

/// The case's backbone; head cases, which have none, get a ResNet-50's levels.
fn backbone(case: &Case) -> ImagenetConfig {
    let name = case.settings["backbone"].as_str().unwrap_or("resnet50");
    ImagenetConfig::new(name.parse().expect("a backbone's name"))
}

/// The levels of query or support, `<who>_layer2` and `<who>_layer3`.
fn levels(case: &Case, who: &str, device: &Device) -> ImagenetFeatures {
    let level2: Tensor<4> = tensor(case, &format!("{who}_layer2"), device);
    let level3 = tensor(case, &format!("{who}_layer3"), device);
    ImagenetFeatures { level1: level2.clone(), level2, level3 }
}

/// Query features and shots of a head case.
fn given(
    case: &Case,
    embed: impl Fn(ImagenetFeatures) -> Tensor<4>,
    device: &Device,
) -> (Tensor<4>, Vec<Shot>) {
    let count = case.usize_setting("shot");
    let supports = embed(levels(case, "s", device));
    let shots = (0..count).map(|k| Shot {
        features: Features::single(of_shot(&supports, k, count)),
        mask: masks(case, k, count, device),
    });
    (embed(levels(case, "q", device)), shots.collect())
}

#[test]
fn golden_canet_head() {
    let device = test_device();
    let cases = cases("denet", "can_head_");
    for case in &cases {
        let model = canet(case, &device);
        let (query, shots) = given(case, |levels| model.embed(levels), &device);
        close(case, "embedding_q", &values(query.clone()), EVALUATION);
        let support = model.encode_support(&shots).expect("a support set");
        let logits = model.compared(&query, &support.vectors, &mut Dropout::off());
        close(case, "logits", &values(logits), EVALUATION);
    }
    report_optional("denet/can_head_", cases.len());
}

#[test]
fn golden_pgnet_head() {
    let device = test_device();
    let cases = cases("denet", "pgn_head_");
    for case in &cases {
        let model = pgnet(case, EqualWeights::default(), &device);
        let (query, shots) = given(case, |levels| model.embed(levels), &device);
        let support = model.encode_support(&shots).expect("a support set");
        for (i, part) in model.gathered(&query, &support).into_iter().enumerate() {
            close(case, &format!("gau_{}", i + 1), &values(part), EVALUATION);
        }
        let logits = model.attended(&query, &support, &mut Dropout::off());
        close(case, "logits", &values(logits), EVALUATION);
    }
    report_optional("denet/pgn_head_", cases.len());
}

#[test]
fn golden_graph_attention() {
    let device = test_device();
    let cases = cases("denet", "gau_");
    for case in &cases {
        let prefix = case.str_setting("prefix");
        // Any model has the unit; only its weights are read.
        let narrow = ImagenetConfig::new("resnet50".parse().expect("a name")).with_width(4);
        let model = PgnetConfig::new(narrow).init(&device, 0);
        let model: Pgnet = filled_module(model, "", |_, values| values);
        let number: usize =
            prefix.trim_start_matches("gau_").trim_end_matches('.').parse().expect("a number");
        let unit: &GraphAttention = &model.units[number - 1];
        let count = case.usize_setting("shot");
        let [features, gathered] = ["Fs", "Gs"].map(|name| tensor::<4>(case, name, &device));
        let shots: Vec<_> = (0..count)
            .map(|k| (of_shot(&features, k, count), of_shot(&gathered, k, count)))
            .collect();
        let support = unit.support(&shots);
        let query: Tensor<4> = tensor(case, "Fq", &device);
        let [_, _, height, width] = query.dims();
        let own: Tensor<4> = tensor(case, "Gq", &device);
        let own = burn::tensor::module::adaptive_avg_pool2d(own, [height, width]);
        let found = unit.attend(&query, &support);
        let out = unit.joined(found, own.clone(), Layout::Scrambled);
        close(case, "out", &values(out), EVALUATION);
        let found = unit.equally(&query, &support, EqualWeights::Constant);
        let out = unit.joined(found, own, Layout::Scrambled);
        close(case, "out_equal_weight", &values(out), EVALUATION);
    }
    report_optional("denet/gau_", cases.len());
}

/// Logits at the features' size, with norms apart and merged.
fn check_model<M: FewShotModel>(
    case: &Case,
    models: [M; 2],
    logits: impl Fn(&M, &M::Support, &Tensor<4>) -> Tensor<4>,
    device: &Device,
) {
    for model in models {
        let support = model.encode_support(&shots(case, &model, device)).expect("a support set");
        let query = model.features(tensor(case, "Iq", device));
        close(case, "logits", &values(logits(&model, &support, &query.0[0])), EVALUATION);
    }
}

#[test]
fn golden_canet_model() {
    let device = test_device();
    let cases = cases("denet", "can_");
    for case in &cases {
        let model = canet(case, &device);
        let models = [model.clone(), model.fold()];
        let logits = |model: &Canet, support: &fss_heads::CanetSupport, query: &Tensor<4>| {
            model.compared(query, &support.vectors, &mut Dropout::off())
        };
        check_model(case, models, logits, &device);
    }
    report_optional("denet/can_", cases.len());
}

#[test]
fn golden_pgnet_model() {
    let device = test_device();
    let cases = cases("denet", "pgn_");
    for case in &cases {
        let model = pgnet(case, EqualWeights::default(), &device);
        let models = [model.clone(), model.fold()];
        let logits = |model: &Pgnet, support: &fss_heads::PgnetSupport, query: &Tensor<4>| {
            model.attended(query, support, &mut Dropout::off())
        };
        check_model(case, models, logits, &device);
    }
    report_optional("denet/pgn_", cases.len());
}

#[test]
fn golden_canet_training() {
    let device = test_device().autodiff();
    let cases = cases("denet", "train_can_");
    for case in &cases {
        let model = canet(case, &device);
        let batch = batch(case, &device);
        let mut pass = TrainingPass::new(NormSource::Batch, ComputePrecision::Full);
        let logits = model.training_logits(&batch, &mut pass, &mut Dropout::off()).expect("logits");
        close(case, "logits", &values(logits), TRAINING);
        let losses = model.clone().without_dropout().losses(&batch).expect("losses");
        close(case, "loss", &values(losses.total.clone()), EVALUATION);
        let gradients = named_gradients(&model, &losses.total.backward());
        check_gradients(case, "grad/", &gradients);
        check_sgd(case, &model, &gradients);
        check_statistics(case, &model.absorb(&losses.statistics));
    }
    report_optional("denet/train_can_", cases.len());
}

#[test]
fn golden_pgnet_training() {
    let device = test_device().autodiff();
    let cases = cases("denet", "train_pgn_");
    for case in &cases {
        let batch = batch(case, &device);
        for (equal_weights, prefix) in
            [(EqualWeights::Constant, "clean_grad/"), (EqualWeights::Published, "grad/")]
        {
            let model = pgnet(case, equal_weights, &device);
            let mut pass = TrainingPass::new(NormSource::Batch, ComputePrecision::Full);
            let logits =
                model.training_logits(&batch, &mut pass, &mut Dropout::off()).expect("logits");
            close(case, "logits", &values(logits), TRAINING);
            let losses = model.clone().without_dropout().losses(&batch).expect("losses");
            close(case, "loss", &values(losses.total.clone()), EVALUATION);
            let gradients = named_gradients(&model, &losses.total.backward());
            check_gradients(case, prefix, &gradients);
            if equal_weights == EqualWeights::Published {
                check_sgd(case, &model, &gradients);
            }
            check_statistics(case, &model.absorb(&losses.statistics));
        }
    }
    report_optional("denet/train_pgn_", cases.len());
}

#[test]
fn golden_rival_ways() {
    let device = test_device();
    let cases = cases("denet", "process_nway_");
    for case in &cases {
        let ways = case.usize_setting("way");
        let all: Tensor<4> = tensor(case, "concat_logits", &device);
        let per_way = (0..ways).map(|way| all.clone().narrow(1, 2 * way, 2)).collect();
        let pairs = rival_ways(per_way).expect("ways of one size");
        let found = Tensor::stack::<5>(pairs, 1);
        close(case, "out", &values(found), EVALUATION);
    }
    report_optional("denet/process_nway_", cases.len());
}

/// Our state dicts have the keys and shapes of the official lists.
#[test]
fn golden_sibling_keys() {
    let sorted = |mut list: Vec<(String, Vec<usize>)>| {
        list.sort();
        list
    };
    let mut count = 0;
    for method in ["can", "pgn"] {
        for (name, official) in key_lists(method) {
            let backbone = ImagenetConfig::new(name[0].parse().expect("a backbone's name"));
            let device = test_device();
            let ours = match method {
                "can" => module_tensors(&CanetConfig::new(backbone).init(&device, 0)),
                _ => module_tensors(&PgnetConfig::new(backbone).init(&device, 0)),
            };
            let ours = ours.expect("tensors").into_iter().map(|t| (t.key, t.shape)).collect();
            assert_eq!(sorted(ours), sorted(official), "{method} {name:?}");
            count += 1;
        }
    }
    report_optional("denet/keys_{can,pgn}_", count);
}
