//! What the catalogue says of a table, in the terms of this room, and whether a program agrees.

use super::key::KeyType;
use super::value::ValueType;
use crate::engine::TableId;
use crate::engine::TableInfo;
use crate::{Error, ErrorKind, Result};

/// Names of tables are at most this long, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// A table as the catalogue describes it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescription {
    /// Its name.
    pub name: String,
    /// Kind of its keys.
    pub key_type: KeyType,
    /// Kind of its values.
    pub value_type: ValueType,
    /// Its number, which it keeps through renames and which no other table ever gets.
    pub id: TableId,
}

impl TableDescription {
    pub(crate) fn of(info: &TableInfo) -> Result<TableDescription> {
        Ok(TableDescription {
            name: info.name.clone(),
            key_type: KeyType::from_encoding(&info.key_encoding)?,
            value_type: ValueType::from_encoding(&info.value_encoding)?,
            id: info.id,
        })
    }

    pub(crate) fn to_info(&self) -> TableInfo {
        TableInfo {
            id: self.id,
            name: self.name.clone(),
            key_encoding: self.key_type.encoding(),
            value_encoding: self.value_type.encoding().to_owned(),
        }
    }
}

/// Sees that the table has the types that a program expects.
pub(crate) fn check_types(info: &TableInfo, key: &KeyType, value: ValueType) -> Result<()> {
    if key.is_encoding(&info.key_encoding) && value.encoding() == info.value_encoding {
        return Ok(());
    }
    let stored = TableDescription::of(info)?;
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "table \"{}\" holds {} -> {}, and was opened as {key} -> {value}",
            info.name, stored.key_type, stored.value_type
        ),
    )
    .hint(
        "The types of a table are chosen when it is made. Open it with those, or use another name.",
    ))
}

/// The encoded key `key` as a person types it; where it is none of its table, its bytes.
pub(crate) fn key_text(info: &TableInfo, key: &[u8]) -> String {
    let text = KeyType::from_encoding(&info.key_encoding).and_then(|kind| kind.decode_text(key));
    text.unwrap_or_else(|_| format!("\"{}\"", key.escape_ascii()))
}

/// Says of an error of reading a record's key or value which record it is; others pass.
pub(crate) fn of_record(error: Error, info: Option<&TableInfo>, key: &[u8]) -> Error {
    if error.kind() != ErrorKind::Unreadable {
        return error;
    }
    let record = match info {
        Some(info) => format!("record {} of table \"{}\"", key_text(info, key), info.name),
        // Made by the handle that reads.
        None => format!("record \"{}\" of a new table", key.escape_ascii()),
    };
    error.with_message(format!("{record} cannot be read as the type that is asked for"))
}

/// Sees that `name` can be the name of a table.
pub(crate) fn check_name(name: &str) -> Result<()> {
    match name.len() {
        1..=MAX_NAME_BYTES => Ok(()),
        0 => Err(Error::new(ErrorKind::Invalid, "the name of a table is empty")),
        len => Err(Error::new(
            ErrorKind::Limit,
            format!("the name of a table has {len} bytes, and {MAX_NAME_BYTES} are allowed"),
        )),
    }
}
