//! Maps of a whole data set, one file for each image and class.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use fss_data::cam::{CamFolder, MissingCam, read_cam_note};
use fss_data::loader::{LoaderOptions, OrderedLoader};
use fss_data::{ClassId, DataError, SegmentationDataset};

use super::CamMaker;
use crate::Error;

/// What [`generate`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generated {
    /// Maps that were made.
    pub made: usize,
    /// Maps that were there already.
    pub there: usize,
    /// Of those made, maps without a value above 0.
    pub empty: usize,
    /// Whether it was stopped before the end.
    pub stopped: bool,
}

/// Makes the maps, `grid` cells a side, of all `pairs` of an image's position and a class that are not
/// in the folder yet, so that a run that was stopped goes on where it was. Name number n of the maker is
/// class n + 1.
///
/// Each file appears whole or not at all. `progress` is told after every image how many pairs of how many
/// are done, and may stop.
///
/// # Errors
/// [`Error::Data`] naming an image that cannot be read or a file that cannot be written;
/// [`Error::Options`] if the maker has fewer names than there are classes, or the folder holds maps that
/// were made with other weights, names or options.
pub fn generate(
    maker: &CamMaker,
    dataset: &Arc<SegmentationDataset>,
    folder: &CamFolder,
    pairs: &[(usize, ClassId)],
    grid: usize,
    mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Generated, Error> {
    let missing = folder.missing(dataset, pairs.iter().copied())?;
    check_others(maker, dataset, folder, pairs, &missing)?;
    let there = pairs.iter().collect::<BTreeSet<_>>().len() - missing.len();
    let mut done = Generated { there, ..Generated::default() };
    let total = there + missing.len();
    let mut wanted: BTreeMap<usize, Vec<ClassId>> = BTreeMap::new();
    for one in missing {
        wanted.entry(one.position).or_default().push(one.class);
    }
    if progress(there, total).is_break() {
        return Ok(Generated { stopped: true, ..done });
    }
    let images = Arc::clone(dataset);
    let jobs = wanted.into_iter().map(Ok::<_, DataError>);
    let options = LoaderOptions { threads: 1, prefetch: 4 };
    let read = move |(position, classes): (usize, Vec<ClassId>)| {
        Ok((images.load_image(position)?, position, classes))
    };
    for image in OrderedLoader::new(jobs, options, read)? {
        let (image, position, classes) = image?;
        let names: Vec<usize> = classes.iter().map(|class| usize::from(*class) - 1).collect();
        let maps = maker.maps(&image, &names, grid)?;
        for ((class, name), found) in classes.into_iter().zip(names).zip(maps) {
            let note = maker.note(name, folder.image_name(dataset, position)?);
            folder.write(dataset, position, class, &found.map, &note)?;
            done.made += 1;
            done.empty += usize::from(found.is_empty());
        }
        if progress(there + done.made, total).is_break() {
            done.stopped = there + done.made < total;
            break;
        }
    }
    Ok(done)
}

/// Refuses a folder whose first map that is there was made in another way. Maps that do not say how, as
/// those of the published code, are taken as they are.
fn check_others(
    maker: &CamMaker,
    dataset: &SegmentationDataset,
    folder: &CamFolder,
    pairs: &[(usize, ClassId)],
    missing: &[MissingCam],
) -> Result<(), Error> {
    if maker.names().len() < dataset.classes() {
        return Err(Error::Options {
            problem: format!(
                "there are {} names, but {} has {} classes",
                maker.names().len(),
                dataset.name,
                dataset.classes()
            ),
            remedy: "name every class, in the order of their numbers".into(),
        });
    }
    let missing: BTreeSet<_> = missing.iter().map(|it| (it.position, it.class)).collect();
    let Some(&(position, class)) = pairs.iter().find(|pair| !missing.contains(pair)) else {
        return Ok(());
    };
    let Some(path) = folder.find(dataset, position, class)? else { return Ok(()) };
    let Some(found) = read_cam_note(&path)? else { return Ok(()) };
    let wanted = maker.note(usize::from(class) - 1, found.image.clone());
    let differences = [
        ("the prompt", &found.prompt, &wanted.prompt),
        ("the view", &found.view.to_string(), &wanted.view.to_string()),
        ("the target", &found.target, &wanted.target),
        ("the fingerprint of the weights", &found.weights, &wanted.weights),
    ];
    match differences.into_iter().find(|(_, found, wanted)| found != wanted) {
        None => Ok(()),
        Some((what, found, wanted)) => Err(Error::Options {
            problem: format!(
                "{} holds maps that were made in another way: {what} of {} is {found:?}, not {wanted:?}",
                folder.folder().display(),
                path.display()
            ),
            remedy: "name another folder, or give what those maps were made with".into(),
        }),
    }
}
