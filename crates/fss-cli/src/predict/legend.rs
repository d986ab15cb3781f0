//! What the labels of masks mean.

use fss_core::data;
use fss_core::data::DataError;
use fss_core::data::draw::{OverlayStyle, legend, overlay, stack, voc_palette};
use image::RgbImage;
use ndarray::Array2;
use serde::Serialize;

use super::results::Results;
use crate::failure::Failure;
use crate::output;

/// The file that says it.
const FILE: &str = "legend.json";

/// Classes in a line of an overlay's legend.
const COLUMNS: usize = 4;

/// One class.
#[derive(Debug, Serialize)]
struct Entry {
    /// Its number in masks.
    label: usize,
    name: String,
    /// `background`, `base`, `novel` or, of supports, `way`.
    kind: &'static str,
    /// Its colour in masks and overlays.
    rgb: [u8; 3],
}

/// The classes of a run; label 0 is the background.
#[derive(Debug)]
pub struct Legend {
    entries: Vec<Entry>,
}

impl Legend {
    /// The legend of classes, from label 1 on, each with what kind of class it is.
    pub fn new<'a>(classes: impl IntoIterator<Item = (&'a str, &'static str)>) -> Self {
        let palette = voc_palette();
        let entries = std::iter::once(("background", "background"))
            .chain(classes)
            .enumerate()
            .map(|(label, (name, kind))| Entry {
                label,
                name: name.to_owned(),
                kind,
                rgb: palette[label],
            })
            .collect();
        Self { entries }
    }

    /// Writes it beside the results.
    pub fn write(&self, results: &Results<'_>) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.entries).map_err(|e| {
            Failure::request(format!("the legend cannot be written ({e})"), "choose other names")
        })?;
        Ok(data::io::write_atomic(&results.folder().join(FILE), format!("{text}\n").as_bytes())?)
    }

    /// The image under its mask, and beneath it what the colours mean that occur.
    pub fn overlay(&self, image: &RgbImage, mask: &Array2<u8>) -> Result<RgbImage, DataError> {
        let drawn = overlay(image, mask, &OverlayStyle::default())?;
        let present = present(mask);
        if present.is_empty() {
            return Ok(drawn);
        }
        let entries: Vec<_> = present
            .iter()
            .map(|(label, _)| (self.entries[*label].rgb, self.entries[*label].name.as_str()))
            .collect();
        let lines = entries.chunks(COLUMNS).map(legend);
        Ok(stack(&std::iter::once(drawn).chain(lines).collect::<Vec<_>>()))
    }

    /// Which part of a mask each class covers, in words; the largest first.
    pub fn shares(&self, mask: &Array2<u8>) -> String {
        let parts: Vec<String> = present(mask)
            .into_iter()
            .map(|(label, count)| {
                let share = count as f64 / mask.len() as f64;
                format!("{} % {}", output::percent(Some(share)), self.entries[label].name)
            })
            .collect();
        match parts.is_empty() {
            true => "background alone".to_owned(),
            false => parts.join(", "),
        }
    }
}

/// The labels in a mask, background left out, with their pixels; the largest first.
fn present(mask: &Array2<u8>) -> Vec<(usize, usize)> {
    let mut counts = [0usize; 256];
    mask.iter().for_each(|label| counts[usize::from(*label)] += 1);
    let mut present: Vec<(usize, usize)> =
        counts.into_iter().enumerate().skip(1).filter(|(_, count)| *count > 0).collect();
    present.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), *label));
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_in_words() {
        let legend = Legend::new([("cat", "way"), ("dog", "way")]);
        assert_eq!(legend.shares(&ndarray::array![[0, 2], [2, 1]]), "50.00 % dog, 25.00 % cat");
        assert_eq!(legend.shares(&ndarray::array![[0, 0]]), "background alone");
    }
}
