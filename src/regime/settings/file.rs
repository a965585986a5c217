//! Which settings file is in force, and whether it changed.
//!
//! Two places are looked at: `Settings` in the store's folder (it wins), then `Settings` in the
//! folder that holds the store, for all stores in it. Where neither has a file, the defaults hold.
//! A file is written through a partial one, so that a reader sees the old or the new one, whole.

use std::io;
use std::path::{Path, PathBuf};

use super::check::{self, Problem};
use super::document::Document;
use super::key::{SettingKey, names};
use super::types::Settings;
use crate::disk::atomic::{create_dir_all, parent, read_whole, write_atomically};
use crate::disk::{Disk, EntryKind};
use crate::error::{Error, ErrorKind, Result, code};

/// The folder of settings, in the store's folder or in the one above.
pub const SETTINGS_FOLDER: &str = crate::store::SETTINGS;
/// The file in it.
pub const SETTINGS_FILE: &str = "Backup.4DSettings";
/// The longest file that is read.
pub const MAX_SETTINGS_BYTES: u64 = 4 << 20;

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Absent,
    There {
        len: u64,
        modified: i64,
    },
    /// It cannot be looked at, or is a link to what is not there: not the same as no settings.
    Hidden,
}

/// A settings file as it was read, or the place where one would be.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    /// The file in force; where there is none, the one that would be made.
    path: PathBuf,
    /// Where it was looked for, in that order, and what was there.
    places: Vec<(PathBuf, Stamp)>,
    /// `None` where no file is there.
    document: Option<Document>,
}

impl Settings {
    /// Reads the settings that are in force for the store in the folder `store`.
    ///
    /// # Errors
    /// Code 2007, with file and line, for a file that cannot be read or has a value that is not
    /// allowed; [`ErrorKind::NotFound`] where there is no such folder; those of the disk.
    pub fn load(disk: &dyn Disk, store: &Path) -> Result<(Settings, SettingsFile)> {
        let file = SettingsFile::open(disk, store)?;
        Ok((file.settings()?, file))
    }
}

impl SettingsFile {
    /// Reads the file that is in force for the store in the folder `store`, without judging values.
    ///
    /// # Errors
    /// As [`Settings::load`], but for values.
    pub fn open(disk: &dyn Disk, store: &Path) -> Result<SettingsFile> {
        let own = disk.canonical(store).map_err(|e| Error::io("find the store", store, e))?;
        let shared = parent(&own).to_path_buf();
        let place = |folder: &Path| folder.join(SETTINGS_FOLDER).join(SETTINGS_FILE);
        SettingsFile::at(disk, vec![place(&own), place(&shared)])
    }

    /// Reads the file at `path`, wherever that is, without judging values.
    ///
    /// # Errors
    /// As [`Settings::load`], but for values.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<SettingsFile> {
        let file = SettingsFile::at(disk, vec![path.to_path_buf()])?;
        match file.document {
            Some(_) => Ok(file),
            None => {
                Err(Error::new(ErrorKind::NotFound, "there is no such file of settings").at(path))
            }
        }
    }

    fn at(disk: &dyn Disk, places: Vec<PathBuf>) -> Result<SettingsFile> {
        // The stamps first: a change after them is noticed, be it read or not.
        let places: Vec<(PathBuf, Stamp)> =
            places.into_iter().map(|path| (path.clone(), stamp(disk, &path))).collect();
        let there =
            places.iter().find(|(_, stamp)| *stamp != Stamp::Absent).map(|(path, _)| path.clone());
        let document = there.as_ref().map(|path| parse(disk, path)).transpose()?;
        let path = there.unwrap_or_else(|| places[0].0.clone());
        Ok(SettingsFile { path, places, document })
    }

    /// The file in force; where there is none, the one that would be made.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file at all.
    pub fn is_there(&self) -> bool {
        self.document.is_some()
    }

    /// Whether a file came, went or changed since this was read. It costs two looks at metadata.
    pub fn changed(&self, disk: &dyn Disk) -> bool {
        self.places.iter().any(|(path, then)| stamp(disk, path) != *then)
    }

    /// Takes note of the files as they are now, so that [`changed`](SettingsFile::changed) tells the
    /// same change no second time: for whoever could not use it and goes on with what was.
    pub fn seen(&mut self, disk: &dyn Disk) {
        for (path, then) in &mut self.places {
            *then = stamp(disk, path);
        }
    }

    /// The settings that the file comes to.
    ///
    /// # Errors
    /// Code 2007 for values that are not allowed; the message names key, line and what is allowed.
    pub fn settings(&self) -> Result<Settings> {
        let Some(document) = &self.document else { return Ok(Settings::default()) };
        match check::read(document) {
            (settings, problems) if problems.is_empty() => Ok(settings),
            (_, problems) => Err(check::refuse(&self.path, &problems)),
        }
    }

    /// All values that are not allowed, in the order of their lines.
    pub fn problems(&self) -> Vec<Problem> {
        self.document.as_ref().map_or_else(Vec::new, |document| check::read(document).1)
    }

    /// Keys below `Settings` that nobody here knows, with their lines. They are kept as they are.
    pub fn unknown(&self) -> Vec<(String, u32)> {
        self.document.as_ref().map_or_else(Vec::new, check::unknown)
    }

    /// The line that says the value of `key`; `None` where the default holds.
    pub fn line_of(&self, key: &SettingKey) -> Option<u32> {
        let document = self.document.as_ref()?;
        let also = key.also.map(names);
        let found = document.find(&key.names()).or_else(|| document.find(&also?));
        found.map(|element| element.line)
    }

    /// Sets `key` to `values` (one, or any number for a list) and writes the file, which is made
    /// where there is none. Nothing else in it changes, not even values that are not allowed.
    ///
    /// # Errors
    /// Code 2007 for a value that is not allowed; [`ErrorKind::Busy`] where somebody else changed the
    /// file since it was read; those of the disk. The file is then as it was.
    ///
    /// # Durability
    /// The new file survives a power loss when this returns.
    pub fn set<S: AsRef<str>>(
        &mut self,
        disk: &dyn Disk,
        key: &SettingKey,
        values: &[S],
    ) -> Result<()> {
        let values: Vec<&str> = values.iter().map(|value| value.as_ref().trim()).collect();
        let mut document = self.document.clone().unwrap_or_else(Document::new);
        let changed = match key.is_list() {
            true => set_list(&mut document, key, &self.checked_items(key, &values)?),
            false => set_one(&mut document, key, &self.checked(key, &values)?),
        };
        changed.map_err(|fault| check::unreadable(&self.path, &fault))?;
        if self.changed(disk) {
            let message = "the settings were changed by somebody else meanwhile";
            return Err(Error::new(ErrorKind::Busy, message).at(&self.path));
        }
        write(disk, &self.path, &document.to_bytes())?;
        self.document = Some(document);
        self.seen(disk);
        Ok(())
    }

    /// The value as it is to stand in the file.
    fn checked(&self, key: &SettingKey, values: &[&str]) -> Result<String> {
        let [value] = values else {
            return Err(self.not_allowed(key, &values.join(" "), "one value"));
        };
        let mut settings = Settings::default();
        let field = (key.field)(&mut settings);
        match value.is_empty() || field.take(value, key.kind) {
            true => Ok(if value.is_empty() { String::new() } else { field.text() }),
            false => Err(self.not_allowed(key, value, &key.allowed())),
        }
    }

    fn checked_items(&self, key: &SettingKey, values: &[&str]) -> Result<Vec<String>> {
        let mut settings = Settings::default();
        if values.len() as u64 > check::MAX_ITEMS {
            let most = format!("at most {} items", check::MAX_ITEMS);
            return Err(self.not_allowed(key, &format!("{} items", values.len()), &most));
        }
        for value in values.iter().filter(|value| !value.is_empty()) {
            if !(key.field)(&mut settings).take(value, key.kind) {
                return Err(self.not_allowed(key, value, &key.allowed()));
            }
        }
        Ok((key.field)(&mut settings).items())
    }

    fn not_allowed(&self, key: &SettingKey, value: &str, allowed: &str) -> Error {
        let value = check::presentable(value);
        let value = value.escape_debug();
        let message = format!("{} cannot be \"{value}\"; allowed is {allowed}", key.path());
        check::wrong(&self.path, message)
    }

    /// Makes a copy of the file at `from` the own settings of the store in the folder `store`, byte
    /// for byte, after a check.
    ///
    /// # Errors
    /// As [`Settings::load`]; what was in force stays in force then.
    ///
    /// # Durability
    /// The new file survives a power loss when this returns.
    pub fn import(disk: &dyn Disk, store: &Path, from: &Path) -> Result<SettingsFile> {
        let own = disk.canonical(store).map_err(|e| Error::io("find the store", store, e))?;
        let foreign = SettingsFile::read(disk, from)?;
        foreign.settings()?;
        let bytes = foreign.document.as_ref().map(Document::to_bytes).unwrap_or_default();
        write(disk, &own.join(SETTINGS_FOLDER).join(SETTINGS_FILE), &bytes)?;
        SettingsFile::open(disk, store)
    }
}

fn set_one(
    document: &mut Document,
    key: &SettingKey,
    value: &str,
) -> std::result::Result<(), super::tree::Fault> {
    let also = key.also.map(names).filter(|path| document.find(path).is_some());
    if let Some(path) = also {
        document.set(&path, value)?;
    }
    document.set(&key.names(), value)
}

fn set_list(
    document: &mut Document,
    key: &SettingKey,
    items: &[String],
) -> std::result::Result<(), super::tree::Fault> {
    let path = key.names();
    let below = |name: &str| -> Vec<String> {
        path.iter().map(|name| (*name).to_owned()).chain([name.to_owned()]).collect()
    };
    let set = |document: &mut Document, name: &str, value: &str| {
        let names = below(name);
        document.set(&names.iter().map(String::as_str).collect::<Vec<_>>(), value)
    };
    set(document, "ItemsCount", &items.len().to_string())?;
    for (index, item) in items.iter().enumerate() {
        set(document, &format!("Item{}", index + 1), item)?;
    }
    for number in items.len() + 1.. {
        let names = below(&format!("Item{number}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if document.find(&names).is_none() {
            break;
        }
        document.remove(&names)?;
    }
    Ok(())
}

fn stamp(disk: &dyn Disk, path: &Path) -> Stamp {
    // A link is followed, so that a change of what it points to is seen.
    match disk.canonical(path).and_then(|real| disk.metadata(&real)) {
        Ok(found) => Stamp::There { len: found.len, modified: found.modified },
        Err(e) if is_absence(&e) && disk.metadata(path).is_err_and(|e| is_absence(&e)) => {
            Stamp::Absent
        }
        // Whoever reads it is told why.
        Err(_) => Stamp::Hidden,
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn parse(disk: &dyn Disk, path: &Path) -> Result<Document> {
    let real = disk.canonical(path).map_err(|e| cannot_read(path, e))?;
    let found = disk.metadata(&real).map_err(|e| cannot_read(path, e))?;
    if found.kind != EntryKind::File {
        return Err(check::wrong(path, "the settings are no file".to_owned()));
    }
    let bytes = match read_whole(disk, &real, MAX_SETTINGS_BYTES) {
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            return Err(check::wrong(path, format!("the settings cannot be read: {e}")));
        }
        result => result.map_err(|e| cannot_read(path, e))?,
    };
    Document::parse(&bytes).map_err(|fault| check::unreadable(path, &fault))
}

fn cannot_read(path: &Path, cause: io::Error) -> Error {
    Error::io("read the settings", path, cause).with_code(code::SETTINGS)
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |e| Error::io("write the settings", path, e);
    create_dir_all(disk, parent(path)).map_err(fail)?;
    // Where the file is a link, what it points to is replaced, and the link stays.
    let real = match disk.canonical(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_path_buf(),
        found => found.map_err(fail)?,
    };
    write_atomically(disk, &real, bytes).map_err(fail)
}
