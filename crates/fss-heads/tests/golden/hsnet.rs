//! HSNet.

use burn::tensor::{Device, Int, Tensor, TensorData};
use fss_backbone::TapBackboneConfig;
use fss_heads::hsnet::Maps4d;
use fss_heads::{Features, FewShotModel, Hsnet, HsnetConfig, HsnetSupport, Shot, cross_entropy};
use fss_kernels::{Corners, resize_bilinear};
use fss_support::golden::{Case, assert_close, cases, report};

use crate::device::test_device;
use crate::support::{filled_module, images, labels, tensor, values};

/// The case's model under the fill rule.
pub fn filled(case: &Case, device: &Device) -> Hsnet {
    let network = case.str_setting("backbone").parse().expect("a backbone's name");
    let model = HsnetConfig::new(TapBackboneConfig::new(network)).init(device, 0);
    filled_module(model, "module.", |_, values| values)
}

/// Correlations `[B, L, hq, wq, hs, ws]` of a case, support first.
fn correlation(case: &Case, name: &str, device: &Device) -> Maps4d {
    let x = tensor::<6>(case, name, device);
    let [b, l, hq, wq, hs, ws] = x.dims();
    let values = x.permute([0, 4, 5, 1, 2, 3]).reshape([b, hs * ws, l, hq, wq]);
    Maps4d { values, support: [hs, ws] }
}

/// Back to `[B, C, hq, wq, hs, ws]`.
fn support_last(maps: &Maps4d) -> Tensor<6> {
    let [b, _, c, h, w] = maps.values.dims();
    let [hs, ws] = maps.support;
    maps.values.clone().reshape([b, hs, ws, c, h, w]).permute([0, 3, 4, 5, 1, 2])
}

#[test]
fn golden_hsnet_head() {
    let cases = cases("hsnet", "head_");
    for case in &cases {
        // Tracked maps run composed, others in kernels of the CPU.
        for device in [test_device(), test_device().autodiff()] {
            let model = filled(case, &device);
            let close = |name: &str, got: Vec<f32>| {
                if case.has(name) {
                    assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, 1e-4);
                }
            };
            let pyramid =
                ["pyr_l4", "pyr_l3", "pyr_l2"].map(|name| correlation(case, name, &device));
            let squeezed = model.squeeze.squeeze_correlations(pyramid);
            for (name, maps) in ["sqz4", "sqz3", "sqz2"].into_iter().zip(&squeezed) {
                close(name, values(support_last(maps)));
            }
            let mixed = model.squeeze.mix(squeezed);
            close("sqz4_up", values(support_last(&mixed.deep_up)));
            close("mix43", values(support_last(&mixed.middle)));
            close("encoded", values(mixed.encoded.clone()));
            close("decoded1", values(model.decoder.first_half(mixed.encoded.clone())));
            close("logit", values(model.decoder.forward(mixed.encoded)));
        }
    }
    report("hsnet/head_", cases.len());
}

#[test]
fn golden_hsnet_model() {
    let device = test_device();
    let cases = cases("hsnet", "model_");
    for case in &cases {
        let model = filled(case, &device).fold();
        let query = images(case, "query_u8", &device);
        let [b, _, height, width] = query.dims();
        let supports = images(case, "support_u8", &device);
        let masks = labels(case, "support_mask", &device);
        let count = case.usize_setting("shots") as i64;
        let shots: Vec<Shot> = (0..count)
            .map(|k| {
                // Shot k of each sample.
                let picked: Vec<i64> = (0..b as i64).map(|sample| sample * count + k).collect();
                let picked =
                    Tensor::<1, Int>::from_data(TensorData::from(picked.as_slice()), &device);
                Shot {
                    features: model.features(supports.clone().select(0, picked.clone())),
                    mask: masks.clone().select(0, picked),
                }
            })
            .collect();
        let query: Features = model.features(query);
        let original = case.settings["use_original_imgsize"].as_bool() == Some(true);
        let size = match case.settings["org_query_size_hw"].as_array() {
            Some(size) => [0, 1].map(|i| size[i].as_u64().expect("a size") as usize),
            None => [height, width],
        };
        let support = model.encode_support(&shots).expect("a support set");
        let unit = model.query(&query).expect("a query");
        let each: Vec<Tensor<4>> = support
            .shots
            .iter()
            .map(|shot| {
                let logits = model.matching(&unit, shot);
                if original {
                    logits
                } else {
                    resize_bilinear(logits, [height, width], Corners::Aligned)
                }
            })
            .collect();
        let logits = Tensor::stack::<5>(each.clone(), 1);
        let what = format!("{}: logits", case.name);
        assert_close(&what, &values(logits), &case.f32("logits").1, 1e-4);
        if case.has("loss") {
            let target = labels(case, "query_mask", &device);
            let loss = values(cross_entropy(each[0].clone(), target));
            assert_close(&format!("{}: loss", case.name), &loss, &case.f32("loss").1, 1e-4);
        }
        check_vote(case, &model, &support, &query, size);
    }
    report("hsnet/model_", cases.len());
}

/// The vote of all shots, wherever none of them is a near tie.
fn check_vote(
    case: &Case,
    model: &Hsnet,
    support: &HsnetSupport,
    query: &Features,
    size: [usize; 2],
) {
    let joint = model.segment(support, query, size).expect("a query");
    let labels: Vec<i64> = joint.argmax(1).try_into_vec_as().expect("labels");
    let (_, want) = case.u8("pred");
    let mut near = vec![false; want.len()];
    for shot in &support.shots {
        let one = HsnetSupport { shots: vec![shot.clone()] };
        let logits = model.segment(&one, query, size).expect("a query");
        let margin = logits.clone().narrow(1, 1, 1) - logits.narrow(1, 0, 1);
        for (near, margin) in near.iter_mut().zip(values(margin)) {
            *near |= margin.abs() <= 1e-4;
        }
    }
    let mut compared = 0;
    for (i, (got, want)) in labels.iter().zip(&want).enumerate() {
        if !near[i] {
            assert_eq!(*got, i64::from(*want), "{}: pixel {i}", case.name);
            compared += 1;
        }
    }
    assert!(compared * 10 > want.len() * 9, "{}: {compared} pixels compared", case.name);
}
