//! Files that are either whole or not there.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::TEMP_SUFFIX;
use crate::DataError;

/// Writes `bytes` to `path`, whole or not at all.
///
/// The bytes go to a temporary file in the same folder, are flushed to the disk, and the file then
/// takes its name in one step. Whatever goes wrong, the temporary file is removed and a file that
/// was there before stays as it was.
///
/// # Errors
/// [`DataError::Io`] naming the file, for example when the disk is full or the folder is missing.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomic`], for content that is written piece by piece.
///
/// # Errors
/// [`DataError::Io`] naming the file, also for any error that `fill` returns.
pub fn write_atomic_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), DataError> {
    let written = try_write(path, fill, Durability::Disk);
    written.map_err(|source| DataError::io("write", path, source))
}

/// As [`write_atomic`], for thousands of files that can be made again: it is not waited for the disk,
/// so that after a power cut a file may be there but empty.
///
/// # Errors
/// As [`write_atomic`].
pub(crate) fn write_atomic_unflushed(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let written = try_write(path, |file| file.write_all(bytes), Durability::Process);
    written.map_err(|source| DataError::io("write", path, source))
}

/// What a written file survives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// The end of this program.
    Process,
    /// A power cut.
    Disk,
}

fn try_write(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    durability: Durability,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name")
    })?;
    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(TEMP_SUFFIX);
    #[cfg(unix)]
    {
        // As any new file: the user's umask takes away from this.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut temp = builder.tempfile_in(folder)?;
    {
        let mut buffered = BufWriter::with_capacity(1 << 16, temp.as_file_mut());
        fill(&mut buffered)?;
        buffered.flush()?;
    }
    if durability == Durability::Disk {
        // Some file systems report a full disk only here.
        temp.as_file().sync_all()?;
    }
    temp.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new content").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new content");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_atomic(&path, b"old").unwrap();
        let error = write_atomic_with(&path, |file| {
            file.write_all(&[7; 200_000])?;
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"))
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("cannot write") && error.contains("a.bin"), "{error}");
        assert!(error.contains("no space"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent").join("a.bin");
        let error = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("absent"), "{error}");
    }

    #[test]
    fn a_path_without_a_name_is_an_error() {
        assert!(write_atomic(Path::new("/"), b"x").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_the_umask_allows() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        std::fs::write(&plain, b"x").unwrap();
        let atomic = folder.path().join("atomic");
        write_atomic(&atomic, b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&atomic), mode(&plain));
    }
}
