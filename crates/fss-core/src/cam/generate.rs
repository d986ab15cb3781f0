//! Maps of a whole data set, one file for each image and class.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use fss_data::cam::CamFolder;
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

/// Makes the maps, `grid` cells a side, of all `pairs` of an image's position and a class that are not in the folder yet, so
/// that a run that was stopped goes on where it was. Name number n of the maker is class n + 1.
///
/// Each file appears whole or not at all. `progress` is told after every image how many pairs of how many
/// are done, and may stop.
///
/// # Errors
/// [`Error::Data`] naming an image that cannot be read or a file that cannot be written;
/// [`Error::Options`] if the maker has fewer names than there are classes.
pub fn generate(
    maker: &CamMaker,
    dataset: &Arc<SegmentationDataset>,
    folder: &CamFolder,
    pairs: &[(usize, ClassId)],
    grid: usize,
    mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Generated, Error> {
    let missing = folder.missing(dataset, pairs.iter().copied())?;
    let there = pairs.iter().collect::<std::collections::BTreeSet<_>>().len() - missing.len();
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
