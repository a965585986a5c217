//! One segment of a log, wherever it lies: a file of its own, or an entry of a log archive.
//!
//! Invariants: a group is shown only when all of it was read and its checksums are right; commits are
//! shown in order, from the first of the segment through the last one that counts, or an error says
//! at which byte they end. Nothing is changed, no lock is taken: the segment may be one that a process
//! is writing to, and then what was whole when it was opened is what it holds.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{ArchiveFile, ReadRepair};
use crate::disk::File;
use crate::engine::log::{Context, Group, LogOp, Malformed, SegmentHeader, SegmentReader, Step};
use crate::engine::{Ancestry, Batch, Change, Durability, ForeignGroup, History, Lsn, Payload};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::TableDescription;

/// The contexts that a segment has defined so far.
pub(crate) type Contexts = HashMap<u32, Arc<Context>>;

/// A segment with at least its header.
pub(crate) struct Segment {
    file: Arc<dyn File>,
    /// Where it lies; for an entry of an archive, its name below that of the archive.
    path: PathBuf,
    header: SegmentHeader,
    /// The ancestry of its commits, where what it lies in has it.
    ancestry: Option<Ancestry>,
    /// The last commit that counts.
    last: Lsn,
    last_time: i64,
    closed: bool,
    bytes: u64,
    /// The archive that it lies in.
    archive: Option<Arc<ArchiveFile>>,
    /// Tables that the archive says its store had.
    tables: Arc<[TableDescription]>,
}

impl Segment {
    /// The segment in `file`. Where it is `stated` elsewhere which commit is its last, that is what it
    /// must have, and no later one counts.
    ///
    /// # Errors
    /// `Corrupt` (1413) where it has no sound header, `Unsupported`, those of reading.
    pub(super) fn open(
        file: Arc<dyn File>,
        path: &Path,
        stated: Option<Lsn>,
        archive: Option<Arc<ArchiveFile>>,
    ) -> Result<Segment> {
        let bytes = file.len().map_err(|e| Error::io("read the length of the log", path, e))?;
        let reader = SegmentReader::on(file.clone(), bytes, path);
        let mut reader = reader.map_err(numbered)?;
        let header = *reader.header();
        let span = reader.span(stated.unwrap_or(Lsn::MAX))?;
        let (last, last_time) = (stated.unwrap_or(span.last), span.last_time);
        let closed = span.closed || stated.is_some();
        let path = path.to_path_buf();
        let (ancestry, tables) = (None, Arc::default());
        Ok(Segment {
            file,
            path,
            header,
            ancestry,
            last,
            last_time,
            closed,
            bytes,
            archive,
            tables,
        })
    }

    /// The same, with tables that the archive it lies in names.
    pub(super) fn with_tables(self, tables: &Arc<[TableDescription]>) -> Segment {
        Segment { tables: tables.clone(), ..self }
    }

    /// Tables that the archive it lies in names.
    pub(super) fn tables(&self) -> &[TableDescription] {
        &self.tables
    }

    /// The same with its part of `ancestry`, which lies with it, where its header agrees.
    pub(super) fn with_ancestry(self, ancestry: &Ancestry) -> Segment {
        let own = ancestry.through(self.header.timeline.id);
        let own = own.filter(|own| own.digest() == self.header.ancestry_digest);
        Segment { ancestry: own, ..self }
    }

    /// The ancestry of its commits, where what it lies in has it.
    pub(crate) fn ancestry(&self) -> Option<&Ancestry> {
        self.ancestry.as_ref()
    }

    /// The history that it goes on from, as far as it is known.
    pub(crate) fn start(&self) -> History {
        let (timeline, digest) = (self.header.timeline, self.header.ancestry_digest);
        let stated = || Ancestry::stated(timeline, digest);
        History::new(self.ancestry.clone().unwrap_or_else(stated), self.after())
    }

    /// The archive that it lies in, if it does.
    pub(super) fn archive(&self) -> Option<&Arc<ArchiveFile>> {
        self.archive.as_ref()
    }

    /// What parity repaired so far while that was read.
    pub(super) fn read_repair(&self) -> Option<ReadRepair> {
        self.archive.as_ref()?.repairs()?.report()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// It holds the commits after this one.
    pub(crate) fn after(&self) -> Lsn {
        self.header.base
    }

    /// Its last commit; the one before it where it holds none.
    pub(crate) fn last(&self) -> Lsn {
        self.last
    }

    /// The time of that commit, in microseconds since the Unix epoch.
    pub(crate) fn last_time(&self) -> i64 {
        self.last_time
    }

    /// Nothing more will be written to it.
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn archived(&self) -> bool {
        self.archive.is_some()
    }

    /// Shows each group, with the contexts that are defined by then, until `visit` ends it.
    /// Returns the closing checksum of what was read.
    ///
    /// # Errors
    /// `Corrupt` (1413), with the place, where a commit that counts cannot be read; those of `visit`.
    pub(crate) fn read(
        &self,
        visit: &mut dyn FnMut(&Group<'_>, &Contexts) -> Result<ControlFlow<()>>,
    ) -> Result<u32> {
        let reader = SegmentReader::on(self.file.clone(), self.bytes, &self.path);
        let mut reader = reader.map_err(numbered)?;
        let mut contexts = Contexts::new();
        while reader.next_lsn() <= self.last {
            let (at, lsn) = (reader.at(), reader.next_lsn());
            match reader.next()? {
                Step::Group(group) => {
                    let defined = group.body.contexts().map_err(|why| self.bad(at, lsn, why))?;
                    contexts.extend(defined.into_iter().map(|(id, by)| (id, Arc::new(by))));
                    if visit(&group, &contexts)?.is_break() {
                        break;
                    }
                }
                Step::Trailer(_) => return Err(self.bad(at, lsn, Malformed::Length)),
                Step::Bad(why) => return Err(self.bad(at, lsn, why)),
            }
        }
        Ok(reader.chain())
    }

    fn bad(&self, at: u64, lsn: Lsn, why: Malformed) -> Error {
        let message = format!("the commit with LSN {lsn} cannot be read at byte {at}: {why}");
        let error = Error::corrupt(&self.path, message).with_code(code::LOG_CHECK);
        error.hint("Use another copy of the log; what stands before this place is sound.")
    }

    /// The commits of `group` that are later than `after` and not later than `upto`, ready to be
    /// applied; `None` where there are none.
    ///
    /// # Errors
    /// `Corrupt` (1413) where they are not what a log's writer writes.
    pub(crate) fn foreign(
        &self,
        group: &Group<'_>,
        contexts: &Contexts,
        after: Lsn,
        upto: Lsn,
    ) -> Result<Option<ForeignGroup>> {
        let mut commits: Vec<(Arc<Context>, Batch)> = Vec::new();
        let mut first_lsn = 0;
        each_commit(group, |lsn, context, ops| {
            if lsn <= after || lsn > upto {
                return Ok(());
            }
            if commits.is_empty() {
                first_lsn = lsn;
            }
            let context = contexts.get(&context).ok_or(Malformed::Field)?;
            commits.push((context.clone(), batch(ops)?));
            Ok(())
        })
        .map_err(|why| {
            let message =
                format!("the group with LSN {} is malformed: {why}", group.head.first_lsn);
            Error::corrupt(&self.path, message).with_code(code::LOG_CHECK)
        })?;
        let (timeline, ancestry_digest) = (self.header.timeline, self.header.ancestry_digest);
        let time = group.head.time;
        let durability = Durability::Eventual;
        Ok((!commits.is_empty()).then_some(ForeignGroup {
            timeline,
            ancestry_digest,
            first_lsn,
            time,
            commits,
            durability,
        }))
    }
}

/// Calls `visit` for each commit of `group`, with its context and its operations.
pub(super) fn each_commit<'g>(
    group: &Group<'g>,
    mut visit: impl FnMut(Lsn, u32, &[LogOp<'g>]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut ops: Vec<LogOp<'g>> = Vec::new();
    let mut current: Option<(Lsn, u32)> = None;
    let mut seen = 0;
    group.body.for_each(|lsn, context, op| {
        if let Some((at, by)) = current.filter(|(at, _)| *at != lsn) {
            visit(at, by, &ops)?;
            ops.clear();
            seen += 1;
        }
        current = Some((lsn, context));
        ops.push(*op);
        Ok::<_, Malformed>(())
    })?;
    if let Some((at, by)) = current {
        visit(at, by, &ops)?;
        seen += 1;
    }
    // A commit without operations is never written.
    if seen == group.head.commits { Ok(()) } else { Err(Malformed::Field) }
}

fn batch(ops: &[LogOp<'_>]) -> Result<Batch, Malformed> {
    if !ops.is_sorted_by(|a, b| (a.table, a.key) < (b.table, b.key)) {
        return Err(Malformed::Field);
    }
    let mut batch = Batch::with_capacity(ops.len());
    for op in ops {
        let value = match op.change {
            Change::Put(bytes) => Some(Payload::from(bytes.to_vec())),
            Change::Delete => None,
        };
        batch.push(op.table, op.key.into(), value);
    }
    Ok(batch)
}

/// Damage of a log has a number of its own.
pub(super) fn numbered(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupt => error.with_code(code::LOG_CHECK),
        ErrorKind::NotFound => {
            error.with_code(code::LOG_ARCHIVE_MISSING).or_hint("Check the path of the log.")
        }
        _ => error,
    }
}
