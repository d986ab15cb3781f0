//! `fss learn`: new classes for a model that knows some.

mod supports;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fss_core::backbone::{module_tensors, write_state_dict};
use fss_core::data;
use fss_core::generalized::{GeneralizedFile, GeneralizedMethod};
use fss_core::heads::generalized::entries;
use fss_core::heads::{Pop, PopConfig};
use fss_core::train::learn::{
    Background, LearnEvent, LearnOutcome, LearnSet, LearnSettings, LearnState, learn,
};
use indicatif::ProgressBar;

use crate::args::Global;
use crate::failure::Failure;
use crate::model::{GeneralizedArgs, ModelArgs};
use crate::own::OwnFiles;
use crate::predict::queries;
use crate::progress::Screen;
use crate::{interrupt, output};

/// Teach a model new classes from a handful of annotated images
///
/// The weights are those of POP's stage 1, which knows its base classes; the result knows them and
/// the new ones, and `fss predict` then labels all of them at once. Old prototypes, backbone and decoder stay
/// as they are. Ctrl-C keeps what was learnt beside the result; the same command goes on from there.
#[derive(Debug, Args)]
pub struct LearnArgs {
    /// Annotated images of the new classes: class folders, a CSV table, COCO JSON or a folder of LabelMe files
    #[arg(long, value_name = "PATH")]
    support: PathBuf,
    /// A folder of images without annotations, best such as the model was trained on, that keep the new classes
    /// from spreading over old ones
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// The file for the weights of the result
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What pixels without a label are in the annotated images
    #[arg(long, value_enum, default_value_t)]
    unlabelled: UnlabelledPixels,
    /// Updates
    #[arg(long, value_name = "N", default_value_t = LearnSettings::default().iterations)]
    iterations: u64,
    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = LearnSettings::default().rate)]
    rate: f64,
    /// Views of each image (mirrored, at other scales)
    #[arg(long, value_name = "N", default_value_t = LearnSettings::default().views)]
    views: usize,
    /// Seed of new prototypes and of the order of images
    #[arg(long, value_name = "N", default_value_t = LearnSettings::default().seed)]
    seed: u64,
    #[command(flatten)]
    files: OwnFiles,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    generalized: GeneralizedArgs,
}

/// What pixels without a label are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum UnlabelledPixels {
    /// What the model sees there: a base class or background
    #[default]
    Model,
    /// Background: the annotations are complete; classes named like base classes are these
    Background,
}

/// Learns and writes the result.
pub fn run(args: &LearnArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    args.model.refuse_half("the teaching of new classes")?;
    let file = base_file(args)?;
    let data = supports::read(&args.support, &args.files.options(), args.unlabelled, &file.names)?;
    let set = LearnSet {
        novel: data.names.len(),
        names: data.names.clone(),
        supports: data.images,
        background: match args.unlabelled {
            UnlabelledPixels::Model => Background::ByModel,
            UnlabelledPixels::Background => Background::AsLabelled,
        },
        base: base_images(args)?,
    };
    if set.base.is_empty() {
        tracing::warn!(
            "no base images: new classes may spread over old ones; --base DIR names a folder of \
             ordinary images against that"
        );
    }
    let settings = LearnSettings {
        iterations: args.iterations,
        rate: args.rate,
        views: args.views,
        seed: args.seed,
        side: file.side,
        ..LearnSettings::default()
    };
    settings.check()?;
    check_writable(&args.out)?;
    let unfinished = unfinished(&args.out);
    let resumed = match unfinished.exists() {
        true => Some(LearnState::load(&unfinished)?),
        false => None,
    };
    if let Some(state) = &resumed {
        tracing::info!("going on after update {}", state.iteration());
    }
    let device = global.device()?;
    let stop = interrupt::install("keeping what was learnt so far")?;
    let (model, _) = load(&file, &args.model.weights, &device)?;
    let mut bars = Bars { screen, preparing: None, learning: None, last: None };
    let outcome =
        learn(&model, &set, &settings, resumed, &device, &mut |event| bars.show(event), &stop);
    let loss = bars.finish();
    let learnt = match outcome? {
        LearnOutcome::Finished(learnt) => learnt,
        LearnOutcome::Interrupted(state) => {
            state.save(&unfinished)?;
            return Err(Failure::Interrupted {
                done: format!("{} of {} updates are done", state.iteration(), args.iterations),
                next: format!("run the same command to go on from {}", unfinished.display()),
            });
        }
    };
    let mut names = file.names.clone();
    names.extend(data.names.iter().cloned());
    save(&learnt, &file, &names, &settings, &args.out)?;
    if unfinished.exists() {
        std::fs::remove_file(&unfinished).map_err(|e| Failure::io("remove", &unfinished, e))?;
    }
    let loss = loss.map_or_else(String::new, |loss| format!(", last loss {loss:.3}"));
    output::print(&format!(
        "{} learnt from {} images{loss}; {} classes in {}\n",
        data.names.join(", "),
        set.supports.len(),
        names.len(),
        args.out.display()
    ))
}

/// What the weights hold, if it is a model of stage 1.
fn base_file(args: &LearnArgs) -> Result<GeneralizedFile, Failure> {
    let options = args.model.generalized(&args.generalized)?.unwrap_or_default();
    let file = GeneralizedFile::inspect(&args.model.weights, &options)?;
    let path = args.model.weights.display();
    if file.method != GeneralizedMethod::Pop {
        return Err(Failure::request(
            format!("{path} holds the baseline, which cannot learn new classes"),
            "give the weights of POP's stage 1",
        ));
    }
    if file.classes.novel > 0 {
        return Err(Failure::request(
            format!(
                "{path} is of stage 2: it has learnt {} novel classes already",
                file.classes.novel
            ),
            "give the weights of stage 1, and the images of all new classes together",
        ));
    }
    Ok(file)
}

fn load(
    file: &GeneralizedFile,
    weights: &Path,
    device: &fss_core::Device,
) -> Result<(Pop, fss_core::backbone::LoadReport), Failure> {
    let config = PopConfig { network: file.network, classes: file.classes };
    Ok(config.init(device, 0).load(weights)?)
}

fn base_images(args: &LearnArgs) -> Result<Vec<(String, image::RgbImage)>, Failure> {
    let Some(folder) = &args.base else { return Ok(Vec::new()) };
    let found = queries::find("--base", folder, &args.out)?;
    found
        .iter()
        .map(|query| Ok((query.path.display().to_string(), data::io::read_image(&query.path)?)))
        .collect()
}

/// Refuses a result that could not be written, before any work is done.
fn check_writable(out: &Path) -> Result<(), Failure> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(|e| Failure::io("make folder", folder, e))?;
    }
    if out.is_dir() {
        return Err(Failure::request(
            format!("--out {} is a folder", out.display()),
            "name a file, such as model.safetensors in it",
        ));
    }
    Ok(())
}

/// Where an interrupted run keeps its state.
fn unfinished(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    out.with_file_name(name)
}

fn save(
    model: &Pop,
    file: &GeneralizedFile,
    names: &[String],
    settings: &LearnSettings,
    out: &Path,
) -> Result<(), Failure> {
    // What was said of the base stays; what changes is overwritten.
    let mut metadata: BTreeMap<String, String> = file.metadata.clone();
    let names = serde_json::to_string(names).map_err(|e| {
        Failure::request(format!("the names cannot be written ({e})"), "rename the classes")
    })?;
    metadata.insert("format".into(), "pt".into());
    metadata.insert(entries::MODEL.into(), file.method.name().into());
    metadata.insert(entries::CLASSES.into(), names);
    metadata.insert(entries::SIDE.into(), file.side.to_string());
    metadata.insert(entries::OUTPUT_STRIDE.into(), file.network.output_stride.to_string());
    if let Ok(settings) = serde_json::to_string(settings) {
        metadata.insert("fss.learn".into(), settings);
    }
    Ok(write_state_dict(out, &module_tensors(model)?, &metadata)?)
}

/// Progress of both parts.
struct Bars<'a> {
    screen: &'a Screen,
    preparing: Option<ProgressBar>,
    learning: Option<ProgressBar>,
    last: Option<f64>,
}

impl Bars<'_> {
    fn show(&mut self, event: LearnEvent) {
        match event {
            LearnEvent::Prepared { done, total } => {
                let new = || self.screen.bar(total, "views");
                let bar = self.preparing.get_or_insert_with(new);
                bar.set_position(done as u64);
                if done == total {
                    bar.finish_and_clear();
                }
            }
            LearnEvent::Updated { iteration, iterations, loss } => {
                self.last = loss.or(self.last);
                let new = || self.screen.bar(iterations as usize, "updates");
                let bar = self.learning.get_or_insert_with(new);
                bar.set_position(iteration);
                if let Some(loss) = self.last {
                    bar.set_message(format!("loss {loss:.3}"));
                }
            }
        }
    }

    /// Takes the bars away; the last loss.
    fn finish(self) -> Option<f64> {
        for bar in [self.preparing, self.learning].into_iter().flatten() {
            bar.finish_and_clear();
        }
        self.last
    }
}
