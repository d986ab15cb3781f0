//! IMR-HSNet.

use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_backbone::TapBackboneConfig;
use fss_heads::imr::Stage;
use fss_heads::{Features, FewShotModel, Imr, ImrConfig, ImrSupport, Shot, cross_entropy};
use fss_kernels::{Corners, correlation, resize_bilinear};
use fss_support::golden::{Case, assert_close, cases, report};

use crate::device::test_device;
use crate::support::{filled_module, images, labels, values};

/// The case's model under the fill rule and the corrections that the case gives.
fn filled(case: &Case, device: &Device) -> Imr {
    let network = case.str_setting("backbone").parse().expect("a backbone's name");
    let model = ImrConfig::new(TapBackboneConfig::new(network))
        .with_stages(case.usize_setting("stage"))
        .with_grid(case.usize_setting("grid"))
        .init(device, 0)
        .expect("a published configuration");
    filled_module(model, "module.", |key, mut values| {
        if let Some(factor) = case.settings["weight_scale"][key].as_f64() {
            values.iter_mut().for_each(|value| *value *= factor as f32);
        }
        if let Some(given) = case.settings["weight_set"][key].as_array() {
            values = given.iter().map(|value| value.as_f64().expect("a number") as f32).collect();
        }
        values
    })
}

/// Coarse maps `[.., G, G]` of a case, with all leading axes made one: `[N, 1, G, G]`.
fn cams(case: &Case, name: &str, device: &Device) -> Tensor<4> {
    let (shape, values) = case.f32(name);
    let [.., height, width] = shape[..] else { panic!("{name}: maps of shape {shape:?}") };
    let count = values.len() / (height * width);
    Tensor::from_data(TensorData::new(values, [count, 1, height, width]), device)
}

fn is_plain_fill(case: &Case) -> bool {
    case.settings["weight_scale"].as_object().is_none_or(|scales| scales.is_empty())
}

#[test]
fn golden_imr_stages() {
    let device = test_device();
    let mut count = 0;
    for kind in ["cell_", "small_", "full_"] {
        for case in cases("imr", kind) {
            match case.has("shot_logit_query") {
                true => check_shots(&case, &device),
                false => check_stages(&case, &device),
            }
            count += 1;
        }
    }
    report("imr/{cell,small,full}_", count);
}

/// Everything inside the stages.
fn check_stages(case: &Case, device: &Device) {
    let model = filled(case, device).fold();
    let tolerance = if is_plain_fill(case) { 2e-3 } else { 2e-4 };
    let close = |name: &str, got: Vec<f32>| {
        if case.has(name) {
            let what = format!("{}: {name}", case.name);
            assert_close(&what, &got, &case.f32(name).1, tolerance);
        }
    };
    let seen = |image: &str, cam: &str| {
        let features = model.features(images(case, image, device));
        model.sight(&features.with_cam(cams(case, cam, device)), image).expect("fitting features")
    };
    let (query, support) = (seen("query_u8", "query_cam"), seen("support_u8", "support_cam"));
    let masks = ["query_mask", "support_mask"].map(|name| labels(case, name, device));
    let [_, height, width] = masks[0].dims();
    let to_image =
        |logits: &Tensor<4>| resize_bilinear(logits.clone(), [height, width], Corners::Aligned);
    let mut number = 0;
    let mut total = 0.0;
    let mut last: Option<[Tensor<4>; 2]> = None;
    let show = |q: Stage, s: Stage| {
        let name = |part: &str| format!("stage{number}.{part}");
        for (stage, side) in [(&q, "query"), (&s, "support")] {
            close(&name(&format!("logit_{side}")), values(stage.logits.clone()));
            close(&name(&format!("{side}_cam")), values(stage.map.clone()));
            close(&name(&format!("after4d_{side}")), values(stage.encoded.clone()));
            close(&name(&format!("state_{side}")), values(stage.state.clone()));
            let [own, other] = &stage.pyramids;
            for (level, (own, other)) in own.levels().iter().zip(other.levels()).enumerate() {
                let name = name(&format!("corr_{side}_l{}", 2 + level));
                check_correlation(case, &name, own.clone(), other.clone());
            }
        }
        close(&name("z_query"), values(q.gates.update.clone()));
        close(&name("r_query"), values(q.gates.reset.clone()));
        close(&name("h_query"), values(q.gates.candidate.clone()));
        close(&name("q_mid"), values(q.middle.clone()));
        close(&name("s_mid"), values(s.middle.clone()));
        for (logits, mask, loss) in
            [(&q.logits, &masks[0], "loss_q"), (&s.logits, &masks[1], "loss_s")]
        {
            let got = values(cross_entropy(to_image(logits), mask.clone()));
            let what = format!("{}: {}", case.name, name(loss));
            assert_close(&what, &got, &case.f32(&name(loss)).1, 1e-4);
            total += got[0];
        }
        last = Some([to_image(&q.logits), to_image(&s.logits)]);
        number += 1;
    };
    model.refine(&query, &support, show).expect("fitting batches");
    assert_eq!(number, case.usize_setting("stage"), "{}: stages", case.name);
    if case.has("loss") {
        assert_close(&format!("{}: loss", case.name), &[total], &case.f32("loss").1, 5e-4);
    }
    let [query_logits, support_logits] = last.expect("at least one stage");
    close("logit_query", values(query_logits.clone()));
    close("logit_support", values(support_logits.clone()));
    for (name, logits) in [("pred_query", &query_logits), ("pred_support", &support_logits)] {
        if case.has(name) {
            let margin = logits.clone().narrow(1, 1, 1) - logits.clone().narrow(1, 0, 1);
            let (_, want) = case.u8(name);
            for (i, (margin, want)) in values(margin).into_iter().zip(want).enumerate() {
                if margin.abs() > 5e-4 {
                    assert_eq!(margin > 0.0, want == 1, "{}: {name} at {i}", case.name);
                }
            }
        }
    }
    for (name, logits) in
        [("logit_query_every8", &query_logits), ("logit_support_every8", &support_logits)]
    {
        if case.has(name) {
            let picked = |to: usize| {
                let indices: Vec<i64> = (0..to as i64).step_by(8).collect();
                Tensor::<1, Int>::from_data(TensorData::from(indices.as_slice()), device)
            };
            let sparse = logits.clone().select(2, picked(height)).select(3, picked(width));
            close(name, values(sparse));
        }
    }
    // The way of evaluation, which leaves out what nobody reads.
    let one = ImrSupport { shots: vec![support] };
    let features = model.features(images(case, "query_u8", device));
    let features = features.with_cam(cams(case, "query_cam", device));
    let logits = model.segment(&one, &features, [height, width]).expect("a query");
    let what = format!("{}: segment", case.name);
    assert_close(&what, &values(logits), &values(query_logits), 1e-6);
}

/// A level's correlations (or their L2 norm), `[B, L, h, w, hs, ws]`.
fn check_correlation(case: &Case, name: &str, own: Tensor<5>, other: Tensor<5>) {
    let norm = format!("{name}.l2");
    if !case.has(&norm) && !case.has(name) {
        return;
    }
    let [b, l, _, h, w] = own.dims();
    let [.., hs, ws] = other.dims();
    let maps = correlation(own, other);
    let maps = maps.reshape([b, hs, ws, l, h, w]).permute([0, 3, 4, 5, 1, 2]);
    let got = values(maps);
    if case.has(name) {
        assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, 2e-4);
    }
    let length = got.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let want = f64::from(case.f32(&norm).1[0]);
    let error = (length - want).abs() / want.max(1e-6);
    // The norm of 25 million values was summed in float32.
    assert!(error < 1e-3, "{}: {norm}: got {length}, want {want}", case.name);
}

/// Predictions of several shots.
fn check_shots(case: &Case, device: &Device) {
    let model = filled(case, device).fold();
    let query = images(case, "query_u8", device);
    let [b, _, height, width] = query.dims();
    let query = model.features(query).with_cam(cams(case, "query_cam", device));
    let count = case.usize_setting("shots");
    let supports = images(case, "support_u8", device);
    let support_cams = cams(case, "support_cams", device);
    let shots: Vec<Shot> = (0..count)
        .map(|k| {
            let picked: Vec<i64> = (0..b).map(|sample| (sample * count + k) as i64).collect();
            let picked = Tensor::<1, Int>::from_data(TensorData::from(picked.as_slice()), device);
            let features = model.features(supports.clone().select(0, picked.clone()));
            Shot {
                features: features.with_cam(support_cams.clone().select(0, picked)),
                mask: Tensor::zeros([b, height, width], device),
            }
        })
        .collect();
    let support = model.encode_support(&shots).expect("a support set");
    let size = match case.settings["org_query_size_hw"].as_array() {
        Some(size) => [0, 1].map(|i| size[i].as_u64().expect("a size") as usize),
        None => [height, width],
    };
    let shape = case.shape("shot_logit_query");
    let mut near = vec![false; b * size[0] * size[1]];
    let mut each = Vec::new();
    for shot in &support.shots {
        let one = ImrSupport { shots: vec![shot.clone()] };
        let small = model.segment(&one, &query, [shape[3], shape[4]]).expect("a query");
        each.push(small.clone());
        let large = resize_bilinear(small, size, Corners::Aligned);
        let margin = large.clone().narrow(1, 1, 1) - large.narrow(1, 0, 1);
        for (near, margin) in near.iter_mut().zip(values(margin)) {
            *near |= margin.abs() <= 5e-4;
        }
    }
    let what = format!("{}: shot_logit_query", case.name);
    let got = values(Tensor::stack::<5>(each, 1));
    assert_close(&what, &got, &case.f32("shot_logit_query").1, 2e-4);
    let joint = model.segment(&support, &query as &Features, size).expect("a query");
    let labels: Vec<i64> = joint.argmax(1).try_into_vec_as().expect("labels");
    let (_, want) = case.u8("pred");
    for (i, (got, want)) in labels.iter().zip(&want).enumerate() {
        assert!(near[i] || *got == i64::from(*want), "{}: pred at {i}", case.name);
    }
    let compared = near.iter().filter(|near| !**near).count();
    assert!(compared * 10 > want.len() * 9, "{}: {compared} pixels compared", case.name);
}
