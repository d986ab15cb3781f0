//! The file that keeps mask counts between runs.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CachePlace, MaskStats};
use crate::io::write_atomic;

/// The name of the cache file in a dataset's root.
pub const CACHE_FILE: &str = ".fss-index.json";

/// Raised when the content changes its form; files of other versions are built anew.
const VERSION: u32 = 2;

/// Stands between a file and an entry of it; no path holds it.
const ENTRY: char = '\0';

/// What tells whether a file is still the one that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    bytes: u64,
    /// Time of the last change since 1970 (0 for older files).
    seconds: u64,
    nanos: u32,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { bytes: metadata.len(), seconds: since.as_secs(), nanos: since.subsec_nanos() })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    stats: MaskStats,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    version: u32,
    masks: BTreeMap<String, Entry>,
}

/// What tells how the rest is to be read.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The entries of a cache file, and where they came from and go to.
pub(super) struct Cache {
    root: PathBuf,
    /// Tried in turn, for reading and for writing; none when the cache is off.
    places: Vec<PathBuf>,
    masks: BTreeMap<String, Entry>,
    changed: bool,
}

impl Cache {
    /// Reads the first cache file there is. A damaged one counts as empty, with a warning.
    pub(super) fn open(root: &Path, place: &CachePlace) -> Self {
        let (root, places) = match place {
            CachePlace::Auto => {
                let user = user_cache_folder(|name| std::env::var_os(name));
                let in_user = user.map(|folder| folder.join(user_file_name(root)));
                (
                    root.to_path_buf(),
                    std::iter::once(root.join(CACHE_FILE)).chain(in_user).collect(),
                )
            }
            // A file that several datasets may share holds whole paths.
            CachePlace::At(path) => (PathBuf::new(), vec![path.clone()]),
            CachePlace::Off => (PathBuf::new(), Vec::new()),
        };
        let mut cache = Self { root, places, masks: BTreeMap::new(), changed: false };
        for place in &cache.places {
            match read(place) {
                Ok(Some(masks)) => {
                    cache.masks = masks;
                    break;
                }
                Ok(None) => {}
                Err(problem) => {
                    tracing::warn!(
                        file = %place.display(),
                        "the mask index {problem}; it is built anew"
                    );
                    cache.changed = true;
                }
            }
        }
        cache
    }

    /// The name of a mask in the cache: the path of its file below the root, and what tells it from
    /// others in the same file, if anything.
    pub(super) fn key(&self, path: &Path, entry: &str) -> String {
        let below = if self.root.as_os_str().is_empty() {
            std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
        } else {
            path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
        };
        let mut key = below.to_string_lossy().into_owned();
        if !entry.is_empty() {
            key.push(ENTRY);
            key.push_str(entry);
        }
        key
    }

    pub(super) fn get(&self, key: &str, stamp: Stamp) -> Option<&MaskStats> {
        self.masks.get(key).filter(|entry| entry.stamp == stamp).map(|entry| &entry.stats)
    }

    pub(super) fn insert(&mut self, key: String, stamp: Stamp, stats: MaskStats) {
        self.changed = true;
        self.masks.insert(key, Entry { stamp, stats });
    }

    /// Drops entries whose file is no more, and writes the cache if anything changed. `alive` are
    /// keys whose files are known to be there. Returns how many entries were dropped.
    pub(super) fn save(mut self, alive: &HashSet<String>) -> usize {
        if self.places.is_empty() {
            return 0;
        }
        if self.changed {
            self.add_what_others_wrote();
        }
        let before = self.masks.len();
        let root = &self.root;
        let file = |key: &str| root.join(key.split(ENTRY).next().unwrap_or(key));
        // On several threads: on a network drive each look takes its time.
        let unsure: Vec<&String> = self.masks.keys().filter(|key| !alive.contains(*key)).collect();
        let gone: HashSet<String> =
            unsure.into_par_iter().filter(|key| !file(key).exists()).cloned().collect();
        self.masks.retain(|key, _| !gone.contains(key));
        let dropped = before - self.masks.len();
        if self.changed || dropped > 0 {
            self.write();
        }
        dropped
    }

    /// Takes over entries that another process has written since this one read the file, say for the
    /// other split.
    fn add_what_others_wrote(&mut self) {
        let others = self.places.iter().find_map(|place| read(place).ok().flatten());
        for (key, entry) in others.unwrap_or_default() {
            self.masks.entry(key).or_insert(entry);
        }
    }

    fn write(self) {
        let content = Content { version: VERSION, masks: self.masks };
        let bytes = match serde_json::to_vec(&content) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!("the mask index cannot be kept: {error}");
                return;
            }
        };
        let mut failures = Vec::new();
        for place in &self.places {
            // The user's cache folder may not exist yet; the error of the write tells if this fails.
            if let Some(folder) = place.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                let _ = std::fs::create_dir_all(folder);
            }
            match write_atomic(place, &bytes) {
                Ok(()) => return,
                Err(error) => failures.push(error.to_string()),
            }
        }
        tracing::warn!(
            "the mask index cannot be kept, so the next run reads every mask again: {}",
            failures.join("; ")
        );
    }
}

/// The entries of a file, nothing when there is no such file, or what is wrong with it.
fn read(path: &Path) -> Result<Option<BTreeMap<String, Entry>>, String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read ({error})")),
    };
    let damaged = |error: serde_json::Error| format!("is damaged ({error})");
    let version = serde_json::from_slice::<Versioned>(&bytes).map_err(damaged)?.version;
    if version < VERSION {
        // One of an earlier version of this library, and nothing to worry about.
        return Ok(None);
    }
    if version > VERSION {
        return Err(format!("is of version {version}, not {VERSION}"));
    }
    let content: Content = serde_json::from_slice(&bytes).map_err(damaged)?;
    match content.masks.iter().find(|(_, entry)| !entry.stats.is_consistent()) {
        Some((key, _)) => Err(format!("is damaged (the counts of {key} do not add up)")),
        None => Ok(Some(content.masks)),
    }
}

/// Where this user's programs keep what they can make again. `variable` looks up the environment.
fn user_cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .or_else(|| folder("LOCALAPPDATA"))
        .map(|base| base.join("fss"))
}

/// A name for the cache of a root that cannot be written: its last part and a hash of the whole.
fn user_file_name(root: &Path) -> String {
    let whole = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    // FNV-1a: the standard library's hash may change with the compiler.
    let hash = whole.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let last = whole.file_name().map(|name| name.to_string_lossy().into_owned());
    format!("index-{}-{hash:016x}.json", last.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(pairs: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.into())
    }

    #[test]
    fn the_users_folder() {
        let folder = |pairs: &[(&str, &str)]| user_cache_folder(environment(pairs));
        assert_eq!(folder(&[("HOME", "/h")]), Some("/h/.cache/fss".into()));
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Some("/c/fss".into()));
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "")]), Some("/h/.cache/fss".into()));
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn roots_have_different_files() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_ne!(user_file_name(a.path()), user_file_name(b.path()));
        assert_eq!(user_file_name(a.path()), user_file_name(&a.path().join(".")));
    }
}
