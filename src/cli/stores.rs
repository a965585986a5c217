//! Stores and tables as the commands meet them: opened by name, missing ones told with advice.

use std::path::Path;

use stillpoint::disk::RealDisk;
use stillpoint::regime::{Regime, SETTINGS_FILE, SETTINGS_FOLDER, keep_log, report_interrupted};
use stillpoint::{
    DynTable, DynWriteTable, Error, ErrorKind, Keys, ReadHandle, Store, StoreBuilder, WriteHandle,
};

use super::by_hand;
use super::exit::{Failure, Outcome};

/// The file that makes a folder a store.
const DATA_FILE: &str = "store.data";

/// The folder of its log.
const LOG_FOLDER: &str = "log";

/// The folder in which a store is that is being replaced, by a rollback or a restore.
const REPLACEMENT: &str = "replacement";

/// Whether the folder is that of a store, be it whole or being replaced.
pub(crate) fn is_store(folder: &Path) -> bool {
    [DATA_FILE, REPLACEMENT].iter().any(|name| folder.join(name).exists())
}

/// Sees that `folder` is that of a store, which may be open elsewhere, or damaged; or that its settings
/// or its journal are left of one.
pub(crate) fn require(folder: &Path) -> Outcome {
    let settings = folder.join(SETTINGS_FOLDER).join(SETTINGS_FILE);
    if is_store(folder) || settings.exists() || has_journal(folder) {
        return Ok(());
    }
    let message = match folder.is_dir() {
        true => "there is no store in this folder",
        false => "there is no such folder",
    };
    let error = Error::new(ErrorKind::NotFound, message).at(folder);
    Err(error.hint("Name the folder of a store: the one with the file store.data.").into())
}

fn has_journal(folder: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(folder.join("Logs")) else { return false };
    entries.any(|entry| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("Backup Journal["))
    })
}

/// Opens the store in `folder`, which must be there.
pub(crate) fn open(folder: &Path) -> Outcome<Store> {
    Ok(opened(Store::open(folder)?))
}

/// Opens the store in `folder`, which must be there, for a command that writes: its log is kept where its
/// settings name a destination.
pub(crate) fn open_to_write(folder: &Path) -> Outcome<Store> {
    Ok(kept(open(folder)?))
}

/// `store`, whose log is kept from now on where its settings name a destination.
pub(crate) fn kept(store: Store) -> Store {
    if let Err(error) = keep_log(&store) {
        eprintln!("note: the log is not kept for a backup: {}", error.report());
    }
    store
}

/// Opens the store in `folder`, which must be there, for a command that only looks: to be read only where
/// it cannot be written.
pub(crate) fn open_to_look(folder: &Path) -> Outcome<Store> {
    Ok(opened(builder(folder).open()?))
}

/// Options for the store in `folder`, to be read only where it cannot be written.
fn builder(folder: &Path) -> StoreBuilder {
    Store::builder(folder).read_only(!can_be_written(folder))
}

/// Whether the store in `folder` can be opened for writing. What is not there is left to the opening.
fn can_be_written(folder: &Path) -> bool {
    let disk = RealDisk::new();
    let all = [folder.to_path_buf(), folder.join(DATA_FILE), folder.join(LOG_FOLDER)];
    all.iter().all(|path| disk.is_writable(path).unwrap_or(true))
}

/// Reports, where the process that had `store` open before was killed while it made a backup: this may be
/// the first that can.
pub(crate) fn opened(store: Store) -> Store {
    if store.stats().unfinished_backup.is_some() {
        by_hand::tell(report_interrupted(&store));
    }
    store
}

/// Opens the store in `folder` with its regime, to be read only where it cannot be written. What is due by
/// the schedule, and an automatic restore, is left to whoever keeps the store open: a command does one
/// thing. `keys` open its archives where they are encrypted.
pub(crate) fn open_with_regime(folder: &Path, keys: Keys) -> Outcome<Regime> {
    Ok(Regime::builder(builder(folder)).keys(keys).without_thread().without_catch_up().open()?)
}

/// The table `name` in `read`, which must be there.
pub(crate) fn table<'h>(read: &'h ReadHandle, name: &str) -> Outcome<DynTable<'h>> {
    read.dyn_table(name)?.ok_or_else(|| no_table(name))
}

/// The table `name` in `write`, which must be there.
pub(crate) fn table_to_write<'w>(write: &'w WriteHandle, name: &str) -> Outcome<DynWriteTable<'w>> {
    write.dyn_table(name)?.ok_or_else(|| no_table(name))
}

fn no_table(name: &str) -> Failure {
    Error::new(ErrorKind::NotFound, format!("there is no table \"{name}\""))
        .hint("`stillpoint tables DIR` lists those that there are; `stillpoint import` makes one.")
        .into()
}

/// The failure of a command that needs the record `key` of `table`.
pub(crate) fn no_record(table: &str, key: &str) -> Failure {
    Error::new(ErrorKind::NotFound, format!("there is no record \"{key}\" in table \"{table}\""))
        .into()
}
