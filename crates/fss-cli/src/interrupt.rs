//! Ctrl-C (and a request to terminate): the first asks the command to end in good order, the
//! second ends it at once.

use fss_core::train::Stop;

use crate::failure::Failure;

/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: i32 = 130;

/// A flag that is set by the first Ctrl-C. `ending` tells the user what happens then.
pub fn install(ending: &'static str) -> Result<Stop, Failure> {
    let stop = Stop::new();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.is_requested() {
            std::process::exit(INTERRUPTED);
        }
        flag.request();
        tracing::warn!("interrupted; {ending} (again to stop at once)");
    })
    .map_err(|e| Failure::request(format!("cannot watch for Ctrl-C ({e})"), "try again"))?;
    Ok(stop)
}
