//! Maps of texts in images.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use fss_core::backbone::clip::prompt;
use fss_core::cam::{GRID, NamedCam, names_against, names_with};
use fss_core::data::io::read_image;
use fss_core::{CamMaker, Device, train::Stop};

use super::heat::{Place, Save};
use super::{CamArgs, Target, make_folder};
use crate::args::Global;
use crate::failure::{Failure, describe};
use crate::predict::queries::{self, Query};
use crate::progress::Screen;
use crate::{interrupt, output};

/// What is looked for in which images.
#[derive(Debug, Args)]
#[command(next_help_heading = "Texts")]
pub struct TextArgs {
    /// What to look for, as in "a dog"; repeat for more, each of which is looked for on its own
    #[arg(long = "text", value_name = "TEXT")]
    pub texts: Vec<String>,
    /// An image, or a folder of images (its sub-folders are not searched); of --dataset own, the folder
    /// that the image names of annotations start from
    #[arg(long, value_name = "FILE|DIR")]
    pub images: Option<PathBuf>,
    /// Names that each text competes with, separated by commas [default: the 80 classes of COCO]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub against: Vec<String>,
    /// What to write for each image and text [default: map,heat]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub save: Vec<Save>,
}

/// Makes the maps of all texts in all images.
pub fn run(args: &CamArgs, global: &Global, screen: &Screen) -> Result<(), Failure> {
    if args.set.is_given() {
        return Err(Failure::request(
            "options of data sets were given with --text",
            "leave them out, or give --data-root in place of --text",
        ));
    }
    let Some(images) = &args.texts.images else {
        return Err(Failure::request(
            "--text says what to look for, but not in which images",
            "name an image or a folder with --images",
        ));
    };
    let images = queries::find("--images", images, &args.out)?;
    for text in &args.texts.texts {
        prompt(text)?;
    }
    make_folder(args)?;
    let device = global.device()?;
    let stop = interrupt::install("finishing the current image")?;
    let looks = looks(args, &device)?;

    let kinds = match args.texts.save.as_slice() {
        [] => vec![Save::Map, Save::Heat],
        kinds => kinds.to_vec(),
    };
    let mut run = Run { args, kinds, looks, screen, failed: 0, empty: 0 };
    run.all(&images, &stop)?;
    if run.empty > 0 {
        let hint = match args.target {
            Target::Probability => "; --target score does not fade where the text is certain",
            Target::Score => "",
        };
        tracing::warn!(
            "{} of {} maps are empty: nothing in the image speaks for the text{hint}",
            run.empty,
            run.looks.len() * (images.len() - run.failed)
        );
    }
    let done = images.len() - run.failed;
    tracing::info!(
        "{done} {} done; results in {}",
        if done == 1 { "image" } else { "images" },
        args.out.display()
    );
    if run.failed > 0 {
        return Err(Failure::Problems(format!(
            "{} of {} images failed, as reported above; mend or remove them and run again",
            run.failed,
            images.len()
        )));
    }
    Ok(())
}

/// What is looked for: the first name of the maker.
struct Look {
    text: String,
    maker: CamMaker,
    /// What is added to the stems of its files.
    suffix: String,
}

fn looks(args: &CamArgs, device: &Device) -> Result<Vec<Look>, Failure> {
    let against = args.texts.against.as_slice();
    let names = |text: &str| match against {
        [] => names_with(text).0,
        others => names_against(text, others).0,
    };
    let mut looks: Vec<Look> = Vec::new();
    for (text, suffix) in std::iter::zip(&args.texts.texts, suffixes(&args.texts.texts)) {
        // The weights are read once.
        let maker = match looks.first() {
            None => CamMaker::load(&args.clip, &names(text), args.options(), device)?,
            Some(first) => first.maker.with_names(&names(text))?,
        };
        looks.push(Look { text: text.trim().to_owned(), maker, suffix });
    }
    Ok(looks)
}

struct Run<'a> {
    args: &'a CamArgs,
    kinds: Vec<Save>,
    looks: Vec<Look>,
    screen: &'a Screen,
    failed: usize,
    empty: usize,
}

impl Run<'_> {
    fn all(&mut self, images: &[Query], stop: &Stop) -> Result<(), Failure> {
        let bar = self.screen.bar(images.len(), "images");
        let mut outcome = Ok(());
        for (done, image) in images.iter().enumerate() {
            if stop.is_requested() {
                outcome = Err(Failure::Interrupted {
                    done: format!("{done} of {} images are done and kept", images.len()),
                    next: "run the same command again to make all of them".into(),
                });
                break;
            }
            bar.set_message(image.name());
            outcome = self.one(image);
            if outcome.is_err() {
                break;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        outcome
    }

    /// The maps of one image. One that cannot be read or seen ends the run, or is reported and counted.
    fn one(&mut self, image: &Query) -> Result<(), Failure> {
        let seen = read_image(&image.path).map_err(Failure::from).and_then(|picture| {
            let see = |look: &Look| Ok(look.maker.maps(&picture, &[0], GRID)?);
            let maps = self.looks.iter().map(see).collect::<Result<Vec<_>, Failure>>()?;
            Ok((picture, maps))
        });
        let (picture, maps) = match seen {
            Ok(seen) => seen,
            Err(failure) if self.args.skip_bad => {
                tracing::error!("{}", describe(&failure));
                self.failed += 1;
                return Ok(());
            }
            Err(failure) => {
                return Err(Failure::request(
                    describe(&failure),
                    "with --skip-bad the other images are done all the same",
                ));
            }
        };
        let mut lines = String::new();
        for (look, found) in std::iter::zip(&self.looks, maps.iter().flatten()) {
            let stem = format!("{}{}", image.stem, look.suffix);
            let place = Place { folder: &self.args.out, stem, image: image.name() };
            place.write(&self.kinds, &picture, &look.maker, found)?;
            self.empty += usize::from(found.is_empty());
            lines += &line(&image.name(), look, found);
        }
        self.screen.above_bars(|| output::print(&lines))
    }
}

fn line(image: &str, look: &Look, found: &NamedCam) -> String {
    let share = output::percent(Some(found.probability.into()));
    let names = look.maker.names().len();
    let empty = if found.is_empty() { ", an empty map" } else { "" };
    format!("{image}: {share} % {:?} among {names} names{empty}\n", look.text)
}

/// What tells the files of several texts apart, each with a dot before it; nothing for one text.
fn suffixes(texts: &[String]) -> Vec<String> {
    if texts.len() < 2 {
        return vec![String::new(); texts.len()];
    }
    let mut taken = BTreeSet::new();
    let mut suffixes = Vec::with_capacity(texts.len());
    for text in texts {
        let slug = slug(text);
        let numbered = (2..).map(|number: usize| format!("{slug}-{number}"));
        let mut names = std::iter::once(slug.clone()).chain(numbered);
        // The numbers do not end.
        let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
        suffixes.push(format!(".{free}"));
        taken.insert(free);
    }
    suffixes
}

/// The letters and digits of a text in lower case, joined by hyphens; `text` if there are none.
fn slug(text: &str) -> String {
    /// More makes file names that are hard to handle.
    const LONGEST: usize = 40;
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let slug: String = words.join("-").chars().take(LONGEST).collect();
    match slug.trim_end_matches('-') {
        "" => "text".to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_several_texts_have_names_of_their_own() {
        let names = |texts: &[&str]| suffixes(&texts.iter().map(|&t| t.into()).collect::<Vec<_>>());
        assert_eq!(names(&["a dog"]), [""]);
        assert_eq!(
            names(&["A  dog!", "../a/dog", "🐶", "Zürich"]),
            [".a-dog", ".a-dog-2", ".text", ".zürich"]
        );
        // A number of ours that is a text of its own.
        assert_eq!(names(&["dog", "dog 2", "dog"]), [".dog", ".dog-2", ".dog-3"]);
        let long = "word ".repeat(30);
        assert!(names(&[&long, "b"])[0].len() <= 41 && !names(&[&long, "b"])[0].ends_with('-'));
    }
}
