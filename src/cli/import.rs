//! `stillpoint import`: rows of a file become records of a table.
//!
//! The file is read twice. The first pass checks every row against every bound that the second would
//! meet, and finds the type of the keys, so that a file with a bad row changes nothing; the second
//! writes, at most [`BATCH`] rows in a transaction. An import that fails or is stopped takes back the
//! table or the store that it made, also where the disk is full; where it added to a table that was
//! there, the batches that are committed stay, and it says how many.

mod new_store;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{Error, ErrorKind, KeyBuf, KeyType, MAX_VALUE_BYTES, Store, ValueType};

use super::exit::{Failure, Outcome};
use super::output_file;
use super::rows::{AskedKeys, Bytes, Format, KeyKind, KeyScout, Row, Rows, key_cell};
use super::show::thermometer::Thermometer;
use super::show::{Output, human};
use super::stop::Stop;
use super::stores;
use new_store::NewStore;

/// Rows in one transaction: enough that the commits cost little, few enough to hold in memory.
const BATCH: usize = 10_000;
/// Bytes of keys and values after which a transaction ends before it has so many rows.
const BATCH_BYTES: usize = 16 << 20;

/// Put the rows of a CSV or JSON-lines file into a table.
///
/// Creates the store and the table where they are missing. If every key is an integer, the keys of
/// a new table are integers, else text. A CSV cell stays text; a JSON value keeps its type. A row
/// whose key is in the table already replaces that record.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The folder of the store.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The table.
    table: String,
    /// The file: .csv, .jsonl or .ndjson, packed or not (.zst).
    file: PathBuf,
    /// The column that holds the key of each row.
    #[arg(long, value_name = "COLUMN")]
    key: String,
    /// The type of the keys of a new table, where it is not to be found from the keys: "text", or
    /// "integer", also for integers that JSON has as text.
    #[arg(long, value_enum, value_name = "TYPE")]
    keys: Option<AskedKeys>,
    /// The column of the key is no part of the records.
    #[arg(long)]
    key_apart: bool,
    /// The record is what this column holds, and not the row.
    #[arg(long, value_name = "COLUMN")]
    value: Option<String>,
    /// The format of the file, where its name does not say.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// What an import did.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) rows: u64,
    pub(crate) added: u64,
    pub(crate) replaced: u64,
    /// The last commit of it.
    pub(crate) lsn: u64,
}

impl Import {
    /// An import of `file` as the command line would ask for it.
    pub(crate) fn of(store: &Path, table: &str, file: &Path, key: &str) -> Import {
        Import {
            store: store.to_path_buf(),
            table: table.to_owned(),
            file: file.to_path_buf(),
            key: key.to_owned(),
            keys: None,
            key_apart: false,
            value: None,
            format: None,
        }
    }

    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let done = self.perform(output.json, stop)?;
        self.print(output, &done)
    }

    /// Does it, with a thermometer unless it is to be `silent`.
    pub(crate) fn perform(&self, silent: bool, stop: &Stop) -> Outcome<Imported> {
        let format = Format::of(&self.file, self.format)?;
        let store = self.open_if_there()?;
        let kept = match &store {
            Some(store) => self.kept_table(store)?,
            None => None,
        };
        let thermometer = Thermometer::new(silent);
        let max_key = match &store {
            Some(store) => store.max_key_bytes(),
            None => Store::builder(&self.store).max_key_bytes(),
        };
        let pass = Pass { import: self, format, stop, thermometer: &thermometer };
        let (table, rows) = pass.check(kept.as_ref(), max_key)?;
        match store {
            None => self.write_new_store(&pass, &table, rows),
            Some(store) if kept.is_none() => self.write_new_table(&pass, &store, &table, rows),
            Some(store) => pass
                .write(&store, &table, rows)
                .map_err(|(done, failure)| self.with_remains(&done, failure)),
        }
    }

    fn write_new_store(&self, pass: &Pass<'_>, table: &Types, rows: u64) -> Outcome<Imported> {
        output_file::refuse_in_store(&self.store)?;
        let before = NewStore::at(&self.store);
        let store = Store::create(&self.store).inspect_err(|error| before.undo_creation(error))?;
        let written = make_table(&store, &self.table, table)
            .and_then(|()| pass.write(&store, table, rows).map_err(|(_, failure)| failure));
        let closed = store.close();
        drop(store);
        match written {
            Ok(done) => closed.map(|()| done).map_err(Failure::from),
            // A full disk may refuse the close too, of a store that is taken back anyway.
            Err(failure) => Err(match before.take_back() {
                Ok(()) => failure,
                Err(left) => failure.because_left(&left),
            }),
        }
    }

    fn write_new_table(
        &self,
        pass: &Pass<'_>,
        store: &Store,
        table: &Types,
        rows: u64,
    ) -> Outcome<Imported> {
        make_table(store, &self.table, table)?;
        pass.write(store, table, rows).map_err(|(done, failure)| {
            match drop_table(store, &self.table) {
                Ok(()) => failure,
                // A full disk refuses this too.
                Err(_) => self.with_remains(&done, failure),
            }
        })
    }

    fn open_if_there(&self) -> Outcome<Option<Store>> {
        match Store::open(&self.store) {
            Ok(store) => Ok(Some(stores::kept(stores::opened(store)))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The types of the table, if it is there; its values must be able to be what is imported.
    fn kept_table(&self, store: &Store) -> Outcome<Option<Types>> {
        let read = store.begin_read()?;
        let Some(table) = read.dyn_table(&self.table)? else { return Ok(None) };
        let found = table.description();
        if found.value_type != ValueType::Typed && self.value.is_none() {
            let message = format!(
                "the values of table \"{}\" are {}, not rows",
                self.table, found.value_type
            );
            let hint = "Import into another table, or name the column of the values with --value.";
            return Err(Failure::wrong_use(message, hint));
        }
        let fits = match self.keys {
            None => true,
            Some(AskedKeys::Text) => found.key_type == KeyType::Str,
            Some(AskedKeys::Integer) => found.key_type.is_integer(),
        };
        if !fits {
            let message =
                format!("the keys of table \"{}\" have the type {}", self.table, found.key_type);
            return Err(Failure::wrong_use(message, "Leave out --keys, or name a new table."));
        }
        Ok(Some(Types { keys: found.key_type.clone(), values: found.value_type }))
    }

    /// The record that `row` says.
    fn record(&self, mut row: Row) -> Outcome<Value> {
        if let Some(column) = &self.value {
            return row.fields.remove(column).ok_or_else(|| {
                let message = format!("line {}: there is no column \"{column}\"", row.line);
                Failure::wrong_use(message, "--value names the column that holds the record.")
            });
        }
        if self.key_apart {
            row.fields.shift_remove(&self.key);
        }
        Ok(Value::Object(row.fields))
    }

    /// The failure, saying what stays in a table that was there before.
    fn with_remains(&self, done: &Imported, failure: Failure) -> Failure {
        match failure {
            Failure::Error(error) => {
                let rows = human::counted(done.rows, "row");
                error.hint(format!("{rows} were committed to \"{}\" and stay.", self.table)).into()
            }
            other => other,
        }
    }

    fn print(&self, output: Output, done: &Imported) -> Outcome {
        let object = json!({
            "rows": done.rows, "added": done.added, "replaced": done.replaced, "lsn": done.lsn,
        });
        let text = format!(
            "imported {} into {}: {} added, {} replaced",
            human::counted(done.rows, "row"),
            self.table,
            human::count(done.added),
            human::count(done.replaced),
        );
        output.result(&object, text)
    }
}

/// The types of a table.
struct Types {
    keys: KeyType,
    values: ValueType,
}

/// What both passes over the file need.
struct Pass<'a> {
    import: &'a Import,
    format: Format,
    stop: &'a Stop,
    thermometer: &'a Thermometer,
}

impl Pass<'_> {
    /// Reads the whole file, changes nothing, and gives the types of the table and the number of
    /// rows. The types are `kept`, if the table is there and every row fits it, else those that fit
    /// all. No encoded key may be longer than `max_key`.
    fn check(&self, kept: Option<&Types>, max_key: usize) -> Outcome<(Types, u64)> {
        let asked = self.import.keys;
        let mut scout = KeyScout::new(asked);
        let mut rows = 0;
        // The keys of a new table may be text, which takes more than integers.
        let (text, typed) = (KeyType::Str, ValueType::Typed);
        let (keys, values) = kept.map_or((&text, &typed), |kept| (&kept.keys, &kept.values));
        self.each_row("checking", |row| {
            let line = row.line;
            let key = key_cell(&row, &self.import.key, self.format)?.asked(asked);
            if kept.is_none() {
                scout.see(&key, line)?;
            }
            let encoded = key.encode(keys).map_err(|cause| misfit(line, keys, cause))?;
            check_length(line, "key", encoded.len(), max_key)?;
            let value = self.import.record(row)?;
            if *values != ValueType::Typed || most_bytes(&value) > MAX_VALUE_BYTES {
                let encoded = values.encode_json(&value).map_err(|cause| at_line(line, cause))?;
                check_length(line, "value", encoded.len(), MAX_VALUE_BYTES)?;
            }
            rows += 1;
            Ok(())
        })?;
        if let Some(kept) = kept {
            return Ok((Types { keys: kept.keys.clone(), values: kept.values }, rows));
        }
        let keys = match scout.kind().map_err(|failure| failure.about(&self.import.file))? {
            KeyKind::Signed => KeyType::I64,
            KeyKind::Unsigned => KeyType::U64,
            KeyKind::Text => KeyType::Str,
        };
        Ok((Types { keys, values: ValueType::Typed }, rows))
    }

    /// Puts every row into the table, as many as were `checked`; a failure comes with what was
    /// committed before it.
    fn write(
        &self,
        store: &Store,
        types: &Types,
        checked: u64,
    ) -> Result<Imported, (Imported, Failure)> {
        let mut done = Imported::default();
        let mut batch = Batch::default();
        let table = &self.import.table;
        let written = self
            .each_row("writing", |row| {
                let key = key_cell(&row, &self.import.key, self.format)?.asked(self.import.keys);
                let key = key.encode(&types.keys)?;
                let value = types.values.encode_json(&self.import.record(row)?)?;
                batch.bytes += key.len() + value.len();
                batch.rows.push((key, value));
                match batch.rows.len() < BATCH && batch.bytes < BATCH_BYTES {
                    true => Ok(()),
                    false => batch.put(store, table, &mut done),
                }
            })
            .and_then(|()| batch.put(store, table, &mut done))
            .and_then(|()| self.check_count(checked, done.rows));
        match written {
            Ok(()) => Ok(done),
            Err(failure) => Err((done, failure)),
        }
    }

    fn check_count(&self, checked: u64, written: u64) -> Outcome {
        if checked == written {
            return Ok(());
        }
        let message =
            format!("the file changed: {checked} rows at first, {written} when read again");
        Err(Error::new(ErrorKind::Invalid, message).at(&self.import.file).into())
    }

    fn each_row(&self, stage: &str, mut see: impl FnMut(Row) -> Outcome) -> Outcome {
        let file = &self.import.file;
        let size = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        let bytes = Bytes::default();
        for (at, row) in Rows::open(file, self.format, &bytes)?.enumerate() {
            see(row?).map_err(|failure| failure.about(file))?;
            if at.is_multiple_of(BATCH / 10) {
                self.thermometer.show_bytes(stage, bytes.read(), size);
                self.stop.check("Nothing of the file was kept.")?;
            }
        }
        Ok(())
    }
}

fn misfit(line: u64, keys: &KeyType, cause: Error) -> Failure {
    let message = format!("line {line}: the table has keys of type {keys}");
    Error::new(ErrorKind::Invalid, message).because(cause).into()
}

fn at_line(line: u64, cause: Error) -> Failure {
    let message = format!("line {line}: the table cannot take the value");
    Error::new(ErrorKind::Invalid, message).because(cause).into()
}

fn check_length(line: u64, what: &str, bytes: usize, most: usize) -> Outcome {
    if bytes <= most {
        return Ok(());
    }
    let message = format!("line {line}: the {what} takes {bytes} bytes, and {most} are allowed");
    Err(Failure::wrong_use(message, "Correct the line; nothing of the file was kept."))
}

/// At least as many bytes as `value` takes when it is stored; cheaper than to store it.
fn most_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(_) => 9,
        Value::String(text) => text.len() + 5,
        Value::Array(items) => items.iter().map(most_bytes).sum::<usize>() + 5,
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| name.len() + 5 + most_bytes(field)).sum::<usize>() + 5
        }
    }
}

/// Rows of one transaction, encoded.
#[derive(Default)]
struct Batch {
    rows: Vec<(KeyBuf, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    /// Commits the rows in one transaction and forgets them.
    fn put(&mut self, store: &Store, table: &str, done: &mut Imported) -> Outcome {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = self.rows.len() as u64;
        let write = store.begin_write()?;
        let mut replaced = 0;
        {
            let table = stores::table_to_write(&write, table)?;
            for (key, value) in self.rows.drain(..) {
                replaced += u64::from(table.get_raw(&key)?.is_some());
                table.put_raw(&key, value)?;
            }
        }
        self.bytes = 0;
        done.lsn = write.commit()?.lsn;
        done.rows += rows;
        done.replaced += replaced;
        done.added += rows - replaced;
        Ok(())
    }
}

fn make_table(store: &Store, name: &str, types: &Types) -> Outcome {
    let structure = store.begin_structure()?;
    structure.create_table(name, types.keys.clone(), types.values)?;
    structure.commit()?;
    Ok(())
}

fn drop_table(store: &Store, name: &str) -> Outcome {
    let structure = store.begin_structure()?;
    structure.drop_table(name)?;
    structure.commit()?;
    Ok(())
}
