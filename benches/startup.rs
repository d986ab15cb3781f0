//! How long a run takes to know its data: 40,000 images, as many as COCO's validation set has.
//!
//! From the folder to the images of every class of a fold: the layout is recognised, the masks are
//! looked up in the index (`warm`) or read (`cold`), and the lists of the HSNet protocol are built.
//! Masks of 32 x 24 pixels: the warm way does not look into them, and cold starts on larger ones take
//! longer still.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use fss_core::data::benchmark::{Benchmark, OpenOptions};
use fss_core::data::folds::FoldScheme;
use fss_core::data::index::{CachePlace, IndexOptions};
use fss_core::data::io::write_grey_mask;
use fss_core::data::lists::{HsnetLists, ListOptions, hsnet_listing};
use fss_core::data::{MaskIndex, Split};
use ndarray::Array2;

const IMAGES: usize = 40_000;
const CLASSES: usize = 80;

/// Masks of up to three objects, in the tree that the HSNet protocol reads.
fn make_tree(root: &Path) {
    let masks = root.join("COCO2014/annotations/val2014");
    fs::create_dir_all(&masks).expect("a folder for the masks");
    fs::create_dir_all(root.join("COCO2014/val2014")).expect("a folder for the images");
    let drawn: Vec<Vec<u8>> = (0..CLASSES)
        .map(|number| {
            let label = |step: usize| 1 + (number * step % CLASSES) as u8;
            let mask = Array2::from_shape_fn((24, 32), |(y, x)| match (x / 8, y / 8) {
                (1, 1) => label(1),
                (2, 1) => label(7),
                (3, _) => label(13),
                _ => 0,
            });
            let path = root.join("mask.png");
            write_grey_mask(&path, &mask).expect("a mask");
            fs::read(path).expect("the mask that was written")
        })
        .collect();
    for number in 0..IMAGES {
        let path = masks.join(format!("COCO_val2014_{number:012}.png"));
        fs::write(path, &drawn[number % CLASSES]).expect("a mask");
    }
}

fn start(root: &Path, cache: CachePlace) -> HsnetLists {
    let tree = Benchmark::Coco.detect(root, &OpenOptions::default()).expect("the tree");
    let dataset = tree.dataset(Split::Val).expect("the validation images");
    let options = IndexOptions { cache, ..Default::default() };
    let index = MaskIndex::build_with(&dataset, &options).expect("readable masks");
    let fold = tree.fold(0, FoldScheme::Interleaved).expect("fold 0");
    let options = ListOptions::default();
    hsnet_listing(Benchmark::Coco, &dataset, &index, &fold, Split::Val, &options).expect("lists")
}

fn startup(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    make_tree(folder.path());
    assert_eq!(start(folder.path(), CachePlace::Auto).listing.classes().count(), CLASSES / 4);
    let mut group = c.benchmark_group(format!("start-up on {IMAGES} images"));
    group.sample_size(10);
    group.bench_function("warm", |b| {
        b.iter(|| black_box(start(folder.path(), CachePlace::Auto)));
    });
    group.bench_function("cold", |b| {
        b.iter(|| black_box(start(folder.path(), CachePlace::Off)));
    });
    group.finish();
}

criterion_group!(benches, startup);
criterion_main!(benches);
