//! A key of the settings: found by its name, and asked what it is, what it may say and what it says.
//!
//! Which keys there are is the business of `table`, the one place that knows them.

use super::document::SETTINGS;
use super::table::TABLE;
use super::types::Settings;
use super::value::{Field, Kind};
use crate::error::{Error, ErrorKind, Result, code};

/// A key of the settings.
pub struct SettingKey {
    pub(super) path: &'static str,
    /// Another place in which old files have it.
    pub(super) also: Option<&'static str>,
    pub(super) kind: Kind,
    pub(super) doc: &'static str,
    pub(super) field: fn(&mut Settings) -> &mut dyn Field,
}

impl SettingKey {
    /// All keys, in the order of the file.
    pub fn all() -> impl Iterator<Item = &'static SettingKey> {
        TABLE.iter().copied().flatten()
    }

    /// The key called `name`: its path below `Settings`, or the end of it where that is unique.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none; [`ErrorKind::Invalid`] where there are several,
    /// which it lists. Both have code 2007.
    pub fn find(name: &str) -> Result<&'static SettingKey> {
        let name = name.trim_matches('/');
        let said = |path: &str| path.eq_ignore_ascii_case(name);
        let ends = |path: &str| {
            let cut = path.len().checked_sub(name.len()).filter(|cut| path.is_char_boundary(*cut));
            cut.is_some_and(|cut| said(&path[cut..]) && (cut == 0 || path[..cut].ends_with('/')))
        };
        let whole = |key: &&SettingKey| said(key.path) || key.also.is_some_and(said);
        if let Some(key) = SettingKey::all().find(whole) {
            return Ok(key);
        }
        let found: Vec<_> = SettingKey::all()
            .filter(|key| !name.is_empty() && (ends(key.path) || key.also.is_some_and(ends)))
            .collect();
        let shown = name.escape_debug();
        match found[..] {
            [key] => Ok(key),
            [] => Err(Error::new(ErrorKind::NotFound, format!("there is no setting \"{shown}\""))
                .with_code(code::SETTINGS)
                .hint("`stillpoint settings DIR show` lists all that there are.")),
            _ => {
                let paths: Vec<&str> = found.iter().map(|key| key.path).collect();
                let message = format!("several settings are called \"{shown}\"");
                Err(Error::new(ErrorKind::Invalid, message)
                    .with_code(code::SETTINGS)
                    .hint(format!("Say which one: {}.", paths.join(", "))))
            }
        }
    }

    /// Its path below `Settings`, with `/` between the names.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// What it is for.
    pub fn doc(&self) -> &'static str {
        self.doc
    }

    /// What its type is called.
    pub fn kind(&self) -> &'static str {
        self.kind.name()
    }

    /// What is allowed for it.
    pub fn allowed(&self) -> String {
        self.kind.allowed()
    }

    /// Whether it has any number of values.
    pub fn is_list(&self) -> bool {
        self.kind == Kind::Paths
    }

    /// What `settings` have for it: one text, or any number for a list.
    pub fn values(&self, settings: &Settings) -> Vec<String> {
        (self.field)(&mut settings.clone()).items()
    }

    /// What holds where a file says nothing.
    pub fn default_values(&self) -> Vec<String> {
        self.values(&Settings::default())
    }

    /// Its path below the root of a file, name by name.
    pub(super) fn names(&self) -> Vec<&'static str> {
        names(self.path)
    }
}

/// A path below `Settings`, as one below the root of a file.
pub(super) fn names(path: &str) -> Vec<&str> {
    SETTINGS.into_iter().chain(path.split('/')).collect()
}

impl std::fmt::Debug for SettingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SettingKey({})", self.path)
    }
}
