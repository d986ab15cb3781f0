//! The error of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong with files, lists, masks and episodes.
///
/// Every message says what is wrong, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "read" or "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is there, but its content is not what it should be.
    #[error("{}: {problem}; {remedy}", path.display())]
    Invalid {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A setting does not make sense.
    #[error("{what}: {remedy}")]
    Setting {
        /// What is wrong.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A loader thread failed for a reason of its own.
    #[error("loading job number {job} failed: {problem}; this is a bug, please report it")]
    Worker {
        /// Which job, from 0.
        job: usize,
        /// What happened.
        problem: String,
    },
    /// No episode can be drawn.
    #[error("cannot draw an episode of class {class} with {shot} support(s): {problem}; {remedy}")]
    Episode {
        /// The class label.
        class: crate::ClassId,
        /// How many supports were asked for.
        shot: usize,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
}

impl DataError {
    /// Wraps an [`std::io::Error`] with what was tried and where.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    /// A file whose content is wrong: `problem` says how, `remedy` what to do.
    pub fn invalid(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }
}
