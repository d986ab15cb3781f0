//! Annotated examples from the command line.

use std::path::{Path, PathBuf};

use fss_core::{Annotated, Foreground, data};

use crate::failure::Failure;

/// The files of an annotated example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    image: PathBuf,
    mask: PathBuf,
}

impl Pair {
    /// Splits `IMG:MASK`. File names may hold colons themselves (as `C:\cat.png` does): the colon at
    /// which both sides are files is the right one.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let splits: Vec<(&str, &str)> = text
            .match_indices(':')
            .map(|(at, _)| (&text[..at], &text[at + 1..]))
            .filter(|(image, mask)| !image.is_empty() && !mask.is_empty())
            .collect();
        let is_file = |name: &str| Path::new(name).is_file();
        let fitting: Vec<_> =
            splits.iter().filter(|(image, mask)| is_file(image) && is_file(mask)).collect();
        match (fitting.as_slice(), splits.as_slice()) {
            ([(image, mask)], _) => Ok(Self { image: image.into(), mask: mask.into() }),
            ([_, _, ..], _) => Err(Failure::request(
                format!("--support {text}: more than one colon could be the one between the files"),
                "rename a file so that its name holds no colon",
            )),
            ([], []) => Err(Failure::request(
                format!("--support {text}: this is no pair of files"),
                "give the image and its mask with a colon between them, as in cat.jpg:cat.png",
            )),
            ([], [(image, mask)]) => {
                let (role, missing) =
                    if is_file(image) { ("mask", mask) } else { ("image", image) };
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

/// Reads the examples; `class` picks one label of their masks.
pub fn read(pairs: &[Pair], class: Option<u8>) -> Result<Vec<Annotated>, Failure> {
    pairs.iter().map(|pair| read_one(pair, class)).collect()
}

fn read_one(pair: &Pair, class: Option<u8>) -> Result<Annotated, Failure> {
    let image = data::io::read_image(&pair.image)?;
    let labels = data::io::read_mask(&pair.mask)?;
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
    fn what_is_missing_is_named() {
        let folder = folder(&["a.jpg"]);
        let message = |image, mask| parse(&folder, image, mask).unwrap_err().to_string();
        assert!(message("a.jpg", "none.png").contains("no mask file"));
        assert!(message("none.jpg", "a.jpg").contains("no image file"));
        assert!(message("a:b.jpg", "none.png").contains("at no colon"));
        assert!(Pair::parse("cat.jpg").unwrap_err().to_string().contains("no pair"));
    }

    #[test]
    fn labels_in_words() {
        assert_eq!(labels_of(&ndarray::array![[0, 3], [7, 255]]), "labels 3, 7");
        assert_eq!(labels_of(&ndarray::array![[0, 3]]), "label 3");
        assert!(labels_of(&ndarray::array![[0, 255]]).contains("no label"));
    }
}
