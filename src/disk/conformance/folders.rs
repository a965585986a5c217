//! Folders that are kept open, and who may do what with what is made.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Row, get, put, refused};
use crate::disk::atomic::write_atomically;
use crate::disk::{Access, Disk, EntryKind, OpenMode};

pub(super) const ROWS: &[Row] = &[
    ("an_anchored_folder_is_meant_whatever_it_is_called", an_anchored_folder_is_meant),
    ("a_swapped_folder_is_displaced", a_swapped_folder_is_displaced),
    ("a_link_that_leads_elsewhere_displaces", a_link_that_leads_elsewhere_displaces),
    ("a_folder_below_an_anchored_one_can_be_anchored", a_folder_below_can_be_anchored),
    ("an_anchored_folder_that_is_gone_takes_nothing", an_anchored_folder_that_is_gone),
    ("identity_goes_with_the_file", identity_goes_with_the_file),
    ("what_is_created_gets_no_more_than_it_was_given", created_with_access),
    ("an_anchor_gives_its_access_exactly", an_anchor_gives_its_access),
    ("write_atomically_keeps_owner_and_bits", write_atomically_keeps_access),
];

fn names(disk: &Arc<dyn Disk>, dir: &Path) -> io::Result<Vec<String>> {
    Ok(disk.list(dir)?.iter().map(|name| name.to_string_lossy().into_owned()).collect())
}

fn an_anchored_folder_is_meant(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (s, moved) = (root.join("s"), root.join("moved"));
    disk.create_dir(&s)?;
    put(disk, &s.join("old"), b"ours")?;
    let anchored = disk.handle();
    anchored.anchor(&s, None)?;
    disk.rename(&s, &moved)?;
    disk.create_dir(&s)?;
    put(disk, &s.join("old"), b"theirs")?;
    // Every kind of call.
    put(&anchored, &s.join("new"), b"new")?;
    anchored.create_dir(&s.join("dir"))?;
    anchored.symlink(Path::new("old"), &s.join("link"))?;
    assert_eq!(get(&anchored, &s.join("old"))?, b"ours");
    assert_eq!(get(&anchored, &s.join("link"))?, b"ours");
    assert_eq!(anchored.read_link(&s.join("link"))?, Path::new("old"));
    assert_eq!(anchored.metadata(&s.join("dir"))?.kind, EntryKind::Dir);
    anchored.rename(&s.join("new"), &s.join("newer"))?;
    anchored.rename_new(&s.join("newer"), &s.join("dir/newest"))?;
    anchored.remove_file(&s.join("link"))?;
    anchored.sync_dir(&s)?;
    anchored.set_mode(&s.join("old"), 0o600)?;
    assert!(anchored.free_space(&s)? > 0);
    drop(anchored.lock(&s.join("lock"), "note")?);
    assert_eq!(names(&anchored, &s)?, ["dir", "lock", "old"]);
    assert_eq!(names(disk, &moved)?, ["dir", "lock", "old"]);
    assert_eq!(names(disk, &moved.join("dir"))?, ["newest"]);
    assert_eq!(disk.metadata(&moved.join("old"))?.mode, 0o600);
    anchored.remove_file(&s.join("old"))?;
    // The other folder was not touched, and is what everybody else sees.
    assert_eq!(names(disk, &s)?, ["old"]);
    assert_eq!(get(disk, &s.join("old"))?, b"theirs");
    assert_eq!(get(&disk.handle(), &s.join("old"))?, b"theirs");
    // A path that leaves the folder is none below it.
    assert_eq!(get(&anchored, &s.join("../s/old"))?, b"theirs");
    Ok(())
}

fn a_swapped_folder_is_displaced(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (s, moved) = (root.join("s"), root.join("moved"));
    disk.create_dir(&s)?;
    let anchored = disk.handle();
    anchored.anchor(&s, None)?;
    assert_eq!(anchored.displaced(), None);
    disk.rename(&s, &moved)?;
    assert_eq!(anchored.displaced(), Some(s.clone()), "there is none");
    disk.create_dir(&s)?;
    assert_eq!(anchored.displaced(), Some(s.clone()), "there is another");
    assert_eq!(disk.displaced(), None, "it keeps no folder");
    disk.remove_dir(&s)?;
    disk.rename(&moved, &s)?;
    assert_eq!(anchored.displaced(), None, "it is back");
    Ok(())
}

fn a_link_that_leads_elsewhere_displaces(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let link = root.join("link");
    disk.create_dir(&root.join("one"))?;
    disk.create_dir(&root.join("two"))?;
    disk.symlink(Path::new("one"), &link)?;
    let anchored = disk.handle();
    anchored.anchor(&link, None)?;
    assert_eq!(anchored.displaced(), None);
    disk.remove_file(&link)?;
    disk.symlink(Path::new("two"), &link)?;
    assert_eq!(anchored.displaced(), Some(link.clone()));
    put(&anchored, &link.join("a"), b"")?;
    assert_eq!(
        (names(disk, &root.join("one"))?.len(), names(disk, &root.join("two"))?.len()),
        (1, 0)
    );
    Ok(())
}

fn a_folder_below_can_be_anchored(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (s, log) = (root.join("s"), root.join("s/log"));
    disk.create_dir(&s)?;
    disk.create_dir(&root.join("elsewhere"))?;
    disk.symlink(&root.join("elsewhere"), &log)?;
    let anchored = disk.handle();
    anchored.anchor(&s, None)?;
    anchored.anchor(&log, None)?;
    put(&anchored, &log.join("1"), b"")?;
    disk.rename(&root.join("elsewhere"), &root.join("away"))?;
    disk.create_dir(&root.join("elsewhere"))?;
    assert_eq!(anchored.displaced(), Some(log.clone()));
    put(&anchored, &log.join("2"), b"")?;
    assert_eq!(names(disk, &root.join("away"))?, ["1", "2"]);
    // The name itself lies in the folder above.
    assert_eq!(anchored.metadata(&log)?.kind, EntryKind::Symlink);
    anchored.remove_file(&log)?;
    assert!(names(disk, &s)?.is_empty());
    Ok(())
}

fn an_anchored_folder_that_is_gone(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let s = root.join("s");
    refused(disk.handle().anchor(&s, None), ErrorKind::NotFound);
    put(disk, &root.join("file"), b"")?;
    refused(disk.handle().anchor(&root.join("file"), None), ErrorKind::NotADirectory);
    disk.create_dir(&s)?;
    let anchored = disk.handle();
    anchored.anchor(&s, None)?;
    disk.remove_dir(&s)?;
    disk.create_dir(&s)?;
    refused(put(&anchored, &s.join("a"), b"").map(drop), ErrorKind::NotFound);
    assert!(names(disk, &s)?.is_empty());
    Ok(())
}

fn identity_goes_with_the_file(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (a, b) = (root.join("a"), root.join("b"));
    let guard = disk.lock(&a, "")?;
    assert_eq!(disk.identity(&a)?, guard.id());
    assert_eq!(disk.metadata(&a)?.id, guard.id());
    disk.rename(&a, &b)?;
    disk.symlink(Path::new("b"), &a)?;
    assert_eq!(disk.identity(&a)?, guard.id(), "links are followed");
    disk.remove_file(&b)?;
    refused(disk.identity(&a), ErrorKind::NotFound);
    put(disk, &b, b"")?;
    assert_ne!(disk.identity(&b)?, guard.id(), "the lock keeps its number");
    Ok(())
}

/// This process's own owner and group, which it may always give.
fn own(disk: &Arc<dyn Disk>, root: &Path, mode: u32) -> io::Result<Access> {
    let found = disk.metadata(root)?;
    Ok(Access { uid: found.uid, gid: found.gid, mode })
}

fn created_with_access(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let mode = |name: &str| disk.metadata(&root.join(name)).map(|found| found.mode);
    disk.create(&root.join("a"), own(disk, root, 0o600)?)?.write_at(b"a", 0)?;
    disk.create(&root.join("b"), own(disk, root, 0o666)?)?;
    disk.create_dir_as(&root.join("c"), own(disk, root, 0o700)?)?;
    assert_eq!((mode("a")?, mode("c")?), (0o600, 0o700));
    disk.open(&root.join("plain"), OpenMode::CreateNew)?;
    assert_eq!(mode("b")?, mode("plain")?, "new files get no more than that");
    refused(
        disk.create(&root.join("a"), own(disk, root, 0o600)?).map(drop),
        ErrorKind::AlreadyExists,
    );
    own(disk, root, 0o440)?.narrow(&**disk, &root.join("plain"))?;
    assert_eq!(mode("plain")?, 0o440);
    own(disk, root, 0o666)?.narrow(&**disk, &root.join("plain"))?;
    assert_eq!(mode("plain")?, 0o440, "it does not widen");
    own(disk, root, 0o666)?.give(&**disk, &root.join("plain"))?;
    assert_eq!(mode("plain")?, 0o666);
    Ok(())
}

fn an_anchor_gives_its_access(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let s = root.join("s");
    disk.create_dir(&s)?;
    let anchored = disk.handle();
    anchored.anchor(&s, Some(own(disk, root, 0o662)?))?;
    put(&anchored, &s.join("file"), b"")?;
    drop(anchored.lock(&s.join("lock"), "")?);
    anchored.create_dir(&s.join("dir"))?;
    for (name, mode) in [("file", 0o662), ("lock", 0o662), ("dir", 0o772)] {
        assert_eq!(disk.metadata(&s.join(name))?.mode, mode, "{name}");
    }
    Ok(())
}

fn write_atomically_keeps_access(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let path = root.join("a");
    put(disk, &path, b"old")?;
    // Another owner where this process may give one away.
    let given = disk.set_owner(&path, Some(4711), Some(4712)).is_ok();
    disk.set_mode(&path, 0o620)?;
    let before = disk.metadata(&path)?;
    write_atomically(&**disk, &path, b"new")?;
    let after = disk.metadata(&path)?;
    assert_eq!((after.uid, after.gid, after.mode), (before.uid, before.gid, 0o620));
    assert_ne!(after.id, before.id);
    assert_eq!(disk.list(root)?, [PathBuf::from("a")]);
    if given {
        disk.set_owner(root, Some(4713), Some(4714))?;
        write_atomically(&**disk, &root.join("b"), b"new")?;
        let new = disk.metadata(&root.join("b"))?;
        assert_eq!((new.uid, new.gid, new.mode & !0o666), (4713, 4714, 0), "as the folder");
    }
    Ok(())
}
