//! Notes, warnings and errors of the libraries, as lines on standard error.

use std::fmt;
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::args::Verbosity;
use crate::progress::Screen;

/// Overrides the verbosity, in the syntax of `tracing_subscriber::EnvFilter`.
const VARIABLE: &str = "FSS_LOG";

/// Sends what the libraries report to standard error, above the progress bars.
pub fn init(verbosity: Verbosity, screen: &Screen) {
    if verbosity == Verbosity::Quiet {
        screen.hide_bars();
    }
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| {
        EnvFilter::new(match verbosity {
            Verbosity::Quiet => "warn",
            Verbosity::Normal => concat!(
                "warn,fss=info,fss_core=info,fss_train=info,fss_heads=info,fss_backbone=info,",
                "fss_kernels=info,fss_data=info,fss_metrics=info"
            ),
            Verbosity::Detailed => concat!(
                "warn,fss=debug,fss_core=debug,fss_train=debug,fss_heads=debug,fss_backbone=debug,",
                "fss_kernels=debug,fss_data=debug,fss_metrics=debug"
            ),
            Verbosity::All => "trace",
        })
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(screen.clone())
        .event_format(Lines)
        .init();
}

/// `warning: what happened file=...`: no time, no module names.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let label = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "note",
            Level::DEBUG => "detail",
            Level::TRACE => "trace",
        };
        write!(writer, "{label}: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
