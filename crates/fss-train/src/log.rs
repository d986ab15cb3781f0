//! The log of a run: one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::evaluate::Protocol;
use crate::observer::IterationReport;

/// One line of the log. There are no times in it, so that equal runs have equal logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum LogEntry {
    /// A finished iteration.
    Iteration {
        /// Its number, from 1.
        iteration: u64,
        /// Learning rate.
        rate: f64,
        /// Total loss; null if no pixel counted.
        loss: Option<f64>,
        /// Unweighted parts; null where no pixel counted.
        terms: serde_json::Map<String, serde_json::Value>,
    },
    /// A finished validation.
    Validation {
        /// Iterations that the model was trained for.
        iteration: u64,
        /// How it was measured.
        protocol: Protocol,
        /// Mean IoU, a fraction.
        miou: Option<f64>,
        /// Foreground-background IoU, a fraction.
        fb_iou: Option<f64>,
        /// Whether it is the best model so far.
        best: bool,
    },
    /// A finished validation of generalized segmentation; mean IoU as fractions.
    GeneralizedValidation {
        /// The epoch before it, from 0.
        epoch: u64,
        /// Over background and base classes.
        base: Option<f64>,
        /// Over novel classes.
        novel: Option<f64>,
        /// Over all.
        total: Option<f64>,
        /// Harmonic mean of base and novel.
        harmonic: Option<f64>,
        /// Whether the model is kept.
        kept: bool,
    },
    /// A finished validation by DENet's protocol.
    WaysValidation {
        /// Iterations that the model was trained for.
        iteration: u64,
        /// Binary IoU of the novel classes, a fraction.
        b_iou: Option<f64>,
        /// IoU of all classes, a fraction, from models that know them.
        f_iou: Option<f64>,
        /// Whether it is the best model so far.
        best: bool,
    },
    /// The final test by DENet's protocol; means over the seeds.
    WaysEvaluation {
        /// Iterations that the selected model was trained for.
        iteration: u64,
        /// Binary IoU of the novel classes, a fraction.
        b_iou: Option<f64>,
        /// IoU of all classes, a fraction, from models that know them.
        f_iou: Option<f64>,
    },
    /// The final evaluation.
    Evaluation {
        /// Iterations that the selected model was trained for.
        iteration: u64,
        /// How it was measured.
        protocol: Protocol,
        /// Mean over the seeds of the mean IoU, a fraction.
        miou: Option<f64>,
        /// Sample deviation over the seeds.
        deviation: Option<f64>,
    },
}

impl LogEntry {
    /// That an iteration is finished.
    pub(crate) fn iteration(report: &IterationReport) -> Self {
        let terms = report.terms.iter();
        Self::Iteration {
            iteration: report.iteration,
            rate: report.rate,
            loss: report.loss,
            terms: terms.map(|&(name, value)| (name.to_owned(), value.into())).collect(),
        }
    }
}

/// A log that lines are added to.
#[derive(Debug)]
pub struct RunLog {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl RunLog {
    /// Opens a log and cuts it to its first `bytes` bytes: what was written after the checkpoint
    /// that a run continues from will be written again. 0 starts an empty log.
    ///
    /// # Errors
    /// [`TrainError::Io`] naming the file.
    pub fn open(path: &Path, bytes: u64) -> Result<Self, TrainError> {
        let open = || -> std::io::Result<(File, u64)> {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            // A log that someone removed or shortened is continued from its end.
            let bytes = bytes.min(file.metadata()?.len());
            file.set_len(bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|source| TrainError::io("open log", path, source))?;
        Ok(Self { file, path: path.to_path_buf(), bytes })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`TrainError::Io`] naming the file.
    pub fn add(&mut self, entry: &LogEntry) -> Result<(), TrainError> {
        let io = |source| TrainError::io("write log", &self.path, source);
        let mut line = serde_json::to_string(entry).map_err(|e| io(e.into()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(io)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// How long the log is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the lines of a log; what is no entry (as a last line that was cut off) is left out.
    ///
    /// # Errors
    /// [`TrainError::Io`] naming the file.
    pub fn read(path: &Path) -> Result<Vec<LogEntry>, TrainError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::io("read log", path, source))?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation(iteration: u64) -> LogEntry {
        let protocol = Protocol::Official;
        LogEntry::Validation { iteration, protocol, miou: Some(0.5), fb_iou: None, best: true }
    }

    #[test]
    fn a_resumed_log_has_no_line_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = RunLog::open(&path, 0).unwrap();
        log.add(&validation(1)).unwrap();
        let kept = log.bytes();
        log.add(&validation(2)).unwrap();
        drop(log);

        let mut log = RunLog::open(&path, kept).unwrap();
        log.add(&validation(2)).unwrap();
        log.add(&validation(3)).unwrap();
        let expected: Vec<_> = (1..=3).map(validation).collect();
        assert_eq!(RunLog::read(&path).unwrap(), expected);
        assert_eq!(log.bytes(), std::fs::metadata(&path).unwrap().len());
    }

    #[test]
    fn a_cut_off_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        RunLog::open(&path, 0).unwrap().add(&validation(1)).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"event\":\"valid");
        std::fs::write(&path, text).unwrap();
        assert_eq!(RunLog::read(&path).unwrap(), [validation(1)]);
    }
}
