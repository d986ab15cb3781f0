//! Annotated examples from a data set of one's own.

use std::path::Path;

use fss_core::Annotated;
use fss_core::data::ClassId;
use fss_core::data::index::MaskIndex;
use fss_core::data::own::{OwnData, OwnOptions, largest};

use super::supports::Way;
use crate::episodes;
use crate::failure::Failure;
use crate::progress::Screen;

/// The examples of each class that is named, or of the only one: the `shots` images in which it covers
/// the most pixels (of equal ones the one whose name sorts first), or all.
pub fn read(
    path: &Path,
    classes: &[String],
    shots: Option<usize>,
    options: &OwnOptions,
    screen: &Screen,
) -> Result<Vec<Way>, Failure> {
    let data = OwnData::read(path, options)?;
    tracing::info!("{}: {}", path.display(), data.summary());
    if let Some(twice) = classes.iter().enumerate().find(|(i, c)| classes[..*i].contains(c)) {
        return Err(Failure::request(
            format!("the class {} is named twice", twice.1),
            "name each --class once",
        ));
    }
    match (classes, data.class_names()) {
        ([], [_]) => Ok(vec![Way { name: None, examples: examples(&data, 1, shots, screen)? }]),
        ([], names) => Err(Failure::request(
            format!("{} has {} classes, and none is named", path.display(), names.len()),
            format!("choose one with --class, or repeat it for several: {}", names.join(", ")),
        )),
        ([name], _) => {
            let examples = examples(&data, data.class(name)?, shots, screen)?;
            Ok(vec![Way { name: None, examples }])
        }
        (names, _) => names
            .iter()
            .map(|name| {
                let examples = examples(&data, data.class(name)?, shots, screen)?;
                Ok(Way { name: Some(name.clone()), examples })
            })
            .collect(),
    }
}

fn examples(
    data: &OwnData,
    class: ClassId,
    shots: Option<usize>,
    screen: &Screen,
) -> Result<Vec<Annotated>, Failure> {
    let dataset = data.images_of(class);
    let index = episodes::counted(screen, |options| MaskIndex::build_with(&dataset, options))?;
    let chosen = largest(&dataset, &index, class, shots)?;
    let names: Vec<&str> = chosen.iter().map(|&place| dataset.ids[place].as_str()).collect();
    tracing::info!(
        "{} supports of {}: {}",
        names.len(),
        dataset.class_name(class),
        names.join(", ")
    );
    chosen
        .into_iter()
        .map(|position| {
            let sample = dataset.load_class(position, class)?;
            Ok(Annotated {
                name: format!("support {}", dataset.image_path(position).display()),
                image: sample.image,
                mask: sample.mask,
            })
        })
        .collect()
}
