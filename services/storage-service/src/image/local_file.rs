//! Opens files below permitted directories, without following links.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open as open_path, openat, openat2};

/// Why a file cannot be opened. What lies outside the permitted directories is not told: neither whether it exists, nor what
/// it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalFileError {
    /// The path is not below a permitted directory.
    #[error("it is in no directory of storage.files_from")]
    NotPermitted,
    /// A component of the path below the directory is a link.
    #[error("it is, or is behind, a symbolic link: name the file that the link leads to")]
    Link,
    /// It is not a regular file.
    #[error("it is not a regular file")]
    NotRegular,
    /// It cannot be opened.
    #[error("{0}")]
    Io(io::Error),
}

/// Flags with which the file itself is opened. A pipe without a writer would wait without `NONBLOCK`.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens a regular file below one of the directories. The directories themselves may be, or be behind, links.
///
/// # Errors
/// [`LocalFileError`]
pub(super) fn open(directories: &[PathBuf], path: &Path) -> Result<File, LocalFileError> {
    let (directory, below) = locate(directories, path).ok_or(LocalFileError::NotPermitted)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open_path(&directory, flags, Mode::empty()).map_err(|error| LocalFileError::Io(error.into()))?;
    let file = open_below(&directory, &below)?;
    let stat = fstat(&file).map_err(|error| LocalFileError::Io(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(LocalFileError::NotRegular);
    }
    Ok(File::from(file))
}

/// Returns the directory that a path is in, and the rest of the path. The path may name the directory as it is configured,
/// or without links.
fn locate(directories: &[PathBuf], path: &Path) -> Option<(PathBuf, PathBuf)> {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(is_plain) {
        return None;
    }
    directories.iter().find_map(|directory| {
        let resolved = || path.strip_prefix(fs::canonicalize(directory).ok()?).ok().map(Path::to_owned);
        let below = path.strip_prefix(directory).ok().map(Path::to_owned).or_else(resolved)?;
        (!below.as_os_str().is_empty()).then(|| (directory.clone(), below))
    })
}

fn open_below(directory: &OwnedFd, below: &Path) -> Result<OwnedFd, LocalFileError> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(directory, below, FLAGS, Mode::empty(), resolve) {
        // Linux before 5.6, or a filter of system calls (EPERM).
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => open_by_component(directory, below),
        opened => opened.map_err(refused),
    }
}

/// Does the same by one call for each component.
fn open_by_component(directory: &OwnedFd, below: &Path) -> Result<OwnedFd, LocalFileError> {
    let parents = below.parent().into_iter().flat_map(Path::components);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut parent = None;
    for part in parents {
        let above = parent.as_ref().unwrap_or(directory);
        // A link is not a directory.
        let next = openat(above, part.as_os_str(), flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::NOTDIR => LocalFileError::Link,
            error => refused(error),
        })?;
        parent = Some(next);
    }
    let name = below.file_name().ok_or(LocalFileError::NotPermitted)?;
    openat(parent.as_ref().unwrap_or(directory), name, FLAGS, Mode::empty()).map_err(refused)
}

fn refused(error: rustix::io::Errno) -> LocalFileError {
    match error {
        rustix::io::Errno::LOOP => LocalFileError::Link,
        // A socket, or a device without a driver.
        rustix::io::Errno::NXIO => LocalFileError::NotRegular,
        error => LocalFileError::Io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::fs::symlink};

    use super::*;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(tree.path("images/sub")).unwrap();
            fs::create_dir(tree.path("outside")).unwrap();
            for file in ["images/a", "images/sub/b", "outside/secret", "images-secret"] {
                fs::write(tree.path(file), file).unwrap();
            }
            for (target, link) in [
                ("outside/secret", "images/link"),
                ("outside", "images/directory"),
                ("images/a", "images/inside"),
                ("images", "alias"),
            ] {
                symlink(tree.path(target), tree.path(link)).unwrap();
            }
            symlink("/proc/self/environ", tree.path("images/proc")).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, tree.path("images/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
            drop(std::os::unix::net::UnixListener::bind(tree.path("images/socket")).unwrap());
            tree
        }

        fn path(&self, below: &str) -> PathBuf {
            self.0.path().join(below)
        }
    }

    fn read(file: impl Into<File>) -> String {
        let mut text = String::new();
        file.into().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn only_regular_files_below_a_directory_are_opened_and_no_link_is_followed() {
        let tree = Tree::new();
        let permitted = [tree.path("images")];
        for (path, expected) in [
            ("images/a", Ok("images/a")),
            ("images/sub/b", Ok("images/sub/b")),
            ("images//sub/./b", Ok("images/sub/b")),
            ("images/link", Err("symbolic link")),
            ("images/inside", Err("symbolic link")),
            ("images/proc", Err("symbolic link")),
            ("images/directory/secret", Err("symbolic link")),
            ("images/../outside/secret", Err("in no directory")),
            ("images/sub/../a", Err("in no directory")),
            ("outside/secret", Err("in no directory")),
            ("outside/missing", Err("in no directory")),
            ("images-secret", Err("in no directory")),
            ("images", Err("in no directory")),
            ("images/sub", Err("not a regular file")),
            ("images/pipe", Err("not a regular file")),
            ("images/socket", Err("not a regular file")),
            ("images/missing", Err("No such file")),
        ] {
            match (open(&permitted, &tree.path(path)), expected) {
                (Ok(file), Ok(content)) => assert_eq!(read(file), content, "{path}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{path}: {error}"),
                (opened, _) => panic!("{path}: {opened:?}"),
            }
        }
        for path in ["/etc/passwd", "/dev/zero", "/proc/self/environ", "etc/passwd", "", "/"] {
            let error = open(&permitted, Path::new(path)).unwrap_err();
            assert!(matches!(error, LocalFileError::NotPermitted), "{path}: {error}");
        }
        assert!(open(&[], &tree.path("images/a")).is_err(), "without a directory there are no files");
    }

    #[test]
    fn the_directory_may_be_behind_a_link_and_be_named_in_both_ways() {
        let tree = Tree::new();
        let permitted = [tree.path("alias")];
        for path in ["alias/a", "images/a"] {
            assert_eq!(read(open(&permitted, &tree.path(path)).unwrap()), "images/a");
        }
    }

    #[test]
    fn a_kernel_without_openat2_opens_the_same_files() {
        let tree = Tree::new();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = open_path(tree.path("images"), flags, Mode::empty()).unwrap();
        let below = |path: &str| open_by_component(&directory, Path::new(path));
        assert_eq!(read(below("a").unwrap()), "images/a");
        assert_eq!(read(below("sub/b").unwrap()), "images/sub/b");
        for path in ["link", "inside", "proc", "directory/secret"] {
            assert!(matches!(below(path).unwrap_err(), LocalFileError::Link), "{path}");
        }
    }
}
