//! Puts images in their place.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::summary::ImageCounts;
use crate::DataError;
use crate::io::TEMP_SUFFIX;

/// How images get to their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ImageFiles {
    /// As hard links, which take no space; as symbolic links or else copies where the file system has
    /// none or is another one. What changes a linked image changes the original.
    #[default]
    Link,
    /// As copies.
    Copy,
    /// Not at all: only masks and lists are made.
    Skip,
}

/// What was done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    Linked,
    Symlinked,
    Copied,
    Kept,
    Left,
}

impl ImageCounts {
    pub(super) fn add(&mut self, placed: Placed) {
        match placed {
            Placed::Linked => self.linked += 1,
            Placed::Symlinked => self.symlinked += 1,
            Placed::Copied => self.copied += 1,
            Placed::Kept => self.kept += 1,
            Placed::Left => self.left += 1,
        }
    }
}

/// From one folder to another.
#[derive(Debug)]
pub(super) struct Placer {
    from: PathBuf,
    to: PathBuf,
    how: ImageFiles,
    /// Both are the same folder: everything is in its place.
    in_place: bool,
}

impl Placer {
    /// `to` is made if it is not there.
    pub(super) fn new(from: &Path, to: &Path, how: ImageFiles) -> Result<Self, DataError> {
        let absolute =
            |path: &Path| path.canonicalize().map_err(|error| DataError::io("open", path, error));
        if how == ImageFiles::Skip {
            return Ok(Self { from: from.into(), to: to.into(), how, in_place: false });
        }
        super::folder::create(to)?;
        // Whole paths, which symbolic links need.
        let (from, to) = (absolute(from)?, absolute(to)?);
        let in_place = from == to;
        Ok(Self { from, to, how, in_place })
    }

    /// Puts one file in its place.
    ///
    /// # Errors
    /// [`DataError::Io`] naming the place.
    pub(super) fn place(&self, name: &str) -> Result<Placed, DataError> {
        let (source, target) = (self.from.join(name), self.to.join(name));
        let placed = match self.how {
            ImageFiles::Skip => return Ok(Placed::Left),
            _ if self.in_place => return Ok(Placed::Kept),
            ImageFiles::Link => link(&source, &target),
            ImageFiles::Copy => copy(&source, &target),
        };
        placed.map_err(|error| DataError::io("write", &target, error))
    }
}

fn link(source: &Path, target: &Path) -> io::Result<Placed> {
    match fs::hard_link(source, target) {
        Ok(()) => return Ok(Placed::Linked),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if is_same_content(source, target)? {
                return Ok(Placed::Kept);
            }
            // Another picture, from an earlier source.
            fs::remove_file(target)?;
            if fs::hard_link(source, target).is_ok() {
                return Ok(Placed::Linked);
            }
        }
        // There is nothing to link.
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        Err(_) => {
            if is_same_content(source, target).unwrap_or(false) {
                return Ok(Placed::Kept);
            }
        }
    }
    // Another file system, one without links, or a source that belongs to somebody else.
    #[cfg(unix)]
    {
        match std::os::unix::fs::symlink(source, target) {
            Ok(()) => return Ok(Placed::Symlinked),
            // One to what is no more, or to another file.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::remove_file(target)?;
                if std::os::unix::fs::symlink(source, target).is_ok() {
                    return Ok(Placed::Symlinked);
                }
            }
            Err(_) => {}
        }
    }
    copy(source, target)
}

fn copy(source: &Path, target: &Path) -> io::Result<Placed> {
    let is_copy = fs::symlink_metadata(target).is_ok_and(|metadata| metadata.is_file())
        && !is_same_file(source, target)?
        && is_same_content(source, target)?;
    if is_copy {
        return Ok(Placed::Kept);
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut temp =
        tempfile::Builder::new().prefix(".image.").suffix(TEMP_SUFFIX).tempfile_in(folder)?;
    let mut original = fs::File::open(source)?;
    io::copy(&mut original, temp.as_file_mut())?;
    let metadata = original.metadata()?;
    if let Ok(time) = metadata.modified() {
        // By which a copy is known again. Without it, it is copied anew.
        let _ = temp.as_file().set_modified(time);
    }
    let _ = temp.as_file().set_permissions(metadata.permissions());
    temp.persist(target)?;
    Ok(Placed::Copied)
}

/// Whether two paths mean one file.
#[cfg(unix)]
fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Whether two paths mean one file; hard links cannot be told from copies here.
#[cfg(not(unix))]
fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(fs::canonicalize(one)? == fs::canonicalize(other)?)
}

/// Whether two paths mean one file, or a file and its copy.
fn is_same_content(source: &Path, target: &Path) -> io::Result<bool> {
    let other = match fs::metadata(target) {
        Ok(metadata) => metadata,
        // A symbolic link to what is no more.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let original = fs::metadata(source)?;
    Ok(is_same_file(source, target)?
        || (original.len() == other.len() && original.modified()? == other.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_tree::age;

    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("a.jpg"), b"picture").unwrap();
        age(&from.join("a.jpg"), 100);
        (folder, from, to)
    }

    #[test]
    fn links_and_copies() {
        let (_folder, from, to) = folders();
        let place = |how| Placer::new(&from, &to, how).unwrap().place("a.jpg").unwrap();
        let (source, target) = (from.join("a.jpg"), to.join("a.jpg"));

        assert_eq!(place(ImageFiles::Skip), Placed::Left);
        assert!(!to.exists());
        assert_eq!(place(ImageFiles::Link), Placed::Linked);
        assert!(is_same_file(&source, &target).unwrap());
        assert_eq!(place(ImageFiles::Link), Placed::Kept);
        #[cfg(unix)]
        {
            assert_eq!(place(ImageFiles::Copy), Placed::Copied);
            assert!(!is_same_file(&source, &target).unwrap());
        }
        assert_eq!(place(ImageFiles::Copy), Placed::Kept);
        assert_eq!(fs::read(&target).unwrap(), b"picture");
        // A copy does as well as a link.
        assert_eq!(place(ImageFiles::Link), Placed::Kept);

        // Another picture under the same name.
        fs::remove_file(&source).unwrap();
        fs::write(&source, b"another").unwrap();
        assert_eq!(place(ImageFiles::Copy), Placed::Copied);
        assert_eq!(fs::read(&target).unwrap(), b"another");
        fs::remove_file(&source).unwrap();
        fs::write(&source, b"a third").unwrap();
        age(&source, 50);
        assert_eq!(place(ImageFiles::Link), Placed::Linked);
        assert_eq!(fs::read(&target).unwrap(), b"a third");
        let error = Placer::new(&from, &to, ImageFiles::Link).unwrap().place("b.jpg").unwrap_err();
        assert!(error.to_string().contains("b.jpg"), "{error}");
    }

    #[test]
    fn the_folder_itself() {
        let (_folder, from, _) = folders();
        for how in [ImageFiles::Link, ImageFiles::Copy] {
            let placer = Placer::new(&from, &from, how).unwrap();
            assert_eq!(placer.place("a.jpg").unwrap(), Placed::Kept);
        }
        assert_eq!(fs::read(from.join("a.jpg")).unwrap(), b"picture");
    }

    #[cfg(unix)]
    #[test]
    fn links_to_nowhere_are_replaced() {
        let (_folder, from, to) = folders();
        fs::create_dir(&to).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", to.join("a.jpg")).unwrap();
        let placer = Placer::new(&from, &to, ImageFiles::Link).unwrap();
        assert_eq!(placer.place("a.jpg").unwrap(), Placed::Linked);
        // A symbolic link to the very image is as good.
        fs::remove_file(to.join("a.jpg")).unwrap();
        let source = from.canonicalize().unwrap().join("a.jpg");
        std::os::unix::fs::symlink(source, to.join("a.jpg")).unwrap();
        assert_eq!(placer.place("a.jpg").unwrap(), Placed::Kept);
    }
}
