//! Many entries at once: progress, stopping, and what happens to bad ones.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::{LeftOut, PrepareOptions, Progress, Stage};
use crate::annotations::BadEntries;
use crate::index::IndexOptions;
use crate::{DataError, MaskIndex, SegmentationDataset};

/// Why there is no result for an entry.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The entry is bad; others may be good.
    Entry(LeftOut),
    /// Nothing can go on, say because the disk is full.
    All(DataError),
}

impl Trouble {
    /// An error in the sources of an entry.
    pub(super) fn entry(entry: &str) -> impl Fn(DataError) -> Self + '_ {
        move |error| Self::Entry(LeftOut::new(entry, error))
    }

    /// An error while a result is written.
    pub(super) fn write(error: DataError) -> Self {
        Self::All(explain_full_disk(error))
    }
}

/// Says what to do when there is no space left.
fn explain_full_disk(error: DataError) -> DataError {
    match error {
        DataError::Io { path, source, .. }
            if matches!(
                source.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            ) =>
        {
            DataError::invalid(
                &path,
                format!("this cannot be written ({source})"),
                "make room, or prepare the data set on another disk; what is done is kept, and the \
                 same command goes on from there",
            )
        }
        other => other,
    }
}

/// Counts entries of a stage and tells of them.
pub(super) struct Reporter<'a> {
    options: &'a PrepareOptions<'a>,
    out: &'a Path,
    stage: Stage,
    done: AtomicUsize,
    total: usize,
    stopped: AtomicBool,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(
        options: &'a PrepareOptions<'a>,
        out: &'a Path,
        stage: Stage,
        total: usize,
    ) -> Self {
        let (done, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let reporter = Self { options, out, stage, done, total, stopped };
        reporter.tell(0);
        reporter
    }

    fn tell(&self, done: usize) {
        let progress = Progress { stage: self.stage, done, total: self.total };
        if self.options.progress.is_some_and(|tell| tell(progress).is_break()) {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    /// One more is done.
    pub(super) fn step(&self) {
        self.tell(self.done.fetch_add(1, Ordering::Relaxed) + 1);
    }

    /// So many are done.
    pub(super) fn reach(&self, done: usize) {
        self.done.fetch_max(done, Ordering::Relaxed);
        self.tell(done);
    }

    /// Counts the masks of a dataset, after `before` masks of others.
    pub(super) fn index(
        &self,
        dataset: &SegmentationDataset,
        before: usize,
    ) -> Result<MaskIndex, DataError> {
        let progress = |done: usize, _: usize| self.reach(before + done);
        let options = IndexOptions { progress: Some(&progress), ..IndexOptions::default() };
        let index = MaskIndex::build_with(dataset, &options)?;
        self.check()?;
        Ok(index)
    }

    /// The error of a stop, once one was asked for.
    pub(super) fn check(&self) -> Result<(), DataError> {
        if !self.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let done = self.done.load(Ordering::Relaxed);
        let what = match self.stage {
            Stage::Annotations => "annotation files were read",
            Stage::Images => "images are done and kept",
            Stage::Lists => "masks are counted, and all images are done",
        };
        let text = format!("stopped on request: {done} of {} {what}", self.total);
        Err(DataError::io("finish", self.out, Error::new(ErrorKind::Interrupted, text)))
    }

    /// Does `work` for every entry, in parallel. The results come in order, those of entries that
    /// were left out as none; these go to `left_out`.
    ///
    /// # Errors
    /// A stop, the first bad entry if they are refused, or what keeps all others from going on.
    pub(super) fn run<E: Sync, T: Send>(
        &self,
        entries: &[E],
        left_out: &mut Vec<LeftOut>,
        work: impl Fn(&E) -> Result<T, Trouble> + Sync,
    ) -> Result<Vec<Option<T>>, DataError> {
        let results = entries
            .par_iter()
            .map(|entry| {
                self.check()?;
                let result = match (work(entry), self.options.bad) {
                    (Ok(result), _) => Ok(result),
                    (Err(Trouble::Entry(bad)), BadEntries::Skip) => Err(bad),
                    (Err(Trouble::Entry(bad)), BadEntries::Refuse) => return Err(bad.into_error()),
                    (Err(Trouble::All(error)), _) => return Err(error),
                };
                self.step();
                Ok(result)
            })
            .collect::<Result<Vec<_>, DataError>>()?;
        self.check()?;
        let keep = |result| match result {
            Ok(result) => Some(result),
            Err(bad) => {
                left_out.push(bad);
                None
            }
        };
        Ok(results.into_iter().map(keep).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_explained() {
        let full = Error::new(ErrorKind::StorageFull, "no space left on device");
        let Trouble::All(error) =
            Trouble::write(DataError::io("write", Path::new("out/a.png"), full))
        else {
            unreachable!("a full disk ends everything")
        };
        let text = error.to_string();
        for words in ["out/a.png", "no space left", "make room", "goes on"] {
            assert!(text.contains(words), "{words:?} is missing in: {text}");
        }
        let other = Error::new(ErrorKind::PermissionDenied, "no");
        let Trouble::All(error) = Trouble::write(DataError::io("write", Path::new("a"), other))
        else {
            unreachable!("it cannot go on")
        };
        assert_eq!(error.to_string(), "cannot write a: no");
    }
}
