//! Progress bars in the terminal, for those who ask for them.

use std::path::Path;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::evaluate::EpisodeOutcome;
use crate::generalized::{GfssObserver, GfssValidation};
use crate::observer::{EvaluationObserver, IterationReport, TrainObserver, ValidationReport};
use crate::ways::{WayOutcome, WaysObserver, WaysValidation};

/// How much of a new loss goes into the smoothed one that is shown.
const SMOOTHING: f64 = 0.1;

/// Into how many lines a training run is cut where there is no terminal to draw bars on.
const PLAIN_LINES: u64 = 10;

/// Shows loss, mean IoU and time left as bars on standard error; where that is no terminal, as a
/// line now and then.
#[derive(Debug)]
pub struct TerminalProgress {
    bars: MultiProgress,
    training: Option<ProgressBar>,
    evaluation: Option<ProgressBar>,
    loss: Option<f64>,
    miou: Option<f64>,
}

impl TerminalProgress {
    /// No bar yet; they come and go with what is reported.
    pub fn new() -> Self {
        Self {
            bars: MultiProgress::new(),
            training: None,
            evaluation: None,
            loss: None,
            miou: None,
        }
    }

    /// Says in a line what bars would show.
    fn say(&self, line: impl FnOnce() -> String) {
        if self.bars.is_hidden() {
            eprintln!("{}", line());
        }
    }

    fn message(&self) -> String {
        let loss = self.loss.map_or("-".to_owned(), |loss| format!("{loss:.4}"));
        let miou = self.miou.map_or("-".to_owned(), |miou| format!("{:.2} %", miou * 100.0));
        format!("loss {loss}  mIoU {miou}")
    }
}

impl Default for TerminalProgress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TerminalProgress {
    fn drop(&mut self) {
        for bar in [self.evaluation.take(), self.training.take()].into_iter().flatten() {
            bar.finish_and_clear();
        }
    }
}

fn bar(length: u64, name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix:>10} [{bar:32}] {pos}/{len}  {msg}  {elapsed} gone, {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("=> ");
    ProgressBar::new(length).with_style(style).with_prefix(name)
}

impl EvaluationObserver for TerminalProgress {
    /// One bar for all seeds, whose episodes come mixed.
    fn seed_started(&mut self, _seed: u64, episodes: usize) {
        if let Some(bar) = &self.evaluation
            && Some(bar.position()) < bar.length()
        {
            bar.inc_length(episodes as u64);
            return;
        }
        if let Some(old) = self.evaluation.take() {
            old.finish_and_clear();
        }
        self.evaluation = Some(self.bars.add(bar(episodes as u64, "evaluate")));
    }

    fn episode_finished(&mut self, outcome: &EpisodeOutcome<'_>) {
        if let Some(bar) = &self.evaluation {
            if let Some(miou) = outcome.running_miou {
                bar.set_message(format!("seed {}  mIoU {:.2} %", outcome.seed, miou * 100.0));
            }
            bar.inc(1);
        }
    }
}

impl TrainObserver for TerminalProgress {
    fn training_started(&mut self, done: u64, iterations: u64) {
        let bar = self.bars.add(bar(iterations, "train"));
        bar.set_position(done);
        // The time left is that of the iterations of this process.
        bar.reset_eta();
        bar.set_message(self.message());
        self.training = Some(bar);
    }

    fn iteration_finished(&mut self, report: &IterationReport) {
        if let Some(loss) = report.loss {
            let old = self.loss.unwrap_or(loss);
            self.loss = Some(old + SMOOTHING * (loss - old));
        }
        if let Some(bar) = &self.training {
            bar.set_message(self.message());
            bar.set_position(report.iteration);
        }
        if report.iteration.is_multiple_of((report.iterations / PLAIN_LINES).max(1)) {
            self.say(|| {
                format!("iteration {}/{}  {}", report.iteration, report.iterations, self.message())
            });
        }
    }

    fn validation_finished(&mut self, report: &ValidationReport) {
        if let Some(old) = self.evaluation.take() {
            old.finish_and_clear();
        }
        self.miou = report.evaluation.miou.as_ref().map(|spread| spread.mean);
        self.say(|| format!("validation after iteration {}  {}", report.iteration, self.message()));
        if let Some(bar) = &self.training {
            bar.set_message(self.message());
        }
    }

    fn evaluation_started(&mut self) {
        if let Some(bar) = self.training.take() {
            bar.finish();
        }
    }

    fn checkpoint_written(&mut self, path: &Path) {
        tracing::debug!(path = %path.display(), "checkpoint written");
    }
}

impl GfssObserver for TerminalProgress {
    fn seed_started(&mut self, seed: u64, done: u64, iterations: u64) {
        if let Some(old) = self.training.take() {
            old.finish_and_clear();
        }
        TrainObserver::training_started(self, done, iterations);
        self.say(|| format!("seed {seed}: {done} of {iterations} iterations are done"));
    }

    fn iteration_finished(&mut self, report: &IterationReport) {
        TrainObserver::iteration_finished(self, report);
    }

    fn measuring(&mut self, images: usize) {
        if let Some(old) = self.evaluation.take() {
            old.finish_and_clear();
        }
        self.evaluation = Some(self.bars.add(bar(images as u64, "measure")));
    }

    fn image_measured(&mut self) {
        if let Some(bar) = &self.evaluation {
            bar.inc(1);
        }
    }

    fn validation_finished(&mut self, validation: &GfssValidation) {
        if let Some(old) = self.evaluation.take() {
            old.finish_and_clear();
        }
        self.miou = validation.scores.total;
        self.say(|| format!("validation after epoch {}  {}", validation.epoch + 1, self.message()));
        if let Some(bar) = &self.training {
            bar.set_message(self.message());
        }
    }

    fn checkpoint_written(&mut self, path: &Path) {
        tracing::debug!(path = %path.display(), "checkpoint written");
    }
}

impl WaysObserver for TerminalProgress {
    fn training_started(&mut self, done: u64, iterations: u64) {
        TrainObserver::training_started(self, done, iterations);
    }

    fn iteration_finished(&mut self, report: &IterationReport) {
        TrainObserver::iteration_finished(self, report);
    }

    fn test_started(&mut self, seed: u32, episodes: usize) {
        EvaluationObserver::seed_started(self, seed.into(), episodes);
    }

    fn episode_finished(&mut self, outcome: &WayOutcome<'_>) {
        if let Some(bar) = &self.evaluation {
            if let Some(b_iou) = outcome.running {
                bar.set_message(format!("B-IOU {:.2} %", b_iou * 100.0));
            }
            bar.inc(1);
        }
    }

    fn validation_finished(&mut self, validation: &WaysValidation) {
        if let Some(old) = self.evaluation.take() {
            old.finish_and_clear();
        }
        self.miou = validation.b_iou;
        self.say(|| {
            format!("validation after iteration {}  {}", validation.iteration, self.message())
        });
        if let Some(bar) = &self.training {
            bar.set_message(self.message());
        }
    }

    fn checkpoint_written(&mut self, path: &Path) {
        tracing::debug!(path = %path.display(), "checkpoint written");
    }
}
