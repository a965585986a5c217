//! `stillpoint import`: rows of a file become records of a table.
//!
//! The file is read twice. The first pass checks every row and finds the type of the keys, so that
//! a file with a bad row changes nothing; the second writes, [`BATCH`] rows in a transaction. An
//! import that fails or is stopped takes back the table or the store that it made; where it added
//! to a table that was there, the batches that are committed stay, and it says how many.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{Error, ErrorKind, KeyType, Store, ValueType};

use super::exit::{Failure, Outcome};
use super::output_file;
use super::rows::{Bytes, Format, KeyKind, KeyScout, Row, Rows, key_cell};
use super::show::thermometer::Thermometer;
use super::show::{Output, human};
use super::stop::Stop;
use super::stores;

/// Rows in one transaction: enough that the commits cost little, few enough to hold in memory.
const BATCH: usize = 10_000;

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
        let there = store.is_some();
        let kept = match &store {
            Some(store) => self.kept_table(store)?,
            None => None,
        };
        let thermometer = Thermometer::new(silent);
        let pass = Pass { import: self, format, stop, thermometer: &thermometer };
        let (keys, rows) = pass.check(kept.as_ref())?;
        if !there {
            output_file::refuse_in_store(&self.store)?;
        }
        let folder_was_there = std::fs::symlink_metadata(&self.store).is_ok();
        let store = match store {
            Some(store) => store,
            None => Store::create(&self.store)?,
        };
        if kept.is_none() {
            make_table(&store, &self.table, keys)?;
        }
        match pass.write(&store, rows) {
            Ok(done) => Ok(done),
            Err((_, failure)) if !there => {
                take_back_store(store, &self.store, folder_was_there).and(Err(failure))
            }
            Err((_, failure)) if kept.is_none() => {
                drop_table(&store, &self.table).and(Err(failure))
            }
            Err((done, failure)) => Err(self.with_remains(&done, failure)),
        }
    }

    fn open_if_there(&self) -> Outcome<Option<Store>> {
        match Store::open(&self.store) {
            Ok(store) => Ok(Some(store)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The type of the keys of the table, if it is there; its values must be able to be rows.
    fn kept_table(&self, store: &Store) -> Outcome<Option<KeyType>> {
        let read = store.begin_read()?;
        let Some(table) = read.dyn_table(&self.table)? else { return Ok(None) };
        match table.description().value_type {
            ValueType::Typed => Ok(Some(table.description().key_type.clone())),
            other => Err(self.refuse_values(other)),
        }
    }

    fn refuse_values(&self, values: ValueType) -> Failure {
        let message = format!("the values of table \"{}\" are {values}, not rows", self.table);
        Failure::wrong_use(message, "Import into another table.")
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

/// What both passes over the file need.
struct Pass<'a> {
    import: &'a Import,
    format: Format,
    stop: &'a Stop,
    thermometer: &'a Thermometer,
}

impl Pass<'_> {
    /// Reads the whole file, changes nothing, and gives the type of the keys and the number of
    /// rows. The type is `kept`, if the table is there and every key fits it, else the one that
    /// fits all.
    fn check(&self, kept: Option<&KeyType>) -> Outcome<(KeyType, u64)> {
        let mut scout = KeyScout::new();
        let mut rows = 0;
        self.each_row("checking", |row| {
            let key = key_cell(&row, &self.import.key, self.format)?;
            scout.see(&key);
            rows += 1;
            if let Some(kept) = kept {
                kept.encode_text(&key.into_text()).map_err(|cause| misfit(&row, kept, cause))?;
            }
            Ok(())
        })?;
        let fitting = match scout.kind() {
            KeyKind::Signed => KeyType::I64,
            KeyKind::Unsigned => KeyType::U64,
            KeyKind::Text => KeyType::Str,
        };
        Ok((kept.cloned().unwrap_or(fitting), rows))
    }

    /// Puts every row into the table, as many as were `checked`; a failure comes with what was
    /// committed before it.
    fn write(&self, store: &Store, checked: u64) -> Result<Imported, (Imported, Failure)> {
        let mut done = Imported::default();
        let mut batch = Vec::with_capacity(BATCH);
        let table = &self.import.table;
        let written = self
            .each_row("writing", |row| {
                batch.push((key_cell(&row, &self.import.key, self.format)?.into_text(), row));
                match batch.len() < BATCH {
                    true => Ok(()),
                    false => put_rows(store, table, &mut batch, &mut done),
                }
            })
            .and_then(|()| put_rows(store, table, &mut batch, &mut done))
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

fn misfit(row: &Row, keys: &KeyType, cause: Error) -> Failure {
    let message = format!("line {}: the table has keys of type {keys}", row.line);
    Error::new(ErrorKind::Invalid, message).because(cause).into()
}

/// Commits the rows of `batch` in one transaction and empties it.
fn put_rows(
    store: &Store,
    table: &str,
    batch: &mut Vec<(String, Row)>,
    done: &mut Imported,
) -> Outcome {
    if batch.is_empty() {
        return Ok(());
    }
    let rows = batch.len() as u64;
    let write = store.begin_write()?;
    let mut replaced = 0;
    {
        let table = stores::table_to_write(&write, table)?;
        for (key, row) in batch.drain(..) {
            replaced += u64::from(table.get(&key)?.is_some());
            table.put(&key, &Value::Object(row.fields))?;
        }
    }
    done.lsn = write.commit()?.lsn;
    done.rows += rows;
    done.replaced += replaced;
    done.added += rows - replaced;
    Ok(())
}

fn make_table(store: &Store, name: &str, keys: KeyType) -> Outcome {
    let structure = store.begin_structure()?;
    structure.create_table(name, keys, ValueType::Typed)?;
    structure.commit()?;
    Ok(())
}

fn drop_table(store: &Store, name: &str) -> Outcome {
    let structure = store.begin_structure()?;
    structure.drop_table(name)?;
    structure.commit()?;
    Ok(())
}

/// Removes a store that this import made; an empty folder that was there before stays.
fn take_back_store(store: Store, folder: &Path, folder_was_there: bool) -> Outcome {
    store.close()?;
    drop(store);
    let told = |cause| Error::io("remove the unfinished store", folder, cause);
    std::fs::remove_dir_all(folder).map_err(told)?;
    if folder_was_there {
        std::fs::create_dir(folder).map_err(told)?;
    }
    Ok(())
}
