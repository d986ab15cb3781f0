//! Coarse maps of an evaluation.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fss_core::cam::{CamMaker, CamOptions, generate};
use fss_core::data::cam::CamFolder;
use fss_core::heads::SupportLabels;
use fss_core::train::cams::Cams;
use fss_core::train::evaluate::EvaluationPlan;
use fss_core::train::{EpisodeData, Stop};
use fss_core::{Device, ModelOptions};

use crate::failure::Failure;
use crate::progress::Screen;

/// What stands in for masks, in models that learn from text.
#[derive(Debug, Args)]
#[command(next_help_heading = "Coarse maps (imr)")]
pub struct MapArgs {
    /// The folder of the coarse maps, as `fss cam` or the published code made them
    #[arg(long, value_name = "DIR")]
    cams: Option<PathBuf>,
    /// CLIP's weights (RN50.pt): makes those maps that are missing in the folder
    #[arg(long, value_name = "FILE", requires = "cams")]
    clip: Option<PathBuf>,
    /// What is known of a support: its class's name, as published, or its mask
    #[arg(long, value_enum, value_name = "WHAT")]
    support_labels: Option<Labels>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Labels {
    /// The name of its class, by its coarse map
    Text,
    /// Its mask
    Masks,
}

impl MapArgs {
    /// What is known of a support.
    pub fn support_labels(&self) -> SupportLabels {
        match self.support_labels {
            None | Some(Labels::Text) => SupportLabels::Text,
            Some(Labels::Masks) => SupportLabels::Masks,
        }
    }

    /// Where the maps come from, once those that are missing have been made.
    pub fn source(
        &self,
        model: &ModelOptions,
        data: &EpisodeData,
        plan: &EvaluationPlan,
        device: &Device,
        screen: &Screen,
        stop: &Stop,
    ) -> Result<Option<Cams>, Failure> {
        let ModelOptions::Imr(config) = model else {
            if self.cams.is_some() || self.support_labels.is_some() {
                return Err(Failure::request(
                    format!("--cams and --support-labels belong to imr, not to {model}"),
                    "leave them out",
                ));
            }
            return Ok(None);
        };
        let (Some(folder), Some(benchmark)) = (&self.cams, data.benchmark()) else {
            return Err(Failure::request(
                "imr reads a coarse map of every image, and no folder of maps was named",
                "make them with `fss cam` and name the folder with --cams, or add --clip RN50.pt to make \
                 those that are needed now",
            ));
        };
        let folder = CamFolder::new(folder, benchmark);
        if let Some(clip) = &self.clip {
            let names: Vec<String> = (1..=data.dataset.classes())
                .filter_map(|class| class.try_into().ok())
                .map(|class| data.dataset.class_name(class).to_owned())
                .collect();
            let maker = CamMaker::load(clip, &names, CamOptions::default(), device)?;
            let mut pairs = Vec::new();
            for seed in &plan.seeds {
                for episode in plan.draw(data, *seed)? {
                    let images = std::iter::once(episode.query).chain(episode.supports);
                    pairs.extend(images.map(|image| (image, episode.class)));
                }
            }
            let bar = screen.bar(0, "coarse maps");
            let made =
                generate(&maker, &data.dataset, &folder, &pairs, config.grid, |done, total| {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                    match stop.is_requested() {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                });
            bar.finish_and_clear();
            let made = made?;
            if made.stopped {
                return Err(Failure::Interrupted {
                    done: format!("{} coarse maps were made and kept", made.made),
                    next: "run the same command again to go on".into(),
                });
            }
            tracing::info!("{} coarse maps made, {} were there", made.made, made.there);
        }
        Ok(Some(Cams::new(folder)))
    }
}
