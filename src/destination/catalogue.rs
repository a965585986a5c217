//! What one look at a destination found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::storage::{Folder, Object, Storage};
use super::stored::{StoredArchive, StoredBackup, StoredLog};
use crate::archive::{ArchiveKind, ArchiveName, Keys, group, numbered};
use crate::disk::Disk;
use crate::engine::StoreId;
use crate::error::{Error, Result};

/// The archives of a destination. Names and lengths are as they were when it was read; what an
/// archive says of itself is read when it is first asked for, and once.
pub(crate) struct Catalogue {
    storage: Arc<dyn Storage>,
    keys: Keys,
    /// By set, number and kind.
    archives: Vec<StoredArchive>,
    /// Every name that carries the number of a set, those of archives too.
    pub(super) taken: Vec<(String, u32)>,
}

impl Catalogue {
    /// Reads the folder `folder`; `keys` open archives that are encrypted.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub(crate) fn of_folder(disk: &Arc<dyn Disk>, folder: &Path, keys: &Keys) -> Result<Catalogue> {
        Catalogue::read(Arc::new(Folder::new(disk, folder)), keys)
    }

    /// A folder that nobody has made yet.
    pub(crate) fn empty(disk: &Arc<dyn Disk>, folder: &Path) -> Catalogue {
        let storage = Arc::new(Folder::new(disk, folder));
        Catalogue { storage, keys: Keys::none(), archives: Vec::new(), taken: Vec::new() }
    }

    /// Reads `storage`.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub(crate) fn read(storage: Arc<dyn Storage>, keys: &Keys) -> Result<Catalogue> {
        let objects = storage.list()?;
        let taken = objects.iter().filter_map(|object| numbered(&object.name));
        let taken = taken.map(|(set, number)| (set.to_owned(), number)).collect();
        let lengths: HashMap<&str, u64> =
            objects.iter().filter_map(|o| Some((o.name.as_str(), o.bytes?))).collect();
        let path = |name: &str| storage.location().join(name);
        let named = |object: &Object| {
            let name = ArchiveName::parse(&object.name)?;
            Some((name, path(&object.name), object.bytes?))
        };
        let archives = group(objects.iter().filter_map(named).collect()).into_iter();
        let archives = archives.map(|listed| {
            let parity = listed.name.parity();
            let parity = lengths.contains_key(parity.as_str()).then(|| path(&parity));
            let length = |path: &PathBuf| {
                let name = path.file_name().and_then(|name| name.to_str())?;
                Some((path.clone(), *lengths.get(name)?))
            };
            let parts = parity.iter().chain(&listed.files).filter_map(length).collect();
            StoredArchive::new(&storage, keys, listed, parity, parts)
        });
        let archives = archives.collect();
        Ok(Catalogue { archives, taken, storage, keys: keys.clone() })
    }

    /// Where the destination is.
    pub(crate) fn location(&self) -> &Path {
        self.storage.location()
    }

    /// What opens its archives.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What the archives lie in.
    pub(crate) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// All archives, by set, number and kind.
    pub(crate) fn archives(&self) -> &[StoredArchive] {
        &self.archives
    }

    /// Those with the name of the set `set`.
    pub(crate) fn of_set(&self, set: &str) -> impl Iterator<Item = &StoredArchive> {
        self.archives.iter().filter(move |archive| archive.name().set() == set)
    }

    /// The backups of `store` among those of `set`.
    pub(crate) fn backups(
        &self,
        set: &str,
        store: StoreId,
    ) -> impl Iterator<Item = (&StoredArchive, &StoredBackup)> {
        let described = self.of_set(set).filter_map(|one| Some((one, one.backup()?)));
        described.filter(move |(_, backup)| backup.header.store_id == store)
    }

    /// The log archives of `store` among those of `set`.
    pub(crate) fn logs(
        &self,
        set: &str,
        store: StoreId,
    ) -> impl Iterator<Item = (&StoredArchive, &StoredLog)> {
        let described = self.of_set(set).filter_map(|one| Some((one, one.log()?)));
        described.filter(move |(_, log)| log.header.store_id == store)
    }

    /// Why archives of `set` cannot be read.
    pub(crate) fn problems(&self, set: &str) -> impl Iterator<Item = &Error> {
        self.of_set(set).filter_map(StoredArchive::problem)
    }

    /// Length in bytes of the last set: of the archive with the highest number that an archive vouches
    /// for, all of its files, and of the log archive before it.
    pub(crate) fn last_set_bytes(&self, set: &str) -> u64 {
        let good = self.of_set(set).filter(|one| one.is_as_named() && !one.is_log());
        let Some(newest) = good.map(|one| one.name().number()).max() else { return 0 };
        let of_last = self.of_set(set).filter(|one| {
            let back = u32::from(one.is_log());
            one.name().number().checked_add(back) == Some(newest)
        });
        of_last.map(StoredArchive::all_bytes).sum()
    }

    /// Of the last whole archive of the data of `store` in `set`: its length in bytes without parity, and
    /// how many bytes it saved.
    pub(crate) fn last_full(&self, set: &str, store: StoreId) -> Option<(u64, u64)> {
        let whole: Vec<&StoredArchive> =
            self.of_set(set).filter(|one| one.name().kind() == ArchiveKind::Full).collect();
        whole.into_iter().rev().find_map(|stored| {
            let header = &stored.backup().filter(|_| stored.is_as_named())?.header;
            let ours = header.store_id == store && header.data;
            ours.then_some((stored.bytes(), header.source_bytes))
        })
    }

    /// The archive that is opened by the file at `path`.
    pub(crate) fn at(&self, path: &Path) -> Option<&StoredArchive> {
        self.archives.iter().find(|archive| archive.path() == path)
    }
}
