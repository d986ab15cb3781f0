//! The lists of DENet's code: images of VOC, then those of SBD.

use std::collections::BTreeSet;
use std::path::Path;

use super::{PreparedList, Summary};
use crate::pascal::read_id_list;
use crate::ways::LISTS_FOLDER;
use crate::{DataError, io};

/// The list that SBD's page offers beside the archive.
const TRAIN_NOVAL: &str = "train_noval.txt";

/// Writes `<lists>/denet/train.txt` (VOC's `train`, then SBD's `train_noval`) and `test.txt` (VOC's `val`, then
/// SBD's `val`), each without repetitions and in the order of the sources, of the images that are `sound`.
/// SBD's `train_noval` cannot be told from its other lists, so without it there are no lists of this kind.
pub(super) fn write(
    [voc, sbd]: [&Path; 2],
    lists: &Path,
    sound: &BTreeSet<&str>,
    summary: &mut Summary,
) -> Result<(), DataError> {
    if !sbd.join(TRAIN_NOVAL).is_file() {
        tracing::info!(
            "{} is not there, so the lists of DENet's code are left out; fetch it from the page of SBD \
             (beside benchmark.tgz) and prepare again to have them",
            sbd.join(TRAIN_NOVAL).display()
        );
        return Ok(());
    }
    let folder = lists.join(LISTS_FOLDER);
    super::folder::create(&folder)?;
    let mut sides = Vec::new();
    for (name, first, then) in [
        ("train", voc.join("train.txt"), sbd.join(TRAIN_NOVAL)),
        ("test", voc.join("val.txt"), sbd.join("val.txt")),
    ] {
        let mut seen = BTreeSet::new();
        let mut ids = read_id_list(&first)?;
        ids.extend(read_id_list(&then)?);
        ids.retain(|id| sound.contains(id.as_str()) && seen.insert(id.clone()));
        let text: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        let path = folder.join(format!("{name}.txt"));
        io::write_atomic(&path, text.as_bytes())?;
        summary.lists.push(PreparedList { path, entries: ids.len(), standing: String::new() });
        sides.push(seen);
    }
    let both = sides[0].intersection(&sides[1]).count();
    summary.count("images in both lists of DENet's code", both, None);
    if both > 0 {
        tracing::warn!(
            "{both} images are trained on and tested with by DENet's lists, as published: SBD's val knows \
             nothing of VOC's train"
        );
    }
    Ok(())
}
