//! Progress bars on standard error, and lines that do not tear them.

use std::io::{self, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// Standard error with progress bars at its end. Nothing is drawn where it is no terminal.
#[derive(Debug, Clone)]
pub struct Screen {
    bars: MultiProgress,
}

impl Screen {
    /// A screen without bars.
    pub fn new() -> Self {
        Self { bars: MultiProgress::new() }
    }

    /// Draws no bars from now on.
    pub fn hide_bars(&self) {
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// A bar that counts to `total`, with the time left; `what` names what is counted.
    pub fn bar(&self, total: usize, what: &str) -> ProgressBar {
        let style =
            ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len}, {eta} left {wide_msg}")
                // The template is fixed; should it ever be wrong, the plain bar serves as well.
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
        let bar = self.bars.add(ProgressBar::new(total as u64));
        bar.set_style(style);
        bar.set_prefix(what.to_owned());
        bar
    }

    /// Runs `write`, which may write to standard error or output, with the bars out of its way.
    pub fn above_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bars.suspend(write)
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines { screen: self.clone(), text: Vec::new() }
    }
}

/// Collects what is written and prints it as one piece above the bars when dropped.
pub struct Lines {
    screen: Screen,
    text: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Where standard error is gone, there is nobody left to tell.
        let _ = self.screen.above_bars(|| io::stderr().write_all(&self.text));
    }
}
