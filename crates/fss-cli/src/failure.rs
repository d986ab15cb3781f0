//! What ends a command.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use fss_core::backbone::BackboneError;
use fss_core::data::DataError;
use fss_core::train::TrainError;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The library refused.
    #[error(transparent)]
    Library(#[from] fss_core::Error),
    /// What was asked for makes no sense.
    #[error("{what}; {remedy}")]
    Request {
        /// What is wrong.
        what: String,
        /// What to do about it.
        remedy: String,
    },
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
    /// The work was done as far as possible, and problems were found; all were reported before.
    #[error("{0}")]
    Problems(String),
    /// Ctrl-C.
    #[error("interrupted: {done}; {next}")]
    Interrupted {
        /// How far it came.
        done: String,
        /// How to go on.
        next: String,
    },
}

impl Failure {
    /// What is wrong with a request, and what to do about it.
    pub fn request(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Request { what: what.into(), remedy: remedy.into() }
    }

    /// Wraps an [`std::io::Error`] with what was tried and where.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    /// The exit code that stands for this failure; 2 (wrong usage) is the argument parser's.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Interrupted { .. } => 130,
            _ => 1,
        }
    }

    /// Prints the error and its causes on standard error.
    pub fn print(&self) {
        // Where standard error is gone, there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "error: {}", describe(self));
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::Library(error.into())
    }
}

impl From<BackboneError> for Failure {
    fn from(error: BackboneError) -> Self {
        Self::Library(error.into())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Interrupted { what } => Self::Interrupted {
                done: format!("{what} was not finished and nothing was written"),
                next: "run the same command again".into(),
            },
            other => Self::Library(other.into()),
        }
    }
}

/// An error's message with those causes that it does not name itself.
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.contains(&message) {
            text = format!("{text}\n  because {message}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_once() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let failure: Failure = DataError::io("read", Path::new("a.png"), source).into();
        assert_eq!(describe(&failure), "cannot read a.png: no such file");
        assert_eq!(failure.exit_code(), 1);
    }
}
