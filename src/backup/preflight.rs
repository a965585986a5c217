//! Before anything is touched: name, number, destination, space, what a dead run left behind.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attachments::{self, Listed};
use super::builder::{BackupBuilder, Base};
use super::foreign;
use super::lineage::Lineage;
use crate::archive::{
    ArchiveKind, ArchiveName, ArchivePlace, Claim, Compression, partial, remove_unfinished,
};
use crate::destination::Catalogue;
use crate::disk::atomic::{parent, sync_names};
use crate::disk::{Access, Disk, EntryKind, OpenMode};
use crate::engine::{DATA_FILE, LOG_DIR};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::UnfinishedBackup;

const NO_ROOM: &str = "Remove what is not needed there, or choose another destination.";

/// Where an archive will be written.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) name: ArchiveName,
    /// The file once it is sealed; its first segment where it has such.
    pub(super) archive: PathBuf,
    /// The store, which marks its unfinished files.
    store: u128,
    /// Who may do what with the store, and so at most with the archive.
    access: Option<Access>,
    /// What is to be saved beside the store.
    pub(super) listed: Vec<Listed>,
    /// What the archive goes on from.
    pub(super) lineage: Lineage,
    /// Nobody else removes what is unfinished while it lives.
    claim: Arc<Claim>,
}

impl Place {
    pub(super) fn number(&self) -> u32 {
        self.name.number()
    }

    /// The path of the archive that is right also when the process works in another folder.
    pub(super) fn lasting(&self, disk: &Arc<dyn Disk>) -> PathBuf {
        let folder = disk.canonical(&self.folder).unwrap_or_else(|_| self.folder.clone());
        self.archive.file_name().map_or_else(|| folder.clone(), |name| folder.join(name))
    }

    /// What the store remembers of the backup, begun at `started`, until its end.
    pub(super) fn unfinished(&self, disk: &Arc<dyn Disk>, started: i64) -> UnfinishedBackup {
        UnfinishedBackup {
            started,
            number: self.number(),
            destination: parent(&self.lasting(disk)).to_path_buf(),
            set: self.name.set().to_owned(),
        }
    }

    /// Where pages are written that the store does not have, for a backup of a store that is only read.
    pub(super) fn scratch(&self) -> PathBuf {
        let name = format!("{}[{:04}].pages", self.name.set(), self.number());
        self.folder.join(partial(&name, self.store))
    }

    /// Whose the unfinished files are.
    pub(super) fn access(&self) -> Option<Access> {
        self.access
    }

    /// Where the archive called `name` is written.
    pub(super) fn of(&self, name: ArchiveName) -> ArchivePlace {
        let (folder, access) = (self.folder.clone(), self.access);
        ArchivePlace { folder, name, store: self.store, access }
    }

    /// Sees that the destination is the folder that was looked at: another one may hold anything, and
    /// gets nothing from this backup.
    pub(super) fn check(&self) -> Result<()> {
        if self.claim.is_in_place() {
            return Ok(());
        }
        let message = "the destination was moved, removed or replaced during the backup";
        Err(unusable(Error::new(ErrorKind::BackupFailed, message).at(&self.folder)))
    }

    /// Removes what an unfinished backup leaves. What cannot be removed now, or may be another's who
    /// writes there for the same store, is recognised by its name, and removed by a later run.
    pub(super) fn discard(&self, disk: &Arc<dyn Disk>) {
        let _left_over = remove_unfinished(disk, &self.folder, self.store, Some(&self.claim));
    }
}

/// Looks at all that the copy needs; `will_free` bytes of the destination are about to be freed.
pub(super) fn run(backup: &BackupBuilder, will_free: u64) -> Result<Place> {
    check_log(backup)?;
    check_base(backup)?;
    let engine = &backup.inner.engine;
    let (disk, folder) = (engine.disk(), &backup.destination);
    check_folder(&**disk, folder, engine.dir())?;
    let asked = &backup.options.attachments;
    let listed = attachments::list(disk, engine.dir(), asked, &backup.participants);
    attachments::check(disk, &listed, engine.dir(), folder)?;
    let store_id = engine.store_id();
    let claim = Arc::new(Claim::new(disk, folder, store_id).map_err(unusable)?);
    remove_unfinished(disk, folder, store_id, Some(&claim)).map_err(unusable)?;
    let set = match &backup.options.name {
        Some(name) => name.clone(),
        None => default_name(engine.dir()),
    };
    let keys = backup.earlier_keys();
    let catalogue = Catalogue::of_folder(disk, folder, &keys).map_err(unusable)?;
    let known = backup.options.number_from.saturating_sub(1);
    let number = catalogue.next_number(&set, [known]).map_err(unusable)?.number;
    let last = catalogue.last_full(&set, store_id);
    let lineage = super::lineage::choose(backup, catalogue)?;
    let kind = match lineage.parent {
        Some(_) => ArchiveKind::Incremental,
        None => ArchiveKind::Full,
    };
    let layers = &backup.options.layers;
    layers.check()?;
    let name = ArchiveName::new(set, number)?.of_kind(kind);
    let access = engine.folder().access()?;
    let place = ArchivePlace { folder: folder.clone(), name, store: store_id, access };
    let (name, archive) = (place.whole(layers), place.path(layers));
    check_space(backup, last, will_free)?;
    let probe = format!("{}[{:04}].probe", name.set(), name.number());
    let probe = folder.join(partial(&probe, store_id));
    check_writable(&**disk, &probe).map_err(unusable)?;
    // What is named there later is durable as far as this is.
    let synced = sync_names(&**disk, folder);
    synced.map_err(|e| unusable(Error::io("sync the folders above", folder, e)))?;
    let folder = folder.clone();
    Ok(Place { lineage, folder, archive, store: store_id, access, name, listed, claim })
}

/// Where the log has failed, nobody can tell which commits a backup would have to hold.
fn check_log(backup: &BackupBuilder) -> Result<()> {
    match backup.inner.engine.latched() {
        Some(latched) if latched.code() == code::LOG_UNAVAILABLE => {
            let message = "the log has failed, and no backup can be made";
            Err(Error::new(ErrorKind::BackupFailed, message)
                .with_code(code::LOG_CRITICAL)
                .because(latched)
                .hint("Close the store and open it again, then make the backup."))
        }
        _ => Ok(()),
    }
}

/// Where the store is only read, an archive may hold pages that are not those of its data file.
fn check_base(backup: &BackupBuilder) -> Result<()> {
    if backup.options.base == Base::Nothing {
        return Ok(());
    }
    let refused = backup.inner.engine.folder().check_writable();
    refused.map_err(|error| {
        let message = "the store was opened to be read only, and its backups are full ones";
        error.with_message(message).hint("Make a full backup.")
    })
}

fn default_name(dir: &Path) -> String {
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| crate::archive::check_set_name(name).is_ok())
        .unwrap_or_else(|| "store".to_owned())
}

fn unusable(error: Error) -> Error {
    match error.kind() {
        ErrorKind::StorageFull => error.with_code(code::DESTINATION).hint(NO_ROOM),
        _ => error
            .with_kind(ErrorKind::BackupFailed)
            .with_code(code::DESTINATION)
            .hint("Choose a folder that is there and can be written."),
    }
}

fn missing(folder: &Path, cause: std::io::Error) -> Error {
    let foreign = match cause.kind() {
        std::io::ErrorKind::NotFound => foreign::advice(folder, "DestinationFolder"),
        _ => None,
    };
    let error = unusable(Error::io("use the destination", folder, cause));
    match foreign {
        Some(advice) => error.hint(advice),
        None => error,
    }
}

/// Sees that archives of the store in `store` can go into `folder`, without writing there.
///
/// # Errors
/// 1407: it is missing, no folder, or lies within the store.
pub(crate) fn check_folder(disk: &dyn Disk, folder: &Path, store: &Path) -> Result<()> {
    let found =
        disk.metadata(folder).and_then(|found| disk.canonical(folder).map(|path| (found, path)));
    let (found, real) = found.map_err(|e| missing(folder, e))?;
    let is_folder = match found.kind {
        EntryKind::Symlink => disk.metadata(&real).is_ok_and(|m| m.kind == EntryKind::Dir),
        kind => kind == EntryKind::Dir,
    };
    if !is_folder {
        let error = Error::new(ErrorKind::BackupFailed, "the destination is not a folder");
        return Err(unusable(error.at(folder)));
    }
    if within(disk, &real, store)? {
        let error = Error::new(ErrorKind::BackupFailed, "the destination lies within the store")
            .with_code(code::DESTINATION)
            .at(folder)
            .hint("Choose a folder outside the store, best on another disk.");
        return Err(error);
    }
    if let Some(other) = store_above(disk, &real) {
        let message = format!("the destination lies within the store {}", other.display());
        let error = Error::new(ErrorKind::BackupFailed, message).with_code(code::DESTINATION);
        return Err(error.at(folder).hint("Choose a folder outside of any store."));
    }
    Ok(())
}

/// Whether `folder` is a folder of the store in `store`, or of another one, where nobody but the store
/// writes.
pub(crate) fn within_store(disk: &dyn Disk, folder: &Path, store: &Path) -> bool {
    let Ok(real) = disk.canonical(folder) else { return false };
    within(disk, &real, store).unwrap_or(false) || store_above(disk, &real).is_some()
}

/// The store in whose folder `real` lies.
fn store_above<'p>(disk: &dyn Disk, real: &'p Path) -> Option<&'p Path> {
    real.ancestors().find(|above| disk.metadata(&above.join(DATA_FILE)).is_ok())
}

fn within(disk: &dyn Disk, real: &Path, store: &Path) -> Result<bool> {
    let store = disk.canonical(store).map_err(|e| Error::io("find the store", store, e))?;
    // The log may lie elsewhere, at the end of a link.
    let log = disk.canonical(&store.join(LOG_DIR));
    Ok(real.starts_with(&store) || log.is_ok_and(|log| real.starts_with(&log)))
}

/// Writes where the archive will be written, and takes it back: a destination that cannot be written
/// is told before anybody is asked to wait. What a crash leaves has the name of an unfinished archive.
fn check_writable(disk: &dyn Disk, partial: &Path) -> Result<()> {
    let written = disk.open(partial, OpenMode::CreateNew).and_then(|file| {
        let written = file.write_at(&[0; 4096], 0).and_then(|()| file.sync());
        // What cannot be removed now is recognised by its name, and removed by the next run.
        let _left_over = disk.remove_file(partial);
        written
    });
    written.map_err(|e| Error::io("write into the destination", partial, e))
}

/// Refuses a destination that has no room for what the archive is forecast to take. `last` is what the
/// last whole archive took, and what it saved; `will_free` bytes are about to be freed there.
fn check_space(backup: &BackupBuilder, last: Option<(u64, u64)>, will_free: u64) -> Result<()> {
    if backup.options.base != Base::Nothing {
        // How much changed is known only when the checkpoint is there.
        return Ok(());
    }
    let engine = &backup.inner.engine;
    let stats = engine.stats();
    let live = stats.data_file_bytes.saturating_sub(stats.free_bytes);
    let packed = backup.options.compression != Compression::None;
    let (needed, why) = forecast(live, packed, last);
    let mut needed = backup.options.layers.with_parity(needed);
    if engine.is_read_only() && engine.is_ahead_of_pages() {
        // The pages of all records are written there first.
        needed = needed.saturating_add(live);
    }
    let folder = &backup.destination;
    let free = engine
        .disk()
        .free_space(folder)
        .map_err(|e| unusable(Error::io("measure the destination", folder, e)))?;
    if free.saturating_add(will_free) < needed {
        let message = format!("the backup needs about {needed} bytes ({why}), and {free} are free");
        return Err(Error::new(ErrorKind::StorageFull, message)
            .with_code(code::DESTINATION)
            .at(folder)
            .hint(NO_ROOM));
    }
    Ok(())
}

/// About how many bytes an archive takes of a store with `live` bytes, and by what that is told. A whole
/// archive before it is the best guess, in proportion to what it saved; where the store is less than
/// half of that by now, or the rest of it was free, it takes less. Without one it is taken that a store
/// packs to an eighth: less than that hardly any does.
fn forecast(live: u64, packed: bool, last: Option<(u64, u64)>) -> (u64, String) {
    match last {
        _ if !packed => (live, "nothing is packed".to_owned()),
        Some((took, saved)) if saved > 0 => {
            let grown = u128::from(took) * u128::from(live) / u128::from(saved);
            let grown = u64::try_from(grown).unwrap_or(u64::MAX);
            let needed = if live < saved / 2 { grown } else { grown.max(took) };
            (needed, format!("the last one took {took} for {saved}"))
        }
        _ => (live / 8, "an eighth of the store, as there is none before it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::forecast;

    #[test]
    fn the_last_archive_and_the_growth_of_the_store_tell_how_much_the_next_one_takes() {
        let mb = |n: u64| n << 20;
        assert_eq!(forecast(mb(30), true, Some((mb(2), mb(30)))).0, mb(2), "packs well");
        assert_eq!(forecast(mb(17), true, Some((mb(17), mb(17)))).0, mb(17), "does not pack");
        assert_eq!(forecast(mb(60), true, Some((mb(2), mb(30)))).0, mb(4), "has grown");
        assert_eq!(forecast(mb(3), true, Some((mb(10), mb(30)))).0, mb(1), "has shrunk");
        assert_eq!(forecast(mb(8), false, Some((mb(1), mb(8)))).0, mb(8), "is not packed now");
        assert_eq!(forecast(mb(8), true, None).0, mb(1), "is the first");
        assert_eq!(forecast(u64::MAX, true, Some((u64::MAX, 1))).0, u64::MAX);
    }
}
