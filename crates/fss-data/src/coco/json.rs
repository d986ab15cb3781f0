//! COCO-20i straight from annotation files: masks are drawn when they are asked for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;
use serde::Deserialize;

use super::CocoRoot;
use crate::annotations::{BadEntries, CocoFile, Crowds};
use crate::{DataError, DrawMask, Files, IGNORE_INDEX, Masks, SegmentationDataset, io};

/// The names of the categories in the order of their ids. Reads past everything else in the file.
pub(super) fn class_names(path: &Path) -> Result<Vec<String>, DataError> {
    #[derive(Deserialize)]
    struct Categories {
        categories: Vec<Category>,
    }
    #[derive(Deserialize)]
    struct Category {
        id: i64,
        name: String,
    }
    // From memory, which is twice as fast as from a reader.
    let bytes = io::read_file(path)?;
    let json = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let content: Categories = serde_json::from_slice(json).map_err(|error| {
        DataError::invalid(
            path,
            format!("the categories cannot be read ({error})"),
            "give an object detection file of COCO (instances_*.json)",
        )
    })?;
    let mut categories = content.categories;
    categories.sort_by_key(|category| category.id);
    let names: Vec<String> = categories.into_iter().map(|category| category.name).collect();
    check_number(path, names.len())?;
    Ok(names)
}

fn check_number(path: &Path, classes: usize) -> Result<(), DataError> {
    if (1..usize::from(IGNORE_INDEX)).contains(&classes) {
        return Ok(());
    }
    Err(DataError::invalid(
        path,
        format!("the file has {classes} categories"),
        "give a file of 1 to 254 categories: as many labels fit into a mask",
    ))
}

/// All images of an annotation file, ascending by image id.
pub(super) fn dataset(
    root: &CocoRoot,
    name: String,
    images: &Path,
    path: &Path,
) -> Result<SegmentationDataset, DataError> {
    let (file, _) = CocoFile::read(path, BadEntries::Refuse)?;
    check_number(path, file.categories.len())?;
    if !file.categories.iter().map(|category| &category.name).eq(root.class_names()) {
        return Err(DataError::invalid(
            path,
            "the categories are not those of the other split",
            "give the annotation files of one release",
        ));
    }
    let labels =
        (1..).zip(&file.categories).map(|(label, category)| (category.id, label)).collect();
    let mut order: Vec<usize> = (0..file.images.len()).collect();
    order.sort_by_key(|&image| file.images[image].id);
    let mut ids = Vec::with_capacity(order.len());
    let mut pairs = Vec::with_capacity(order.len());
    for &image in &order {
        let file_name = &file.images[image].file_name;
        let id = Path::new(file_name).with_extension("");
        ids.push(id.to_string_lossy().into_owned());
        pairs.push((images.join(file_name), path.to_path_buf()));
    }
    Ok(SegmentationDataset {
        name,
        root: root.root().to_path_buf(),
        class_names: root.class_names().to_vec(),
        ids,
        files: Files::Listed(pairs),
        masks: Masks::Drawn(Arc::new(Annotations { file, order, labels })),
    })
}

/// Draws the masks of a dataset.
#[derive(Debug)]
struct Annotations {
    file: CocoFile,
    /// The image of the file at each position of the dataset.
    order: Vec<usize>,
    /// The label of each category id.
    labels: HashMap<i64, u8>,
}

impl DrawMask for Annotations {
    fn draw(&self, position: usize) -> Result<Array2<u8>, DataError> {
        // Crowds are background, as in the published masks.
        self.file.paint(
            self.order[position],
            |category| self.labels.get(&category).copied(),
            Crowds::Leave,
        )
    }

    fn entry(&self, position: usize) -> String {
        self.file.images[self.order[position]].id.to_string()
    }
}
