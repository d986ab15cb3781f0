//! What was done.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::annotations::Skipped;
use crate::benchmark::Benchmark;
use crate::lists::WrittenList;
use crate::{DataError, io};

/// What was done, and how it compares with what is published about the data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which data set it is.
    pub benchmark: Benchmark,
    /// The folder that was given for the result.
    pub root: PathBuf,
    /// The folder of the data set in it.
    pub tree: PathBuf,
    /// What it was made from.
    pub sources: Vec<PathBuf>,
    /// What there is, beside the published numbers.
    pub counts: Vec<Count>,
    /// The masks.
    pub masks: MaskCounts,
    /// The images.
    pub images: ImageCounts,
    /// The lists.
    pub lists: Vec<PreparedList>,
    /// What is bad and was left out.
    pub left_out: Vec<LeftOut>,
}

/// The number of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What was counted.
    pub what: String,
    /// How many there are.
    pub found: usize,
    /// How many the published data set has, where that is known.
    pub published: Option<usize>,
}

/// What became of the masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaskCounts {
    /// Made by this call.
    pub made: usize,
    /// Done before.
    pub kept: usize,
}

/// What became of the images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCounts {
    /// Hard links.
    pub linked: usize,
    /// Symbolic links, where hard ones were not possible.
    pub symlinked: usize,
    /// Copies.
    pub copied: usize,
    /// In their place before.
    pub kept: usize,
    /// Left where they were, on request.
    pub left: usize,
}

/// A list that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedList {
    /// The file.
    pub path: PathBuf,
    /// Its entries.
    pub entries: usize,
    /// How it compares with the published list; empty where nothing is known of that.
    pub standing: String,
}

/// An entry that is missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The file with the entry.
    pub file: PathBuf,
    /// Which entry: an id, an annotation; empty for the whole file.
    pub entry: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Summary {
    /// An empty one.
    pub(super) fn new(benchmark: Benchmark, root: &Path, tree: PathBuf) -> Self {
        Self {
            benchmark,
            root: root.to_path_buf(),
            tree,
            sources: Vec::new(),
            counts: Vec::new(),
            masks: MaskCounts::default(),
            images: ImageCounts::default(),
            lists: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// The counts that differ from the published ones.
    pub fn differences(&self) -> impl Iterator<Item = &Count> {
        self.counts.iter().filter(|count| count.differs())
    }

    /// The file that holds this summary.
    pub fn file(&self) -> PathBuf {
        self.root.join(format!("prepare-{}.json", self.benchmark))
    }

    /// The file that names what was left out, a line each; it is there only if something was.
    pub fn left_out_file(&self) -> PathBuf {
        self.root.join(format!("prepare-{}-left-out.txt", self.benchmark))
    }

    pub(super) fn count(&mut self, what: &str, found: usize, published: impl Into<Option<usize>>) {
        self.counts.push(Count { what: what.to_owned(), found, published: published.into() });
    }

    pub(super) fn add_lists(&mut self, lists: Vec<WrittenList>) {
        self.lists.extend(lists.into_iter().map(|list| PreparedList {
            path: list.path,
            entries: list.entries,
            standing: list.standing.to_string(),
        }));
    }

    /// Removes what an earlier call left: while the work goes on, there is no summary.
    pub(super) fn clear(&self) -> Result<(), DataError> {
        for file in [self.file(), self.left_out_file()] {
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(DataError::io("remove", &file, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the summary, and what was left out.
    pub(super) fn write(&self) -> Result<(), DataError> {
        if !self.left_out.is_empty() {
            let lines: String = self.left_out.iter().map(|entry| format!("{entry}\n")).collect();
            io::write_atomic(&self.left_out_file(), lines.as_bytes())?;
        }
        let path = self.file();
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| DataError::io("write", &path, std::io::Error::other(error)))?;
        text.push(b'\n');
        io::write_atomic(&path, &text)
    }
}

impl Count {
    /// Whether it is not the published number.
    pub fn differs(&self) -> bool {
        self.published.is_some_and(|published| published != self.found)
    }
}

impl LeftOut {
    /// Entry `entry` of what an error is about.
    pub(super) fn new(entry: &str, error: DataError) -> Self {
        let (file, problem, remedy) = match error {
            DataError::Invalid { path, problem, remedy } => (path, problem, remedy),
            DataError::Io { action, path, source } => {
                let remedy = "unpack the archive again".to_owned();
                (path, format!("it is not possible to {action} this ({source})"), remedy)
            }
            other => (PathBuf::new(), other.to_string(), String::new()),
        };
        Self { file, entry: entry.to_owned(), problem, remedy }
    }

    /// An entry of an annotation file.
    pub(super) fn annotation(file: &Path, skipped: Skipped) -> Self {
        Self {
            file: file.to_path_buf(),
            entry: skipped.what,
            problem: skipped.why,
            remedy: "correct the entry".to_owned(),
        }
    }

    /// The error of an entry that may not be left out.
    pub(super) fn into_error(self) -> DataError {
        let problem = match &self.entry[..] {
            "" => self.problem,
            entry => format!("{entry}: {}", self.problem),
        };
        let remedy = match &self.remedy[..] {
            "" => "leave bad entries out (--skip-bad)".to_owned(),
            remedy => format!("{remedy}, or leave bad entries out (--skip-bad)"),
        };
        DataError::Invalid { path: self.file, problem, remedy }
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.entry.is_empty() {
            write!(f, "{}: ", self.entry)?;
        }
        write!(f, "{}", self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}
