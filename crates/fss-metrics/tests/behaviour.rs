//! Bounds, sharding, serialisation and bad input.

use fss_metrics::{
    BinaryCounts, ConfusionMatrix, EpisodeMetrics, FbIou, HsnetMetric, MapRole, MetricError,
    MetricReport, Spread,
};
use ndarray::{Array2, arr2};
use proptest::prelude::*;

const CLASSES: usize = 5;

#[derive(Clone, Debug)]
struct Episode {
    class: usize,
    prediction: Vec<u8>,
    truth: Vec<u8>,
}

fn episode() -> impl Strategy<Value = Episode> {
    (1..=CLASSES, 0usize..60).prop_flat_map(|(class, pixels)| {
        let truth = prop_oneof![4 => Just(0u8), 4 => Just(1u8), 1 => Just(255u8)];
        (prop::collection::vec(0u8..=1, pixels), prop::collection::vec(truth, pixels))
            .prop_map(move |(prediction, truth)| Episode { class, prediction, truth })
    })
}

fn metrics(episodes: &[(usize, &Episode)]) -> EpisodeMetrics {
    let mut metrics = EpisodeMetrics::new(CLASSES);
    for (number, e) in episodes {
        metrics.add_episode(*number, &e.prediction, &e.truth, e.class).expect("a valid episode");
    }
    metrics
}

fn hsnet(episodes: &[(usize, &Episode)]) -> HsnetMetric {
    let mut metric = HsnetMetric::new(1..=CLASSES);
    for (_, e) in episodes {
        metric.add_episode(&e.prediction, &e.truth, e.class).expect("a valid episode");
    }
    metric
}

proptest! {
    #[test]
    fn every_pixel_is_counted_once(e in episode()) {
        let counts = BinaryCounts::compare(&e.prediction, &e.truth).expect("a valid episode");
        prop_assert_eq!(counts.valid() + counts.ignored, e.truth.len() as u64);
        let ignored = e.truth.iter().filter(|&&t| t == 255).count() as u64;
        prop_assert_eq!(counts.ignored, ignored);
        let tp = e.prediction.iter().zip(&e.truth).filter(|&(&p, &t)| p == 1 && t == 1).count();
        prop_assert_eq!(counts.true_positive, tp as u64);
    }

    #[test]
    fn values_lie_between_nothing_and_all(episodes in prop::collection::vec(episode(), 0..12)) {
        let numbered: Vec<_> = episodes.iter().enumerate().collect();
        let report = metrics(&numbered).report();
        let all = [report.miou, report.fb_iou, report.foreground_iou, report.background_iou,
                   report.mean_episode_iou];
        for value in all.into_iter().flatten().chain(report.classes.iter().filter_map(|c| c.iou)) {
            prop_assert!((0.0..=1.0).contains(&value), "{}", value);
        }
        // A class without pixels lowers the HSNet mean but not the own protocol's.
        if let Some(miou) = report.miou {
            prop_assert!(hsnet(&numbered).scores().miou <= miou + 1e-12);
        }
    }

    #[test]
    fn a_perfect_prediction_scores_one(episodes in prop::collection::vec(episode(), 1..8)) {
        let perfect: Vec<Episode> = episodes
            .into_iter()
            .map(|e| Episode { prediction: e.truth.iter().map(|&t| u8::from(t == 1)).collect(), ..e })
            .collect();
        let report = metrics(&perfect.iter().enumerate().collect::<Vec<_>>()).report();
        for value in [report.miou, report.fb_iou, report.mean_episode_iou].into_iter().flatten() {
            prop_assert_eq!(value, 1.0);
        }
    }

    #[test]
    fn shards_merge_to_the_whole(
        episodes in prop::collection::vec((episode(), any::<bool>()), 0..12)
    ) {
        let numbered: Vec<_> = episodes.iter().map(|(e, _)| e).enumerate().collect();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for (entry, (_, goes_left)) in numbered.iter().zip(&episodes) {
            if *goes_left { left.push(*entry) } else { right.push(*entry) }
        }
        let mut merged = metrics(&right);
        merged.merge(&metrics(&left)).expect("same classes");
        prop_assert_eq!(&merged, &metrics(&numbered));
        prop_assert_eq!(merged.report(), metrics(&numbered).report());
        let mut merged = hsnet(&left);
        merged.merge(&hsnet(&right)).expect("same classes");
        prop_assert_eq!(merged, hsnet(&numbered));
    }

    #[test]
    fn reports_survive_json(episodes in prop::collection::vec(episode(), 0..6)) {
        let metrics = metrics(&episodes.iter().enumerate().collect::<Vec<_>>());
        let report = metrics.report();
        let json = serde_json::to_string(&report).expect("a report is JSON");
        prop_assert_eq!(serde_json::from_str::<MetricReport>(&json).expect("its own JSON"), report);
        let json = serde_json::to_string(&metrics).expect("metrics are JSON");
        prop_assert_eq!(serde_json::from_str::<EpisodeMetrics>(&json).expect("its own JSON"), metrics);
    }

    #[test]
    fn an_ignore_map_equals_ignored_labels(e in episode(), seed in any::<u64>()) {
        let ignore: Vec<u8> = (0..e.truth.len()).map(|i| (seed >> (i % 64)) as u8 & 1).collect();
        let masked: Vec<u8> =
            e.truth.iter().zip(&ignore).map(|(&t, &i)| if i == 1 { 255 } else { t }).collect();
        prop_assert_eq!(
            BinaryCounts::compare_ignoring(&e.prediction, &e.truth, &ignore),
            BinaryCounts::compare(&e.prediction, &masked)
        );
    }
}

#[test]
fn counts_by_hand() {
    let mut matrix = ConfusionMatrix::new(3);
    matrix.add_episode(&[1, 1, 0, 0, 1, 0], &[1, 0, 1, 0, 255, 255], 2).unwrap();
    assert_eq!([0, 2].map(|t| [0, 2].map(|p| matrix.count(t, p))), [[Some(1); 2]; 2]);
    assert_eq!(matrix.count(4, 0), None);
    let iou = matrix.per_class_iou();
    assert_eq!((iou[0], iou[2]), (1.0 / 3.0, 1.0 / 3.0));
    assert!(iou[1].is_nan() && iou[3].is_nan());
    assert_eq!(matrix.miou(), 1.0 / 3.0);
    assert_eq!(matrix.class_ious().len(), 1);
}

#[test]
fn blocks_do_not_lose_pixels() {
    let n: usize = (1 << 16) * 2 + 17;
    let prediction: Vec<u8> = (0..n).map(|i| u8::from(i % 2 == 0)).collect();
    let truth: Vec<u8> = (0..n).map(|i| u8::from(i % 3 == 0)).collect();
    let counts = BinaryCounts::compare(&prediction, &truth).unwrap();
    assert_eq!(counts.true_positive, n.div_ceil(6) as u64);
    assert_eq!(counts.valid(), n as u64);
}

#[test]
fn nothing_added_is_undefined_rather_than_zero() {
    let metrics = EpisodeMetrics::new(4);
    let report = metrics.report();
    assert_eq!((report.miou, report.fb_iou, report.mean_episode_iou), (None, None, None));
    assert!(metrics.confusion.miou().is_nan());
    assert!(HsnetMetric::new([]).scores().miou.is_nan());
    assert_eq!(HsnetMetric::new([3, 1, 3]).classes(), [1, 3]);
}

#[test]
fn fb_iou_of_a_background_only_episode() {
    let mut fb = FbIou::new();
    fb.add_episode(&[0, 0, 0], &[0, 0, 255]).unwrap();
    assert_eq!((fb.foreground(), fb.background(), fb.fb_iou()), (None, Some(1.0), Some(1.0)));
}

#[test]
fn bad_maps_are_named() {
    let error = BinaryCounts::compare(&[0, 1], &[0, 1, 1]).unwrap_err();
    assert_eq!(
        error,
        MetricError::Shape { role: MapRole::Truth, got: vec![3], prediction: vec![2] }
    );
    assert!(error.to_string().contains("[3]"), "{error}");
    let error = BinaryCounts::compare(&[0, 1, 0], &[0, 1, 15]).unwrap_err();
    assert_eq!(error, MetricError::Value { role: MapRole::Truth, value: 15, position: 2 });
    let error = BinaryCounts::compare(&[0, 255], &[0, 255]).unwrap_err();
    assert_eq!(error, MetricError::Value { role: MapRole::Prediction, value: 255, position: 1 });
    assert!(error.to_string().contains("0 or 1"), "{error}");
    let error = BinaryCounts::compare_ignoring(&[0, 1], &[0, 1], &[0, 2]).unwrap_err();
    assert_eq!(error, MetricError::Value { role: MapRole::Ignore, value: 2, position: 1 });
    let error =
        BinaryCounts::compare_maps(Array2::zeros((2, 3)).view(), Array2::zeros((3, 2)).view())
            .unwrap_err();
    assert!(matches!(error, MetricError::Shape { .. }), "{error}");
}

#[test]
fn maps_may_have_any_memory_layout() {
    let (prediction, truth) = (arr2(&[[1u8, 0, 1], [0, 0, 1]]), arr2(&[[1u8, 0, 0], [255, 1, 1]]));
    let straight = BinaryCounts::compare_maps(prediction.view(), truth.view()).unwrap();
    let turned = truth.t().as_standard_layout().into_owned();
    assert_eq!(BinaryCounts::compare_maps(prediction.view(), turned.t()).unwrap(), straight);
}

#[test]
fn unknown_classes_change_nothing() {
    let mut metrics = EpisodeMetrics::new(4);
    for class in [0, 5, 255] {
        let error = metrics.add_episode(0, &[1], &[1], class).unwrap_err();
        assert!(matches!(error, MetricError::Class { .. }), "{error}");
    }
    assert_eq!(metrics, EpisodeMetrics::new(4));
    let mut hsnet = HsnetMetric::new([6, 7]);
    assert!(hsnet.add_episode(&[1], &[1], 5).unwrap_err().to_string().contains("[6, 7]"));
    assert!(matches!(hsnet.merge(&HsnetMetric::new([6])), Err(MetricError::Merge { .. })));
    assert!(matches!(metrics.merge(&EpisodeMetrics::new(5)), Err(MetricError::Merge { .. })));
}

#[test]
fn spread_over_seeds() {
    let spread = Spread::of([0.5, 0.7, 0.6]).unwrap();
    assert!((spread.mean - 0.6).abs() < 1e-12 && (spread.deviation - 0.1).abs() < 1e-12);
    assert_eq!((spread.min, spread.max), (0.5, 0.7));
    assert_eq!(Spread::of([0.25]).unwrap().deviation, 0.0);
    assert_eq!(Spread::of([]), None);
}
