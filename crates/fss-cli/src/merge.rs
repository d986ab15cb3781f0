//! `fss merge`: one result from the shards of an evaluation.

use std::path::{Path, PathBuf};

use clap::Args;
use fss_core::data::io::write_atomic;
use fss_core::train::evaluate::Evaluation;
use fss_core::train::generalized::{GfssEvaluation, generalized_json, generalized_table};
use fss_core::train::report::{evaluation_table, to_json};
use fss_core::train::ways::{WaysEvaluation, ways_json, ways_table};
use fss_core::train::{Shard, TrainError};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::eval::check_place;
use crate::failure::Failure;
use crate::output;

/// Put together what several processes measured with `fss eval --shard`
///
/// Prints the table that one process would have printed that measured all episodes; the scores are the same to
/// the last bit.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// The files that `fss eval --shard I/N --json FILE` wrote, all N of them, in any order
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Write the merged scores to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What results look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Episodes,
    Ways,
    Generalized,
}

impl Kind {
    /// Each kind has keys that no other has.
    fn of(value: &Value) -> Option<Self> {
        let has = |key: &str| value.get(key).is_some();
        match () {
            () if has("b_iou") && has("runs") => Some(Self::Ways),
            () if has("fb_iou") && has("runs") => Some(Self::Episodes),
            () if has("seeds") && has("names") => Some(Self::Generalized),
            () => None,
        }
    }
}

/// Merges and reports.
pub fn run(args: &MergeArgs) -> Result<(), Failure> {
    if let Some(json) = &args.json {
        check_place(json)?;
    }
    let values = args.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let kind = values[0].0;
    if let Some(place) = values.iter().position(|(other, _)| *other != kind) {
        return Err(Failure::request(
            format!(
                "{} and {} are results of different protocols",
                args.files[0].display(),
                args.files[place].display()
            ),
            "merge the shards of one evaluation",
        ));
    }
    let (table, json) = match kind {
        Kind::Episodes => {
            let whole = merged(values, &args.files, Evaluation::merge)?;
            (evaluation_table(&whole), to_json(&whole))
        }
        Kind::Ways => {
            let whole = merged(values, &args.files, WaysEvaluation::merge)?;
            (ways_table(&whole), ways_json(&whole))
        }
        Kind::Generalized => {
            let whole = merged(values, &args.files, GfssEvaluation::merge)?;
            (generalized_table(&whole), generalized_json(&whole))
        }
    };
    if let Some(path) = &args.json {
        write_atomic(path, json.as_bytes())?;
    }
    output::print(&table)
}

/// A result and its kind.
fn read(path: &Path) -> Result<(Kind, Value), Failure> {
    let bytes = std::fs::read(path).map_err(|e| Failure::io("read", path, e))?;
    let value = serde_json::from_slice::<Value>(&bytes).map_err(|e| unreadable(path, &e))?;
    match Kind::of(&value) {
        Some(kind) => Ok((kind, value)),
        None => Err(unreadable(path, &"keys of a result are missing")),
    }
}

fn unreadable(path: &Path, problem: &dyn std::fmt::Display) -> Failure {
    Failure::request(
        format!("{} is no result of an evaluation ({problem})", path.display()),
        "give files that `fss eval --shard I/N --json FILE` wrote",
    )
}

fn merged<T: DeserializeOwned>(
    values: Vec<(Kind, Value)>,
    files: &[PathBuf],
    merge: fn(Shard, Vec<T>) -> Result<T, TrainError>,
) -> Result<T, Failure> {
    let parts = values.into_iter().zip(files).map(|((_, value), path)| {
        serde_json::from_value(value).map_err(|problem| unreadable(path, &problem))
    });
    Ok(merge(Shard::WHOLE, parts.collect::<Result<_, _>>()?)?)
}
