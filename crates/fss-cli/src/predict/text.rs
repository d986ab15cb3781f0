//! What is looked for, as text.

use std::path::{Path, PathBuf};

use clap::Args;
use fss_core::cam::{CamMaker, CamOptions, names_against, names_with};
use fss_core::data::transform::ClipView;
use fss_core::{Device, ModelOptions, Segmenter, Unlabelled, data};

use crate::failure::Failure;

/// What is looked for, as text.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text (imr)")]
pub struct TextArgs {
    /// What to look for, as in "a dog"; examples then need no masks
    #[arg(long, value_name = "TEXT", requires = "clip")]
    text: Option<String>,
    /// CLIP's weights: OpenAI's RN50.pt, or its state dict
    #[arg(long, value_name = "FILE", requires = "text")]
    clip: Option<PathBuf>,
    /// Other names that the text competes with in CLIP's eyes [default: the 80 classes of COCO]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "text")]
    against: Vec<String>,
    /// Show CLIP the whole image, squeezed, instead of its centre, as published
    #[arg(long, requires = "text")]
    whole_image: bool,
}

impl TextArgs {
    /// The examples, if they are images without masks.
    pub fn unlabelled(
        &self,
        model: &ModelOptions,
        supports: &[String],
    ) -> Result<Option<Vec<Unlabelled>>, Failure> {
        let reads_text = matches!(model, ModelOptions::Imr(_));
        match (&self.text, reads_text) {
            (None, false) => return Ok(None),
            (Some(_), false) => {
                return Err(Failure::request(
                    format!("--text belongs to imr; {model} learns from masks"),
                    "leave it out and give masks, or give --model imr with its weights",
                ));
            }
            (None, true) => {
                return Err(Failure::request(
                    "imr looks for a thing by its name, and none was given",
                    "name it and give CLIP's weights: --text \"a dog\" --clip RN50.pt",
                ));
            }
            (Some(_), true) => {}
        }
        let is_image = |text: &String| Path::new(text).is_file();
        let count = supports.iter().filter(|text| is_image(text)).count();
        if count == 0 {
            return Ok(None);
        }
        if count < supports.len() {
            return Err(Failure::request(
                "some of --support are images alone, others come with a mask",
                "give masks for all of them, or for none",
            ));
        }
        let read = |path: &String| {
            let image = data::io::read_image(Path::new(path))?;
            Ok(Unlabelled { name: format!("support {path}"), image })
        };
        supports.iter().map(read).collect::<Result<_, Failure>>().map(Some)
    }

    /// Tells a segmenter what is looked for.
    pub fn apply(&self, segmenter: Segmenter, device: &Device) -> Result<Segmenter, Failure> {
        let (Some(text), Some(clip)) = (&self.text, &self.clip) else { return Ok(segmenter) };
        let (names, number) = match self.against.as_slice() {
            [] => names_with(text),
            others => names_against(text, others),
        };
        let view = match self.whole_image {
            true => ClipView::WholeImage,
            false => ClipView::CentreCrop,
        };
        let options = CamOptions {
            view,
            overlong: fss_core::backbone::clip::Overlong::Truncate,
            ..CamOptions::default()
        };
        let maker = CamMaker::load(clip, &names, options, device)?;
        Ok(segmenter.with_text(maker, number)?)
    }
}
