//! The layouts of COCO and FSS-1000.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use ndarray::Array2;

use super::coco::{CocoPicture, Form, file_name};
use super::*;
use crate::annotations::{BadEntries, CocoFile, Crowds, Segmentation};
use crate::{ClassId, io};

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn small_coco() -> CocoConfig {
    let pictures = SyntheticConfig {
        train_images: 40,
        val_images: 20,
        classes: 16,
        side: [64, 80],
        ..Default::default()
    };
    CocoConfig { pictures, crowd_percent: 40, empty_percent: 10, runs_percent: 30 }
}

fn read(root: &Path, split: Split) -> CocoFile {
    let path = root.join(format!("annotations/instances_{split}2014.json"));
    CocoFile::read(&path, BadEntries::Refuse).unwrap().0
}

/// The labels that the annotations of an image give.
fn painted(file: &CocoFile, image: usize) -> Array2<u8> {
    let rank: HashMap<i64, u8> =
        file.categories.iter().zip(1..).map(|(category, rank)| (category.id, rank)).collect();
    file.paint(image, |category| rank.get(&category).copied(), Crowds::Paint).unwrap()
}

/// The labels that were drawn.
fn drawn(picture: &CocoPicture) -> Array2<u8> {
    picture.shown.mapv(|number| match number {
        0 => 0,
        _ => picture.regions[usize::from(number) - 1].class.label as u8,
    })
}

#[test]
fn coco_annotations_say_what_was_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let config = small_coco();
    let summary = generate_coco(folder.path(), &config, go).unwrap();
    assert_eq!((summary.train.images, summary.val.images), (40, 20));
    let (mut objects, mut crowds, mut empty) = (0, 0, 0);
    let mut forms = BTreeSet::new();
    let (mut wrong, mut all) = (0, 0);
    for split in Split::TRAIN_VAL {
        let file = read(folder.path(), split);
        assert_eq!(file.images.len(), config.pictures.images(split));
        let ids: Vec<i64> = file.images.iter().map(|image| image.id).collect();
        assert!(!ids.is_sorted(), "images come in no order");
        for index in 0..file.images.len() {
            let picture = config.draw(split, index);
            let id = config.image_id(split, index);
            let at = file.image_index(id as i64).unwrap();
            assert_eq!(file.images[at].file_name, file_name(split, id));
            let path = folder.path().join(format!("{split}2014")).join(file_name(split, id));
            let (height, width) = picture.shown.dim();
            let image = io::read_image(&path).unwrap();
            assert_eq!((image.height() as usize, image.width() as usize), (height, width));

            let (labels, truth) = (painted(&file, at), drawn(&picture));
            for ((y, x), &label) in labels.indexed_iter().filter(|&(at, &v)| v != truth[at]) {
                let rows = y.saturating_sub(1)..(y + 2).min(height);
                let columns = x.saturating_sub(1)..(x + 2).min(width);
                let mut near = rows.flat_map(|y| columns.clone().map(move |x| [y, x]));
                assert!(near.any(|at| truth[at] == label), "image {id} at {x}, {y}");
                wrong += 1;
            }
            all += truth.iter().filter(|&&label| label != 0).count();
            let annotations = file.annotations(at);
            empty += usize::from(annotations.is_empty());
            for annotation in annotations {
                let runs = matches!(annotation.segmentation, Segmentation::Rle(_));
                crowds += usize::from(annotation.iscrowd);
                assert!(runs || !annotation.iscrowd);
            }
            forms.extend(picture.regions.iter().map(|region| format!("{:?}", region.form)));
            objects += picture.regions.iter().map(|region| region.objects).sum::<usize>();
        }
    }
    assert!(wrong > 0 && wrong * 50 < all, "{wrong} of {all} pixels differ along the outlines");
    assert_eq!(objects, summary.train.objects + summary.val.objects);
    assert!(crowds >= 5 && empty >= 2, "{crowds} crowds, {empty} images without annotations");
    assert_eq!(forms.len(), 4, "{forms:?}");
}

#[test]
fn coco_runs_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let config = CocoConfig { runs_percent: 100, ..small_coco() };
    let summary = generate_coco(folder.path(), &config, go).unwrap();
    let file = read(folder.path(), Split::Train);
    let mut pixels = [0u64; 17];
    for index in 0..file.images.len() {
        let at = file.image_index(config.image_id(Split::Train, index) as i64).unwrap();
        let labels = painted(&file, at);
        assert_eq!(labels, drawn(&config.draw(Split::Train, index)));
        labels.iter().for_each(|&label| pixels[usize::from(label)] += 1);
    }
    let counted: Vec<u64> = summary.train.classes.iter().map(|class| class.pixels).collect();
    assert_eq!(counted, pixels[1..]);
}

#[test]
fn coco_ids_have_gaps_and_crowds_have_company() {
    let config = CocoConfig::default();
    let ids: Vec<ClassId> = (1..=80).map(CocoConfig::category_id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b) && ids[79] > 80);
    let images = |split| (0..50).map(move |index| CocoConfig::default().image_id(split, index));
    let train: BTreeSet<u64> = images(Split::Train).collect();
    assert!(train.len() == 50 && images(Split::Val).all(|id| !train.contains(&id)));
    assert!(images(Split::Train).is_sorted());
    for index in 0..200 {
        let picture = config.draw(Split::Train, index);
        let crowd = picture.regions.iter().find(|region| region.form == Form::Crowd);
        assert!(crowd.is_none_or(|crowd| crowd.objects > 1));
        let shown: BTreeSet<u16> = picture.shown.iter().copied().filter(|&n| n > 0).collect();
        assert!(shown.len() == picture.regions.len(), "picture {index}: something is hidden");
    }
}

#[test]
fn fss1000_masks_show_their_category_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = Fss1000Config { categories: [6, 2, 3], side: 64, ..Default::default() };
    let summary = generate_fss1000(folder.path(), &config, go).unwrap();
    assert_eq!([&summary.train, &summary.val, &summary.test].map(|list| list.images), [60, 20, 30]);
    let (mut categories, mut label) = (BTreeSet::new(), 0);
    let mut others = 0;
    for (name, count) in [("trn", 6), ("val", 2), ("test", 3)] {
        let list = fs::read_to_string(folder.path().join(format!("splits/fss/{name}.txt")));
        let list = list.unwrap();
        assert_eq!(list.lines().count(), count);
        for category in list.lines() {
            assert!(categories.insert(category.to_owned()), "{category} is in two lists");
            label += 1;
            let class = SyntheticClass::of(label).unwrap();
            let files = folder.path().join("FSS-1000").join(category);
            assert_eq!(fs::read_dir(&files).unwrap().count(), 20);
            for number in 1..=10 {
                let (_, truth, objects) = config.draw(class, number);
                let image = io::read_image(&files.join(format!("{number}.jpg"))).unwrap();
                assert_eq!(image.dimensions(), (64, 64));
                let path = files.join(format!("{number}.png"));
                let mask = io::read_binary_mask(&path, 128).unwrap();
                assert_eq!(mask, truth.mapv(u8::from), "{category} {number}");
                let share = truth.iter().filter(|&&set| set).count() as f64 / truth.len() as f64;
                assert!((0.02..0.4).contains(&share), "{category} {number}: {share}");
                others += objects - 1;
                let png = io::read_image(&path).unwrap();
                assert!(png.as_raw().iter().all(|&v| v == 0 || v == 255));
            }
        }
    }
    assert!(others > 40, "{others} objects of other categories");
}

#[test]
fn layouts_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let config = Fss1000Config { categories: [1, 0, 1], side: 32, ..Default::default() };
    let made = generate_fss1000(folder.path(), &config, go).unwrap();
    let found = generate_fss1000(folder.path(), &config, |_| panic!("nothing is to be drawn"));
    assert_eq!(found.unwrap(), Summary { origin: Origin::Reused, ..made });
    let error = generate_coco(folder.path(), &small_coco(), go).unwrap_err().to_string();
    assert!(error.contains("layout \"fss1000\""), "{error}");
    let other = Fss1000Config { seed: 1, ..config.clone() };
    let error = generate_fss1000(folder.path(), &other, go).unwrap_err().to_string();
    assert!(error.contains("another configuration"), "{error}");
    fs::remove_file(folder.path().join("FSS-1000/fine_striped_disc/7.png")).unwrap();
    let error = generate_fss1000(folder.path(), &config, go).unwrap_err().to_string();
    assert!(error.contains("7.png"), "{error}");
}

#[test]
fn threads_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let root = folder.path().join(name);
        pool.install(|| generate_coco(&root, &small_coco(), go)).unwrap();
        Split::TRAIN_VAL.map(|split| {
            fs::read(root.join(format!("annotations/instances_{split}2014.json"))).unwrap()
        })
    };
    assert_eq!(make("one", 1), make("three", 3));
}

#[test]
fn nonsense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |error: Option<DataError>| {
        assert!(matches!(error, Some(DataError::Setting { .. })), "{error:?}");
    };
    for config in [
        CocoConfig { crowd_percent: 101, ..small_coco() },
        CocoConfig {
            pictures: SyntheticConfig { classes: 201, ..Default::default() },
            ..small_coco()
        },
    ] {
        refuse(generate_coco(folder.path(), &config, go).err());
    }
    for config in [
        Fss1000Config { categories: [0, 0, 0], ..Default::default() },
        Fss1000Config { categories: [520, 240, 241], ..Default::default() },
        Fss1000Config { categories: [usize::MAX, 1, 1], ..Default::default() },
        Fss1000Config { others: [2, 1], ..Default::default() },
        Fss1000Config { side: 8, ..Default::default() },
        Fss1000Config { jpeg_quality: 0, ..Default::default() },
    ] {
        refuse(generate_fss1000(folder.path(), &config, go).err());
    }
}
