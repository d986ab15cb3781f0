//! `fss data prepare coco`: from annotation files to masks as PNG files, with lists.
//!
//! 2,000 training images with 15,000 objects and 500 validation images with 4,000, each 640x480. The
//! annotation files stay in the target folder for the peer, `benches/peers/coco_masks.py --out DIR`,
//! which writes the same masks with Pillow, but no lists. Images are left out on both sides.

#[path = "inputs/coco.rs"]
mod inputs;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use fss_core::data::prepare::{CocoOptions, ImageFiles, PrepareOptions, Summary, prepare_coco};
use inputs::write_annotations;
use tempfile::TempDir;

const MASKS: usize = 2_500;

fn run(from: &Path, out: &Path) -> Summary {
    let options = PrepareOptions { images: ImageFiles::Skip, ..PrepareOptions::default() };
    prepare_coco(&[from.to_path_buf()], out, &CocoOptions::default(), &options).expect("masks")
}

fn prepare(c: &mut Criterion) {
    let from = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("prepare");
    std::fs::create_dir_all(&from).expect("a writable target folder");
    for (split, images, objects) in [("train2014", 2_000, 15_000), ("val2014", 500, 4_000)] {
        let file = from.join(format!("instances_{split}.json"));
        write_annotations(&file, split, images, objects);
    }
    let folder = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut group = c.benchmark_group("prepare coco 2500 images, 19000 objects");
    group.sample_size(10);
    group.bench_function("all", |b| {
        b.iter_batched(
            folder,
            |out: TempDir| {
                assert_eq!(run(&from, out.path()).masks.made, MASKS);
                // Removed outside of the measured time.
                out
            },
            BatchSize::PerIteration,
        );
    });
    let done = folder();
    run(&from, done.path());
    group.bench_function("nothing left to do", |b| {
        b.iter(|| assert_eq!(black_box(run(&from, done.path())).masks.kept, MASKS));
    });
    group.finish();
}

criterion_group!(benches, prepare);
criterion_main!(benches);
