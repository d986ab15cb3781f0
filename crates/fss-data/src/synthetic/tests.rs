use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::io;

fn small() -> SyntheticConfig {
    SyntheticConfig { train_images: 8, val_images: 5, side: [48, 64], ..Default::default() }
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Every file below a folder with its content.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn pictures_are_the_same_everywhere() {
    // Pinned: another value means that seeds have lost their meaning, and VERSION must rise.
    let config = SyntheticConfig::default();
    let hash = (0..20).fold(0u64, |sum, index| {
        let drawn = draw_image(&config, Split::Train, index).unwrap();
        let pixels = digest(drawn.image.into_raw());
        sum.rotate_left(5) ^ pixels ^ digest(drawn.mask.iter().copied())
    });
    assert_eq!(hash, PINNED, "{hash:#x}");
}

const PINNED: u64 = 0x50f2_2e89_a10c_b193;

#[test]
fn a_set_is_complete_and_readable() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/demo");
    let calls = AtomicUsize::new(0);
    let config = small();
    let summary = generate(&root, &config, |p| {
        calls.fetch_add(1, Ordering::Relaxed);
        assert!((1..=13).contains(&p.done) && p.total == 13);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(calls.into_inner(), 13);
    assert_eq!(summary.origin, Origin::Generated);
    assert_eq!((summary.train.images, summary.val.images), (8, 5));

    let mut pixels = 0;
    for (split, count) in [(Split::Train, 8), (Split::Val, 5)] {
        let list = fs::read_to_string(root.join(format!("ImageSets/{split}.txt"))).unwrap();
        let ids: Vec<&str> = list.lines().collect();
        assert_eq!(ids.len(), count);
        assert!(ids.is_sorted());
        for (index, id) in ids.iter().enumerate() {
            let image = io::read_image(&root.join(format!("JPEGImages/{id}.jpg"))).unwrap();
            let mask = io::read_mask(&root.join(format!("SegmentationClass/{id}.png"))).unwrap();
            let drawn = draw_image(&config, split, index).unwrap();
            assert_eq!(mask, drawn.mask);
            assert_eq!((image.height() as usize, image.width() as usize), mask.dim());
            let error: u64 = image
                .as_raw()
                .iter()
                .zip(drawn.image.as_raw())
                .map(|(a, b)| u64::from(a.abs_diff(*b)))
                .sum();
            assert!(error < 8 * image.as_raw().len() as u64, "{id}: JPEG changes too much");
            pixels += mask.iter().filter(|&&label| (1..=20).contains(&label)).count() as u64;
        }
    }
    let lists = [&summary.train, &summary.val];
    let counted: u64 = lists.iter().flat_map(|l| &l.classes).map(|c| c.pixels).sum();
    assert_eq!(counted, pixels);
    assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1, "no temporary folder");
}

#[test]
fn threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let root = folder.path().join(name);
        pool.install(|| generate(&root, &small(), go)).unwrap();
        files(&root)
    };
    assert_eq!(make("one", 1), make("three", 3));
}

#[test]
fn the_same_set_is_reused_and_nothing_else_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    fs::create_dir(&root).unwrap();
    let made = generate(&root, &small(), go).unwrap();
    let before = files(&root);
    let found = generate(&root, &small(), |_| panic!("nothing is to be drawn")).unwrap();
    assert_eq!(found, Summary { origin: Origin::Reused, ..made });

    let other = SyntheticConfig { seed: 1, ..small() };
    let error = generate(&root, &other, go).unwrap_err().to_string();
    assert!(error.contains("another configuration"), "{error}");
    assert_eq!(files(&root), before);

    fs::remove_file(root.join("JPEGImages/val_000003.jpg")).unwrap();
    let error = generate(&root, &small(), go).unwrap_err().to_string();
    assert!(error.contains("val_000003.jpg"), "{error}");

    fs::write(root.join(MARKER), "{}").unwrap();
    let error = generate(&root, &small(), go).unwrap_err().to_string();
    assert!(error.contains(MARKER), "{error}");

    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("a.jpg"), "x").unwrap();
    let error = generate(&photos, &small(), go).unwrap_err().to_string();
    assert!(error.contains("not empty"), "{error}");
    assert_eq!(files(&photos).len(), 1);

    let error = generate(&photos.join("a.jpg"), &small(), go).unwrap_err().to_string();
    assert!(error.contains("a.jpg"), "{error}");
}

#[test]
fn of_two_at_the_same_time_both_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    let summary = generate(&root, &small(), |p| {
        if p.done == p.total {
            let other = generate(&root, &small(), go).unwrap();
            assert_eq!(other.origin, Origin::Generated);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(summary.origin, Origin::Reused);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary folder");
}

#[test]
fn stopping_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    let stop = |p: Progress| if p.done < 3 { go(p) } else { ControlFlow::Break(()) };
    let error = generate(&root, &small(), stop).unwrap_err();
    assert!(error.to_string().contains("stopped on request"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn every_class_is_frequent_enough_for_episodes() {
    let config = SyntheticConfig::default();
    let least = config.min_object_pixels();
    for split in Split::TRAIN_VAL {
        let mut good = [0usize; 256];
        let (mut several, mut objects, mut ignored) = (0, 0, 0.0);
        let images = config.images(split);
        for index in 0..images {
            let drawn = draw_image(&config, split, index).unwrap();
            let mut pixels = [0usize; 256];
            drawn.mask.iter().for_each(|&label| pixels[usize::from(label)] += 1);
            let classes = pixels[1..=20].iter().filter(|&&n| n > 0).count();
            several += usize::from(classes > 1);
            objects += drawn.objects;
            ignored += pixels[255] as f64 / drawn.mask.len() as f64;
            (1..=20).for_each(|label| good[label] += usize::from(pixels[label] >= least));
            assert!(classes >= 1 && pixels[0] > 0);
            assert!(pixels[21..255].iter().all(|&n| n == 0));
        }
        assert!(good[1..=20].iter().all(|&n| n >= images / 20), "{split}: {:?}", &good[1..=20]);
        assert!(several * 2 > images, "{split}: {several} pictures of several classes");
        assert!((1.9..2.6).contains(&(objects as f64 / images as f64)));
        assert!((0.01..0.15).contains(&(ignored / images as f64)), "{ignored}");
    }
}

#[test]
fn borders_part_objects_from_background() {
    let config = SyntheticConfig::default();
    for index in 0..20 {
        let mask = draw_image(&config, Split::Val, index).unwrap().mask;
        for pair in mask.windows((1, 2)).into_iter().chain(mask.windows((2, 1))) {
            let labels: Vec<u8> = pair.iter().copied().collect();
            let touching = labels[0] != labels[1] && !labels.contains(&255);
            assert!(!touching, "picture {index}: labels {labels:?} touch");
        }
    }
}

#[test]
fn ignored_pixels_lie_along_outlines_only() {
    let config = SyntheticConfig { objects: [1, 1], ..Default::default() };
    for index in 0..60 {
        let mask = draw_image(&config, Split::Train, index).unwrap().mask;
        let (height, width) = mask.dim();
        for ((y, x), _) in mask.indexed_iter().filter(|&(_, &label)| label == 255) {
            let (rows, columns) = (y.saturating_sub(3)..y + 4, x.saturating_sub(3)..x + 4);
            let at_frame = rows.end > height || columns.end > width || y < 3 || x < 3;
            let near = rows.flat_map(|y| columns.clone().map(move |x| [y, x]));
            let outside = near.filter_map(|at| mask.get(at)).any(|&label| label == 0);
            assert!(at_frame || outside, "picture {index}: 255 within an object at {x}, {y}");
        }
    }
}

#[test]
fn colour_says_nothing_about_the_class() {
    // The mean colour of each object; between classes it varies no more than chance would have it.
    let config = SyntheticConfig { train_images: 400, objects: [1, 1], ..Default::default() };
    let mut by_class: Vec<Vec<f64>> = vec![Vec::new(); 20];
    for index in 0..config.train_images {
        let drawn = draw_image(&config, Split::Train, index).unwrap();
        let (mut sum, mut n, mut class) = (0.0, 0.0, 0);
        for (label, pixel) in drawn.mask.iter().zip(drawn.image.pixels()) {
            if (1..=20).contains(label) {
                class = usize::from(*label) - 1;
                sum += f64::from(pixel.0[0]) - f64::from(pixel.0[2]);
                n += 1.0;
            }
        }
        by_class[class].push(sum / n);
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let variance = |v: &[f64]| {
        let m = mean(v);
        v.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (v.len() - 1) as f64
    };
    let within = mean(&by_class.iter().map(|v| variance(v)).collect::<Vec<_>>());
    let between = variance(&by_class.iter().map(|v| mean(v)).collect::<Vec<_>>());
    // 20 objects a class: by chance alone `between` is about a twentieth of `within`.
    assert!(between < within / 6.0, "{between} against {within}");
}

#[test]
fn nonsense_is_refused() {
    let bad = [
        SyntheticConfig { classes: 0, ..small() },
        SyntheticConfig { classes: 21, ..small() },
        SyntheticConfig { side: [64, 48], ..small() },
        SyntheticConfig { side: [8, 48], ..small() },
        SyntheticConfig { object_percent: [0, 50], ..small() },
        SyntheticConfig { objects: [0, 2], ..small() },
        SyntheticConfig { jpeg_quality: 0, ..small() },
        SyntheticConfig { repeat_percent: 101, ..small() },
        SyntheticConfig { train_images: 0, val_images: 0, ..small() },
        SyntheticConfig { train_images: usize::MAX, ..small() },
    ];
    for config in bad {
        let folder = tempfile::tempdir().unwrap();
        let error = generate(&folder.path().join("demo"), &config, go).unwrap_err();
        assert!(matches!(error, DataError::Setting { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn odd_but_possible_settings_work() {
    for config in [
        SyntheticConfig { classes: 1, objects: [3, 3], ..small() },
        SyntheticConfig { side: [32, 200], object_percent: [80, 90], ..small() },
        SyntheticConfig { clutter: [0, 0], objects: [16, 16], classes: 4, ..small() },
    ] {
        for index in 0..8 {
            let drawn = draw_image(&config, Split::Train, index).unwrap();
            assert!(drawn.mask.iter().any(|label| (1..=config.classes).contains(label)));
        }
    }
}
