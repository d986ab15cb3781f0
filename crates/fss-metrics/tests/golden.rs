//! The metrics of the published code, on every golden case.

use fss_metrics::{BinaryCounts, ConfusionMatrix, HsnetMetric, percent};
use fss_support::golden;

/// Class ids of the case's episodes, its number of episodes and of pixels per episode.
fn episodes(case: &golden::Case) -> (Vec<i64>, usize) {
    let (shape, _) = case.u8("pred");
    let (_, classes) = case.i64("class_id");
    assert_eq!(shape[0], classes.len(), "{}: one class an episode", case.name);
    (classes, shape[1..].iter().product())
}

#[test]
fn golden_metric_own() {
    let cases = golden::cases("ssp", "metric_own");
    for case in &cases {
        let (classes, pixels) = episodes(case);
        let (_, pred) = case.u8("pred");
        let (_, truth) = case.u8("gt");
        let (_, running) = case.f64("running_miou");
        let (_, hist) = case.f64("hist");
        let (_, want_iou) = case.f64("per_class_iou");
        let labels = case.settings["num_classes"].as_u64().expect("num_classes") as usize;
        let mut matrix = ConfusionMatrix::new(labels - 1);
        for (i, &class) in classes.iter().enumerate() {
            let at = i * pixels..(i + 1) * pixels;
            matrix
                .add_episode(&pred[at.clone()], &truth[at], class as usize)
                .unwrap_or_else(|e| panic!("{} episode {i}: {e}", case.name));
            let got = percent(matrix.miou());
            // The tolerance is one of a fraction, the running values are in per cent.
            assert!(
                (got - running[i]).abs() <= 1e-4 || (got.is_nan() && running[i].is_nan()),
                "{} after episode {i}: mIoU {got}, not {}",
                case.name,
                running[i]
            );
        }
        let got: Vec<f64> = matrix.matrix().iter().copied().collect();
        assert_eq!(got, hist, "{}: counts", case.name);
        let got = matrix.per_class_iou();
        assert_eq!(got.len(), want_iou.len());
        for (label, (got, want)) in got.iter().zip(&want_iou).enumerate() {
            assert!(
                (got - want).abs() <= 1e-6 || (got.is_nan() && want.is_nan()),
                "{}: IoU of label {label} is {got}, not {want}",
                case.name
            );
        }
    }
    golden::report("ssp/metric_own", cases.len());
}

#[test]
fn golden_metric_hsnet() {
    let cases = golden::cases("ssp", "metric_hsnet_");
    for case in &cases {
        let (class_ids, pixels) = episodes(case);
        let (_, pred) = case.u8("pred");
        let (_, truth) = case.u8("gt");
        let ignore = case.has("ignore").then(|| case.u8("ignore").1);
        let (_, inter) = case.f32("area_inter");
        let (_, union) = case.f32("area_union");
        let (_, running) = case.f32("running");
        let test_classes = case.settings["class_ids"].as_array().expect("class_ids");
        let mut metric = HsnetMetric::new(
            test_classes.iter().map(|id| id.as_u64().expect("a class id") as usize + 1),
        );
        for (i, &id) in class_ids.iter().enumerate() {
            let at = i * pixels..(i + 1) * pixels;
            let (p, t) = (&pred[at.clone()], &truth[at.clone()]);
            let counts = match &ignore {
                Some(ignore) => BinaryCounts::compare_ignoring(p, t, &ignore[at]),
                None => BinaryCounts::compare(p, t),
            }
            .unwrap_or_else(|e| panic!("{} episode {i}: {e}", case.name));
            for (row, areas) in [counts.background(), counts.foreground()].iter().enumerate() {
                let got = (areas.intersection as f32, areas.union as f32);
                let want = (inter[2 * i + row], union[2 * i + row]);
                assert_eq!(got, want, "{} episode {i}, row {row}", case.name);
            }
            metric
                .add_counts(&counts, id as usize + 1)
                .unwrap_or_else(|e| panic!("{} episode {i}: {e}", case.name));
            let scores = metric.scores();
            let got = [percent(scores.miou) as f32, percent(scores.fb_iou) as f32];
            golden::assert_close(
                &format!("{} after episode {i}: mIoU, FB-IoU", case.name),
                &got,
                &running[2 * i..2 * i + 2],
                1e-3,
            );
        }
        let (shape, want_inter) = case.f32("intersection");
        let (_, want_union) = case.f32("union");
        for id in 0..shape[1] {
            for (row, areas) in
                [metric.background(id + 1), metric.foreground(id + 1)].iter().enumerate()
            {
                let want = (want_inter[row * shape[1] + id], want_union[row * shape[1] + id]);
                let got = (areas.intersection as f32, areas.union as f32);
                assert_eq!(got, want, "{}: class id {id}, row {row}", case.name);
            }
        }
    }
    golden::report("ssp/metric_hsnet_", cases.len());
}
