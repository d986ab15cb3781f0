//! Several classes in one pass: every head gives what its ways give alone, merged.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Distribution, Int, Tensor};
use device::test_device;
use fss_backbone::{DeepStemResNetConfig, Depth, TapBackboneConfig, TapNetwork};
use fss_heads::{
    AnyModel, Features, FewShotModel, HeadError, HsnetConfig, ImrConfig, MlcConfig, Refine,
    SspConfig, merge_ways,
};

const SIDE: usize = 64;

fn images(batch: usize, seed: u64) -> Tensor<4> {
    let device = test_device();
    device.seed(seed);
    Tensor::random([batch, 3, SIDE, SIDE], Distribution::Normal(0.0, 1.0), &device)
}

/// Foreground in the rows from `from` on.
fn mask(from: usize) -> Tensor<3, Int> {
    let rows = Tensor::<1, Int>::arange(0..SIDE as i64, &test_device());
    let below = rows.greater_equal_elem(from as i64).int();
    below.reshape([1, SIDE, 1]).expand([1, SIDE, SIDE])
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

/// Three ways, the second of two shots, on two queries of another size than the supports.
fn check(model: &dyn AnyModel, shots_of_second: usize) {
    let support = |seed: u64, from: usize, shots: usize| {
        let shots: Vec<_> = (0..shots as u64)
            .map(|k| fss_heads::Shot {
                features: model.any_features(images(1, seed + 100 * k)),
                mask: mask(from),
            })
            .collect();
        model.any_encode_support(&shots).unwrap()
    };
    let ways = [support(1, 20, 1), support(2, 40, shots_of_second), support(3, 5, 1)];
    let query = model.any_features(images(2, 9));
    let size = [50, 71];
    let merged = model.any_segment_ways(&ways, &query, size).unwrap();
    assert_eq!(merged.dims(), [2, 4, 50, 71]);
    let alone = ways.iter().map(|way| model.any_segment(way, &query, size).unwrap()).collect();
    let (got, want) = (values(merged), values(merge_ways(alone).unwrap()));
    let largest = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() <= 1e-5 * largest, "{got} and {want}");
    }
    // One way labels as it does alone.
    let label = |logits: Tensor<4>| logits.argmax(1).into_data();
    let one = model.any_segment_ways(&ways[..1], &query, size).unwrap();
    let same = model.any_segment(&ways[0], &query, size).unwrap();
    assert_eq!(label(one), label(same));

    assert_eq!(model.any_segment_ways(&[], &query, size).unwrap_err(), HeadError::NoSupport);
    let foreign = Features(Vec::new());
    assert!(model.any_segment_ways(&ways, &foreign, size).is_err());
}

#[test]
fn heads_that_match_by_prototypes() {
    let device = test_device();
    let backbone = DeepStemResNetConfig::new(Depth::R50).with_width(4);
    for refine in [Refine::Off, Refine::On] {
        check(&SspConfig::new(backbone).with_refine(refine).init(&device, 7).fold(), 2);
    }
    check(&MlcConfig::new(backbone).init(&device, 7).fold(), 2);
}

#[test]
fn heads_that_match_by_correlations() {
    let backbone = TapBackboneConfig::new(TapNetwork::Resnet50).with_width(2);
    check(&HsnetConfig::new(backbone).with_side(SIDE).init(&test_device(), 3).fold(), 2);
}

#[test]
fn a_head_that_reads_maps_of_one_class_refuses_several() {
    let device = test_device();
    let backbone = TapBackboneConfig::new(TapNetwork::Resnet50).with_width(2);
    let model = ImrConfig::new(backbone).with_grid(SIDE / 8).init(&device, 3).unwrap();
    let grid = model.cam_grid().unwrap();
    let seen =
        |seed| model.features(images(1, seed)).with_cam(Tensor::ones([1, 1, grid, grid], &device));
    let shot = fss_heads::Shot { features: seen(1), mask: mask(30) };
    let support = model.encode_support(&[shot]).unwrap();
    let query = seen(2);
    let one = model.segment_ways(std::slice::from_ref(&support), &query, [40, 40]).unwrap();
    assert_eq!(one.dims(), [1, 2, 40, 40]);
    let message =
        model.segment_ways(&[support.clone(), support], &query, [40, 40]).unwrap_err().to_string();
    assert!(message.contains("one class at a time"), "{message}");
}
