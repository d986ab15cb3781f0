//! Features, similarities, class activation maps and tokens of the official CLIP.

#[path = "common/clip.rs"]
mod clip_support;
mod common;

use burn::tensor::Tensor;
use clip_support::{filled_clip, normalised};
use common::{device, values};
use fss_backbone::clip::{
    CamPair, CamTarget, Clip, ClipConfig, ClipTokenizer, Overlong, probabilities, prompt,
    similarity,
};
use fss_support::golden::{self, Case, assert_close, assert_close_rel_max};

const FEATURES: f32 = 1e-4;
const SIMILARITY: f32 = 1e-3;
/// Of the largest entry.
const GRADIENTS: f32 = 1e-3;

#[test]
fn golden_clip() {
    let cases = golden::cases("imr", "clip_");
    for case in &cases {
        let clip = filled_clip(config_of(case), &device());
        check_case(case, "stepwise", &clip);
        check_case(case, "folded", &clip.fold());
    }
    golden::report("imr/clip_", cases.len());
}

fn config_of(case: &Case) -> ClipConfig {
    let sizes = &case.settings["config"];
    if sizes.is_null() {
        return ClipConfig::rn50();
    }
    let size = |key: &str| sizes[key].as_u64().unwrap() as usize;
    let layers: Vec<usize> =
        sizes["layers"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    ClipConfig {
        resolution: size("res"),
        width: size("width"),
        embedding: size("embed"),
        text_width: size("tw"),
        ..ClipConfig::rn50()
    }
    .with_depth(layers.try_into().unwrap(), size("tl"))
}

/// Every tensor of a case against ours.
fn check_case(case: &Case, how: &str, clip: &Clip) {
    let names = case.settings["classes"].as_array().unwrap().iter();
    let tokenizer = ClipTokenizer::new();
    let tokens: Vec<Vec<u32>> = names
        .map(|name| {
            let text = prompt(name.as_str().unwrap()).unwrap();
            tokenizer.tokenize(&text, clip.config().context, Overlong::Refuse).unwrap().ids
        })
        .collect();
    let (shape, bytes) = case.u8("image_u8");
    let images = normalised(shape.try_into().unwrap(), &bytes, &device());
    let stages = clip.visual.stages(images.clone());
    let activations = clip.visual.activations(images);
    let image_features = clip.visual.pool(activations.clone()).unwrap();
    let text_features = clip.encode_text(&tokens).unwrap();
    let blocks = clip.text.block_outputs(&tokens[..1]).unwrap();
    let what = |name: &str| format!("{} {how} {name}", case.name);
    let close = |name: &str, got: Vec<f32>, tolerance| {
        assert_close(&what(name), &got, &case.f32(name).1, tolerance);
    };
    let close_rel = |name: &str, got: Vec<f32>, fraction| {
        assert_close_rel_max(&what(name), &got, &case.f32(name).1, fraction);
    };

    for name in case.names() {
        match name.as_str() {
            "image_u8" => {}
            "tokens" => {
                let ours = tokens.iter().flatten().map(|id| i64::from(*id));
                assert_eq!(ours.collect::<Vec<_>>(), case.i64(name).1, "{}", what(name));
            }
            "image_features" => close(name, values(image_features.clone()), FEATURES),
            "text_features" => close(name, values(text_features.clone()), FEATURES),
            "similarity" => {
                let ours = similarity(image_features.clone(), text_features.clone());
                close(name, values(ours), SIMILARITY);
            }
            "probs" => {
                let ours = probabilities(image_features.clone(), text_features.clone());
                close(name, values(ours), FEATURES);
            }
            "stem" => close(name, first(case, name, &stages.stem), FEATURES),
            "layer1" => close(name, first(case, name, &stages.layer1), FEATURES),
            "layer2" => close(name, first(case, name, &stages.layer2), FEATURES),
            "layer3" => close(name, first(case, name, &stages.layer3), FEATURES),
            "layer4" => close(name, first(case, name, &stages.layer4), FEATURES),
            "activations" => close(name, values(activations.clone()), FEATURES),
            "activations_first4096" => close(name, head(values(activations.clone())), FEATURES),
            "activations_l2" => close_rel(name, norm(values(activations.clone())), FEATURES),
            // Scaling and resizing of maps is tested where it is done.
            name if name.ends_with(".cam50") || name.ends_with(".cam_full") => {}
            name => match (name.strip_prefix("text_block"), name.split_once('.')) {
                (Some(block), _) => {
                    let number = block.strip_suffix("_prompt0").unwrap().parse::<usize>().unwrap();
                    close(name, values(blocks[number].clone()), FEATURES);
                }
                (None, Some((class, part))) => {
                    let class = class.strip_prefix('c').unwrap().parse().unwrap();
                    let cam = cam(clip, &activations, &text_features, class);
                    let ours = match part {
                        "raw_cam" => cam.0,
                        "gradients" => cam.1,
                        "gradients_first4096" => head(cam.1),
                        "gradients_l2" => norm(cam.1),
                        part => panic!("{}: unknown {part}", what(name)),
                    };
                    close_rel(name, ours, GRADIENTS);
                }
                _ => panic!("{}: nothing compares it", what(name)),
            },
        }
    }
}

/// Maps before ReLU and gradients of one class for all images.
fn cam(clip: &Clip, map: &Tensor<4>, text: &Tensor<2>, class: usize) -> (Vec<f32>, Vec<f32>) {
    let pairs: Vec<CamPair> = (0..map.dims()[0]).map(|image| CamPair { image, class }).collect();
    let cam = clip.grad_cam_of(map.clone(), text.clone(), &pairs, CamTarget::Probability).unwrap();
    (values(cam.raw), values(cam.gradients))
}

/// As many images as the case has.
fn first(case: &Case, name: &str, map: &Tensor<4>) -> Vec<f32> {
    let shape = case.shape(name);
    let map = map.clone().narrow(0, 0, shape[0]);
    assert_eq!(map.dims().to_vec(), shape, "{} {name}: shape", case.name);
    values(map)
}

fn head(mut values: Vec<f32>) -> Vec<f32> {
    values.truncate(4096);
    values
}

fn norm(values: Vec<f32>) -> Vec<f32> {
    let square = |v: &f32| f64::from(*v) * f64::from(*v);
    vec![values.iter().map(square).sum::<f64>().sqrt() as f32]
}

#[test]
fn golden_tokenizer() {
    let cases = golden::cases("imr", "tokenizer");
    let tokenizer = ClipTokenizer::new();
    let mut count = 0;
    for case in &cases {
        let json = case.json();
        let context = json["context_length"].as_u64().unwrap() as usize;
        for entry in json["cases"].as_array().unwrap() {
            let text = entry["text"].as_str().unwrap();
            let ids = |key: &str| -> Vec<u32> {
                entry[key]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|id| id.as_u64().unwrap() as u32)
                    .collect()
            };
            let fits = entry["fits"].as_bool().unwrap();
            let tokens = tokenizer.tokenize(text, context, Overlong::Truncate).unwrap();
            assert_eq!(tokens.text, entry["cleaned"].as_str().unwrap(), "{text:?}");
            let expected = if fits { ids("tokens") } else { ids("truncated") };
            assert_eq!(tokens.ids[..tokens.used], expected, "{text:?}");
            assert!(tokens.ids[tokens.used..].iter().all(|id| *id == 0), "{text:?}");
            assert_eq!(tokens.ids.len(), context, "{text:?}");
            assert_eq!(tokens.is_truncated(), !fits, "{text:?}");
            let refused = tokenizer.tokenize(text, context, Overlong::Refuse);
            assert_eq!(refused.is_ok(), fits, "{text:?}");
            count += 1;
        }
    }
    println!("golden tokenizer: {count} strings");
    golden::report("imr/tokenizer", cases.len());
}
