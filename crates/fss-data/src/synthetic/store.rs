//! A synthetic set as files: made beside its place, then put there in one step.

use std::fs;
use std::io::{Error, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ListSummary, Origin, Summary, SyntheticConfig, SyntheticImage, draw_checked, id};
use crate::dataset::Split;
use crate::{DataError, io};

/// The file that marks a folder as a synthetic set and says how it was made.
pub const MARKER: &str = "synthetic.json";

/// Raised when the same configuration gives other pictures than before.
const VERSION: u32 = 1;

const IMAGES: &str = "JPEGImages";
const MASKS: &str = "SegmentationClass";
const LISTS: &str = "ImageSets";

/// How far the making of a set has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pictures written.
    pub done: usize,
    /// Pictures in all.
    pub total: usize,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    version: u32,
    config: SyntheticConfig,
    train: ListSummary,
    val: ListSummary,
}

/// Makes the set in the folder `root`, or finds it there.
///
/// The layout is that of PASCAL VOC as SSP reads it: `JPEGImages/<id>.jpg`,
/// `SegmentationClass/<id>.png` (8-bit palette), `ImageSets/{train,val}.txt`; and a file
/// `synthetic.json` with the configuration. Pictures are drawn in parallel on rayon's threads;
/// `progress` is called from them after every picture and may stop the work.
///
/// A folder that already holds the set of this very configuration is left as it is. All is written
/// to a temporary folder beside `root` first, which takes its name at the end: `root` is complete
/// or not there.
///
/// # Errors
/// [`DataError::Setting`] for a configuration that makes no sense; [`DataError::Invalid`] if `root`
/// holds anything else; [`DataError::Io`] if files cannot be written, or (of the kind
/// [`ErrorKind::Interrupted`]) if `progress` stopped the work.
pub fn generate(
    root: &Path,
    config: &SyntheticConfig,
    progress: impl Fn(Progress) -> ControlFlow<()> + Sync,
) -> Result<Summary, DataError> {
    config.check()?;
    let root = absolute(root)?;
    if occupied(&root)? {
        return reuse(root, config);
    }
    let parent = root.parent().unwrap_or(&root);
    fs::create_dir_all(parent).map_err(|e| DataError::io("create", parent, e))?;
    // Removed again when it is dropped before the end.
    let staging = tempfile::Builder::new()
        .prefix(".synthetic.")
        .suffix(io::TEMP_SUFFIX)
        .tempdir_in(parent)
        .map_err(|e| DataError::io("create a folder in", parent, e))?;
    let set = Staging { folder: staging.path(), config };
    for name in [IMAGES, MASKS, LISTS] {
        let folder = set.folder.join(name);
        fs::create_dir(&folder).map_err(|e| DataError::io("create", &folder, e))?;
    }
    let report = Reporter::new(config, &progress);
    let train = set.write_list(Split::Train, &report)?;
    let val = set.write_list(Split::Val, &report)?;
    set.write_marker(&train, &val)?;
    if let Err(error) = put_in_place(staging, &root) {
        // Another process may have been faster.
        return if occupied(&root)? { reuse(root, config) } else { Err(error) };
    }
    Ok(Summary { root, origin: Origin::Generated, train, val })
}

/// The absolute path, through links where it exists.
fn absolute(root: &Path) -> Result<PathBuf, DataError> {
    match fs::canonicalize(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::path::absolute(root).map_err(|e| DataError::io("resolve", root, e))
        }
        other => other.map_err(|e| DataError::io("resolve", root, e)),
    }
}

/// Whether there is anything in the folder.
fn occupied(root: &Path) -> Result<bool, DataError> {
    match fs::read_dir(root) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DataError::io("open the folder", root, error)),
    }
}

fn reuse(root: PathBuf, config: &SyntheticConfig) -> Result<Summary, DataError> {
    const ELSEWHERE: &str = "name an empty or new folder, or remove this one";
    let path = root.join(MARKER);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let problem = "the folder is not empty and holds no synthetic set";
            return Err(DataError::invalid(&root, problem, ELSEWHERE));
        }
        Err(error) => return Err(DataError::io("read", &path, error)),
    };
    let marker: Marker = serde_json::from_slice(&text).map_err(|error| {
        DataError::invalid(&path, format!("this describes no synthetic set ({error})"), ELSEWHERE)
    })?;
    if marker.version != VERSION {
        let problem = "the folder holds a synthetic set of another version of this program";
        return Err(DataError::invalid(&root, problem, ELSEWHERE));
    }
    if marker.config != *config {
        let problem = "the folder holds a synthetic set of another configuration";
        return Err(DataError::invalid(&root, problem, ELSEWHERE));
    }
    for split in Split::TRAIN_VAL {
        for id in (0..config.images(split)).map(|index| id(split, index)) {
            for file in [image_path(&root, &id), mask_path(&root, &id)] {
                if !file.is_file() {
                    let problem = "this file of the synthetic set is gone";
                    return Err(DataError::invalid(&file, problem, ELSEWHERE));
                }
            }
        }
    }
    Ok(Summary { root, origin: Origin::Reused, train: marker.train, val: marker.val })
}

fn image_path(root: &Path, id: &str) -> PathBuf {
    root.join(IMAGES).join(format!("{id}.jpg"))
}

fn mask_path(root: &Path, id: &str) -> PathBuf {
    root.join(MASKS).join(format!("{id}.png"))
}

/// Gives the finished folder its name. An empty folder in its place is replaced.
fn put_in_place(staging: tempfile::TempDir, root: &Path) -> Result<(), DataError> {
    open_to_umask(staging.path());
    match fs::remove_dir(root) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(DataError::io("replace", root, error));
        }
        _ => {}
    }
    fs::rename(staging.path(), root).map_err(|e| DataError::io("create", root, e))?;
    // Nothing is left to remove under the old name.
    let _ = staging.keep();
    Ok(())
}

/// Temporary folders are private; the finished one is to be like any other new folder.
fn open_to_umask(staging: &Path) {
    // A folder made within shows what the user's umask leaves. If this fails, the set is merely
    // private.
    let probe = staging.join(LISTS);
    if let Ok(metadata) = fs::metadata(probe) {
        let _ = fs::set_permissions(staging, metadata.permissions());
    }
}

/// Counts pictures, and passes on the wish to stop.
struct Reporter<'a, F> {
    progress: &'a F,
    done: AtomicUsize,
    total: usize,
    stopped: AtomicBool,
}

impl<'a, F: Fn(Progress) -> ControlFlow<()> + Sync> Reporter<'a, F> {
    fn new(config: &SyntheticConfig, progress: &'a F) -> Self {
        let total = config.train_images + config.val_images;
        Self { progress, done: AtomicUsize::new(0), total, stopped: AtomicBool::new(false) }
    }

    fn picture_written(&self, folder: &Path) -> Result<(), DataError> {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if (self.progress)(Progress { done, total: self.total }).is_break() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        if self.stopped.load(Ordering::Relaxed) {
            let error = Error::new(ErrorKind::Interrupted, "stopped on request, nothing was kept");
            return Err(DataError::io("finish", folder, error));
        }
        Ok(())
    }
}

/// The folder while it is being filled.
struct Staging<'a> {
    folder: &'a Path,
    config: &'a SyntheticConfig,
}

impl Staging<'_> {
    /// Draws and writes the pictures of a list, and the list.
    fn write_list<F: Fn(Progress) -> ControlFlow<()> + Sync>(
        &self,
        split: Split,
        report: &Reporter<'_, F>,
    ) -> Result<ListSummary, DataError> {
        let images = self.config.images(split);
        let empty = || ListSummary::new(self.config);
        let summary = (0..images)
            .into_par_iter()
            .map(|index| {
                let drawn = draw_checked(self.config, split, index);
                self.write_picture(&drawn)?;
                report.picture_written(self.folder)?;
                Ok(empty().count(&drawn))
            })
            .try_reduce(empty, |a, b| Ok(a.merge(b)))?;
        let list: String = (0..images).map(|index| id(split, index) + "\n").collect();
        io::write_atomic(&self.folder.join(LISTS).join(format!("{split}.txt")), list.as_bytes())?;
        Ok(summary)
    }

    fn write_picture(&self, drawn: &SyntheticImage) -> Result<(), DataError> {
        let quality = self.config.jpeg_quality;
        io::write_jpeg(&image_path(self.folder, &drawn.id), &drawn.image, quality)?;
        io::write_mask(&mask_path(self.folder, &drawn.id), &drawn.mask)
    }

    fn write_marker(&self, train: &ListSummary, val: &ListSummary) -> Result<(), DataError> {
        let marker = Marker {
            version: VERSION,
            config: self.config.clone(),
            train: train.clone(),
            val: val.clone(),
        };
        let path = self.folder.join(MARKER);
        let mut text = serde_json::to_vec_pretty(&marker)
            .map_err(|e| DataError::io("write", &path, Error::other(e)))?;
        text.push(b'\n');
        io::write_atomic(&path, &text)
    }
}
