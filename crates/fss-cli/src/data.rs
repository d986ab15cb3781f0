//! `fss data`: making and checking data sets.

mod check;
mod episodes;
mod generate;
mod lists;
mod prepare;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::progress::Screen;

/// Make and check data sets
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Generate(generate::GenerateArgs),
    Check(check::CheckArgs),
    Prepare(prepare::PrepareArgs),
    Lists(lists::ListsArgs),
    Episodes(episodes::EpisodesArgs),
}

/// Runs one of the actions.
pub fn run(args: &DataArgs, screen: &Screen) -> Result<(), Failure> {
    match &args.action {
        Action::Generate(args) => generate::run(args, screen),
        Action::Check(args) => check::run(args, screen),
        Action::Prepare(args) => prepare::run(args, screen),
        Action::Lists(args) => lists::run(args, screen),
        Action::Episodes(args) => episodes::run(args, screen),
    }
}
