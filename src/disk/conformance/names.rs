//! Names, directories and links.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Row, get, put, refused};
use crate::disk::{Disk, EntryKind, OpenMode};

pub(super) const ROWS: &[Row] = &[
    ("rename_replaces", rename_replaces),
    ("rename_new_does_not_replace", rename_new_does_not_replace),
    ("rename_of_what_is_missing_is_refused", rename_of_what_is_missing_is_refused),
    ("directories_are_renamed_with_what_they_hold", directories_are_renamed),
    ("a_directory_does_not_go_into_itself", a_directory_does_not_go_into_itself),
    ("directories_and_files_do_not_replace_each_other", no_replacement_across_kinds),
    ("names_are_listed_sorted", names_are_listed_sorted),
    ("a_file_is_no_directory", a_file_is_no_directory),
    ("directories_are_made_one_by_one", directories_are_made_one_by_one),
    ("only_empty_directories_are_removed", only_empty_directories_are_removed),
    ("remove_file_takes_no_directory", remove_file_takes_no_directory),
    ("metadata_tells_kind_and_length", metadata_tells_kind_and_length),
    ("links_are_followed_by_open_and_not_by_metadata", links_are_followed_by_open),
    ("links_are_refused_where_none_may_be", links_are_refused_where_none_may_be),
    ("canonical_resolves_links_and_dots", canonical_resolves_links_and_dots),
    ("a_circle_of_links_is_an_error", a_circle_of_links_is_an_error),
    ("removing_a_link_leaves_its_target", removing_a_link_leaves_its_target),
];

fn rename_replaces(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (a, b) = (root.join("a"), root.join("b"));
    let file = put(disk, &a, b"a")?;
    put(disk, &b, b"b")?;
    disk.rename(&a, &b)?;
    assert_eq!(disk.list(root)?, [PathBuf::from("b")]);
    assert_eq!(get(disk, &b)?, b"a");
    file.write_at(b"A", 0)?;
    assert_eq!(get(disk, &b)?, b"A");
    disk.rename(&b, &b)?;
    assert_eq!(get(disk, &b)?, b"A");
    Ok(())
}

fn rename_new_does_not_replace(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let (a, b) = (root.join("a"), root.join("b"));
    put(disk, &a, b"a")?;
    put(disk, &b, b"b")?;
    refused(disk.rename_new(&a, &b), ErrorKind::AlreadyExists);
    assert_eq!((get(disk, &a)?, get(disk, &b)?), (b"a".to_vec(), b"b".to_vec()));
    disk.rename_new(&a, &root.join("c"))?;
    assert_eq!(disk.list(root)?, [PathBuf::from("b"), PathBuf::from("c")]);
    disk.create_dir(&root.join("d"))?;
    disk.rename_new(&root.join("d"), &root.join("e"))?;
    refused(disk.rename_new(&root.join("e"), &root.join("b")), ErrorKind::AlreadyExists);
    Ok(())
}

fn rename_of_what_is_missing_is_refused(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    refused(disk.rename(&root.join("a"), &root.join("b")), ErrorKind::NotFound);
    refused(disk.rename_new(&root.join("a"), &root.join("b")), ErrorKind::NotFound);
    put(disk, &root.join("a"), b"")?;
    refused(disk.rename(&root.join("a"), &root.join("no/b")), ErrorKind::NotFound);
    Ok(())
}

fn directories_are_renamed(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("d/a"), b"a")?;
    disk.rename(&root.join("d"), &root.join("e"))?;
    assert_eq!(get(disk, &root.join("e/a"))?, b"a");
    disk.create_dir(&root.join("f"))?;
    disk.rename(&root.join("e"), &root.join("f"))?;
    assert_eq!(get(disk, &root.join("f/a"))?, b"a");
    disk.create_dir(&root.join("g"))?;
    refused(disk.rename(&root.join("g"), &root.join("f")), ErrorKind::DirectoryNotEmpty);
    Ok(())
}

fn a_directory_does_not_go_into_itself(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    disk.create_dir(&root.join("d/e"))?;
    assert!(disk.rename(&root.join("d"), &root.join("d/e/f")).is_err());
    assert_eq!(disk.list(&root.join("d"))?, [PathBuf::from("e")]);
    Ok(())
}

fn no_replacement_across_kinds(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("a"), b"")?;
    refused(disk.rename(&root.join("a"), &root.join("d")), ErrorKind::IsADirectory);
    refused(disk.rename(&root.join("d"), &root.join("a")), ErrorKind::NotADirectory);
    Ok(())
}

fn names_are_listed_sorted(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    for name in ["b", "a.b", "ä", "B", "a", "10", "9"] {
        put(disk, &root.join(name), b"")?;
    }
    disk.create_dir(&root.join("c"))?;
    put(disk, &root.join("c/not listed"), b"")?;
    let names = ["10", "9", "B", "a", "a.b", "b", "c", "ä"].map(PathBuf::from);
    assert_eq!(disk.list(root)?, names);
    Ok(())
}

fn a_file_is_no_directory(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    let a = root.join("a");
    put(disk, &a, b"")?;
    refused(disk.list(&a), ErrorKind::NotADirectory);
    refused(disk.sync_dir(&a), ErrorKind::NotADirectory);
    refused(disk.remove_dir(&a), ErrorKind::NotADirectory);
    refused(disk.open(&a.join("b"), OpenMode::CreateNew), ErrorKind::NotADirectory);
    refused(disk.metadata(&a.join("b")), ErrorKind::NotADirectory);
    Ok(())
}

fn directories_are_made_one_by_one(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    refused(disk.create_dir(&root.join("a/b")), ErrorKind::NotFound);
    disk.create_dir(&root.join("a"))?;
    disk.create_dir(&root.join("a/b"))?;
    refused(disk.create_dir(&root.join("a/b")), ErrorKind::AlreadyExists);
    Ok(())
}

fn only_empty_directories_are_removed(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("d/a"), b"")?;
    refused(disk.remove_dir(&root.join("d")), ErrorKind::DirectoryNotEmpty);
    disk.remove_file(&root.join("d/a"))?;
    disk.remove_dir(&root.join("d"))?;
    assert!(disk.list(root)?.is_empty());
    Ok(())
}

fn remove_file_takes_no_directory(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    assert!(disk.remove_file(&root.join("d")).is_err());
    assert_eq!(disk.list(root)?.len(), 1);
    Ok(())
}

fn metadata_tells_kind_and_length(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), &[0; 123])?;
    let found = disk.metadata(&root.join("a"))?;
    assert_eq!((found.kind, found.len), (EntryKind::File, 123));
    assert!((found.modified - disk.now()).abs() < 60_000_000);
    assert_eq!(found.mode & 0o400, 0o400);
    let found = disk.metadata(root)?;
    assert_eq!((found.kind, found.len), (EntryKind::Dir, 0));
    Ok(())
}

fn links_are_followed_by_open(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("d/a"), b"a")?;
    disk.symlink(Path::new("d/../d/a"), &root.join("link"))?;
    disk.symlink(&root.join("d"), &root.join("dir"))?;
    assert_eq!(disk.metadata(&root.join("link"))?.kind, EntryKind::Symlink);
    assert_eq!(disk.read_link(&root.join("link"))?, PathBuf::from("d/../d/a"));
    assert_eq!(get(disk, &root.join("link"))?, b"a");
    assert_eq!(get(disk, &root.join("dir/a"))?, b"a");
    assert_eq!(disk.list(&root.join("dir"))?, [PathBuf::from("a")]);
    assert!(disk.read_link(&root.join("d")).is_err());
    Ok(())
}

fn links_are_refused_where_none_may_be(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    put(disk, &root.join("d/a"), b"a")?;
    disk.symlink(Path::new("a"), &root.join("d/link"))?;
    disk.symlink(Path::new("d"), &root.join("dir"))?;
    disk.symlink(Path::new("nowhere"), &root.join("d/broken"))?;
    let open = |name: &str| disk.open(&root.join(name), OpenMode::ReadNoLink);
    let file = open("d/a")?;
    let mut read = [0];
    file.read_exact_at(&mut read, 0)?;
    assert_eq!(&read, b"a");
    assert!(file.write_at(b"b", 0).is_err(), "it is read only");
    for name in ["d/link", "dir/a", "d/broken"] {
        let error = open(name).err().expect("a link is in the path");
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()), "{name}");
    }
    refused(open("d/none"), ErrorKind::NotFound);
    Ok(())
}

fn canonical_resolves_links_and_dots(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.create_dir(&root.join("d"))?;
    disk.create_dir(&root.join("d/e"))?;
    disk.symlink(Path::new("d/e"), &root.join("link"))?;
    assert_eq!(disk.canonical(&root.join("link"))?, root.join("d/e"));
    assert_eq!(disk.canonical(&root.join("link/.."))?, root.join("d"));
    assert_eq!(disk.canonical(&root.join("./d/../d"))?, root.join("d"));
    assert_eq!(disk.canonical(Path::new("/"))?, PathBuf::from("/"));
    assert!(disk.canonical(Path::new("."))?.is_absolute());
    Ok(())
}

fn a_circle_of_links_is_an_error(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    disk.symlink(Path::new("b"), &root.join("a"))?;
    disk.symlink(Path::new("a"), &root.join("b"))?;
    assert!(disk.open(&root.join("a"), OpenMode::Read).is_err());
    assert!(disk.canonical(&root.join("a")).is_err());
    Ok(())
}

fn removing_a_link_leaves_its_target(disk: &Arc<dyn Disk>, root: &Path) -> io::Result<()> {
    put(disk, &root.join("a"), b"a")?;
    disk.symlink(Path::new("a"), &root.join("link"))?;
    disk.remove_file(&root.join("link"))?;
    assert_eq!(get(disk, &root.join("a"))?, b"a");
    Ok(())
}
