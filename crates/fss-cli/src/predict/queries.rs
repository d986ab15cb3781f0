//! The images to segment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Endings of the files of a folder that are taken for images.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "gif"];

/// An image to segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Its file.
    pub path: PathBuf,
    /// What its results are named after: the file name without the ending.
    pub stem: String,
}

impl Query {
    fn new(path: PathBuf) -> Self {
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { path, stem }
    }

    /// Its file name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The image at `path`, or all images of the folder at `path`, sorted by name. `option` is where the path
/// was given.
pub fn find(option: &str, path: &Path, out: &Path) -> Result<Vec<Query>, Failure> {
    let metadata = std::fs::metadata(path).map_err(|e| Failure::io("read", path, e))?;
    if !metadata.is_dir() {
        return Ok(vec![Query::new(path.to_path_buf())]);
    }
    if let (Ok(queries), Ok(results)) = (path.canonicalize(), out.canonicalize())
        && queries == results
    {
        return Err(Failure::request(
            format!("--out {} is the folder of the images", out.display()),
            "choose another folder: the next run would take the results for images",
        ));
    }
    let queries = in_folder(option, path)?;
    refuse_equal_stems(&queries)?;
    Ok(queries)
}

fn in_folder(option: &str, folder: &Path) -> Result<Vec<Query>, Failure> {
    let failed = |e| Failure::io("list", folder, e);
    let mut queries = Vec::new();
    let mut skipped = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            continue;
        }
        if is_image(&path) { queries.push(Query::new(path)) } else { skipped.push(path) }
    }
    queries.sort_by(|a, b| a.path.cmp(&b.path));
    skipped.sort();
    if let Some(first) = skipped.first() {
        tracing::info!(
            "{} in {} left out: no image by {} ({})",
            if skipped.len() == 1 { "1 file".into() } else { format!("{} files", skipped.len()) },
            folder.display(),
            if skipped.len() == 1 { "its name" } else { "their names" },
            first.file_name().unwrap_or_default().to_string_lossy()
        );
    }
    if queries.is_empty() {
        return Err(Failure::request(
            format!("{option} {}: there is no image in this folder", folder.display()),
            format!("put files with one of these endings into it: {}", ENDINGS.join(", ")),
        ));
    }
    Ok(queries)
}

/// Whether a file is an image by its name; hidden files are not.
fn is_image(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Two queries of one stem would write the same files.
fn refuse_equal_stems(queries: &[Query]) -> Result<(), Failure> {
    let mut seen: BTreeMap<&str, &Query> = BTreeMap::new();
    for query in queries {
        if let Some(other) = seen.insert(&query.stem, query) {
            return Err(Failure::request(
                format!("{} and {} would give results of one name", other.name(), query.name()),
                "rename one of them",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[&str]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub.jpg")).unwrap();
        for file in files {
            std::fs::write(folder.path().join(file), b"x").unwrap();
        }
        let out = folder.path().join("out");
        match find("--query", folder.path(), &out) {
            Ok(queries) => Ok(queries.iter().map(Query::name).collect()),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn images_of_a_folder_are_sorted_and_others_left_out() {
        let files = ["b.JPG", "a.png", "notes.txt", ".hidden.png", "a.b.jpeg"];
        assert_eq!(found(&files).unwrap(), ["a.b.jpeg", "a.png", "b.JPG"]);
    }

    #[test]
    fn equal_stems_and_empty_folders_are_refused() {
        let message = found(&["a.jpg", "b.jpg", "a.png"]).unwrap_err();
        assert!(message.contains("a.jpg and a.png"), "{message}");
        assert!(found(&["notes.txt"]).unwrap_err().contains("no image"));
    }

    #[test]
    fn results_among_the_queries_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.jpg"), b"x").unwrap();
        let message =
            find("--query", folder.path(), &folder.path().join(".")).unwrap_err().to_string();
        assert!(message.contains("choose another folder"), "{message}");
    }
}
