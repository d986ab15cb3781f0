//! CLIP: similarities, class activation maps, prompts.

#[path = "common/clip.rs"]
mod clip_support;
mod common;

use burn::tensor::{Device, Tensor};
use clip_support::{filled_clip, small};
use common::{device, images, values};
use fss_backbone::clip::{
    CamPair, CamTarget, Clip, ClipConfig, ClipTokenizer, Overlong, probabilities, prompt,
    similarity,
};
use fss_backbone::{BackboneError, module_shapes};
use fss_support::golden::assert_close_rel_max;

fn tokens(names: &[&str]) -> Vec<Vec<u32>> {
    let tokenizer = ClipTokenizer::new();
    let tokens =
        |name: &&str| tokenizer.tokenize(&prompt(name).unwrap(), 77, Overlong::Refuse).unwrap().ids;
    names.iter().map(tokens).collect()
}

fn setup() -> (Clip, Tensor<4>, Tensor<2>) {
    let clip = filled_clip(small(), &device()).fold();
    let side = clip.config().resolution;
    let text = clip.encode_text(&tokens(&["dog", "cat", "an old red car"])).unwrap();
    (clip, images("image", [2, 3, side, side], &device()), text)
}

fn pairs(list: &[(usize, usize)]) -> Vec<CamPair> {
    list.iter().map(|(image, class)| CamPair { image: *image, class: *class }).collect()
}

#[test]
fn rn50_has_the_published_size() {
    let clip = ClipConfig::rn50().init(&device(), 0);
    let count = |prefix: &str| -> usize {
        let shapes = module_shapes(&clip);
        let trained = shapes.iter().filter(|(key, _)| !key.contains("running_"));
        let part = trained.filter(|(key, _)| key.starts_with(prefix));
        part.map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    assert_eq!(count(""), 102_007_136);
    assert_eq!(count("visual."), 38_316_896);
    assert_eq!(clip.config().heads(), 32);
    assert_eq!(clip.config().text_heads(), 8);
    assert_eq!(clip.config().to_string(), "CLIP RN50");
}

#[test]
fn probabilities_sum_to_one() {
    let (clip, images, text) = setup();
    let features = clip.encode_image(images).unwrap();
    let sums = values(probabilities(features.clone(), text.clone()).sum_dim(1));
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    let cosines = values(similarity(features, text) / 100.0);
    assert!(cosines.iter().all(|c| c.abs() <= 1.0001));
}

#[test]
fn a_feature_of_length_zero_gives_no_nan() {
    let (clip, images, text) = setup();
    let nothing = Tensor::zeros(text.dims(), &device());
    let chances =
        values(probabilities(clip.encode_image(images.clone()).unwrap(), nothing.clone()));
    assert!(chances.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-6), "{chances:?}");
    let cam = clip.grad_cam(images, nothing, &pairs(&[(0, 0)]), CamTarget::Logit).unwrap();
    assert!(values(cam.raw).iter().all(|v| *v == 0.0));
}

#[test]
fn several_maps_equal_those_made_one_by_one() {
    let (clip, images, text) = setup();
    let all = pairs(&[(1, 2), (0, 0), (1, 0), (0, 1)]);
    for target in [CamTarget::Probability, CamTarget::Logit] {
        let together = clip.grad_cam(images.clone(), text.clone(), &all, target).unwrap();
        let [_, h, w] = together.raw.dims();
        let raw = values(together.raw);
        for (i, pair) in all.iter().enumerate() {
            let image = images.clone().narrow(0, pair.image, 1);
            let one = [CamPair { image: 0, ..*pair }];
            let alone = clip.grad_cam(image, text.clone(), &one, target).unwrap();
            let part = &raw[i * h * w..(i + 1) * h * w];
            assert_close_rel_max("raw", part, &values(alone.raw), 1e-4);
        }
    }
}

/// The gradients written out by hand against those of automatic differentiation.
#[test]
fn gradients_are_those_of_autodiff() {
    let (clip, images, text) = setup();
    let map = clip.visual.activations(images);
    for class in 0..3 {
        for target in [CamTarget::Probability, CamTarget::Logit] {
            let ours = clip
                .grad_cam_of(map.clone(), text.clone(), &pairs(&[(0, class), (1, class)]), target)
                .unwrap();
            let device = Device::flex().autodiff();
            let tracked = Tensor::<4>::from_data(map.to_data(), &device).require_grad();
            let text = Tensor::<2>::from_data(text.to_data(), &device);
            let features = clip.visual.pool(tracked.clone()).unwrap();
            let scores = match target {
                CamTarget::Probability => probabilities(features, text),
                CamTarget::Logit => similarity(features, text),
            };
            let gradients = scores.narrow(1, class, 1).sum().backward();
            let theirs = values(tracked.grad(&gradients).unwrap());
            let what = format!("{target:?} of class {class}");
            assert_close_rel_max(&what, &values(ours.gradients.clone()), &theirs, 1e-4);

            let [_, channels, h, w] = map.dims();
            let weights = ours.gradients.reshape([2, channels, h * w]).mean_dim(2);
            let raw = (weights.unsqueeze_dim::<4>(3) * map.clone()).sum_dim(1);
            assert_close_rel_max(&what, &values(ours.raw), &values(raw), 1e-5);
        }
    }
}

#[test]
fn folding_changes_nothing_but_rounding() {
    let clip = filled_clip(small(), &device());
    let image = images("image", [1, 3, 64, 64], &device());
    let plain = values(clip.encode_image(image.clone()).unwrap());
    let folded = values(clip.fold().encode_image(image).unwrap());
    assert_close_rel_max("features", &folded, &plain, 1e-4);
}

#[test]
fn padding_and_company_do_not_change_a_prompt() {
    let (clip, _, together) = setup();
    let mut bare = tokens(&["dog"]).remove(0);
    bare.retain(|id| *id != 0);
    let alone = values(clip.encode_text(&[bare]).unwrap());
    assert_close_rel_max("dog", &values(together)[..alone.len()], &alone, 1e-5);
    let many = vec![tokens(&["dog"]).remove(0); 70];
    let many = values(clip.encode_text(&many).unwrap());
    assert_close_rel_max("last of many", &many[69 * alone.len()..], &alone, 1e-5);
}

#[test]
fn wrong_input_is_refused_in_words() {
    let (clip, images, text) = setup();
    let says = |error: BackboneError, words: &str| {
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
    };
    let small = Tensor::zeros([1, 3, 32, 64], &device());
    says(clip.encode_image(small.clone()).unwrap_err(), "it needs [B, 3, 64, 64]");
    says(clip.visual.pool(Tensor::zeros([1, 256, 3, 2], &device())).unwrap_err(), "3x2");
    let cam = |images, pairs: &[CamPair]| {
        clip.grad_cam(images, text.clone(), pairs, CamTarget::Probability).unwrap_err()
    };
    says(cam(small, &pairs(&[(0, 0)])), "it needs");
    says(cam(images.clone(), &pairs(&[(0, 3)])), "image 0 with class 3");
    says(cam(images.clone(), &pairs(&[(2, 0)])), "2 images and 3 prompts");
    says(cam(images.clone(), &[]), "no image and class");
    let short = Tensor::zeros([3, 7], &device());
    let error = clip.grad_cam(images, short, &pairs(&[(0, 0)]), CamTarget::Logit).unwrap_err();
    says(error, "text features have 7 values, it needs 48");
    says(clip.encode_text(&[]).unwrap_err(), "no prompt");
    says(clip.encode_text(&[vec![]]).unwrap_err(), "prompt 0 has 0 tokens");
    says(clip.encode_text(&[vec![1; 78]]).unwrap_err(), "78 tokens");
    says(clip.encode_text(&[vec![49408]]).unwrap_err(), "beyond the vocabulary");
}

#[test]
fn overlong_texts_are_refused_or_cut() {
    let tokenizer = ClipTokenizer::new();
    let text = "one two three four five";
    let error = tokenizer.tokenize(text, 5, Overlong::Refuse).unwrap_err().to_string();
    assert!(error.contains("7 tokens") && error.contains("at most 5"), "{error}");
    let tokens = tokenizer.tokenize(text, 5, Overlong::Truncate).unwrap();
    assert_eq!((tokens.used, tokens.needed), (5, 7));
    assert_eq!(tokens.kept, "one two three");
    assert_eq!(tokens.ids[4], 49407);
    let tokens = tokenizer.tokenize(text, 7, Overlong::Refuse).unwrap();
    assert_eq!((tokens.kept.as_str(), tokens.is_truncated()), (text, false));
    let word = tokenizer.tokenize("antidisestablishmentarianism", 4, Overlong::Truncate).unwrap();
    assert!("antidisestablishmentarianism".starts_with(&word.kept), "{}", word.kept);
    assert!(!word.kept.is_empty());
    let huge = "word ".repeat(20_000);
    let error = tokenizer.tokenize(&huge, 77, Overlong::Truncate).unwrap_err().to_string();
    assert!(error.contains("100000 bytes"), "{error}");
    assert!(tokenizer.tokenize("", 1, Overlong::Refuse).is_err());
}

#[test]
fn tokens_of_emoji_and_of_nothing() {
    let tokenizer = ClipTokenizer::new();
    let emoji = tokenizer.tokenize("🦖", 77, Overlong::Refuse).unwrap();
    assert!(emoji.used > 2 && emoji.kept == "🦖");
    let nothing = tokenizer.tokenize(" \n ", 77, Overlong::Refuse).unwrap();
    assert_eq!((nothing.used, &nothing.ids[..3]), (2, &[49406, 49407, 0][..]));
    // A name of the crate's own for the start token is ordinary text.
    let text = tokenizer.tokenize("<start_of_text>", 77, Overlong::Refuse).unwrap();
    assert!(text.ids[1..text.used - 1].iter().all(|id| *id < 49406));
}
