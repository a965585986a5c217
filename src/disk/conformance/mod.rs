//! One suite of behaviours that both disks must show, so that the simulated one does not drift from
//! the real one. Each row gets a fresh folder. What only a crash can show is tested with the
//! simulator itself.

mod content;
mod folders;
mod names;
mod others;

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::atomic::read_whole;
use super::{Disk, File, OpenMode, RealDisk, SimDisk};

/// A behaviour: its name, and what fails where it is not shown.
type Row = (&'static str, fn(&Arc<dyn Disk>, &Path) -> io::Result<()>);

#[test]
fn the_real_disk_conforms() {
    let scratch = tempfile::tempdir().expect("a scratch folder can be made");
    let root = scratch.path().canonicalize().expect("the scratch folder is there");
    run(|| RealDisk::new(), &root);
}

#[test]
fn the_simulated_disk_conforms() {
    run(|| SimDisk::new(1), Path::new("/"));
}

#[test]
fn a_rebooted_simulated_disk_conforms() {
    run(|| SimDisk::new(1).reboot(super::Survival::Random(7)), Path::new("/"));
}

/// Runs every row and reports all that fail.
fn run(disk: impl Fn() -> Arc<dyn Disk>, root: &Path) {
    let mut failed = Vec::new();
    for (name, row) in [content::ROWS, folders::ROWS, names::ROWS, others::ROWS].concat() {
        let disk = disk();
        let folder = root.join(name);
        let result = disk.create_dir(&folder).and_then(|()| row(&disk, &folder));
        if let Err(e) = result {
            failed.push(format!("{name}: {e}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

fn put(disk: &Arc<dyn Disk>, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn File>> {
    let file = disk.open(path, OpenMode::CreateNew)?;
    file.write_at(bytes, 0)?;
    Ok(file)
}

fn get(disk: &Arc<dyn Disk>, path: &Path) -> io::Result<Vec<u8>> {
    read_whole(&**disk, path, 1 << 24)
}

#[track_caller]
fn refused<T>(result: io::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("was done, where {kind:?} was expected"),
        Err(e) => assert_eq!(e.kind(), kind, "{e}"),
    }
}
