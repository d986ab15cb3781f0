//! Golden tests of the heads: outputs of the official code with weights by the fill rule.

mod amp;
mod denet;
#[path = "../../../../tests/support/device.rs"]
mod device;
mod extending;
mod half;
mod hsnet;
mod imr;
mod mixed;
mod mlc;
mod pop;
mod siblings;
mod ssp;
mod support;

use device::test_device;
use fss_heads::loss::{cross_entropy, cross_entropy_map, weighted_cross_entropy};
use fss_support::golden::{assert_close, cases, report};
use support::{labels, tensor, values};

#[test]
fn golden_cross_entropy() {
    let device = test_device().autodiff();
    let cases = cases("common", "cross_entropy");
    for case in &cases {
        let target = labels(case, "target", &device);
        let logits = tensor::<4>(case, "logits", &device).require_grad();
        let weights = tensor::<1>(case, "weight", &device);
        let close = |name: &str, got: Vec<f32>| {
            assert_close(&format!("{}: {name}", case.name), &got, &case.f32(name).1, 1e-6);
        };
        let map = cross_entropy_map(logits.clone(), target.clone());
        assert_close("loss_sum", &values(map.clone().sum()), &case.f32("loss_sum").1, 1e-4);
        close("loss_none", values(map));
        let weighted = weighted_cross_entropy(logits.clone(), target.clone(), weights);
        close("loss_mean_weighted", values(weighted));
        let mean = cross_entropy(logits.clone(), target.clone());
        close("loss_mean", values(mean.clone()));
        let gradient = logits.grad(&mean.backward()).expect("a gradient");
        close("grad_of_mean", values(gradient));
        let ignored = target.ones_like() * 255;
        close("loss_all_ignored", values(cross_entropy(logits, ignored)));
    }
    report("common/cross_entropy", cases.len());
}
