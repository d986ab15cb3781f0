//! Results for people and programs: tables, JSON, and a page.

mod base64;
mod curve;
mod html;
mod panels;
mod table;

pub use html::{HtmlReport, Panel, PanelImage};
pub use panels::{save_evaluation_panels, save_panels};
pub(crate) use table::{align, percent, shard_line};
pub use table::{comparison_table, evaluation_table};

use crate::evaluate::Evaluation;

/// An evaluation as JSON: the same evaluation gives the same text.
pub fn to_json(evaluation: &Evaluation) -> String {
    // Every field is a number, a text, a list or an object with text keys.
    let mut text = serde_json::to_string_pretty(evaluation).unwrap_or_default();
    text.push('\n');
    text
}
