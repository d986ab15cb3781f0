//! Lists as pickles.
//!
//! A pickle is a program for a small stack machine, which may call any Python function. The published
//! lists need a few of its instructions only: those that build dictionaries, lists, strings and
//! integers. A file with any other instruction is refused before it is read.

use std::cell::Cell;
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};

use super::ClassLists;
use super::text::bounded;
use crate::DataError;

/// The largest number of images in all lists of a file. Pickles refer to what they have said before,
/// so a small file can stand for a large list.
const MAX_ENTRIES: usize = 10_000_000;

/// The largest number of lists; they bound how deeply lists can be nested.
const MAX_LISTS: usize = 4_096;

/// The longest image name, in bytes.
const MAX_NAME: usize = 1_024;

const REMEDY: &str = "give splits/coco/{trn,val}/fold{0..3}.pkl of the published HSNet code, or the \
                      text form (fold{0..3}.txt or {trn,val}.txt)";

/// Reads the images of each class from a pickled dictionary {class number from 0: list of names}.
/// Nothing in the file is executed.
///
/// # Errors
/// [`DataError`] naming the file when it is missing, larger than 64 MiB, no pickle, truncated, or
/// holds anything but such a dictionary.
pub fn read_coco_pickle(path: &Path) -> Result<ClassLists, DataError> {
    let bytes = bounded(path)?;
    check_instructions(&bytes).map_err(|problem| DataError::invalid(path, problem, REMEDY))?;
    let invalid = |error: serde_pickle::Error| {
        DataError::invalid(
            path,
            format!("the pickle is no list of images by class ({error})"),
            REMEDY,
        )
    };
    let mut reader = serde_pickle::Deserializer::new(&bytes[..], serde_pickle::DeOptions::new());
    let entries = Cell::new(0);
    let lists = reader.deserialize_map(Classes { entries: &entries }).map_err(invalid)?;
    if entries.get() == 0 {
        return Err(DataError::invalid(path, "the pickle names no image", REMEDY));
    }
    Ok(lists)
}

/// Looks at every instruction, and at nothing else.
fn check_instructions(bytes: &[u8]) -> Result<(), String> {
    let mut at = 0;
    let mut lists = 0;
    let short = || "the pickle is truncated".to_owned();
    loop {
        let &code = bytes.get(at).ok_or_else(short)?;
        let argument = bytes.get(at + 1..).unwrap_or_default();
        let length = match code {
            // PROTO, and BINPUT, BINGET, BININT1 with a byte each.
            0x80 | b'q' | b'h' | b'K' => 1,
            // FRAME.
            0x95 => 8,
            // LONG_BINPUT, LONG_BINGET, BININT.
            b'r' | b'j' | b'J' => 4,
            // BININT2.
            b'M' => 2,
            // MARK, EMPTY_DICT, MEMOIZE, APPEND, APPENDS, SETITEM, SETITEMS.
            b'(' | b'}' | 0x94 | b'a' | b'e' | b's' | b'u' => 0,
            // EMPTY_LIST.
            b']' => {
                lists += 1;
                0
            }
            // SHORT_BINUNICODE, BINUNICODE.
            0x8c => 1 + name_length(argument.first().map(|&n| u32::from(n)), at)?,
            b'X' => {
                let size = argument.first_chunk().map(|&n| u32::from_le_bytes(n));
                4 + name_length(size, at)?
            }
            // STOP.
            b'.' if at + 1 == bytes.len() => return Ok(()),
            b'.' => return Err(format!("{} bytes follow the pickle", bytes.len() - at - 1)),
            _ if at == 0 => return Err("this is not a pickle of protocol 2 to 5".to_owned()),
            _ => {
                return Err(format!(
                    "the pickle holds more than lists of names: instruction {:?} (0x{code:02x}) at \
                     byte {at}",
                    char::from(code)
                ));
            }
        };
        if lists > MAX_LISTS {
            return Err(format!("the pickle holds more than {MAX_LISTS} lists"));
        }
        at += 1 + length;
    }
}

fn name_length(length: Option<u32>, at: usize) -> Result<usize, String> {
    match length.map(|length| length as usize) {
        Some(length) if length <= MAX_NAME => Ok(length),
        Some(length) => Err(format!(
            "the pickle holds a text of {length} bytes at byte {at}, too long for the name of an image"
        )),
        None => Err("the pickle is truncated".to_owned()),
    }
}

/// Reads the dictionary.
struct Classes<'a> {
    entries: &'a Cell<usize>,
}

impl<'de> Visitor<'de> for Classes<'_> {
    type Value = ClassLists;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a dictionary from class numbers to lists of image names")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ClassLists, M::Error> {
        let mut lists = ClassLists::new();
        while let Some(class) = map.next_key::<u16>()? {
            let names = map.next_value_seed(Names { entries: self.entries })?;
            if lists.insert(usize::from(class), names).is_some() {
                return Err(M::Error::custom(format!("class {class} is there twice")));
            }
        }
        Ok(lists)
    }
}

/// Reads one list, and counts its entries with those of all others.
struct Names<'a> {
    entries: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = Vec<String>;

    fn deserialize<D: serde::Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of image names")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element::<String>()? {
            self.entries.set(self.entries.get() + 1);
            if self.entries.get() > MAX_ENTRIES {
                return Err(S::Error::custom(format!("there are more than {MAX_ENTRIES} names")));
            }
            names.push(name);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests;
