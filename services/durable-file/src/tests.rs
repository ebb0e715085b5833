use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

use super::*;

/// What a power cut does to what the disk was not asked to write yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    /// All of it is on the disk.
    Kept,
    /// Half of the content is.
    Half,
    /// None of it is.
    Lost,
}

/// A disk whose power is cut before its n-th step.
struct CutDisk {
    steps: usize,
    cut_before: usize,
    /// Names with the number of their content, as the program sees them and as they are on the disk.
    seen: BTreeMap<PathBuf, usize>,
    stored: BTreeMap<PathBuf, usize>,
    /// Contents, and whether they are on the disk.
    contents: Vec<(Vec<u8>, bool)>,
}

impl CutDisk {
    fn new(path: &Path, old: Option<&[u8]>, cut_before: usize) -> Self {
        let contents: Vec<_> = old.map(|old| (old.to_vec(), true)).into_iter().collect();
        let seen: BTreeMap<_, _> = old.map(|_| (path.to_owned(), 0)).into_iter().collect();
        Self { steps: 0, cut_before, stored: seen.clone(), seen, contents }
    }

    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        if self.steps > self.cut_before { Err(io::Error::other("power cut")) } else { Ok(()) }
    }

    /// Returns what is on the disk when the power is back.
    fn after(&self, names: Luck, content: Luck) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = if names == Luck::Kept { &self.seen } else { &self.stored };
        let read = |number: usize| {
            let (bytes, is_stored) = &self.contents[number];
            let kept = match content {
                _ if *is_stored => bytes.len(),
                Luck::Kept => bytes.len(),
                Luck::Half => bytes.len() / 2,
                Luck::Lost => 0,
            };
            bytes[..kept].to_vec()
        };
        entries.iter().map(|(path, number)| (path.clone(), read(*number))).collect()
    }
}

impl Disk for CutDisk {
    fn write_new(&mut self, path: &Path, content: &[u8], _: Attributes) -> io::Result<()> {
        // The power may also be cut while it is written: `Luck::Half`.
        let step = self.step();
        self.contents.push((content.to_vec(), false));
        self.seen.insert(path.to_owned(), self.contents.len() - 1);
        step
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.contents[self.seen[path]].1 = true;
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let number = self.seen.remove(from).unwrap();
        self.seen.insert(to.to_owned(), number);
        Ok(())
    }

    fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
        self.step()?;
        self.stored = self.seen.clone();
        Ok(())
    }
}

const STEPS: usize = 4;

#[test]
fn a_power_cut_at_any_step_leaves_the_old_or_the_new_content_and_nothing_that_is_not_removed() {
    use Luck::{Half, Kept, Lost};
    let (path, part) = (PathBuf::from("/data/client.toml"), part_of(Path::new("/data/client.toml")));
    let new = b"the new content".as_slice();
    for old in [None, Some(b"old".as_slice())] {
        for cut_before in 0..=STEPS {
            for (names, content) in [(Kept, Kept), (Kept, Half), (Kept, Lost), (Lost, Kept), (Lost, Half), (Lost, Lost)]
            {
                let mut disk = CutDisk::new(&path, old, cut_before);
                let written = write_on(&mut disk, &path, &part, new, Attributes::new(Access::Owner));
                assert_eq!(written.is_ok(), cut_before == STEPS);
                let mut found = disk.after(names, content);
                let now = found.remove(&path);
                let case = format!("{old:?}, before step {cut_before}, names {names:?}, content {content:?}");
                assert!(now.as_deref() == old || now.as_deref() == Some(new), "{case}: {now:?}");
                assert!(written.is_err() || now.as_deref() == Some(new), "{case}: success was reported");
                assert!(found.keys().all(|path| is_leftover(path.file_name().unwrap())), "{case}: {found:?}");
            }
        }
    }
}

#[test]
fn a_write_that_skips_a_step_is_caught_by_this_model() {
    let (path, part) = (PathBuf::from("/data/a"), PathBuf::from("/data/b"));
    let mut unsynced = CutDisk::new(&path, Some(b"old"), STEPS);
    unsynced.write_new(&part, b"new", Attributes::new(Access::Owner)).unwrap();
    unsynced.rename(&part, &path).unwrap();
    assert_eq!(unsynced.after(Luck::Kept, Luck::Lost)[&path], b"");
    unsynced.sync_file(&path).unwrap();
    assert_eq!(unsynced.after(Luck::Lost, Luck::Kept)[&path], b"old");
}

#[test]
fn what_a_crash_left_at_each_stage_is_removed_at_start_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.toml");
    assert_eq!(remove_leftovers(&folder.path().join("missing")).unwrap(), 0);
    for (leftovers, others) in [
        (vec![("", 1)], vec![]),
        (vec![("half of", 2), ("all of it", 3)], vec!["client.toml"]),
        (vec![], vec!["client.toml", "ca.pem", ".hidden", "backup.unfinished", "view.new"]),
    ] {
        others.iter().for_each(|name| fs::write(folder.path().join(name), "kept").unwrap());
        leftovers.iter().for_each(|(content, _)| fs::write(part_of(&file), content).unwrap());
        assert_eq!(remove_leftovers(folder.path()).unwrap(), leftovers.len());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), others.len(), "{leftovers:?} {others:?}");
    }
}

#[test]
fn a_file_has_the_mode_that_was_asked_for_even_if_it_replaces_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, "readable by all").unwrap();
    for (access, group_and_others) in [(Access::Owner, 0), (Access::Everyone, 0o044), (Access::Owner, 0)] {
        write(&path, b"content", access).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
        // The umask may take more.
        assert_eq!(mode & 0o077 & !group_and_others, 0, "{access:?}: {mode:o}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_error_names_the_file_what_is_wrong_with_it_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let missing = read(&path, "x").unwrap_err();
    assert!(missing.is_missing() && missing.to_string().contains("cannot read"), "{missing}");
    fs::write(&path, "").unwrap();
    let empty = read(&path, "restore it from a backup").unwrap_err();
    assert_eq!(empty.to_string(), format!("{} is empty; restore it from a backup", path.display()));
    let cut = DurableFileError::damaged(&path, &"EOF at line 1", "remove it");
    assert_eq!(cut.to_string(), format!("{} is damaged (EOF at line 1); remove it", path.display()));
    let no_folder = folder.path().join("missing/a");
    assert!(write(&no_folder, b"x", Access::Owner).unwrap_err().to_string().contains("missing/a"));
    assert!(publish(&path, &no_folder).is_err() && path.exists());
    // A directory is in the way: nothing is left.
    fs::create_dir(folder.path().join("b")).unwrap();
    write(&folder.path().join("b"), b"x", Access::Owner).unwrap_err();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_published_file_takes_the_place_of_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let (part, path) = (folder.path().join("part"), folder.path().join("a"));
    fs::write(&path, "old").unwrap();
    fs::write(&part, "new").unwrap();
    publish(&part, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    remove(&path).unwrap();
    assert!(remove(&path).unwrap_err().is_missing());
    sync_folder_of(&path).unwrap();
}

#[test]
fn a_replaced_file_keeps_owner_group_and_mode_but_no_right_that_it_must_not_give() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    replace(&path, b"new", Access::Owner).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // Mode before, access, and mode after.
    for (before, access, after) in [
        (0o600, Access::Owner, 0o600),
        (0o640, Access::Owner, 0o640),
        (0o660, Access::Owner, 0o640),
        (0o644, Access::Owner, 0o640),
        (0o777, Access::Owner, 0o640),
        (0o400, Access::Owner, 0o400),
        (0o640, Access::Everyone, 0o640),
        (0o664, Access::Everyone, 0o664),
        (0o600, Access::Everyone, 0o600),
        (0o777, Access::Everyone, 0o664),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        replace(&path, b"content", access).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, after, "{before:o} {access:?}: {mode:o}");
    }
    // Only root can give a file away.
    if chown(&path, Some(12_345), Some(23_456)).is_ok() {
        for access in [Access::Owner, Access::Everyone] {
            replace(&path, b"content", access).unwrap();
            let after = fs::metadata(&path).unwrap();
            assert_eq!((after.uid(), after.gid()), (12_345, 23_456), "{access:?}");
        }
    }
}
