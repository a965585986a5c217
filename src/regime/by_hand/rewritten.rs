//! Compaction and repair, for journal and history: a store whose data file was written anew.
//!
//! Each is recorded with the store that it made. A damaged store that is repaired into another folder is
//! left as it is, its journal too.

use std::path::Path;

use super::super::history::{History, Operation, OperationKind, OperationStatus};
use super::super::journal::{JournalEvent, JournalItem};
use super::{ByHand, was_refused};
use crate::error::{Error, Result};
use crate::restore::{CompactReport, StoreRepairReport};

impl ByHand {
    /// It was a compaction: begun on the store, or on the new folder that the compacted copy goes into.
    ///
    /// # Errors
    /// As [`ByHand::restored`].
    pub fn compacted(&self, result: Result<&CompactReport, &Error>) -> Result<()> {
        if result.is_err_and(was_refused) {
            return Ok(());
        }
        let line = self.compaction_line(result);
        self.put_down(vec![line], History::record, |told| {
            let told = Operation { operation: OperationKind::Compaction, ..told };
            match result {
                Ok(report) => Operation { lsn: Some(report.lsn), data: true, ..told },
                Err(error) => told.failed(error),
            }
        })
    }

    fn compaction_line(&self, result: Result<&CompactReport, &Error>) -> JournalItem {
        let mut item = self.item(JournalEvent::Compaction);
        let report = match result {
            Ok(report) => report,
            Err(error) => return item.with_error(error),
        };
        item.bytes = Some(report.bytes_after);
        item.message = format!(
            "LSN {}: {} records in {} tables; {} bytes before",
            report.lsn, report.records, report.tables, report.bytes_before
        );
        if let Some(old) = &report.old {
            item.message += &format!("; the old files are in \"{}\"", self.whole(old).display());
        }
        item
    }

    /// It was a repair of the damaged store in the folder `damaged`, begun on the folder of the new one.
    ///
    /// # Errors
    /// As [`ByHand::restored`].
    pub fn repaired(
        &self,
        damaged: &Path,
        result: Result<&StoreRepairReport, &Error>,
    ) -> Result<()> {
        if result.is_err_and(was_refused) {
            return Ok(());
        }
        let line = self.repair_line(damaged, result);
        self.put_down(vec![line], History::record, |told| {
            let told = Operation { operation: OperationKind::Repair, ..told };
            match result {
                Ok(report) if report.is_complete() => Operation { data: true, ..told },
                Ok(_) => Operation { data: true, status: OperationStatus::Partial, ..told },
                Err(error) => told.failed(error),
            }
        })
    }

    fn repair_line(
        &self,
        damaged: &Path,
        result: Result<&StoreRepairReport, &Error>,
    ) -> JournalItem {
        let mut item = self.item(JournalEvent::Repair);
        item.path = Some(self.whole(damaged));
        let report = match result {
            Ok(report) => report,
            Err(error) => return item.with_error(error),
        };
        let records: u64 = report.tables.iter().map(|table| table.records).sum();
        let complete = match report.is_complete() {
            true => "nothing is known to be missing",
            false => "INCOMPLETE",
        };
        item.message = format!(
            "a new store of what can be trusted: {records} records in {} tables, {complete}",
            report.tables.len()
        );
        item
    }
}
