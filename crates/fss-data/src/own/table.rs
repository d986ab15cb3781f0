//! A table of image, mask and class.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv::StringRecord;

use super::detect::split_of_word;
use super::entry::{Entry, MaskFile, Shows, Skips};
use super::{MaskValue, OwnOptions};
use crate::io::read_file;
use crate::{DataError, Split};

/// The columns by name; the first three are needed.
const COLUMNS: [&str; 5] = ["image", "mask", "class", "split", "value"];
const NEEDED: usize = 3;

/// The entries of a table in the order in which their images are first named. Rows of one image and
/// one class are one entry, whose masks are drawn together.
pub(super) fn read(
    path: &Path,
    options: &OwnOptions,
    skips: &mut Skips,
) -> Result<Vec<Entry>, DataError> {
    let bytes = read_file(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(delimiter(bytes))
        .from_reader(bytes);
    let mut rows = reader.records();
    let head = match rows.next() {
        Some(head) => head.map_err(|error| broken(path, &error))?,
        None => return Err(refuse(path, "the table is empty")),
    };
    let columns = columns(path, &head)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let start = options.images.as_deref().unwrap_or(folder);

    let mut entries: Vec<Entry> = Vec::new();
    let mut incomplete: HashSet<String> = HashSet::new();
    let mut places: HashMap<(Option<Split>, String), usize> = HashMap::new();
    for row in rows {
        let row = row.map_err(|error| broken(path, &error));
        let Some(row) = skips.pass(row)? else { continue };
        let parsed = Row::parse(path, &row, head.len(), &columns, options, (start, folder));
        let Some(Row { id, image, mask, class, split }) = skips.pass(parsed)? else {
            // Without one of its masks, an image would teach that the object is background.
            let cell = |column: usize| columns[column].and_then(|place| row.get(place));
            if let (Some(image), Some(class)) = (cell(0), cell(2)) {
                incomplete.insert(id_of(class, image));
            }
            continue;
        };
        match places.get(&(split, id.clone())) {
            // The same mask again changes nothing.
            Some(&place) => match &mut entries[place].shows {
                Shows::Marks { files, .. } if !files.contains(&mask) => files.push(mask),
                _ => {}
            },
            None => {
                places.insert((split, id.clone()), entries.len());
                let shows = Shows::Marks { class, files: vec![mask] };
                entries.push(Entry { id, image, shows, split });
            }
        }
    }
    entries.retain(|entry| !incomplete.contains(&entry.id));
    Ok(entries)
}

/// What an image is called as one of a class.
fn id_of(class: &str, image: &str) -> String {
    format!("{class}/{}", image.replace('\\', "/"))
}

/// The character between columns: what the first line has, the comma if in doubt.
fn delimiter(bytes: &[u8]) -> u8 {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|mark| line.contains(mark)).unwrap_or(b',')
}

fn refuse(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::invalid(
        path,
        problem,
        "start the table with the line image,mask,class (and, if wanted, split and value)",
    )
}

fn broken(path: &Path, error: &csv::Error) -> DataError {
    // The cause names the line where there is one.
    DataError::invalid(
        path,
        format!("the table cannot be read ({error})"),
        "save it as CSV in UTF-8",
    )
}

/// The place of each of [`COLUMNS`].
fn columns(path: &Path, head: &StringRecord) -> Result<[Option<usize>; 5], DataError> {
    let mut places = [None; 5];
    for (place, name) in head.iter().enumerate() {
        let known = COLUMNS.iter().position(|column| name.eq_ignore_ascii_case(column));
        let Some(known) = known else {
            let all = COLUMNS.join(", ");
            return Err(refuse(path, format!("column {name:?} is unknown; there are {all}")));
        };
        if places[known].replace(place).is_some() {
            return Err(refuse(path, format!("there are two columns {name:?}")));
        }
    }
    match (0..NEEDED).find(|&column| places[column].is_none()) {
        Some(column) => Err(refuse(path, format!("there is no column {:?}", COLUMNS[column]))),
        None => Ok(places),
    }
}

struct Row {
    id: String,
    image: PathBuf,
    mask: MaskFile,
    class: Arc<str>,
    split: Option<Split>,
}

impl Row {
    fn parse(
        path: &Path,
        row: &StringRecord,
        width: usize,
        columns: &[Option<usize>; 5],
        options: &OwnOptions,
        (images, masks): (&Path, &Path),
    ) -> Result<Self, DataError> {
        let line = row.position().map_or(0, csv::Position::line);
        let refuse = |problem: String, remedy: &str| {
            Err(DataError::invalid(path, format!("line {line}: {problem}"), remedy))
        };
        if row.len() != width {
            return refuse(
                format!("{} cells, but the first line has {width}", row.len()),
                "give every line as many; put names that hold the separator into quotes",
            );
        }
        let cell = |column: usize| columns[column].map(|place| &row[place]);
        for column in [0, 1, 2, 3] {
            if cell(column).is_some_and(str::is_empty) {
                return refuse(
                    format!("no {} is given", COLUMNS[column]),
                    "fill the cell or take the line out",
                );
            }
        }
        let [image, mask, class] = [0, 1, 2].map(|column| cell(column).unwrap_or_default());
        let split = match cell(3).map(|word| (word, split_of_word(word))) {
            None => None,
            Some((_, Some(split))) => Some(split),
            Some((word, None)) => {
                return refuse(format!("unknown split {word:?}"), "use train, val or test");
            }
        };
        let value = match cell(4).unwrap_or_default() {
            "" => options.mask_value,
            text => match text.parse::<MaskValue>() {
                Ok(value) => value,
                Err(error) => return refuse(error.to_string(), "leave the cell empty if in doubt"),
            },
        };
        let (image_file, mask_file) = (below(images, image), below(masks, mask));
        for (kind, name, file) in [("image", image, &image_file), ("mask", mask, &mask_file)] {
            if !file.is_file() {
                return refuse(
                    format!("there is no {kind} {name} ({})", file.display()),
                    "correct the path (it starts from the folder of the table) or add the file",
                );
            }
        }
        Ok(Self {
            id: id_of(class, image),
            image: image_file,
            mask: MaskFile { path: mask_file, value },
            class: class.into(),
            split,
        })
    }
}

/// A file named in an annotation; names written under Windows are understood everywhere.
pub(super) fn below(folder: &Path, name: &str) -> PathBuf {
    let plain = folder.join(name);
    if !name.contains('\\') || plain.exists() {
        return plain;
    }
    folder.join(name.replace('\\', "/"))
}
