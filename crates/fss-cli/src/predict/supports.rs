//! Annotated examples from the command line.

use std::path::{Path, PathBuf};

use fss_core::{Annotated, Foreground, data};

use crate::failure::Failure;

/// The files of an annotated example, and which class it shows if that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    way: Option<String>,
    image: PathBuf,
    mask: PathBuf,
}

impl Pair {
    /// Splits `IMG:MASK` or `NAME=IMG:MASK`. File names may hold colons and equals signs themselves (as
    /// `C:\cat.png` does): the right ones are those that leave two files.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let plain = files(text, text);
        if plain.is_ok() || !text.contains('=') {
            return plain.map(|[image, mask]| Self { way: None, image, mask });
        }
        let mut first = None;
        for (at, _) in text.match_indices('=').filter(|(at, _)| *at > 0) {
            match files(text, &text[at + 1..]) {
                Ok([image, mask]) => {
                    let way = Some(text[..at].to_owned());
                    return Ok(Self { way, image, mask });
                }
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        first.map_or_else(|| plain.map(|[image, mask]| Self { way: None, image, mask }), Err)
    }
}

/// The two files of `pair`, which is `text` or a part of it.
fn files(text: &str, pair: &str) -> Result<[PathBuf; 2], Failure> {
    let splits: Vec<(&str, &str)> = pair
        .match_indices(':')
        .map(|(at, _)| (&pair[..at], &pair[at + 1..]))
        .filter(|(image, mask)| !image.is_empty() && !mask.is_empty())
        .collect();
    let is_file = |name: &str| Path::new(name).is_file();
    let fitting: Vec<_> =
        splits.iter().filter(|(image, mask)| is_file(image) && is_file(mask)).collect();
    match (fitting.as_slice(), splits.as_slice()) {
        ([(image, mask)], _) => Ok([image.into(), mask.into()]),
        ([_, _, ..], _) => Err(Failure::request(
            format!("--support {text}: more than one colon could be the one between the files"),
            "rename a file so that its name holds no colon",
        )),
        ([], []) => Err(Failure::request(
            format!("--support {text}: this is no pair of files"),
            "give the image and its mask with a colon between them, as in cat.jpg:cat.png",
        )),
        ([], [(image, mask)]) => {
            let (role, missing) = if is_file(image) { ("mask", mask) } else { ("image", image) };
            Err(Failure::request(
                format!("--support {text}: there is no {role} file {missing}"),
                "check the path",
            ))
        }
        ([], _) => Err(Failure::request(
            format!("--support {text}: at no colon are both sides files"),
            "check both paths",
        )),
    }
}

/// Examples of one class.
#[derive(Debug)]
pub struct Way {
    /// Its name; `None` if it is the only class and has none.
    pub name: Option<String>,
    /// Images with masks.
    pub examples: Vec<Annotated>,
}

/// Reads the examples of every class, in the order in which the classes are first named; `class` picks
/// one label of the masks.
pub fn ways(pairs: &[Pair], class: Option<u8>) -> Result<Vec<Way>, Failure> {
    if let Some(named) = pairs.iter().find(|pair| pair.way.is_some())
        && let Some(nameless) = pairs.iter().find(|pair| pair.way.is_none())
    {
        return Err(Failure::request(
            format!(
                "the example {} says which class it shows, {} does not",
                named.image.display(),
                nameless.image.display()
            ),
            "name the class of every example, as in --support cat=cat.jpg:cat.png, or of none",
        ));
    }
    let mut ways: Vec<Way> = Vec::new();
    for pair in pairs {
        let example = read_one(pair, class)?;
        match ways.iter_mut().find(|way| way.name == pair.way) {
            Some(way) => way.examples.push(example),
            None => ways.push(Way { name: pair.way.clone(), examples: vec![example] }),
        }
    }
    Ok(ways)
}

/// The label that `--class` names for masks of labels.
pub fn label(text: &str) -> Result<u8, Failure> {
    text.parse().ok().filter(|label| (1..data::IGNORE_INDEX).contains(label)).ok_or_else(|| {
        Failure::request(
            format!("--class {text}: the masks of --support hold labels from 1 to 254"),
            "give such a label, or take the examples from a data set with --support-set",
        )
    })
}

fn read_one(pair: &Pair, class: Option<u8>) -> Result<Annotated, Failure> {
    let image = data::io::read_image(&pair.image)?;
    let mut labels = data::io::read_mask(&pair.mask)?;
    if class.is_none() && is_black_and_white(&labels) {
        tracing::info!("{}: 255 is the object, there is no other value", pair.mask.display());
        labels.mapv_inplace(|label| u8::from(label != 0));
    }
    let foreground = match class {
        None => Foreground::AnyLabel,
        Some(class) => {
            if !labels.iter().any(|label| *label == class) {
                return Err(Failure::request(
                    format!(
                        "{} shows no pixel of class {class}; it holds {}",
                        pair.mask.display(),
                        labels_of(&labels)
                    ),
                    "choose one of these with --class, or leave --class out",
                ));
            }
            Foreground::Label(class)
        }
    };
    Ok(Annotated {
        name: format!("support {}:{}", pair.image.display(), pair.mask.display()),
        image,
        mask: foreground.select(&labels),
    })
}

/// Whether a mask holds both 0 and 255 and nothing else: then 255 cannot mean ignored pixels, since nothing
/// would be left to learn from.
fn is_black_and_white(labels: &ndarray::Array2<u8>) -> bool {
    let holds = |wanted: u8| labels.iter().any(|label| *label == wanted);
    labels.iter().all(|label| [0, data::IGNORE_INDEX].contains(label))
        && holds(0)
        && holds(data::IGNORE_INDEX)
}

/// The object labels that occur, in words.
fn labels_of(labels: &ndarray::Array2<u8>) -> String {
    let mut present = [false; 256];
    labels.iter().for_each(|label| present[usize::from(*label)] = true);
    let objects: Vec<String> = (1..data::IGNORE_INDEX)
        .filter(|label| present[usize::from(*label)])
        .map(|label| label.to_string())
        .collect();
    match objects.len() {
        0 => "no label but background and ignored pixels".into(),
        1 => format!("label {}", objects[0]),
        _ => format!("labels {}", objects.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(folder.path().join(file), b"x").unwrap();
        }
        folder
    }

    fn parse(folder: &tempfile::TempDir, image: &str, mask: &str) -> Result<Pair, Failure> {
        let path = |name: &str| folder.path().join(name).display().to_string();
        Pair::parse(&format!("{}:{}", path(image), path(mask)))
    }

    #[test]
    fn the_colon_between_files_is_found() {
        let folder = folder(&["a.jpg", "a:1.jpg", "m.png", "m:1:2.png"]);
        for (image, mask) in [("a.jpg", "m.png"), ("a:1.jpg", "m.png"), ("a:1.jpg", "m:1:2.png")] {
            let pair = parse(&folder, image, mask).unwrap();
            assert_eq!(pair.image, folder.path().join(image));
            assert_eq!(pair.mask, folder.path().join(mask));
        }
    }

    #[test]
    fn the_class_stands_before_the_files() {
        let folder = folder(&["a.jpg", "a=1.jpg", "m.png"]);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let way = |text: String| Pair::parse(&text).map(|pair| pair.way).map_err(|e| e.to_string());
        let named = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(way(format!("{}:{}", path("a=1.jpg"), path("m.png"))), Ok(None));
        assert_eq!(way(format!("cat={}:{}", path("a=1.jpg"), path("m.png"))), named("cat"));
        assert_eq!(
            way(format!("a big cat={}:{}", path("a.jpg"), path("m.png"))),
            named("a big cat")
        );
        let message = way(format!("cat={}:{}", path("none.jpg"), path("m.png"))).unwrap_err();
        assert!(message.contains("no image file") && message.contains("none.jpg"), "{message}");
        assert!(way(format!("={}:{}", path("a.jpg"), path("m.png"))).is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = folder(&["a.jpg"]);
        let message = |image, mask| parse(&folder, image, mask).unwrap_err().to_string();
        assert!(message("a.jpg", "none.png").contains("no mask file"));
        assert!(message("none.jpg", "a.jpg").contains("no image file"));
        assert!(message("a:b.jpg", "none.png").contains("at no colon"));
        assert!(Pair::parse("cat.jpg").unwrap_err().to_string().contains("no pair"));
    }

    #[test]
    fn black_and_white_masks() {
        assert!(is_black_and_white(&ndarray::array![[0, 255]]));
        assert!(!is_black_and_white(&ndarray::array![[0, 255], [1, 0]]));
        assert!(!is_black_and_white(&ndarray::array![[0, 0]]));
        assert!(!is_black_and_white(&ndarray::array![[255, 255]]));
    }

    #[test]
    fn labels_in_words() {
        assert_eq!(labels_of(&ndarray::array![[0, 3], [7, 255]]), "labels 3, 7");
        assert_eq!(labels_of(&ndarray::array![[0, 3]]), "label 3");
        assert!(labels_of(&ndarray::array![[0, 255]]).contains("no label"));
    }
}
