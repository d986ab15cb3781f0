//! Which results are done, and what they were made from.
//!
//! A text file to which a line is added for every result: fingerprint of its sources, its length in
//! bytes, its name, separated by tabs. The last line of a name counts. What a torn line stood for is
//! made again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use crate::DataError;

/// The first line. Another number: other masks are made from the same sources.
const HEAD: &str = "fss prepare journal 1";

/// After so many results the lines are handed to the system.
const FLUSH_EVERY: usize = 32;

/// What a result was made from: files, with length and time of change, and settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// Of nothing but a setting.
    pub(super) fn of(setting: &str) -> Self {
        Self(0xcbf2_9ce4_8422_2325).with(setting.as_bytes())
    }

    /// And of a file.
    ///
    /// # Errors
    /// [`DataError::Io`] naming the file when it is missing.
    pub(super) fn and_file(self, path: &Path) -> Result<Self, DataError> {
        let metadata =
            std::fs::metadata(path).map_err(|error| DataError::io("read", path, error))?;
        // Where there are no times, the length has to do.
        let time = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        // Not the whole path: the same archive may be named in another way.
        let name = path.file_name().unwrap_or_default();
        Ok(self
            .with(name.as_encoded_bytes())
            .with(&metadata.len().to_le_bytes())
            .with(&time.unwrap_or_default().as_nanos().to_le_bytes()))
    }

    /// FNV-1a: stays the same from one compiler to the next.
    fn with(self, bytes: &[u8]) -> Self {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        // The end of each part counts, too.
        Self(hash(bytes.iter().fold(self.0, |sum, &byte| hash(sum, byte)), 0xFF))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    fingerprint: Fingerprint,
    bytes: u64,
}

/// The journal of a tree.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    known: HashMap<String, Record>,
    file: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    file: BufWriter<File>,
    waiting: usize,
}

impl Journal {
    /// Reads the journal; `fresh` is called when there is none yet.
    pub(super) fn open(
        path: &Path,
        fresh: impl FnOnce() -> Result<(), DataError>,
    ) -> Result<Self, DataError> {
        let failed = |error| DataError::io("write", path, error);
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fresh()?;
                String::new()
            }
            Err(error) => return Err(DataError::io("read", path, error)),
        };
        let is_ours = text.lines().next() == Some(HEAD);
        let known = if is_ours { records(&text) } else { HashMap::new() };
        let mut options = File::options();
        options.create(true).append(true);
        let mut file = BufWriter::new(options.open(path).map_err(failed)?);
        if !is_ours {
            // Of another version, or empty: what it says is of no use.
            file.get_ref().set_len(0).map_err(failed)?;
            writeln!(file, "{HEAD}").and_then(|()| file.flush()).map_err(failed)?;
        } else if !text.ends_with('\n') {
            // A torn line must not swallow the next.
            writeln!(file).map_err(failed)?;
        }
        let file = Mutex::new(Lines { file, waiting: 0 });
        Ok(Self { path: path.to_path_buf(), known, file })
    }

    /// Whether a result of this name was made from the same sources and `output` is still there.
    pub(super) fn is_current(&self, name: &str, sources: Fingerprint, output: &Path) -> bool {
        self.known.get(name).is_some_and(|record| {
            // A power cut may leave an empty file under a good name.
            record.fingerprint == sources
                && std::fs::metadata(output).is_ok_and(|metadata| metadata.len() == record.bytes)
        })
    }

    /// Adds a result.
    pub(super) fn add(
        &self,
        name: &str,
        sources: Fingerprint,
        bytes: u64,
    ) -> Result<(), DataError> {
        let mut lines = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        lines.waiting += 1;
        let flush = lines.waiting >= FLUSH_EVERY;
        let written = writeln!(lines.file, "{:016x}\t{bytes}\t{name}", sources.0);
        if flush {
            lines.waiting = 0;
        }
        written
            .and_then(|()| if flush { lines.file.flush() } else { Ok(()) })
            .map_err(|error| DataError::io("write", &self.path, error))
    }

    /// Hands all lines to the system. Dropping does the same, but tells no error.
    pub(super) fn flush(&self) -> Result<(), DataError> {
        let mut lines = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        lines.file.flush().map_err(|error| DataError::io("write", &self.path, error))
    }
}

fn records(text: &str) -> HashMap<String, Record> {
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut parts = line.splitn(3, '\t');
            let fingerprint = Fingerprint(u64::from_str_radix(parts.next()?, 16).ok()?);
            let bytes = parts.next()?.parse().ok()?;
            Some((parts.next()?.to_owned(), Record { fingerprint, bytes }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let output = folder.path().join("a.png");
        std::fs::write(&output, b"12345").unwrap();
        let [old, new] = ["old", "new"].map(Fingerprint::of);

        let journal = Journal::open(&path, || Ok(())).unwrap();
        assert!(!journal.is_current("a", old, &output));
        journal.add("a", old, 4).unwrap();
        journal.add("a", old, 5).unwrap();
        journal.add("torn", old, 5).unwrap();
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 4]).unwrap();

        let never = || -> Result<(), DataError> { unreachable!("there is a journal") };
        let journal = Journal::open(&path, never).unwrap();
        assert!(journal.is_current("a", old, &output));
        assert!(!journal.is_current("a", new, &output));
        assert!(!journal.is_current("torn", old, &output));
        journal.add("b", old, 5).unwrap();
        drop(journal);
        let journal = Journal::open(&path, never).unwrap();
        assert!(journal.is_current("b", old, &output));
        std::fs::write(&output, b"").unwrap();
        assert!(!journal.is_current("a", old, &output));

        std::fs::write(&path, "another file\n").unwrap();
        let journal = Journal::open(&path, never).unwrap();
        assert!(journal.known.is_empty());
        drop(journal);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{HEAD}\n"));
    }

    #[test]
    fn sources_tell_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "x").unwrap();
        let of = || Fingerprint::of("s").and_file(&path).unwrap();
        let before = of();
        assert_eq!(before, of());
        crate::test_tree::age(&path, 5);
        assert_ne!(before, of());
        assert!(Fingerprint::of("s").and_file(&folder.path().join("b")).is_err());
    }
}
