//! The cruelty of the simulated disk: a simulator that is kinder than the real thing hides every bug
//! that it is there to find.

mod content;
mod faults;
mod names;
mod random;

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{SimDisk, Survival};
use crate::disk::{Disk, File, OpenMode};

/// Creates a file whose name is durable and whose content is not.
fn create(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk.open(Path::new(path), OpenMode::CreateNew).expect("the name is free");
    file.write_at(bytes, 0).expect("a healthy disk writes");
    disk.sync_dir(Path::new("/")).expect("a healthy disk syncs");
    file
}

fn read(disk: &SimDisk, path: &str) -> io::Result<Vec<u8>> {
    crate::disk::atomic::read_whole(disk, Path::new(path), 1 << 24)
}

fn exists(disk: &SimDisk, path: &str) -> bool {
    disk.metadata(Path::new(path)).is_ok()
}

/// What is seen in `tries` random crashes, without repetitions.
fn outcomes<T: Ord>(
    disk: &SimDisk,
    tries: u64,
    look: impl Fn(&SimDisk) -> T,
) -> std::collections::BTreeSet<T> {
    (0..tries).map(|seed| look(&disk.reboot(Survival::Random(seed)))).collect()
}
