//! What an image is called in the names of its coarse maps.

use std::path::{Component, Path, PathBuf};

use crate::{Benchmark, SegmentationDataset};

/// What stands for a step up in a path, which must not lead out of the folder of the maps.
const UP: &str = "__";

/// The name of image `position`, with folders where the data set has them.
pub(super) fn image_name(
    benchmark: Benchmark,
    dataset: &SegmentationDataset,
    position: usize,
) -> PathBuf {
    let id = dataset.ids[position].as_str();
    let path = dataset.image_path(position);
    match benchmark {
        Benchmark::Pascal => inside(Path::new(id)),
        Benchmark::Coco => coco_name(&path),
        // Ids are `<category>/<number>`; the maps are called after the files.
        Benchmark::Fss1000 => inside(Path::new(&format!("{id}.jpg"))),
        Benchmark::Own => inside(path.strip_prefix(&dataset.root).unwrap_or(&path)),
    }
}

/// `val2014/COCO_val2014_000000000042.jpg`: the folder as the file says it, wherever the file lies;
/// of files that do not say it (as those of 2017), the folder in which they lie.
fn coco_name(path: &Path) -> PathBuf {
    let file = path.file_name().unwrap_or_default();
    let said = file.to_str().and_then(|file| file.strip_prefix("COCO_")?.split_once('_'));
    match said {
        Some((folder, _)) => inside(&Path::new(folder).join(file)),
        None => {
            let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
            inside(&Path::new(folder).join(file))
        }
    }
}

/// A relative path that stays inside the folder that it is joined to.
fn inside(path: &Path) -> PathBuf {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            Component::ParentDir => Some(UP.as_ref()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for (path, want) in
            [("./a/b.jpg", "a/b.jpg"), ("/data/a.jpg", "data/a.jpg"), ("a/../../b", "a/__/__/b")]
        {
            assert_eq!(inside(Path::new(path)), Path::new(want));
        }
    }

    #[test]
    fn coco_files_say_their_folder() {
        for (path, want) in [
            (
                "x/JPEGImages/COCO_train2014_000000000009.jpg",
                "train2014/COCO_train2014_000000000009.jpg",
            ),
            ("x/val2014/COCO_val2014_000000000042.jpg", "val2014/COCO_val2014_000000000042.jpg"),
            ("x/val2017/000000000042.jpg", "val2017/000000000042.jpg"),
            ("42.jpg", "42.jpg"),
        ] {
            assert_eq!(coco_name(Path::new(path)), Path::new(want));
        }
    }
}
