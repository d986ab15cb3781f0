use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{Rgb, RgbImage};

use super::*;
use crate::DataError;

mod coco;
mod fss1000;
mod pascal;

/// A folder for archives and results.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The folder of the archives, as an argument.
    fn from(&self) -> [PathBuf; 1] {
        [self.path("from")]
    }

    fn out(&self) -> PathBuf {
        self.path("out")
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn image(&self, name: &str, width: u32, height: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, Rgb([90; 3])).save(path).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// All files below a folder with their bytes, but for journals, summaries and the index.
    fn content(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let root = self.path(name);
        let mut folders = vec![root.clone()];
        let mut content = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let below = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if !below.starts_with(['.', 'p']) {
                    content.push((below, fs::read(&path).unwrap()));
                }
            }
        }
        content.sort();
        content
    }
}

fn skipping<'a>() -> PrepareOptions<'a> {
    PrepareOptions { bad: BadEntries::Skip, ..PrepareOptions::default() }
}

fn message<T: std::fmt::Debug>(result: Result<T, DataError>) -> String {
    result.unwrap_err().to_string()
}

#[track_caller]
fn names_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

/// Stops the work after each number of images in turn, then lets it finish. Nothing that was done is
/// done twice.
fn interrupted_everywhere(
    total: usize,
    prepare: impl Fn(&PrepareOptions<'_>) -> Result<Summary, DataError>,
) {
    let mut done_before = 0;
    for stop_after in 1..total {
        let steps = AtomicUsize::new(0);
        let stop = |progress: Progress| {
            let is_image = progress.stage == Stage::Images && progress.done > 0;
            if is_image && steps.fetch_add(1, Ordering::Relaxed) + 1 >= stop_after {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let options = PrepareOptions { progress: Some(&stop), ..PrepareOptions::default() };
        match prepare(&options).unwrap_err() {
            DataError::Io { source, .. } => {
                assert_eq!(source.kind(), std::io::ErrorKind::Interrupted);
                names_all(&source.to_string(), &["done and kept"]);
            }
            other => unreachable!("not a stop: {other}"),
        }
        done_before = done_before.max(steps.into_inner());
    }
    let summary = prepare(&PrepareOptions::default()).unwrap();
    assert_eq!(summary.masks.made + summary.masks.kept, total);
    assert!(summary.masks.kept >= done_before, "{:?} but {done_before} were done", summary.masks);
}
