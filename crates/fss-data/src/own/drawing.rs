//! Masks drawn from whatever the annotations are.

use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use image::RgbImage;
use ndarray::{Array2, Zip};

use super::OwnOptions;
use super::entry::{MaskFile, Shows};
use super::marks::read_marks;
use crate::annotations::Crowds;
use crate::{ClassId, DataError, DrawMask, IGNORE_INDEX};

/// The classes by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Classes {
    /// Sorted; the class of `names[i]` is i + 1.
    pub(super) names: Vec<String>,
}

impl Classes {
    /// The number of a class.
    pub(super) fn number(&self, name: &str) -> Option<ClassId> {
        let place = self.names.binary_search_by(|known| known.as_str().cmp(name)).ok()?;
        ClassId::try_from(place + 1).ok()
    }

    /// A text that differs where the names do: labels of masks depend on them.
    fn fingerprint(&self) -> u64 {
        self.names.iter().fold(0xcbf2_9ce4_8422_2325, |hash, name| {
            name.bytes().chain([0]).fold(hash, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        })
    }
}

/// What is drawn for an image.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) shows: Shows,
    /// The one class that the mask shows; none for a mask of labels.
    pub(super) class: Option<ClassId>,
}

/// The masks of a data set.
#[derive(Debug)]
pub(super) struct Drawing {
    items: Vec<Item>,
    classes: Arc<Classes>,
    fingerprint: u64,
    ignored: Option<u8>,
    crowds: Crowds,
}

impl Drawing {
    pub(super) fn new(items: Vec<Item>, classes: &Arc<Classes>, options: &OwnOptions) -> Self {
        Self {
            items,
            classes: Arc::clone(classes),
            fingerprint: classes.fingerprint(),
            ignored: options.ignored,
            crowds: options.crowds,
        }
    }

    /// The label of a class in the mask of an item.
    fn label(&self, item: &Item, name: &str) -> Option<u8> {
        let number = self.classes.number(name)?;
        match item.class {
            Some(only) => (only == number).then_some(1),
            None => u8::try_from(number).ok(),
        }
    }
}

impl DrawMask for Drawing {
    fn draw(&self, position: usize) -> Result<Array2<u8>, DataError> {
        let item = &self.items[position];
        match &item.shows {
            Shows::Marks { files, .. } => read_all(files, self.ignored),
            Shows::Shapes(document) => document.paint(|name| self.label(item, name)),
            Shows::Coco { set, image } => set.file.paint(
                *image,
                |category| set.name(category).and_then(|name| self.label(item, name)),
                self.crowds,
            ),
        }
    }

    fn entry(&self, position: usize) -> String {
        let item = &self.items[position];
        let only = item.class.map(|class| self.classes.names[usize::from(class) - 1].as_str());
        match &item.shows {
            Shows::Marks { files, .. } => {
                let ignored = self.ignored.map(|value| format!(" but {value}")).unwrap_or_default();
                let mut text = format!("{}{ignored}", files[0].value);
                for file in &files[1..] {
                    text += &format!(" + {} {}", file.value, stamp(&file.path));
                }
                text
            }
            Shows::Shapes(_) => match only {
                Some(name) => format!("only {name}"),
                None => format!("labels {:016x}", self.fingerprint),
            },
            Shows::Coco { set, image } => {
                let id = set.file.images[*image].id;
                match only {
                    Some(name) => format!("{id} only {name}, crowds {:?}", self.crowds),
                    None => {
                        format!("{id} labels {:016x}, crowds {:?}", self.fingerprint, self.crowds)
                    }
                }
            }
        }
    }

    fn only_class(&self, position: usize) -> Option<ClassId> {
        self.items[position].class
    }

    fn embedded_image(&self, position: usize) -> Option<Result<RgbImage, DataError>> {
        match &self.items[position].shows {
            Shows::Shapes(document) => document.embedded_image(),
            _ => None,
        }
    }
}

/// The foreground of all files; a pixel is ignored where one says so and none has foreground.
fn read_all(files: &[MaskFile], ignored: Option<u8>) -> Result<Array2<u8>, DataError> {
    let read = |file: &MaskFile| read_marks(&file.path, file.value, ignored);
    let mut all = read(&files[0])?;
    for file in &files[1..] {
        let next = read(file)?;
        if next.dim() != all.dim() {
            let size = |mask: &Array2<u8>| format!("{}x{}", mask.ncols(), mask.nrows());
            return Err(DataError::invalid(
                &file.path,
                format!(
                    "the mask is {} pixels, but {}, of the same image and class, is {}",
                    size(&next),
                    files[0].path.display(),
                    size(&all)
                ),
                "use masks that were drawn on this very image",
            ));
        }
        Zip::from(&mut all).and(&next).for_each(|mark, &next| {
            *mark = match (*mark, next) {
                (1, _) | (_, 1) => 1,
                (IGNORE_INDEX, _) | (_, IGNORE_INDEX) => IGNORE_INDEX,
                _ => 0,
            };
        });
    }
    Ok(all)
}

/// What changes when a file does. One that cannot be looked at fails when it is read.
fn stamp(path: &Path) -> String {
    let changed = std::fs::metadata(path).ok().and_then(|metadata| {
        let since = metadata.modified().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(format!("{} {}", metadata.len(), since.as_nanos()))
    });
    format!("{} {}", path.display(), changed.unwrap_or_default())
}
