//! The restore drill: a backup is proven by restoring it.
//!
//! The newest set is verified, restored into a scratch folder beside the store, checked there page
//! by page, and compared with the archive: the tables and their records as the header counts them,
//! and every record's bytes as the archive, read in place, holds them. Then the scratch goes.
//!
//! It ends where the regime is closed, or where whoever asked for it stops it, at its next step.
//!
//! Invariants: the store itself is neither read nor held, so a drill disturbs nobody but the disk;
//! a scratch folder is removed whatever the drill finds, and one that a killed drill left is removed
//! by the next.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::events::RegimeEvent;
use super::state::{Checked, Status};
use crate::archive::{Progress, stopped};
use crate::disk::atomic::remove_tree;
use crate::disk::{Disk, atomic, beside};
use crate::engine::{EngineOptions, Lsn, Snapshot, inspect};
use crate::error::{Error, ErrorKind, Result, code};
use crate::restore::{Archive, check_store};

/// After how many records the comparison asks whether to go on.
const ASK_EVERY: u64 = 256;

type Tell<'t> = &'t mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What a restore drill found to be right.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct DrillReport {
    /// The archive that was restored.
    pub archive: PathBuf,
    /// The number of its backup.
    pub number: u32,
    /// The commit that it equals.
    pub lsn: Lsn,
    /// Tables that were compared.
    pub tables: usize,
    /// Records that were compared.
    pub records: u64,
    /// Bytes that were restored.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Core {
    /// A restore drill of the newest backup, with its books.
    pub(super) fn drill(&self, tell: Tell<'_>) -> Result<DrillReport> {
        // They share a scratch folder.
        if self.drilling.is_owned_by_current_thread() {
            let message = "a drill was asked for from inside the progress of another";
            return Err(Error::new(ErrorKind::Invalid, message).with_code(code::OWN_TRANSACTION));
        }
        let _alone = self.drilling.lock();
        let plan = self.plan();
        let archive = self.newest_archive(&plan);
        let path = match &archive {
            Ok(archive) => archive.path().to_path_buf(),
            Err(_) => plan.destination.clone(),
        };
        let folder = scratch(&self.dir);
        // Whoever closes does not wait for a restore of everything.
        let mut tell = |progress| match self.bell.closing() {
            true => ControlFlow::Break(()),
            false => tell(progress),
        };
        let drilled = archive.and_then(|archive| drill(&self.disk, &archive, &folder, &mut tell));
        // Also where the damage is met by the opening.
        let drilled = drilled.map_err(|error| match error.kind() {
            ErrorKind::Corrupt => error.with_code(code::CHECK),
            _ => error,
        });
        let error = drilled.as_ref().err().cloned();
        let checked = Checked {
            time: self.disk.now(),
            archive: path.clone(),
            status: Status::of(error.as_ref()),
        };
        self.remember(|state| {
            if error.is_none() {
                state.last_verified = Some(checked.clone());
            }
            state.last_drill = Some(checked);
        });
        self.books(|books| books.drilled(&path, &drilled));
        self.events.tell(RegimeEvent::DrillEnded { error });
        drilled
    }
}

/// The folder beside `store` that its drills restore into. What is there is removed, so it has a name
/// that nobody gives to a folder of his own.
pub(crate) fn scratch(store: &Path) -> PathBuf {
    beside(store, ".stillpoint-drill")
}

/// Restores `archive` into `scratch` and compares.
///
/// # Errors
/// [`ErrorKind::Corrupt`] (1411) where the archive cannot be restored to what it says it is; those
/// of the disk; [`ErrorKind::Stopped`] (1406).
pub(crate) fn drill(
    disk: &Arc<dyn Disk>,
    archive: &Archive,
    scratch: &Path,
    tell: Tell<'_>,
) -> Result<DrillReport> {
    let began = disk.elapsed();
    let cleared = |doing: &str| {
        remove_tree(&**disk, scratch)
            .and_then(|()| disk.sync_dir(atomic::parent(scratch)))
            .map_err(|e| Error::io(doing, scratch, e))
    };
    cleared("remove what an earlier drill left")?;
    let compared = archive.verify_chain_with(&mut *tell).and_then(|_| {
        let restored = archive.restore(scratch).on_progress(&mut *tell).run()?;
        let (tables, records) = compare(disk, archive, scratch, restored.bytes, &mut *tell)?;
        Ok((restored.bytes, tables, records))
    });
    let removed = cleared("remove the drill's scratch folder");
    let (bytes, tables, records) = compared?;
    removed?;
    Ok(DrillReport {
        archive: archive.path().to_path_buf(),
        number: archive.header().number,
        lsn: archive.header().lsn,
        tables,
        records,
        bytes,
        duration: disk.elapsed().saturating_sub(began),
    })
}

/// Compares the store in `dir`, of `bytes` restored bytes, with the archive; how many tables and records
/// are the same.
fn compare(
    disk: &Arc<dyn Disk>,
    archive: &Archive,
    dir: &Path,
    bytes: u64,
    tell: Tell<'_>,
) -> Result<(usize, u64)> {
    let header = archive.header();
    check_store(disk, dir, &mut *tell)?;
    let mut go_on = || match tell(Progress { done: bytes, total: bytes }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(stopped(dir)),
    };
    let restored = inspect(disk, dir, &EngineOptions::default())?;
    if restored.lsn() != header.lsn {
        let message = format!("it is at LSN {}, and not at {}", restored.lsn(), header.lsn);
        return Err(differs(archive, &message));
    }
    let in_place = archive.read()?;
    let mut records = 0;
    for table in &header.tables {
        let found = fingerprint(&restored, table.id, &mut go_on)?;
        if found.0 != table.records {
            let message =
                format!("table \"{}\" has {} records, not {}", table.name, found.0, table.records);
            return Err(differs(archive, &message));
        }
        if found != fingerprint(in_place.snapshot(), table.id, &mut go_on)? {
            let message = format!("records of table \"{}\" are not those saved", table.name);
            return Err(differs(archive, &message));
        }
        records += found.0;
    }
    let tables = restored.catalogue().iter().count();
    if tables != header.tables.len() {
        let message = format!("it has {tables} tables, and not {}", header.tables.len());
        return Err(differs(archive, &message));
    }
    Ok((tables, records))
}

/// How many records a table has, and what stands for all of them in their order.
fn fingerprint(
    snapshot: &Snapshot,
    table: u32,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<(u64, blake3::Hash)> {
    let mut hasher = blake3::Hasher::new();
    let mut cursor = snapshot.cursor(table);
    let mut records = 0;
    cursor.first()?;
    while let (Some(key), Some(value)) = (cursor.key(), cursor.value()?) {
        if records % ASK_EVERY == 0 {
            go_on()?;
        }
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key);
        hasher.update(&(value.len() as u64).to_le_bytes()).update(&value);
        records += 1;
        cursor.next()?;
    }
    Ok((records, hasher.finalize()))
}

fn differs(archive: &Archive, message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the restored store is not what was saved: {message}"))
        .with_code(code::CHECK)
        .at(archive.path())
        .hint("Make a new backup now, to another medium if this one is suspect.")
}
