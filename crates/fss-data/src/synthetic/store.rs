//! A synthetic set as files: made beside its place, then put there in one step.

use std::fs;
use std::io::{Error, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ListSummary, Origin, Summary};
use crate::{DataError, io};

/// The file that marks a folder as a synthetic set and says how it was made.
pub const MARKER: &str = "synthetic.json";

/// Raised when the same configuration gives other pictures than before.
const VERSION: u32 = 1;

/// How far the making of a set has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Pictures written.
    pub done: usize,
    /// Pictures in all.
    pub total: usize,
}

/// A configuration of synthetic sets, and the tree of folders that it fills.
pub(super) trait Layout: Serialize + DeserializeOwned + PartialEq + Sync {
    /// Tells the layouts apart.
    const NAME: &'static str;

    /// Refuses settings that make no sense.
    fn check(&self) -> Result<(), DataError>;

    /// Number of pictures.
    fn pictures(&self) -> usize;

    /// The files of the set, relative to its folder; with them, it counts as complete.
    fn files(&self) -> Vec<PathBuf>;

    /// Writes everything into an empty folder.
    fn write(&self, folder: &Path, report: &Reporter<'_>) -> Result<Lists, DataError>;
}

/// What the lists of a set hold.
#[derive(Serialize, Deserialize)]
pub(super) struct Lists {
    pub(super) train: ListSummary,
    pub(super) val: ListSummary,
    #[serde(default, skip_serializing_if = "ListSummary::is_empty")]
    pub(super) test: ListSummary,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    version: u32,
    #[serde(default = "first_layout", skip_serializing_if = "is_first_layout")]
    layout: String,
    config: serde_json::Value,
    #[serde(flatten)]
    lists: Lists,
}

/// The layout of sets that do not name it.
fn first_layout() -> String {
    super::SyntheticConfig::NAME.to_owned()
}

fn is_first_layout(name: &String) -> bool {
    *name == first_layout()
}

/// Makes a set in the folder `root`, or finds it there.
pub(super) fn make<L: Layout>(
    root: &Path,
    layout: &L,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Summary, DataError> {
    layout.check()?;
    let root = absolute(root)?;
    if occupied(&root)? {
        return reuse(root, layout);
    }
    let parent = root.parent().unwrap_or(&root);
    fs::create_dir_all(parent).map_err(|e| DataError::io("create", parent, e))?;
    // Removed again when it is dropped before the end.
    let staging = tempfile::Builder::new()
        .prefix(".synthetic.")
        .suffix(io::TEMP_SUFFIX)
        .tempdir_in(parent)
        .map_err(|e| DataError::io("create a folder in", parent, e))?;
    let lists = layout.write(staging.path(), &Reporter::new(layout.pictures(), progress))?;
    let lists = write_marker(staging.path(), layout, lists)?;
    if let Err(error) = put_in_place(staging, &root) {
        // Another process may have been faster.
        return if occupied(&root)? { reuse(root, layout) } else { Err(error) };
    }
    Ok(summary(root, Origin::Generated, lists))
}

fn summary(root: PathBuf, origin: Origin, lists: Lists) -> Summary {
    let Lists { train, val, test } = lists;
    Summary { root, origin, train, val, test }
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

fn reuse<L: Layout>(root: PathBuf, layout: &L) -> Result<Summary, DataError> {
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
    let damaged = |error: serde_json::Error| {
        DataError::invalid(&path, format!("this describes no synthetic set ({error})"), ELSEWHERE)
    };
    let marker: Marker = serde_json::from_slice(&text).map_err(damaged)?;
    if marker.version != VERSION {
        let problem = "the folder holds a synthetic set of another version of this program";
        return Err(DataError::invalid(&root, problem, ELSEWHERE));
    }
    if marker.layout != L::NAME {
        let problem = format!("the folder holds a synthetic set in the layout {:?}", marker.layout);
        return Err(DataError::invalid(&root, problem, ELSEWHERE));
    }
    let config: L = serde_json::from_value(marker.config).map_err(damaged)?;
    if config != *layout {
        let problem = "the folder holds a synthetic set of another configuration";
        return Err(DataError::invalid(&root, problem, ELSEWHERE));
    }
    for file in layout.files().into_iter().map(|file| root.join(file)) {
        if !file.is_file() {
            let problem = "this file of the synthetic set is gone";
            return Err(DataError::invalid(&file, problem, ELSEWHERE));
        }
    }
    Ok(summary(root, Origin::Reused, marker.lists))
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
    let within = fs::read_dir(staging).into_iter().flatten().flatten();
    let folder = within.filter_map(|entry| entry.metadata().ok()).find(|data| data.is_dir());
    if let Some(metadata) = folder {
        let _ = fs::set_permissions(staging, metadata.permissions());
    }
}

fn write_marker<L: Layout>(folder: &Path, layout: &L, lists: Lists) -> Result<Lists, DataError> {
    let path = folder.join(MARKER);
    let failed = |error| DataError::io("write", &path, Error::other::<serde_json::Error>(error));
    let config = serde_json::to_value(layout).map_err(failed)?;
    let marker = Marker { version: VERSION, layout: L::NAME.to_owned(), config, lists };
    let mut text = serde_json::to_vec_pretty(&marker).map_err(failed)?;
    text.push(b'\n');
    io::write_atomic(&path, &text)?;
    Ok(marker.lists)
}

/// Makes a new folder below another, with those between.
pub(super) fn create_folder(folder: &Path) -> Result<(), DataError> {
    fs::create_dir_all(folder).map_err(|e| DataError::io("create", folder, e))
}

/// Counts pictures, and passes on the wish to stop.
pub(super) struct Reporter<'a> {
    progress: &'a (dyn Fn(Progress) -> ControlFlow<()> + Sync),
    done: AtomicUsize,
    total: usize,
    stopped: AtomicBool,
}

impl<'a> Reporter<'a> {
    fn new(total: usize, progress: &'a (dyn Fn(Progress) -> ControlFlow<()> + Sync)) -> Self {
        Self { progress, done: AtomicUsize::new(0), total, stopped: AtomicBool::new(false) }
    }

    pub(super) fn picture_written(&self, folder: &Path) -> Result<(), DataError> {
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
