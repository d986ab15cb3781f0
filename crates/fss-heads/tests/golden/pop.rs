//! POP and its baseline.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fss_backbone::{
    ComputePrecision, DilatedResNetConfig, NamedTensor, NormSource, OfficialKeys, OutputStride,
    TrainingPass, module_shapes, module_tensors,
};
use fss_heads::generalized::{orthogonality_loss, segmentation_loss};
use fss_heads::{
    ClassCount, GeneralizedModel, LabelledBatch, Pop, PopConfig, PopHead, PspModule, Pspnet,
    PspnetConfig,
};
use fss_support::fill;
use fss_support::golden::{Case, assert_close, assert_close_rel_max, cases, report_optional};

use crate::device::test_device;
use crate::support::{filled_module, labels, tensor, values};

/// The case's values where it holds a key, else the fill rule's; the novel classifier is a copy of the
/// other where the case says so.
fn filled<M: OfficialKeys>(case: &Case, module: M) -> M {
    let copied = case.settings["init_cls_n"].as_bool() == Some(true);
    filled_module(module, "", |key, values| change(case, key, values, copied))
}

fn change(case: &Case, key: &str, values: Vec<f32>, copied: bool) -> Vec<f32> {
    if case.has(key) {
        return case.f32(key).1;
    }
    match key.strip_prefix("classifier_n.") {
        Some(rest) if copied => fill(&format!("classifier.{rest}"), &shape_of(rest, values.len())),
        _ => values,
    }
}

/// The shape of a classifier's kernel from its layer and number of values.
fn shape_of(layer: &str, count: usize) -> Vec<usize> {
    let side = if layer.starts_with('4') { count } else { count.isqrt() };
    vec![count / side, side, 1, 1]
}

fn head(case: &Case, novel: bool, device: &Device) -> PopHead {
    let channels = case.settings["d_model"].as_u64().unwrap_or(512) as usize;
    let head = PopHead::new(channels, case.usize_setting("n_base"), 0, device);
    let head = if novel { head.extended(case.usize_setting("n_novel"), 0) } else { head };
    filled(case, head)
}

fn network(case: &Case) -> DilatedResNetConfig {
    let depth = case.str_setting("backbone").trim_end_matches("v2");
    let depth = depth.parse().expect("a backbone's name");
    let stride = case.settings["output_stride"].as_u64().unwrap_or(8) as usize;
    let stride = OutputStride::try_from(stride).expect("an output stride");
    DilatedResNetConfig::new(depth).with_output_stride(stride)
}

/// The official keys of a module's parameters and their gradients.
fn gradients<M: OfficialKeys>(
    module: &M,
    gradients: burn::tensor::Gradients,
) -> Vec<(String, Vec<f32>)> {
    struct Visitor<'a>(&'a GradientsParams, Vec<Option<Vec<f32>>>);
    impl burn::module::ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            self.1.push(self.0.get::<D>(param.id).map(values));
        }
    }
    let gradients = GradientsParams::from_grads(gradients, module);
    let mut visitor = Visitor(&gradients, Vec::new());
    module.visit(&mut visitor);
    let keys = module_tensors(module).expect("parameters").into_iter().map(|t| t.key);
    keys.zip(visitor.1).filter_map(|(key, gradient)| Some((key, gradient?))).collect()
}

/// Every gradient of a parameter that the case holds, within `fraction` of its largest entry.
fn check_gradients<M: OfficialKeys>(
    case: &Case,
    module: &M,
    prefix: &str,
    found: burn::tensor::Gradients,
    [fraction, floor]: [f32; 2],
) {
    let found = gradients(module, found);
    let stored = case.names().iter().filter_map(|name| {
        name.strip_prefix("grad.")?.strip_suffix(".first4096").map(|key| (name, key))
    });
    let mut compared = 0;
    for (name, key) in stored {
        let inner = key.strip_prefix(prefix).expect("a key of the module");
        let (_, got) = found
            .iter()
            .find(|(k, _)| k == inner)
            .unwrap_or_else(|| panic!("{}: no gradient of {key}", case.name));
        let (_, want) = case.f32(name);
        let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let tolerance = fraction * largest + floor;
        let what = format!("{}: {name}", case.name);
        assert_close(&what, &got[..want.len()], &want, tolerance);
        let norm = got.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let want = f64::from(case.f32(&format!("grad.{key}.l2")).1[0]);
        assert!((norm / want - 1.0).abs() < 1e-4, "{what}: norm {norm}, want {want}");
        compared += 1;
    }
    assert!(compared > 0, "{}: no gradient to compare", case.name);
}

fn close(case: &Case, name: &str, got: Vec<f32>, tolerance: f32) {
    assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, tolerance);
}

/// A loss, relative to its size.
fn close_loss(case: &Case, name: &str, got: Tensor<1>, fraction: f32) {
    let want = case.f32(name).1;
    assert_close(&format!("{}: {name}", case.name), &values(got), &want, fraction * want[0].abs());
}

fn check_losses(case: &Case, losses: &fss_heads::Losses, fraction: f32) {
    close_loss(case, "total_loss", losses.total.clone(), fraction);
    for term in &losses.terms {
        let value = term.value.clone().expect("a value");
        close_loss(case, &format!("{}_loss", term.name), value, fraction);
    }
}

#[test]
fn golden_pop_losses() {
    let device = test_device().autodiff();
    let cases = cases("pop", "loss_");
    for case in &cases {
        let preds = tensor::<4>(case, "preds", &device).require_grad();
        let target = labels(case, "target", &device);
        let seg = segmentation_loss(preds.clone(), &target).expect("pixels that count");
        let orth = orthogonality_loss(tensor(case, "proto_sim", &device));
        let weight = case.settings["orth_weight"].as_f64().expect("a weight");
        let mut total = seg.clone() + orth.clone() * weight;
        let mut plain = seg.clone();
        if case.has("aux_preds") {
            let aux = segmentation_loss(tensor(case, "aux_preds", &device), &target);
            let aux = aux.expect("pixels that count");
            let weight = case.settings["aux_weight"].as_f64().expect("a weight");
            total = total + aux.clone() * weight;
            plain = plain + aux.clone() * weight;
            close_loss(case, "orth_aux_loss", aux.clone(), 2e-6);
            close_loss(case, "ce_aux_loss", aux, 2e-6);
            close_loss(case, "ce_main_loss", seg.clone(), 2e-6);
        }
        close_loss(case, "orth_seg_loss", seg, 2e-6);
        close_loss(case, "orth_orth_loss", orth, 2e-6);
        close_loss(case, "orth_total_loss", total.clone(), 2e-6);
        close_loss(case, "ce_total_loss", plain, 2e-6);
        let gradient = preds.grad(&total.backward()).expect("a gradient");
        close(case, "grad_preds", values(gradient), 1e-6);
    }
    report_optional("pop/loss_", cases.len());
}

fn decoder(case: &Case, device: &Device) -> PspModule {
    let sides: Vec<usize> = case.settings["sizes"]
        .as_array()
        .expect("sides of pooled maps")
        .iter()
        .map(|side| side.as_u64().expect("a side") as usize)
        .collect();
    let [inputs, outputs] = ["features", "out_features"].map(|key| case.usize_setting(key));
    let module = PspModule::with_sides(&sides, inputs, outputs, 0, device);
    filled_module(module, "decoder.", |_, values| values)
}

#[test]
fn golden_pop_decoder() {
    let cases = cases("pop", "psp_");
    for case in &cases {
        if case.settings["train"].as_bool() == Some(true) {
            check_decoder_training(case);
            continue;
        }
        let device = test_device();
        let decoder = decoder(case, &device);
        let x = tensor::<4>(case, "feats", &device);
        close(case, "out", values(decoder.forward(x.clone())), 1e-5);
        close(case, "out", values(decoder.fold().forward(x)), 1e-5);
    }
    report_optional("pop/psp_", cases.len());
}

fn check_decoder_training(case: &Case) {
    let device = test_device().autodiff();
    let mut decoder = decoder(case, &device);
    let x = tensor::<4>(case, "feats", &device).require_grad();
    let mut pass = TrainingPass::new(NormSource::Batch, ComputePrecision::Full);
    let out = decoder.forward_training(x.clone(), &mut pass);
    close(case, "out", values(out.clone()), 2e-5);
    let found = (out * tensor(case, "upstream", &device)).sum().backward();
    let want = case.f32("grad_feats").1;
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    close(case, "grad_feats", values(x.grad(&found).expect("a gradient")), 1e-4 * largest);
    check_gradients(case, &decoder, "decoder.", found, [1e-4, 0.0]);
    decoder.absorb(&mut pass.into_moments().into_iter());
    check_after(case, &decoder, "after.decoder.", 2e-6);
}

/// Every buffer or parameter that the case has after a step.
fn check_after<M: OfficialKeys>(case: &Case, module: &M, prefix: &str, tolerance: f32) {
    let mut compared = 0;
    for NamedTensor { key, values, .. } in module_tensors(module).expect("parameters") {
        let name = format!("{prefix}{key}");
        if case.has(&name) {
            close(case, &name, values, tolerance);
            compared += 1;
        }
    }
    assert!(compared > 0, "{}: nothing to compare after the step", case.name);
}

#[test]
fn golden_pop_head() {
    let cases = cases("pop", "head_");
    for case in &cases {
        if case.has("mask_b") {
            check_novel_head(case);
        } else if case.has("mask") {
            check_base_head(case);
        } else {
            check_inference_head(case);
        }
    }
    report_optional("pop/head_", cases.len());
}

fn check_base_head(case: &Case) {
    let device = test_device().autodiff();
    let head = head(case, false, &device);
    type Form = fn(&PopHead, Tensor<4>) -> Tensor<4>;
    for form in [PopHead::logits as Form, PopHead::logits_by_maps] {
        let features = tensor::<4>(case, "features", &device).require_grad();
        let logits = form(&head, features.clone());
        close(case, "preds", values(logits.clone()), 1e-5);
        let losses = head.losses(logits, &labels(case, "mask", &device));
        check_losses(case, &losses, 5e-6);
        let found = losses.total.backward();
        let want = case.f32("grad.features").1;
        let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let gradient = values(features.grad(&found).expect("a gradient"));
        close(case, "grad.features", gradient, 1e-5 * largest + 1e-7);
        check_gradients(case, &head, "", found, [1e-5, 1e-7]);
    }
}

fn check_inference_head(case: &Case) {
    let device = test_device();
    for (name, copied) in [("preds", false), ("preds_after_init_cls_n", true)] {
        let plain = head(case, true, &device);
        let head = filled_module(plain, "", |key, values| change(case, key, values, copied));
        let features = tensor::<4>(case, "features", &device);
        close(case, name, values(head.logits(features.clone())), 1e-5);
        close(case, name, values(head.logits_by_maps(features)), 1e-5);
    }
}

fn check_novel_head(case: &Case) {
    let device = test_device().autodiff();
    let head = head(case, true, &device);
    let [novel, base] = ["mask", "mask_b"].map(|name| labels(case, name, &device));
    let parts = ["features", "features_b"].map(|name| tensor::<4>(case, name, &device));
    check_novel_step(case, &head, Tensor::cat(parts.into(), 0), &novel, &base);
}

fn check_novel_step(
    case: &Case,
    head: &PopHead,
    features: Tensor<4>,
    novel: &Tensor<3, burn::tensor::Int>,
    base: &Tensor<3, burn::tensor::Int>,
) {
    let logits = head.logits(features.clone());
    close(case, "preds", values(logits.clone()), 1e-5);
    let images = base.dims()[0];
    let of_base = logits.narrow(0, novel.dims()[0], images);
    let pseudo: Vec<i64> =
        head.pseudo_labels(of_base, base).try_into_vec_as().expect("integer labels");
    let want: Vec<i64> = case.u8("mask_b_new").1.into_iter().map(i64::from).collect();
    assert_eq!(pseudo, want, "{}: mask_b_new", case.name);
    let losses = head.novel_losses(features, novel, Some(base)).expect("losses");
    check_losses(case, &losses, 5e-6);
    let fraction = if case.has("image") { 1e-4 } else { 1e-5 };
    check_gradients(case, head, "", losses.total.backward(), [fraction, 1e-7]);
}

#[test]
fn golden_pop_baseline_head() {
    let cases = cases("pop", "baseline_head_");
    for case in &cases {
        let device = test_device().autodiff();
        let classes =
            ClassCount { base: case.usize_setting("n_base"), novel: case.usize_setting("n_novel") };
        // The backbone is not run: a shallow one is as good as any.
        let network = DilatedResNetConfig::new("resnet50".parse().expect("a depth"));
        let model = filled(case, PspnetConfig { network, classes }.init(&device, 0));
        let features = tensor::<4>(case, "features", &device);
        if case.has("preds") {
            close(case, "preds", values(model.classify(features)), 1e-5);
            continue;
        }
        let layer3 = tensor::<4>(case, "x3", &device);
        let target = labels(case, "mask", &device);
        close(case, "preds_eval", values(model.classify(features.clone())), 1e-5);
        let auxiliary = model.classify_auxiliary(layer3.clone()).expect("an auxiliary head");
        close(case, "aux_eval", values(auxiliary), 1e-5);
        let losses = model.head_losses(features, layer3, &target).expect("losses");
        check_losses(case, &losses, 5e-6);
        check_gradients(case, &model, "", losses.total.backward(), [1e-5, 1e-7]);
        check_after(case, &model.absorb_head(&losses.statistics), "after.", 2e-6);
    }
    report_optional("pop/baseline_head_", cases.len());
}

#[test]
fn golden_pop_baseline_model() {
    let device = test_device();
    let cases = cases("pop", "baseline_eval_");
    for case in &cases {
        let image = tensor::<4>(case, "image", &device);
        let base = case.usize_setting("n_base");
        let config = PspnetConfig::new(network(case), base);
        let model: Pspnet = filled(case, config.init(&device, 0));
        let maps = model.backbone.forward(image.clone());
        let auxiliary = model.classify_auxiliary(maps.layer3).expect("an auxiliary head");
        close(case, "aux_base", values(auxiliary), 5e-5);
        close(case, "preds_base", values(model.fold().logits(image.clone())), 5e-5);
        let config = config.with_novel(case.usize_setting("n_novel"));
        let model: Pspnet = filled(case, config.init(&device, 0));
        close(case, "preds_ft", values(model.fold().logits(image)), 5e-5);
    }
    report_optional("pop/baseline_eval_", cases.len());
}

#[test]
fn golden_pop_model() {
    let cases = cases("pop", "model_");
    for case in &cases {
        let device = test_device();
        let novel = case.settings["n_novel"].as_u64().unwrap_or(0) as usize;
        let config = PopConfig::new(network(case), case.usize_setting("n_base")).with_novel(novel);
        if case.has("mask_b") {
            check_novel_training(case, config);
            continue;
        }
        let tolerance = if case.str_setting("backbone").contains("101") { 2e-4 } else { 5e-5 };
        let image = tensor::<4>(case, "image", &device);
        let plain = filled_module(config.init(&device, 0), "", |_, values| values);
        let model = filled(case, plain.clone());
        let maps = model.backbone.forward(image.clone());
        for (name, map) in [("2", &maps.layer2), ("3", &maps.layer3), ("4", &maps.layer4)] {
            let name = format!("backbone.layer{name}");
            let first = map.clone().narrow(1, 0, case.shape(&format!("{name}.first8"))[1]);
            close(case, &format!("{name}.first8"), values(first), tolerance);
            // One norm a sample.
            let norms = values(map.clone().square().sum_dims(&[1, 2, 3]).sqrt());
            let want = case.f32(&format!("{name}.l2")).1;
            assert_close_rel_max(&format!("{}: {name}", case.name), &norms, &want, 1e-4);
        }
        close(case, "decoder", values(model.features(image.clone())), tolerance);
        for (name, model) in [("preds", model), ("preds_fill_embeddings", plain)] {
            if !case.has(name) {
                continue;
            }
            let logits = model.fold().logits(image.clone());
            assert_same_classes(case, name, &logits);
            close(case, name, values(logits), tolerance);
        }
    }
    report_optional("pop/model_", cases.len());
}

/// Official key lists that lie beside the cases: every tensor but batch counters, in any order.
#[test]
fn golden_pop_keys() {
    let folder = fss_support::golden::directory().join("pop");
    let mut count = 0;
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('_').collect();
        let ["keys", model, stage, backbone, data] = parts[..] else { continue };
        let depth = backbone.trim_matches(['r', 'v', '2']).trim_end_matches('v');
        let network = DilatedResNetConfig::new(format!("resnet{depth}").parse().expect("a depth"));
        let classes = match (data, stage) {
            ("voc", "base") => ClassCount { base: 15, novel: 0 },
            ("voc", _) => ClassCount { base: 15, novel: 5 },
            (_, "base") => ClassCount { base: 60, novel: 0 },
            _ => ClassCount { base: 60, novel: 20 },
        };
        let device = test_device();
        let mut got = match model {
            "pop" => module_shapes(&PopConfig { network, classes }.init(&device, 0)),
            _ => module_shapes(&PspnetConfig { network, classes }.init(&device, 0)),
        };
        let text = std::fs::read_to_string(&path).expect("a key list");
        let mut want: Vec<(String, Vec<usize>)> = text
            .lines()
            .map(|line| {
                let columns: Vec<&str> = line.split('\t').collect();
                let numbers = columns[2].split(|c: char| !c.is_ascii_digit());
                (columns[0].to_owned(), numbers.filter_map(|n| n.parse().ok()).collect())
            })
            .filter(|(key, _)| !key.ends_with("num_batches_tracked"))
            .collect();
        got.sort();
        want.sort();
        assert_eq!(got, want, "{name}");
        count += 1;
    }
    report_optional("pop/keys_", count);
}

/// The highest channel is the same at 99.9 % of the positions.
fn assert_same_classes(case: &Case, name: &str, logits: &Tensor<4>) {
    let classes = |x: Tensor<4>| -> Vec<i64> { x.argmax(1).try_into_vec_as().expect("classes") };
    let want = classes(tensor(case, name, &logits.device()));
    let got = classes(logits.clone());
    let flips = got.iter().zip(&want).filter(|(a, b)| a != b).count();
    assert!(flips * 1000 <= want.len(), "{}: {name}: {flips} positions flip", case.name);
}

fn check_novel_training(case: &Case, config: PopConfig) {
    let device = test_device().autodiff();
    let model: Pop = filled(case, config.init(&device, 0));
    let [novel, base] = [("image", "mask"), ("image_b", "mask_b")].map(|(image, mask)| {
        LabelledBatch { images: tensor(case, image, &device), labels: labels(case, mask, &device) }
    });
    let losses = model.novel_losses(&novel, &base).expect("losses");
    check_losses(case, &losses, 5e-6);
    let images = Tensor::cat(vec![novel.images, base.images], 0);
    check_novel_step(case, &model.head, model.features(images), &novel.labels, &base.labels);
}
