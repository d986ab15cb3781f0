//! What a path holds, and which of it is for training and which for evaluation.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserializer, Serialize};

use super::entry::Source;
use super::{folders, listing};
use crate::{DataError, Split};

/// How a data set of one's own is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A folder for each class, `<class>/{images,masks}/`.
    Folders,
    /// A table of image, mask and class.
    Table,
    /// A COCO annotation file.
    Coco,
    /// LabelMe files, one for each image.
    LabelMe,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Folders => "class folders",
            Self::Table => "a table",
            Self::Coco => "COCO JSON",
            Self::LabelMe => "LabelMe JSON",
        })
    }
}

const ALL_FORMS: &str = "give a folder of <class>/images and <class>/masks, a CSV file with the columns \
                         image,mask,class, a COCO JSON file, or a folder of LabelMe files; each may be \
                         divided into train, val and test";
const TABLES: [&str; 2] = ["csv", "tsv"];
const ARCHIVES: [&str; 8] = ["zip", "tar", "gz", "tgz", "bz2", "xz", "7z", "rar"];

/// How many JSON files of a folder are looked into to tell what they are.
const PEEKS: usize = 8;

/// The split that a word names, as people write it.
pub(super) fn split_of_word(word: &str) -> Option<Split> {
    match word.to_ascii_lowercase().as_str() {
        "train" | "training" | "trn" => Some(Split::Train),
        "val" | "valid" | "validation" => Some(Split::Val),
        "test" | "testing" | "tst" => Some(Split::Test),
        _ => None,
    }
}

/// The files and folders at `path` that hold entries: one, or one for each split.
pub(super) fn sources(path: &Path) -> Result<Vec<Source>, DataError> {
    let metadata = std::fs::metadata(path).map_err(|source| DataError::io("read", path, source))?;
    if !metadata.is_dir() {
        return Ok(vec![Source {
            path: path.to_path_buf(),
            form: form_of_file(path)?,
            split: None,
        }]);
    }
    if let Some(sources) = in_folder(path)? {
        return Ok(sources);
    }
    let mut sources = Vec::new();
    for folder in listing::folders(path)? {
        let Some(split) = split_of_word(&listing::name_of(&folder)) else { continue };
        let Some(inner) = in_folder(&folder)? else { continue };
        let [Source { path: file, form, .. }] = inner.as_slice() else {
            return Err(DataError::invalid(
                &folder,
                "this split holds splits itself",
                "name one of the two folders as the data set",
            ));
        };
        if let Some(Source { path: other, .. }) =
            sources.iter().find(|s: &&Source| s.split == Some(split))
        {
            return Err(DataError::invalid(
                &folder,
                format!("{} is the {split} split, too", other.display()),
                "take one of them away",
            ));
        }
        sources.push(Source { path: file.clone(), form: *form, split: Some(split) });
    }
    if sources.is_empty() {
        return Err(DataError::invalid(path, "no annotated images are found here", ALL_FORMS));
    }
    sources.sort_by_key(|source| source.split);
    Ok(sources)
}

fn form_of_file(path: &Path) -> Result<Form, DataError> {
    let ending = listing::ending(path);
    if ARCHIVES.contains(&ending.as_str()) {
        return Err(DataError::invalid(
            path,
            "this is an archive",
            "unpack it and name the folder",
        ));
    }
    if TABLES.contains(&ending.as_str()) {
        return Ok(Form::Table);
    }
    if ending == "json" {
        return peek(path)?.ok_or_else(|| {
            DataError::invalid(
                path,
                "this JSON is neither of COCO (images, annotations, categories) nor of LabelMe \
                 (shapes)",
                "export the annotations as COCO or LabelMe",
            )
        });
    }
    Err(DataError::invalid(path, "this file is no data set", ALL_FORMS))
}

/// The sources directly in a folder; none if there are none.
fn in_folder(folder: &Path) -> Result<Option<Vec<Source>>, DataError> {
    let jsons = listing::files(folder, &["json"])?;
    let kinds = kinds(&jsons);
    if let Some(sources) = coco(folder, &jsons, &kinds)? {
        return Ok(Some(sources));
    }
    let whole = |form| Ok(Some(vec![Source { path: folder.to_path_buf(), form, split: None }]));
    if folders::is_class(folder) {
        return whole(Form::Folders);
    }
    let classes: Vec<PathBuf> =
        listing::folders(folder)?.into_iter().filter(|inner| folders::is_class(inner)).collect();
    if !classes.is_empty() {
        let named_as_split = |class: &PathBuf| split_of_word(&listing::name_of(class)).is_some();
        if classes.iter().all(named_as_split) {
            return Err(DataError::invalid(
                folder,
                format!(
                    "{:?} is named as a split, but holds images or masks and no class folders",
                    listing::name_of(&classes[0])
                ),
                "put a folder for each class between: train/cat/images and train/cat/masks",
            ));
        }
        return whole(Form::Folders);
    }
    if let Some(sources) = by_name(folder, Form::Table, listing::files(folder, &TABLES)?)? {
        return Ok(Some(sources));
    }
    if kinds.contains(&Some(Form::LabelMe)) {
        return whole(Form::LabelMe);
    }
    // Nothing else is here: then it is better to say what is wrong with a file.
    jsons.first().map_or(Ok(None), |path| peek(path).map(|_| None))
}

/// What the first JSON files of a folder are.
fn kinds(jsons: &[PathBuf]) -> Vec<Option<Form>> {
    // A broken file is reported by the reader of its form.
    jsons.iter().take(PEEKS).map(|path| peek(path).unwrap_or(None)).collect()
}

/// COCO files in a folder, or in its folder `annotations`.
fn coco(
    folder: &Path,
    jsons: &[PathBuf],
    kinds: &[Option<Form>],
) -> Result<Option<Vec<Source>>, DataError> {
    let of_coco = |jsons: &[PathBuf], kinds: &[Option<Form>]| -> Vec<PathBuf> {
        let pairs = jsons.iter().zip(kinds).filter(|(_, kind)| **kind == Some(Form::Coco));
        pairs.map(|(path, _)| path.clone()).collect()
    };
    let mut files = of_coco(jsons, kinds);
    let below = folder.join("annotations");
    if files.is_empty() && below.is_dir() {
        let jsons = listing::files(&below, &["json"])?;
        files = of_coco(&jsons, &self::kinds(&jsons));
    }
    // COCO itself comes with captions and keypoints beside the instances.
    let instances = |path: &&PathBuf| listing::name_of(path).starts_with("instances_");
    if files.iter().any(|path| instances(&path)) {
        files.retain(|path| instances(&path));
    }
    by_name(folder, Form::Coco, files)
}

/// One file for all splits, or one for each split by its name.
fn by_name(
    folder: &Path,
    form: Form,
    files: Vec<PathBuf>,
) -> Result<Option<Vec<Source>>, DataError> {
    match files.as_slice() {
        [] => return Ok(None),
        [one] => return Ok(Some(vec![Source { path: one.clone(), form, split: None }])),
        _ => {}
    }
    let mut sources: Vec<Source> = Vec::new();
    for path in &files {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut words = stem.split(|c: char| !c.is_ascii_alphabetic());
        let split = words.find_map(split_of_word);
        let clear = split.is_some() && sources.iter().all(|source| source.split != split);
        if !clear {
            let names: Vec<String> = files.iter().map(|path| listing::name_of(path)).collect();
            return Err(DataError::invalid(
                folder,
                format!("there are several annotation files: {}", names.join(", ")),
                "name the file to use, or call them train, val and test",
            ));
        }
        sources.push(Source { path: path.clone(), form, split });
    }
    sources.sort_by_key(|source| source.split);
    Ok(Some(sources))
}

/// What a JSON file is by the first of its keys that tells; none if no key does.
///
/// # Errors
/// [`DataError`] when it cannot be read or is no JSON as far as it was read.
fn peek(path: &Path) -> Result<Option<Form>, DataError> {
    let file = File::open(path).map_err(|source| DataError::io("read", path, source))?;
    let mut reader = BufReader::new(file);
    let mut start = Vec::new();
    let read = reader.by_ref().take(3).read_to_end(&mut start);
    read.map_err(|source| DataError::io("read", path, source))?;
    // Some editors put a byte-order mark before the text.
    if start == b"\xef\xbb\xbf" {
        start.clear();
    }
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_reader(start.as_slice().chain(reader));
    match (&mut deserializer).deserialize_any(Keys { found: &mut found }) {
        Err(error) if found.is_none() => Err(DataError::invalid(
            path,
            format!("this is no complete JSON: {error}"),
            "export the annotations anew",
        )),
        _ => Ok(found),
    }
}

struct Keys<'a> {
    found: &'a mut Option<Form>,
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            *self.found = match key.as_str() {
                "images" | "annotations" | "categories" => Some(Form::Coco),
                "shapes" | "imagePath" => Some(Form::LabelMe),
                _ => None,
            };
            if self.found.is_some() {
                // Ends the reading: files of hundreds of megabytes are common.
                return Err(A::Error::custom("known"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
