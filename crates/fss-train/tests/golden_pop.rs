//! POP: optimisation steps of both stages, rates, and the evaluation, against the official code.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_backbone::{
    DilatedResNetConfig, NamedTensor, OfficialKeys, load_module_tensors, module_tensors,
};
use fss_data::Benchmark;
use fss_data::folds::FoldScheme;
use fss_data::gfss::{GfssClasses, NovelOrder, Shown};
use fss_data::transform::FitSquare;
use fss_heads::{LabelledBatch, PopConfig, PopHead, PspnetConfig};
use fss_kernels::{Corners, enlarged_argmax};
use fss_metrics::GeneralizedMetric;
use fss_support::fill;
use fss_support::golden::{Case, assert_close, cases, relative_l2, report_optional};
use fss_train::generalized::{
    GfssOptim, GfssRecipe, StageBatch, StagedModel, generalized_groups, generalized_step,
    original_size_labels,
};
use fss_train::optim::{NamedOptimizer, Rule, clip_gradients};
use fss_train::schedule::Schedule;
use ndarray::Array2;

fn tensor<const D: usize>(case: &Case, name: &str, device: &Device) -> Tensor<D> {
    let (shape, values) = case.f32(name);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn labels(case: &Case, name: &str, device: &Device) -> Tensor<3, Int> {
    let (shape, values) = case.u8(name);
    let values: Vec<i64> = values.into_iter().map(i64::from).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn number(case: &Case, key: &str) -> f64 {
    case.settings[key].as_f64().unwrap_or_else(|| panic!("{}: no number {key}", case.name))
}

/// A module under the fill rule, or the case's own values where it has some.
fn filled<M: OfficialKeys>(
    case: &Case,
    module: M,
    change: impl Fn(&str, &[usize], Vec<f32>) -> Vec<f32>,
) -> M {
    let tensors = module_tensors(&module).expect("parameters").into_iter().map(|t| {
        let values = match case.has(&t.key) {
            true => case.f32(&t.key).1,
            false => change(&t.key, &t.shape, fill(&t.key, &t.shape)),
        };
        NamedTensor { values, ..t }
    });
    load_module_tensors(module, tensors.collect(), "the fill rule".as_ref()).expect("a fit")
}

fn optim(case: &Case, schedule: Schedule) -> GfssOptim {
    let or = |key: &str, usual: f64| case.settings[key].as_f64().unwrap_or(usual);
    GfssOptim {
        lr: number(case, "lr"),
        head_factor: 10.0,
        schedule,
        momentum: or("momentum", 0.9),
        weight_decay: or("weight_decay", 1e-4),
        clip: number(case, "clip"),
    }
}

fn optimizer(optim: &GfssOptim) -> NamedOptimizer {
    let rule = Rule::sgd(optim.momentum, optim.weight_decay);
    generalized_groups(optim)
        .into_iter()
        .fold(NamedOptimizer::new(rule), NamedOptimizer::with_group)
}

#[test]
fn golden_pop_lr_schedule() {
    let cases = cases("pop", "lr_schedule");
    for case in &cases {
        let json = case.json();
        for run in json.as_array().expect("runs") {
            let number = |value: &serde_json::Value| value.as_f64().expect("a number");
            let schedule = Schedule::Poly { power: number(&run["power"]) };
            let (base, total) = (number(&run["base_lr"]), run["max_iteration"].as_u64().unwrap());
            let optim =
                GfssOptim { lr: base, ..GfssRecipe::builtin("pop-pascal-base").unwrap().optim };
            for value in run["values"].as_array().expect("values") {
                let rate =
                    schedule.rate(base, value["iteration_from_zero"].as_u64().unwrap(), total);
                let close =
                    |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-12, "{got}");
                close(rate, number(&value["lr"]));
                let groups: Vec<f64> =
                    value["group_lr"].as_array().unwrap().iter().map(number).collect();
                let frozen = run["freeze_backbone"].as_bool().unwrap();
                let factors = generalized_groups(&optim).map(|group| group.settings.rate_factor);
                let ours: Vec<f64> = match frozen {
                    true => vec![factors[0], factors[1]],
                    false => vec![factors[2], factors[0], factors[1]],
                };
                assert_eq!(ours.len(), groups.len());
                for (factor, want) in ours.into_iter().zip(groups) {
                    close(rate * factor, want);
                }
            }
        }
    }
    report_optional("pop/lr_schedule", cases.len());
}

#[test]
fn golden_pop_novel_steps() {
    let device = Device::flex().autodiff();
    let cases = cases("pop", "ft_steps_");
    for case in &cases {
        let fixed = case.settings["fix_lr"].as_bool().expect("fix_lr");
        let schedule = match fixed {
            true => Schedule::Constant,
            false => Schedule::Poly { power: number(case, "power") },
        };
        let optim = optim(case, schedule);
        let mut optimizer = optimizer(&optim);
        let head =
            PopHead::new(case.usize_setting("d_model"), case.usize_setting("n_base"), 0, &device)
                .extended(case.usize_setting("n_novel"), 0);
        let mut head =
            filled(case, head, |key, shape, values| match key.strip_prefix("classifier_n.") {
                Some(rest) => fill(&format!("classifier.{rest}"), shape),
                None => values,
            });
        let mut before = module_tensors(&head).unwrap();
        for step in 0..case.usize_setting("steps") {
            let name = |part: &str| format!("s{step}.{part}");
            let features =
                ["features", "features_b"].map(|part| tensor::<4>(case, &name(part), &device));
            let [novel, base] = ["mask", "mask_b"].map(|part| labels(case, &name(part), &device));
            let features = Tensor::cat(features.into(), 0);
            let losses = head.novel_losses(features, &novel, Some(&base)).expect("losses");
            let loss: Vec<f32> = losses.total.clone().try_into_vec_as().unwrap();
            close_relative(case, &name("total_loss"), loss[0]);
            let mut gradients = GradientsParams::from_grads(losses.total.backward(), &head);
            let norm = clip_gradients(&mut gradients, &head, optim.clip);
            close_relative(case, &name("grad_norm"), norm as f32);
            let total = case.usize_setting("max_iteration") as u64;
            let rate = optim.schedule.rate(optim.lr, step as u64, total);
            head = optimizer.step(rate, head, gradients);
            let after = module_tensors(&head).unwrap();
            let mut compared = 0;
            for (old, new) in before.iter().zip(&after) {
                let stored = format!("after{step}.{}", new.key);
                if !case.has(&stored) {
                    assert_eq!(old.values, new.values, "{}: {} learns", case.name, new.key);
                    continue;
                }
                let want = case.f32(&stored).1;
                assert_close(&format!("{}: {stored}", case.name), &new.values, &want, 2e-6);
                // What matters is by how much it moved.
                let earlier = match step {
                    0 => old.values.clone(),
                    _ => case.f32(&format!("after{}.{}", step - 1, new.key)).1,
                };
                let moved = |to: &[f32], from: &[f32]| -> Vec<f32> {
                    to.iter().zip(from).map(|(to, from)| to - from).collect()
                };
                let error = relative_l2(&moved(&new.values, &old.values), &moved(&want, &earlier));
                assert!(error < 1e-2, "{}: {stored} moved otherwise: {error:e}", case.name);
                compared += 1;
            }
            assert_eq!(compared, 4, "{}", case.name);
            before = after;
        }
    }
    report_optional("pop/ft_steps_", cases.len());
}

fn close_relative(case: &Case, name: &str, got: f32) {
    let want = case.f32(name).1[0];
    assert!((got / want - 1.0).abs() < 1e-5, "{}: {name}: {got}, not {want}", case.name);
}

fn network(case: &Case) -> DilatedResNetConfig {
    let depth = case.str_setting("backbone").trim_end_matches("v2");
    DilatedResNetConfig::new(depth.parse().expect("a depth"))
}

#[test]
fn golden_pop_base_steps() {
    let device = Device::flex().autodiff();
    let cases = cases("pop", "model_base_train_");
    for case in &cases {
        let config = PopConfig::new(network(case), case.usize_setting("n_base"));
        run_base_steps(case, config.init(&device, 0), &device);
    }
    report_optional("pop/model_base_train_", cases.len());
}

#[test]
fn golden_pop_baseline_steps() {
    let device = Device::flex().autodiff();
    let cases = cases("pop", "baseline_train_");
    for case in &cases {
        let config = PspnetConfig::new(network(case), case.usize_setting("n_base"));
        run_base_steps(case, config.init(&device, 0), &device);
    }
    report_optional("pop/baseline_train_", cases.len());
}

/// Whether a parameter lies behind the last batch norm, so that no flipped ReLU reaches its gradient.
fn is_late(key: &str) -> bool {
    let late = ["classifier.", "base_emb", "aux_classifier.", "decoder.bottleneck.3."];
    late.iter().any(|place| key.starts_with(place))
}

fn run_base_steps<M: StagedModel>(case: &Case, model: M, device: &Device) {
    let mut model = filled(case, model, |key, _, values| {
        let last = key.starts_with("backbone.layer") && key.ends_with(".bn3.weight");
        if last { values.into_iter().map(|value| 0.2 * value).collect() } else { values }
    });
    let optim = optim(case, Schedule::Poly { power: number(case, "power") });
    let mut optimizer = optimizer(&optim);
    for step in 0..case.usize_setting("steps") {
        let name = |part: &str| format!("s{step}.{part}");
        let batch = StageBatch::Base(LabelledBatch {
            images: tensor(case, &name("image"), device),
            labels: labels(case, &name("mask"), device),
        });
        if step == 0 {
            check_gradients(case, &model, &batch);
        }
        let total = case.usize_setting("max_iteration") as u64;
        let rate = optim.schedule.rate(optim.lr, step as u64, total);
        let numbers = [step as u64 + 1, total];
        let (next, report, norm) =
            generalized_step(model, &mut optimizer, &batch, [rate, optim.clip], numbers, None)
                .expect("a step");
        model = next;
        let fraction = if step == 0 { 1e-5 } else { 1e-3 };
        let loss = |name: &str, got: f64| {
            let want = f64::from(case.f32(name).1[0]);
            assert!(
                (got / want - 1.0).abs() < fraction,
                "{}: {name}: {got}, not {want}",
                case.name
            );
        };
        loss(&name("total_loss"), report.loss.expect("a loss"));
        for (term, value) in &report.terms {
            loss(&name(&format!("{term}_loss")), value.expect("a value"));
        }
        if step == 0 {
            let (got, want) = (norm.expect("a norm"), f64::from(case.f32("s0.grad_norm").1[0]));
            assert!((got / want - 1.0).abs() < 3e-3, "{}: norm {got}, not {want}", case.name);
        }
        let tolerance = if step == 0 { 1e-5 } else { 1e-4 };
        let mut compared = 0;
        for NamedTensor { key, values, .. } in module_tensors(&model).expect("parameters") {
            for stored in [format!("after{step}.{key}"), format!("after{step}.{key}.first4096")] {
                if case.has(&stored) {
                    let want = case.f32(&stored).1;
                    let what = format!("{}: {stored}", case.name);
                    assert_close(&what, &values[..want.len()], &want, tolerance);
                    compared += 1;
                }
            }
        }
        assert!(compared > 10, "{}: {compared} tensors compared after step {step}", case.name);
    }
}

fn check_gradients<M: StagedModel>(case: &Case, model: &M, batch: &StageBatch) {
    struct Visitor<'a>(&'a GradientsParams, Vec<Option<Vec<f32>>>);
    impl burn::module::ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            let gradient = self.0.get::<D>(param.id);
            self.1.push(gradient.map(|gradient| gradient.try_into_vec_as().expect("values")));
        }
    }
    let losses = model.losses(batch).expect("losses");
    let gradients = GradientsParams::from_grads(losses.total.backward(), model);
    let mut visitor = Visitor(&gradients, Vec::new());
    model.visit(&mut visitor);
    let keys = module_tensors(model).expect("parameters").into_iter().map(|t| t.key);
    let mut compared = 0;
    for (key, gradient) in keys.zip(visitor.1) {
        let Some(gradient) = gradient else { continue };
        for (stored, slack) in
            [(format!("grad.{key}"), 1.0), (format!("grad.{key}.first4096"), 3.0)]
        {
            if case.has(&stored) {
                let want = case.f32(&stored).1;
                let error = relative_l2(&gradient[..want.len()], &want);
                let tolerance = slack * if is_late(&key) { 1e-5 } else { 1e-2 };
                assert!(error < tolerance, "{}: {stored}: {error:e}", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 5, "{}: {compared} gradients compared", case.name);
}

#[test]
fn golden_pop_evaluation() {
    let device = Device::flex();
    let all = cases("pop", "eval_loop_");
    for case in &all {
        let fold = case.settings["fold"].as_u64().expect("a fold") as usize;
        let (benchmark, scheme) = match case.str_setting("dataset") {
            "voc" => (Benchmark::Pascal, FoldScheme::Contiguous),
            _ => (Benchmark::Coco, FoldScheme::Interleaved),
        };
        let fold = benchmark.fold(fold, scheme).expect("a fold");
        let classes = GfssClasses::of_fold(&fold, NovelOrder::Ascending).expect("classes");
        let base = case.usize_setting("n_base");
        let mut metric = GeneralizedMetric::new(base, case.usize_setting("K") - 1 - base);
        let from = case.settings["logits_from"].as_str();
        let logits_of = from.map_or(case, |name| {
            all.iter().find(|case| case.name == name).expect("the case with the logits")
        });
        let images = case.names().iter().filter_map(|name| name.strip_prefix("label."));
        for image in images {
            let (shape, raw) = case.u8(&format!("label.{image}"));
            let raw = Array2::from_shape_vec((shape[0], shape[1]), raw).expect("a mask");
            let mut truth = classes.labels(&raw, None, Shown::All, image).expect("known labels");
            let logits = tensor::<4>(logits_of, &format!("logits.{image}"), &device);
            let found: Vec<u8> = match case.settings["base_size"].as_array() {
                Some(size) => {
                    let size = [0, 1].map(|i| size[i].as_u64().expect("a size") as usize);
                    truth = FitSquare::rectangle(size).labels(&truth).expect("a mask");
                    let size = [truth.nrows(), truth.ncols()];
                    let found = enlarged_argmax(logits, size, size, Corners::Aligned);
                    found.try_into_vec_as().expect("labels")
                }
                None => {
                    let found = original_size_labels(logits, [shape[0], shape[1]]);
                    found.expect("labels").into_iter().collect()
                }
            };
            metric.add(&found, &truth.into_iter().collect::<Vec<u8>>()).expect("known labels");
        }
        check_counts(case, &metric);
    }
    report_optional("pop/eval_loop_", all.len());
}

/// Counts may differ by two pixels, which lie next to ties.
fn check_counts(case: &Case, metric: &GeneralizedMetric) {
    let side = case.usize_setting("K");
    let near = |what: &str, got: i64, want: i64| {
        assert!((got - want).abs() <= 2, "{}: {what}: {got}, not {want}", case.name);
    };
    if case.has("confusion_matrix") {
        for (at, want) in case.i64("confusion_matrix").1.into_iter().enumerate() {
            let got = metric.count(at / side, at % side).expect("a count") as i64;
            near(&format!("count {at}"), got, want);
        }
    }
    if case.has("intersection") {
        let (intersection, union) = (case.i64("intersection").1, case.i64("union").1);
        for index in 0..side {
            let areas = metric.areas(index);
            near(&format!("intersection {index}"), areas.intersection as i64, intersection[index]);
            near(&format!("union {index}"), areas.union as i64, union[index]);
        }
    }
    let scores = metric.scores();
    for (name, got) in
        [("base_miou", scores.base), ("novel_miou", scores.novel), ("total_miou", scores.total)]
    {
        let want = number(case, name);
        assert!((got.expect("a mean") - want).abs() < 1e-3, "{}: {name} {got:?}", case.name);
    }
}
