//! The metrics of the published code, on every golden case.

use fss_metrics::{
    BinaryCounts, ConfusionMatrix, FullIou, GeneralizedMetric, HsnetEpisodeMetrics, HsnetMetric,
    WayIou, percent, vote,
};
use fss_support::golden;
use ndarray::Array2;

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

/// The published metric takes batches; here an episode is added at a time.
#[test]
fn golden_hsnet_metric() {
    let cases = golden::cases("hsnet", "metric_");
    for case in &cases {
        let ids = case.settings["class_ids"].as_array().expect("class_ids");
        let tested = ids.iter().map(|id| id.as_u64().expect("a class id") as usize + 1);
        let mut metrics = HsnetEpisodeMetrics::new(tested);
        let running = case.settings["running_miou_fbiou"].as_array().expect("running values");
        let mut episode = 0;
        for (b, want) in running.iter().enumerate() {
            let (shape, pred) = case.u8(&format!("b{b}.pred"));
            let (_, truth) = case.u8(&format!("b{b}.gt"));
            let ignore = format!("b{b}.ignore");
            let ignore = case.has(&ignore).then(|| case.u8(&ignore).1);
            let (_, classes) = case.i64(&format!("b{b}.class_id"));
            let (_, inter) = case.f32(&format!("b{b}.inter"));
            let (_, union) = case.f32(&format!("b{b}.union"));
            let pixels: usize = shape[1..].iter().product();
            for (i, &id) in classes.iter().enumerate() {
                let at = i * pixels..(i + 1) * pixels;
                let (p, t) = (&pred[at.clone()], &truth[at.clone()]);
                let counts = match &ignore {
                    Some(ignore) => BinaryCounts::compare_ignoring(p, t, &ignore[at]),
                    None => BinaryCounts::compare(p, t),
                }
                .unwrap_or_else(|e| panic!("{} batch {b}, item {i}: {e}", case.name));
                for (row, areas) in [counts.background(), counts.foreground()].iter().enumerate() {
                    let place = row * classes.len() + i;
                    let got = (areas.intersection as f32, areas.union as f32);
                    let want = (inter[place], union[place]);
                    assert_eq!(got, want, "{} batch {b}, item {i}, row {row}", case.name);
                }
                metrics.add_counts(episode, &counts, id as usize + 1).expect("a test class");
                episode += 1;
            }
            let report = metrics.report();
            let got = [report.miou, report.fb_iou].map(|v| percent(v.expect("a score")) as f32);
            let want = [0, 1].map(|i| want[i].as_f64().expect("a number") as f32);
            golden::assert_close(&format!("{} after batch {b}", case.name), &got, &want, 1e-3);
        }
        let (shape, inter) = case.f32("intersection_buf");
        let (_, union) = case.f32("union_buf");
        for id in 0..shape[1] {
            let areas = [metrics.metric.background(id + 1), metrics.metric.foreground(id + 1)];
            for (row, areas) in areas.iter().enumerate() {
                let want = (inter[row * shape[1] + id], union[row * shape[1] + id]);
                let got = (areas.intersection as f32, areas.union as f32);
                assert_eq!(got, want, "{}: class id {id}, row {row}", case.name);
            }
        }
    }
    golden::report("hsnet/metric_", cases.len());
}

#[test]
fn golden_hsnet_vote() {
    let mut count = 0;
    for case in golden::cases("hsnet", "vote") {
        for (name, settings) in case.settings.as_object().expect("sub-cases") {
            let (shape, logits) = case.f32(&format!("{name}.logits"));
            let &[shots, batch, 2, height, width] = shape.as_slice() else { panic!("{shape:?}") };
            assert_eq!(settings["K"].as_u64(), Some(shots as u64));
            let (_, want_votes) = case.u8(&format!("{name}.votes"));
            let (_, want) = case.u8(&format!("{name}.pred"));
            let pixels = height * width;
            for b in 0..batch {
                let maps: Vec<Array2<u8>> = (0..shots)
                    .map(|k| {
                        let at = (k * batch + b) * 2 * pixels;
                        Array2::from_shape_fn((height, width), |(y, x)| {
                            let background = logits[at + y * width + x];
                            u8::from(logits[at + pixels + y * width + x] > background)
                        })
                    })
                    .collect();
                let part = b * pixels..(b + 1) * pixels;
                let votes: Vec<u8> = (0..pixels)
                    .map(|p| maps.iter().map(|m| m[[p / width, p % width]]).sum())
                    .collect();
                assert_eq!(votes, want_votes[part.clone()], "{name}, item {b}: votes");
                let got: Vec<u8> = vote(&maps).expect("a vote").iter().copied().collect();
                assert_eq!(got, want[part], "{name}, item {b}");
                count += 1;
            }
        }
    }
    golden::report("hsnet/vote", count);
}

#[test]
fn golden_metric_generalized() {
    let cases = golden::cases("pop", "metric_");
    for case in &cases {
        let base = case.usize_setting("n_base");
        let side = case.shape("confusion_matrix")[0];
        let mut metric = GeneralizedMetric::new(base, side - 1 - base);
        for i in (0..).take_while(|i| case.has(&format!("gt{i}"))) {
            let (_, truth) = case.u8(&format!("gt{i}"));
            let (_, prediction) = case.u8(&format!("pred{i}"));
            metric.add(&prediction, &truth).unwrap_or_else(|e| panic!("{} {i}: {e}", case.name));
        }
        let counts = (0..side * side).map(|at| metric.count(at / side, at % side).unwrap() as i64);
        assert_eq!(counts.collect::<Vec<_>>(), case.i64("confusion_matrix").1, "{}", case.name);
        let areas: Vec<_> = (0..side).map(|index| metric.areas(index)).collect();
        let numbers = |of: fn(&fss_metrics::Areas) -> u64| -> Vec<i64> {
            areas.iter().map(|areas| of(areas) as i64).collect()
        };
        assert_eq!(numbers(|a| a.intersection), case.i64("intersection").1, "{}", case.name);
        assert_eq!(numbers(|a| a.union), case.i64("union").1, "{}", case.name);
        let scores = metric.scores();
        let ious: Vec<f32> = scores.classes.iter().map(|iou| iou.unwrap_or(-1.0) as f32).collect();
        golden::assert_close(&case.name, &ious, &case.f32("iou_nan_as_minus1").1, 1e-6);
        for (name, got) in
            [("base_miou", scores.base), ("novel_miou", scores.novel), ("total_miou", scores.total)]
        {
            let want = case.settings[name].as_f64().expect("a mean");
            assert!((got.unwrap() - want).abs() < 1e-9, "{}: {name} {got:?}, {want}", case.name);
        }
    }
    golden::report_optional("pop/metric_", cases.len());
}

/// Maps of one sample.
fn sample<T: Copy>(values: &[T], count: usize, index: usize) -> &[T] {
    let pixels = values.len() / count;
    &values[index * pixels..(index + 1) * pixels]
}

/// The channel with the largest value of each pixel; of equal ones the first.
fn largest(logits: &[f32], channels: usize) -> Vec<u8> {
    let pixels = logits.len() / channels;
    let winner = |pixel: usize| {
        (1..channels).fold(0, |best, channel| {
            let at = |channel: usize| logits[channel * pixels + pixel];
            if at(channel) > at(best) { channel } else { best }
        }) as u8
    };
    (0..pixels).map(winner).collect()
}

/// Bilinear enlarging of channels `[h, w]` to `[H, W]`, corners aligned.
fn enlarged(logits: &[f32], [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let place = |i: usize, from: usize, to: usize| {
        let at = if to > 1 { i as f32 * (from - 1) as f32 / (to - 1) as f32 } else { 0.0 };
        let low = (at as usize).min(from - 1);
        (low, (low + 1).min(from - 1), at - low as f32)
    };
    let mut out = Vec::new();
    for channel in logits.chunks(h * w) {
        for y in 0..height {
            let (y0, y1, dy) = place(y, h, height);
            for x in 0..width {
                let (x0, x1, dx) = place(x, w, width);
                let row = |y: usize| channel[y * w + x0] * (1.0 - dx) + channel[y * w + x1] * dx;
                out.push(row(y0) * (1.0 - dy) + row(y1) * dy);
            }
        }
    }
    out
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().expect("a number")
}

fn near(what: &str, got: Option<f64>, want: &serde_json::Value) {
    let got = got.unwrap_or_else(|| panic!("{what}: no value"));
    assert!((got - number(want)).abs() < 1e-6, "{what}: {got} for {want}");
}

/// Compares the IoU of each class with those by class id.
fn check_classes(what: &str, metric: &WayIou, want: &serde_json::Value) {
    let want = want.as_object().expect("classes");
    let ious = metric.class_ious();
    assert_eq!(ious.len(), want.len(), "{what}");
    for (class, iou) in ious {
        near(&format!("{what}, class {class}"), iou, &want[&class.to_string()]);
    }
}

#[test]
fn golden_denet_binary_iou() {
    let cases = golden::cases("denet", "metric_binary_iou");
    for case in &cases {
        let mut metric = WayIou::default();
        for want in case.settings["expected"].as_array().expect("updates") {
            let update = want["after"].as_u64().expect("an update");
            let (_, classes) = case.i64(&format!("{update}/classes"));
            let (_, logits) = case.f32(&format!("{update}/logits"));
            let (_, truth) = case.u8(&format!("{update}/gt"));
            for (i, class) in classes.iter().enumerate() {
                let prediction = largest(sample(&logits, classes.len(), i), 2);
                let truth = sample(&truth, classes.len(), i);
                metric.add(&prediction, truth, *class as usize).expect("maps");
            }
            let what = format!("{} after update {update}", case.name);
            check_classes(&what, &metric, &want["class_iou"]);
            near(&what, metric.mean(), &want["mean_iou"]);
            near(&what, metric.pooled(), &want["foreground_iou_all_classes"]);
        }
    }
    golden::report_optional("denet/metric_binary_iou", cases.len());
}

#[test]
fn golden_denet_full_iou() {
    let cases = golden::cases("denet", "metric_full_iou");
    for case in &cases {
        let classes = case.usize_setting("num_classes");
        let mut metric = FullIou::new(classes);
        for want in case.settings["expected"].as_array().expect("updates") {
            let update = want["after"].as_u64().expect("an update");
            let (shape, logits) = case.f32(&format!("{update}/logits"));
            let (_, truth) = case.u8(&format!("{update}/gt"));
            for i in 0..shape[0] {
                let prediction = largest(sample(&logits, shape[0], i), classes);
                metric.add(&prediction, sample(&truth, shape[0], i)).expect("maps");
            }
            let what = format!("{} after update {update}", case.name);
            near(&what, Some(metric.published_mean()), &want["mean_iou"]);
            let ious = metric.class_ious();
            for (iou, want) in ious.iter().zip(want["class_iou"].as_array().expect("a list")) {
                near(&what, Some(iou.unwrap_or(0.0)), want);
            }
        }
        let (_, confusion) = case.i64("confusion");
        let counts: Vec<i64> = metric.counts().iter().map(|count| *count as i64).collect();
        assert_eq!(counts, confusion, "{}", case.name);
    }
    golden::report_optional("denet/metric_full_iou", cases.len());
}

#[test]
fn golden_denet_protocol() {
    let cases = golden::cases("denet", "protocol_");
    for case in &cases {
        let ways = case.usize_setting("way");
        let classes = case.usize_setting("num_classes");
        let (mut extending, mut pattern) = (WayIou::default(), WayIou::default());
        let mut full = FullIou::new(classes);
        for batch in (0..).take_while(|batch| case.has(&format!("{batch}/classes"))) {
            let name = |part: &str| format!("{batch}/{part}");
            let (_, ids) = case.i64(&name("classes"));
            let (mask_shape, truth) = case.u8(&name("Yq"));
            let [.., height, width] = mask_shape[..] else { panic!("masks") };
            let (_, full_truth) = case.u8(&name("Yq_full"));
            let samples = ids.len() / ways;
            let read = |part: &str| {
                let (shape, logits) = case.f32(&name(part));
                let [.., h, w] = shape[..] else { panic!("logits") };
                enlarged(&logits, [h, w], [height, width])
            };
            let (binary, every) = (read("binary_logits"), read("full_logits"));
            let per_way: Vec<Vec<f32>> =
                (0..ways).map(|way| read(&format!("pattern_logits_way{way}"))).collect();
            for i in 0..samples {
                let prediction = largest(sample(&every, samples, i), classes);
                full.add(&prediction, sample(&full_truth, samples, i)).expect("maps");
                for way in 0..ways {
                    let item = i * ways + way;
                    let class = ids[item] as usize;
                    let truth = sample(&truth, samples * ways, item);
                    let prediction = largest(sample(&binary, samples * ways, item), 2);
                    extending.add(&prediction, truth, class).expect("maps");
                    // Class-agnostic models: the way against the best of all others.
                    let pixels = height * width;
                    let of = |way: usize, channel: usize| {
                        &sample(&per_way[way], samples, i)[channel * pixels..(channel + 1) * pixels]
                    };
                    let wins = |pixel: usize| {
                        let others = (0..ways).filter(|other| *other != way);
                        let rivals = (0..ways).map(|way| of(way, 0)[pixel]);
                        let rivals = rivals.chain(others.map(|other| of(other, 1)[pixel]));
                        of(way, 1)[pixel] > rivals.fold(f32::NEG_INFINITY, f32::max)
                    };
                    let prediction: Vec<u8> = (0..pixels).map(|p| u8::from(wins(p))).collect();
                    pattern.add(&prediction, truth, class).expect("maps");
                }
            }
        }
        let expected = &case.settings["expected"];
        for (name, metric) in [("denet", &extending), ("pattern", &pattern)] {
            let what = format!("{} {name}", case.name);
            check_classes(&what, metric, &expected[name]["class_binary_iou"]);
            near(&what, metric.mean(), &expected[name]["mean_binary_iou"]);
        }
        near(&case.name, Some(full.published_mean()), &expected["denet"]["mean_full_iou"]);
    }
    golden::report_optional("denet/protocol_", cases.len());
}
