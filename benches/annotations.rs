//! Reading an annotation file of COCO's form and painting its label masks on all cores.
//!
//! 2,000 images of 640x480 with 15,000 objects. The file stays in the target folder for the peer,
//! `benches/peers/coco_masks.py`.

#[path = "inputs/coco.rs"]
mod inputs;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};
use fss_core::data::annotations::{BadEntries, CocoFile, Crowds};
use inputs::write_annotations;

const IMAGES: usize = 2_000;
const OBJECTS: usize = 15_000;

fn read(path: &Path) -> CocoFile {
    CocoFile::read(path, BadEntries::Refuse).expect("a good file").0
}

/// Paints all masks on all cores.
fn paint(file: &CocoFile) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let image = next.fetch_add(1, Ordering::Relaxed);
            if image >= file.images.len() {
                break;
            }
            let mask = file.paint(image, |id| u8::try_from(id).ok(), Crowds::Paint);
            black_box(mask.expect("a mask"));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

fn annotations(c: &mut Criterion) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("annotations.json");
    write_annotations(&path, "val2014", IMAGES, OBJECTS);
    let file = read(&path);
    let mut group = c.benchmark_group("annotations 2000 images, 15000 objects");
    group.sample_size(10);
    group.bench_function("read", |b| b.iter(|| black_box(read(&path))));
    group.bench_function("paint", |b| b.iter(|| paint(&file)));
    group.bench_function("read and paint", |b| b.iter(|| paint(&read(&path))));
    group.finish();
}

criterion_group!(benches, annotations);
criterion_main!(benches);
