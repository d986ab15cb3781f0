//! Annotated images of new classes.

use std::path::Path;

use fss_core::data::IGNORE_INDEX;
use fss_core::data::own::{OwnData, OwnOptions};
use fss_core::train::learn::LearnImage;

use super::UnlabelledPixels;
use crate::failure::Failure;

/// New classes and their images.
pub struct NewClasses {
    /// Names in the order of their indices.
    pub names: Vec<String>,
    /// Images with labels as the model will have them.
    pub images: Vec<LearnImage>,
}

/// Reads annotated images; `base` are the names of the classes that the model knows.
pub fn read(
    path: &Path,
    options: &OwnOptions,
    unlabelled: UnlabelledPixels,
    base: &[String],
) -> Result<NewClasses, Failure> {
    let data = OwnData::read(path, options)?;
    tracing::info!("{}: {}", path.display(), data.summary());
    let mut names = Vec::new();
    let mut indices = vec![0];
    for name in data.class_names() {
        let known = base.iter().position(|other| other == name);
        match (known, unlabelled) {
            (Some(place), UnlabelledPixels::Background) => indices.push(place + 1),
            (Some(_), UnlabelledPixels::Model) => {
                return Err(Failure::request(
                    format!("{}: {name} is a base class of the model already", path.display()),
                    "leave it out, or rename it if it is another thing; if the annotations are complete, \
                     old classes included, give --unlabelled background",
                ));
            }
            (None, _) => {
                names.push(name.clone());
                indices.push(base.len() + names.len());
            }
        }
    }
    if names.is_empty() {
        return Err(Failure::request(
            format!("{}: the model knows all of its classes already", path.display()),
            "give images of at least one new class",
        ));
    }
    if base.len() + names.len() >= usize::from(IGNORE_INDEX) {
        return Err(Failure::request(
            format!(
                "{} base and {} new classes do not fit into 8-bit labels",
                base.len(),
                names.len()
            ),
            "learn fewer classes",
        ));
    }
    let dataset = data.all();
    let images = (0..dataset.len()).map(|position| {
        let sample = dataset.load(position)?;
        let only = dataset.only_class(position).map(usize::from);
        let labels = sample.mask.mapv(|value| match (value, only) {
            (0 | IGNORE_INDEX, _) => value,
            (_, Some(class)) => indices[class] as u8,
            (value, None) => indices.get(usize::from(value)).map_or(IGNORE_INDEX, |i| *i as u8),
        });
        let name = dataset.image_path(position).display().to_string();
        Ok(LearnImage { name, image: sample.image, labels })
    });
    Ok(NewClasses { names, images: images.collect::<Result<_, Failure>>()? })
}
