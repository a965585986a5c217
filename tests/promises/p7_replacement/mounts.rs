//! The same on real mounts: a bind mount, a file system of its own for the log, and an overlay. Where the
//! tests may not mount anything, they say so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;

use stillpoint::{Archive, RestorePoint, Rollback, Store};
use tempfile::TempDir;

use crate::scene::{all, put};

/// A mount that ends with the value.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg(&self.0).status();
        assert!(ended.is_ok_and(|status| status.success()), "cannot unmount {:?}", self.0);
    }
}

/// Mounts something at `at`; `None`, with a message, where that is not permitted.
fn mount(options: &[&str], at: &Path) -> Option<Mounted> {
    let mounted = Command::new("mount").args(options).arg(at).output();
    if mounted.as_ref().is_ok_and(|output| output.status.success()) {
        return Some(Mounted(at.to_path_buf()));
    }
    eprintln!("skipped: mount {options:?} is not possible here: {mounted:?}");
    None
}

/// A closed store of two commits in `dir`, with an archive of the first beside it.
fn store(scratch: &TempDir, dir: &Path) -> PathBuf {
    let backups = scratch.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    let store = Store::builder(dir).segment_size(1 << 16).create().unwrap();
    put(&store, 1, "one").unwrap();
    store.backup(&backups).run().unwrap();
    put(&store, 1, "two").unwrap();
    put(&store, 1, "three").unwrap();
    store.close().unwrap();
    backups
}

/// Rolls back and restores by delta, in place, and looks at both stores each time.
fn replace(dir: &Path, backups: &Path) {
    let old = Rollback::new(dir, RestorePoint::Lsn(2)).archives(backups).run().unwrap().old;
    let values = [(dir, "two"), (&*old, "three")];
    for (dir, value) in values {
        let store = Store::open(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        assert_eq!(all(&store), [(1, value.to_owned())], "{}", dir.display());
        store.close().unwrap();
    }
    let archive = std::fs::read_dir(backups).unwrap().map(|entry| entry.unwrap().path());
    let archive = archive.into_iter().find(|path| path.to_string_lossy().contains(".tar")).unwrap();
    let restore = Archive::open(archive).unwrap();
    restore.restore(dir).delta(true).discard_newer(true).run().unwrap();
    let store = Store::open(dir).unwrap();
    assert_eq!(all(&store), [(1, "one".to_owned())]);
    store.verify().unwrap();
    store.close().unwrap();
    assert!(!dir.join("replacement").exists());
}

#[test]
fn a_store_whose_folder_is_a_mount_point_is_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let (real, dir) = (scratch.path().join("real"), scratch.path().join("s"));
    std::fs::create_dir(&real).unwrap();
    std::fs::create_dir(&dir).unwrap();
    let Some(_mounted) = mount(&["--bind", real.to_str().unwrap()], &dir) else { return };
    let backups = store(&scratch, &dir);
    replace(&dir, &backups);
}

#[test]
fn a_store_whose_log_is_a_file_system_of_its_own_is_replaced_and_the_log_stays_there() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("s");
    let log = dir.join("log");
    std::fs::create_dir_all(&log).unwrap();
    let Some(_mounted) = mount(&["-t", "tmpfs", "none"], &log) else { return };
    let backups = store(&scratch, &dir);
    replace(&dir, &backups);
    let store = Store::open(&dir).unwrap();
    put(&store, 2, "more").unwrap();
    store.close().unwrap();
    let names = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.collect();
    assert!(names.iter().any(|name| name == "before-restore"), "{names:?}");
    assert!(names.len() > 2, "the log goes on there: {names:?}");
}

#[test]
fn a_store_in_the_lower_layer_of_an_overlay_is_replaced() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    let backups = store(&scratch, &path("lower").join("s"));
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        path("lower").display(),
        path("upper").display(),
        path("work").display()
    );
    let Some(_mounted) = mount(&["-t", "overlay", "overlay", "-o", &layers], &path("merged"))
    else {
        return;
    };
    replace(&path("merged").join("s"), &backups);
}
