//! The `fss` command: train, evaluate and apply few-shot segmentation models.
//!
//! Results go to standard output; progress, notes and errors to standard error. The exit code is
//! 0 for success, 1 for a failure, 2 for wrong usage and 130 after Ctrl-C.
#![forbid(unsafe_code)]

mod args;
mod cam;
mod data;
mod episodes;
mod eval;
mod failure;
mod interrupt;
mod learn;
mod merge;
mod messages;
mod mine;
mod model;
mod output;
mod own;
mod predict;
mod progress;
mod train;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::Failure;
use progress::Screen;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new();
    messages::init(cli.global.verbosity(), &screen);
    match run(cli, &screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            screen.above_bars(|| failure.print());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli, screen: &Screen) -> Result<(), Failure> {
    if let Some(threads) = cli.global.threads {
        // The pool that tensors and files share; it can only be set once, before its first use.
        rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global().map_err(|e| {
            Failure::request(format!("cannot start {threads} threads ({e})"), "ask for fewer")
        })?;
    }
    let global = &cli.global;
    match cli.command {
        Command::Predict(args) => predict::run(&args, global, screen),
        Command::Learn(args) => learn::run(&args, global, screen),
        Command::Eval(args) => eval::run(&args, global, screen),
        Command::Merge(args) => merge::run(&args),
        Command::Mine(args) => mine::run(&args, global, screen),
        Command::Train(args) => train::run(&args, global, screen),
        Command::Cam(args) => cam::run(&args, global, screen),
        Command::Data(args) => data::run(&args, screen),
        Command::Weights(args) => weights::run(&args),
    }
}
