//! Golden tests of POP's decomposition and of the pooling beside it.

#[path = "../../../tests/support/device.rs"]
mod device;

use burn::tensor::{Device, Tensor, TensorData};
use device::test_device;
use fss_kernels::{
    masked_average_pool, orthogonal_decompose, projections, residual, unit_prototypes,
};
use fss_support::golden::{Case, assert_close, cases, report_optional};

fn devices() -> [Device; 2] {
    [test_device(), test_device().autodiff()]
}

fn load<const D: usize>(case: &Case, name: &str, device: &Device) -> Tensor<D> {
    let (shape, values) = case.f32(name);
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().expect("float values")
}

fn check<const D: usize>(case: &Case, name: &str, got: Tensor<D>) {
    assert_close(&format!("{}: {name}", case.name), &values(got), &case.f32(name).1, 2e-6);
}

#[test]
fn golden_orthogonal_decomposition() {
    let cases = cases("pop", "ortho_");
    for case in &cases {
        for device in devices() {
            let features = load::<3>(case, "feats", &device);
            let base = load::<2>(case, "bases_b", &device);
            let [count, _] = base.dims();
            let novel = case.has("bases_n").then(|| load::<2>(case, "bases_n", &device));
            let all = Tensor::cat([Some(base), novel].into_iter().flatten().collect(), 0);
            let whole = orthogonal_decompose(features.clone(), all.clone());
            let along_base = whole.along.clone().narrow(1, 0, count);
            if case.has("out_fg") {
                check(case, "out_fg", along_base);
            } else {
                check(case, "out_fg_b", along_base);
                let novel = whole.along.dims()[1] - count;
                check(case, "out_fg_n", whole.along.narrow(1, count, novel));
            }
            check(case, "out_bg", whole.residual);
            let units = unit_prototypes(all);
            let scalars = projections(features.clone(), units.clone());
            check(case, "out_bg", residual(features, units, scalars));
        }
    }
    report_optional("pop/ortho_", cases.len());
}

#[test]
fn a_zero_prototype_has_no_map_and_no_gradient() {
    let device = test_device().autodiff();
    let data = TensorData::new(vec![0.0f32, 0.0, 3.0, 4.0], [2, 2]);
    let prototypes = Tensor::<2>::from_data(data, &device).require_grad();
    let units = unit_prototypes(prototypes.clone());
    assert_eq!(values(units.clone()), [0.0, 0.0, 0.6, 0.8]);
    let gradients = units.slice([0..1, 0..2]).sum().backward();
    let gradient = values(prototypes.grad(&gradients).expect("a gradient"));
    assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
}

#[test]
fn golden_pop_masked_average_pooling() {
    let cases = cases("pop", "masked_average_pooling");
    for case in &cases {
        for device in devices() {
            let features = load::<4>(case, "feature", &device);
            let (shape, mask) = case.u8("mask");
            let mask: Vec<f32> = mask.into_iter().map(f32::from).collect();
            let mask = Tensor::<4>::from_data(TensorData::new(mask, shape), &device);
            // The mean over the batch of the prototypes of its samples.
            let pooled = masked_average_pool(features, mask).mean_dim(0);
            check(case, "out", pooled);
        }
    }
    report_optional("pop/masked_average_pooling", cases.len());
}
