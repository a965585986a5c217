//! A store made of chosen tables, or of the structure alone.
//!
//! The tables are made anew in an empty store with the archive's page size, and their records are
//! written in key order through ordinary commits: so the new store is as sound as any, and holds
//! nothing of what was not chosen, not even in dead pages.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::archive::Archive;
use crate::archive::Progress;
use crate::disk::Disk;
use crate::engine::{Batch, Durability, Engine, EngineOptions, TableInfo};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{ReadHandle, TableDescription, TablePaper, check_table_name};

/// A commit takes about so many bytes and at most so many records.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_RECORDS: usize = 10_000;

type Tell<'t> = &'t mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Makes a store of `tables` in the folder `dir`, which is not there, within a restore's own folder.
/// Their records come from `records`, where there is one. `tell` hears of records.
pub(super) fn make_store(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    archive: &Archive,
    tables: &[TablePaper],
    records: Option<&ReadHandle>,
    tell: Tell<'_>,
) -> Result<()> {
    let page_size = archive.header().page_size;
    if !crate::engine::tree::is_page_size(page_size as usize) {
        let message = format!("the archive speaks of pages of {page_size} bytes");
        return Err(Error::corrupt(archive.path(), message));
    }
    let stepped = disk.is_simulated();
    let options = EngineOptions { page_size, stepped, ..EngineOptions::default() };
    let engine = Engine::create(disk.clone(), dir, options)?;
    let made = make_tables(&engine, tables).and_then(|infos| match records {
        Some(read) => copy_records(&engine, tables, &infos, read, tell),
        None => Ok(()),
    });
    // A failed restore is removed with its folder; closing it well matters only where it is kept.
    let closed = engine.close();
    made.and(closed)
}

/// Defines the tables; gives their new definitions.
fn make_tables(engine: &Engine, tables: &[TablePaper]) -> Result<Vec<TableInfo>> {
    let mut batch = Batch::default();
    let mut names = BTreeSet::new();
    let mut infos = Vec::new();
    for table in tables {
        let info = TableInfo {
            id: engine.new_table_id(),
            name: table.name.clone(),
            key_encoding: table.key_encoding.clone(),
            value_encoding: table.value_encoding.clone(),
        };
        // What stands in an archive may be anybody's words.
        check_table_name(&info.name)?;
        TableDescription::of(&info)?;
        if !names.insert(&table.name) {
            let message = format!("the archive lists the table \"{}\" twice", table.name);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        batch.define(&info);
        infos.push(info);
    }
    engine.commit(batch, Durability::Immediate)?;
    Ok(infos)
}

fn copy_records(
    engine: &Engine,
    tables: &[TablePaper],
    infos: &[TableInfo],
    read: &ReadHandle,
    tell: Tell<'_>,
) -> Result<()> {
    let total = tables.iter().map(|table| table.records).sum();
    let mut done = 0;
    for info in infos {
        let table = read.dyn_table(&info.name)?.ok_or_else(|| {
            let message = format!("the archive lists the table \"{}\", and has none", info.name);
            Error::new(ErrorKind::Corrupt, message)
        })?;
        let mut batch = Batch::default();
        for record in table.iter()? {
            let record = record?;
            batch.push(info.id, record.key.clone(), Some(record.value.to_vec().into()));
            if batch.bytes() >= BATCH_BYTES || batch.ops().len() >= BATCH_RECORDS {
                done += batch.ops().len() as u64;
                engine.commit(std::mem::take(&mut batch), Durability::Eventual)?;
                if tell(Progress { done, total }).is_break() {
                    let stopped = Error::new(ErrorKind::Stopped, "stopped by the user");
                    return Err(stopped.with_code(code::STOPPED));
                }
            }
        }
        done += batch.ops().len() as u64;
        engine.commit(batch, Durability::Eventual)?;
    }
    Ok(())
}
