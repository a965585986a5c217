//! What a log says of one commit, for people and programs.

use serde_json::{Map, Value as Json, json};

use super::segment::{Contexts, Segment, each_commit};
use super::tables::Tables;
use crate::engine::log::Group;
use crate::engine::{CATALOGUE, Change, Lsn, TableId, TableInfo, Timeline};
use crate::error::{Error, Result, code};
use crate::store::TableDescription;

/// A commit as it stands in a log.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct LogCommit {
    /// Its place in history.
    pub lsn: Lsn,
    /// Its time, in microseconds since the Unix epoch.
    pub time: i64,
    /// Its timeline.
    pub timeline: Timeline,
    /// Number of its context, in its segment.
    pub context_id: u32,
    /// Who made it: names and values, such as `process`, `user`, `host`, `task`.
    pub context: Vec<(String, String)>,
    /// What it did, in order.
    pub operations: Vec<LogOperation>,
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum LogAction {
    /// A record was added, or got another value: which of both is not known.
    Put,
    /// A record was added.
    Create,
    /// A record that was there got another value.
    Modify,
    /// A record was removed.
    Delete,
    /// A table was made, or renamed.
    DefineTable,
    /// A table was removed with all its records.
    DropTable,
}

impl LogAction {
    fn number(self) -> u32 {
        match self {
            LogAction::Put => 1,
            LogAction::Delete => 2,
            LogAction::DefineTable => 3,
            LogAction::DropTable => 4,
            LogAction::Create => 5,
            LogAction::Modify => 6,
        }
    }

    /// What it did, as an exported log names it.
    pub fn name(self) -> &'static str {
        match self {
            LogAction::Put => "Put record",
            LogAction::Create => "Create record",
            LogAction::Modify => "Modify record",
            LogAction::Delete => "Delete record",
            LogAction::DefineTable => "Define table",
            LogAction::DropTable => "Drop table",
        }
    }
}

/// One operation of a commit.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct LogOperation {
    /// What it did.
    pub action: LogAction,
    /// The number of the table.
    pub table: TableId,
    /// The table, where it is known: name, kinds of keys and values.
    pub description: Option<TableDescription>,
    /// The record's key, encoded; empty for what was done to a table.
    pub key: Vec<u8>,
    /// The stored bytes of the record's value; `None` where there is none.
    pub value: Option<Vec<u8>>,
}

impl LogOperation {
    /// Whether it was done to a record, and not to a table.
    pub fn is_of_record(&self) -> bool {
        !matches!(self.action, LogAction::DefineTable | LogAction::DropTable)
    }

    /// The key as JSON, or as a string of hexadecimal digits where the table is not known.
    pub fn key_json(&self) -> Json {
        let known = self.description.as_ref();
        let decoded = known.and_then(|table| table.key_type.decode_json(&self.key).ok());
        decoded.unwrap_or_else(|| hex(&self.key))
    }

    /// The value as JSON, or as a string of hexadecimal digits where the table is not known.
    pub fn value_json(&self) -> Option<Json> {
        let (value, known) = (self.value.as_ref()?, self.description.as_ref());
        let decoded = known.and_then(|table| table.value_type.decode_json(value).ok());
        Some(decoded.unwrap_or_else(|| hex(value)))
    }
}

fn hex(bytes: &[u8]) -> Json {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

impl LogCommit {
    /// One object for each operation, with the properties of an exported log: `operationType`,
    /// `operationName`, `operationNumber` (the LSN), `contextID`, `timeStamp` (UTC), `dataLen`,
    /// `tableID`, `tableName`, `primaryKey`, `fields` (the value), `extraData` (who made it).
    pub fn to_json(&self) -> Vec<Json> {
        self.operations.iter().map(|operation| self.object(operation)).collect()
    }

    fn object(&self, operation: &LogOperation) -> Json {
        let mut object = Map::new();
        let mut put = |name: &str, value: Json| object.insert(name.to_owned(), value);
        put("operationType", operation.action.number().into());
        put("operationName", operation.action.name().into());
        put("operationNumber", self.lsn.into());
        put("contextID", self.context_id.into());
        put("timeStamp", timestamp(self.time).into());
        put("dataLen", operation.value.as_ref().map_or(0, Vec::len).into());
        put("tableID", operation.table.into());
        if let Some(table) = &operation.description {
            put("tableName", table.name.clone().into());
        }
        match operation.action {
            LogAction::Put | LogAction::Create | LogAction::Modify | LogAction::Delete => {
                put("primaryKey", operation.key_json());
            }
            LogAction::DefineTable => {
                let types = operation.description.as_ref().map(|table| {
                    let (key, value) = (table.key_type.encoding(), table.value_type.encoding());
                    json!({ "keyType": key, "valueType": value })
                });
                put("fields", types.unwrap_or(Json::Null));
            }
            LogAction::DropTable => {}
        }
        if operation.value.is_some() {
            put("fields", operation.value_json().unwrap_or(Json::Null));
        }
        let extra = self.context.iter().map(|(name, value)| (name.clone(), value.clone().into()));
        put("extraData", Json::Object(extra.collect()));
        Json::Object(object)
    }
}

/// Microseconds since the Unix epoch as UTC, to the millisecond that is not before them: as the point
/// of a restore it takes the commit in.
fn timestamp(micros: i64) -> String {
    let millis = micros.saturating_add(999).div_euclid(1000);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => format!("{millis} ms"),
    }
}

/// Calls `visit` for each commit of `group` that is later than `after` and not later than `upto`.
pub(super) fn commits(
    segment: &Segment,
    group: &Group<'_>,
    contexts: &Contexts,
    tables: &mut Tables,
    range: (Lsn, Lsn),
    visit: &mut dyn FnMut(LogCommit, &Tables) -> Result<()>,
) -> Result<()> {
    let malformed = |why: String| Error::corrupt(segment.path(), why).with_code(code::LOG_CHECK);
    let mut result = Ok(());
    let walked = each_commit(group, |lsn, context_id, ops| {
        let mut operations = Vec::with_capacity(ops.len());
        for op in ops {
            // What is renamed or dropped is told with the name that it had before.
            let dropped = operation(tables, op.table, op.key, op.change);
            tables.follow(op.table, op.key, op.change);
            operations.push(dropped);
        }
        if lsn > range.0 && lsn <= range.1 && result.is_ok() {
            let context = contexts.get(&context_id).map(|context| context.pairs.clone());
            let commit = LogCommit {
                lsn,
                time: group.head.time,
                timeline: segment.header().timeline,
                context_id,
                context: context.unwrap_or_default(),
                operations,
            };
            result = visit(commit, tables);
        }
        Ok(())
    });
    walked.map_err(|why| malformed(format!("a group of the log is malformed: {why}")))?;
    result
}

fn operation(tables: &Tables, table: TableId, key: &[u8], change: Change<'_>) -> LogOperation {
    if table == CATALOGUE {
        let id = key.try_into().map(TableId::from_be_bytes).unwrap_or(CATALOGUE);
        let (action, description) = match change {
            Change::Put(definition) => {
                let info = TableInfo::decode(key, definition).ok();
                let described = info.and_then(|info| TableDescription::of(&info).ok());
                (LogAction::DefineTable, described)
            }
            Change::Delete => (LogAction::DropTable, tables.get(id).cloned()),
        };
        return LogOperation { action, table: id, description, key: Vec::new(), value: None };
    }
    let (action, value) = match change {
        Change::Put(value) => (LogAction::Put, Some(value.to_vec())),
        Change::Delete => (LogAction::Delete, None),
    };
    let description = tables.get(table).cloned();
    LogOperation { action, table, description, key: key.to_vec(), value }
}
