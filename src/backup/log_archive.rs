//! The log archive of a backup: the closed segments since the last backup of data.
//!
//! It is a container like every archive: its entries are the ancestry of its last commit, and the
//! segments, cut at their ends, each under its own name. It is written when the pin has ended the
//! newest segment and everything up to it is durable, is always read back from the medium, and gets
//! its name before the archive proper: so wherever a crash comes, archives and segments together
//! hold every commit since the first backup. Segments are let go of only when the store has noted
//! that both archives are durable.

use std::path::PathBuf;
use std::sync::Arc;

use super::builder::BackupBuilder;
use super::copier::{Step, finish, not_json, options_of, write_entry};
use super::preflight::Place;
use super::report::LogArchiveReport;
use super::run::paths;
use crate::archive::{
    ArchiveFile, ArchiveKind, ArchiveName, ArchivePlace, ArchiveWriter, EntryMeta, Files, Finished,
    Keys, ManifestEntry, name_files,
};
use crate::disk::{Disk, OpenMode};
use crate::engine::tree::Checkpoint;
use crate::engine::{ANCESTRY_FILE, ClosedSegment, LogHold, Lsn, catalogue_of};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{LogGap, LogHeader, LogTable, SegmentPaper};

/// Bytes of a segment that are read at once.
const PIECE: usize = 256 << 10;

/// What a backup did for the log, so far.
#[derive(Default)]
pub(super) struct LogPart {
    pub(super) archive: Option<LogArchive>,
    /// Kept until all is noted.
    pub(super) plan: Option<LogPlan>,
}

/// What a backup is to do for the log.
pub(super) struct LogPlan {
    /// No segment goes before the archives are noted.
    _hold: LogHold,
    /// Number of the backup that the log follows, 0 where it is not known any more.
    number: u32,
    /// The seal of that backup's archive.
    follows: Option<String>,
    /// The closed segments that the log archive will hold, oldest first.
    segments: Vec<ClosedSegment>,
    /// Commits since the base that no segment has any more, and those that cannot be read.
    pub(super) gaps: Vec<LogGap>,
}

impl LogPlan {
    /// Looks for what was logged since the last backup of data, or since the restore, up to the pin.
    /// `None` where there was neither, or nothing was committed since. Where the store no longer knows
    /// of the last backup, everything that was kept is archived.
    pub(super) fn new(backup: &BackupBuilder, pinned: Lsn) -> Result<Option<LogPlan>> {
        let (engine, state) = (&backup.inner.engine, &backup.inner.state);
        let known = state.get();
        // The archive that it was restored from is what the log follows.
        let restored = known.kept_from.filter(|_| known.restored_to.is_some());
        let forgotten = known.base.is_none() && state.damage().is_some();
        let (number, from, follows) = match (known.base, restored) {
            (Some(base), _) if base.lsn < pinned => (base.number, base.lsn, Some(base.seal)),
            (None, Some(lsn)) if lsn < pinned => {
                let source = known.parents.into_iter().find(|archive| archive.lsn == lsn);
                (0, lsn, source.map(|archive| archive.seal))
            }
            (None, _) if forgotten => (0, 0, None),
            _ => return Ok(None),
        };
        let _hold = engine.hold_log();
        let segments = match backup.options.accept_log_damage {
            false => engine.closed_segments(),
            true => engine.sound_segments(),
        };
        let mut segments = segments.map_err(failed)?;
        segments.retain(|segment| segment.last > from && segment.last <= pinned);
        let mut gaps = Vec::new();
        let mut held = if forgotten { segments.first().map_or(pinned, |s| s.after) } else { from };
        for (after, last) in segments.iter().map(|s| (s.after, s.last)).chain([(pinned, pinned)]) {
            if after > held {
                gaps.push(LogGap { after: held, last: after, time: engine.disk().now() });
            }
            held = held.max(last);
        }
        Ok(Some(LogPlan { _hold, number, follows, segments, gaps }))
    }

    /// Reads and checks every segment, and says what of each is archived, and the time of the last
    /// commit. What is damaged ends where the damage begins, if that is accepted; what is lost with it
    /// becomes a gap.
    fn measure(
        &mut self,
        backup: &BackupBuilder,
        checkpoint: &Checkpoint,
    ) -> Result<(Vec<SegmentPaper>, i64)> {
        let disk = &**backup.inner.engine.disk();
        let mut papers = Vec::with_capacity(self.segments.len());
        let mut last_time = checkpoint.meta().time;
        let mut kept = Vec::new();
        for segment in std::mem::take(&mut self.segments) {
            let (last, bytes) = match segment.measure(disk) {
                Ok(bytes) => (segment.last, bytes),
                Err(e) if e.kind() == ErrorKind::Corrupt && backup.options.accept_log_damage => {
                    let found = segment.readable(disk).map_err(failed)?;
                    let (after, last) = (found.last, segment.last);
                    self.gaps.push(LogGap { after, last, time: disk.now() });
                    last_time = found.time;
                    (found.last, found.bytes)
                }
                Err(e) => return Err(failed(e)),
            };
            if last == segment.last {
                last_time = checkpoint.meta().time;
            }
            if last > segment.after {
                papers.push(SegmentPaper {
                    number: segment.number,
                    timeline: segment.timeline.into(),
                    after: segment.after,
                    last,
                    bytes,
                });
                kept.push(segment);
            }
        }
        self.segments = kept;
        self.gaps.sort_by_key(|gap| gap.after);
        Ok((papers, last_time))
    }

    /// About as many bytes as will be read.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Writes the log archive under a name that says that it is unfinished.
    pub(super) fn write(
        &mut self,
        backup: &BackupBuilder,
        place: &Place,
        checkpoint: &Checkpoint,
        step: &mut Step<'_>,
    ) -> Result<Option<LogArchive>> {
        let disk = backup.inner.engine.disk();
        let written = disk.now();
        let (papers, last_time) = self.measure(backup, checkpoint)?;
        let (Some(first), Some(last)) = (papers.first(), papers.last()) else {
            return Ok(None);
        };
        let timeline = last.timeline;
        let mut header = LogHeader {
            program: concat!("stillpoint ", env!("CARGO_PKG_VERSION")).to_owned(),
            number: self.number,
            follows: self.follows.clone(),
            set: place.name.set().to_owned(),
            named: self.number,
            store_id: backup.inner.engine.store_id(),
            timeline,
            after: first.after,
            last: last.last,
            last_time,
            written,
            tables: catalogue_of(checkpoint)?.iter().map(|table| LogTable::of(table)).collect(),
            segments: papers,
        };
        let target = Target::choose(backup, place, &header)?;
        header.named = target.place.name.number();
        let app = serde_json::to_value(&header).map_err(not_json)?;
        let options = options_of(backup, written);
        let mut writer =
            ArchiveWriter::create_in(disk, &target.place, &options, app).map_err(failed)?;
        let ancestry = backup.inner.engine.ancestry_through(timeline.id).map_err(failed)?;
        write_entry(&mut writer, ANCESTRY_FILE, &ancestry.encode(), written).map_err(failed)?;
        for (segment, paper) in self.segments.iter().zip(&header.segments) {
            copy(disk, segment, paper.bytes, &mut writer, step)?;
        }
        let papers = |_: &[ManifestEntry]| Ok(serde_json::json!({}));
        let finished = finish(writer, papers, &mut || step(0, 0)).map_err(failed)?;
        let report = LogArchiveReport {
            path: target.place.path(&options.layers),
            files: paths(&finished.files),
            after: header.after,
            last: header.last,
            bytes: finished.bytes,
            segments: header.segments.len(),
            seal: finished.seal.to_string(),
            follows: header.follows,
        };
        Ok(Some(LogArchive { finished, place: target.place, replaces: target.replaces, report }))
    }
}

/// A log archive that is written and has no name yet. Without one it goes with all else that an
/// unfinished backup leaves.
pub(super) struct LogArchive {
    pub(super) finished: Finished,
    place: ArchivePlace,
    /// The files of an older one that it takes the place of.
    replaces: Vec<PathBuf>,
    pub(super) report: LogArchiveReport,
}

impl LogArchive {
    /// Gives it its name, durably. An older one goes only now; whatever comes in between, the segments
    /// are still in the store.
    pub(super) fn name(&self, disk: &dyn Disk) -> Result<()> {
        let folder = &self.place.folder;
        if let ([old], [file]) = (&self.replaces[..], &self.finished.files[..])
            && *old == file.path
        {
            let named = disk.rename(&file.partial, &file.path);
            named.map_err(|e| failed(Error::io("name the log archive", &file.path, e)))?;
            let synced = disk.sync_dir(folder);
            return synced.map_err(|e| failed(Error::io("sync the destination", folder, e)));
        }
        for old in &self.replaces {
            let removed = disk.remove_file(old);
            removed.map_err(|e| failed(Error::io("replace the log archive", old, e)))?;
        }
        name_files(disk, &self.place, &self.finished.files).map_err(failed)
    }
}

/// Where a log archive is written.
struct Target {
    place: ArchivePlace,
    /// The files of an older one that goes.
    replaces: Vec<PathBuf>,
}

impl Target {
    /// The number of the backup that the log follows. Where an archive of that number is there already,
    /// it is replaced if it holds the beginning of the same commits: a backup died before its archive
    /// had a name. Else it is somebody else's, and the number of this backup is free.
    fn choose(backup: &BackupBuilder, place: &Place, header: &LogHeader) -> Result<Target> {
        let disk = &**backup.inner.engine.disk();
        let own = place.name.clone().of_kind(ArchiveKind::Log);
        if header.number == 0 {
            return Ok(Target { place: place.of(own), replaces: Vec::new() });
        }
        let wanted = ArchiveName::new(own.set(), header.number)?.of_kind(ArchiveKind::Log);
        let path = place.folder.join(wanted.to_string());
        let older = match Files::find(disk, &path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(failed(e)),
            Ok(older) if is_beginning(disk, &older, &backup.earlier_keys(), header) => older.all(),
            Ok(_) => return Ok(Target { place: place.of(own), replaces: Vec::new() }),
        };
        Ok(Target { place: place.of(wanted), replaces: older })
    }
}

/// Whether `older` is a log archive whose every segment is in the new one too. One that cannot be read
/// is not touched.
fn is_beginning(disk: &dyn Disk, older: &Files, keys: &Keys, header: &LogHeader) -> bool {
    let Ok(file) = ArchiveFile::open_files(disk, older, keys) else { return false };
    let Ok(old) = serde_json::from_value::<LogHeader>(file.header().app.clone()) else {
        return false;
    };
    old.store_id == header.store_id
        && old.after == header.after
        && old.segments.len() <= header.segments.len()
        && old.segments.iter().zip(&header.segments).all(|(old, new)| old == new)
}

/// Copies the first `bytes` of a segment.
fn copy(
    disk: &Arc<dyn Disk>,
    segment: &ClosedSegment,
    bytes: u64,
    writer: &mut ArchiveWriter,
    step: &mut Step<'_>,
) -> Result<()> {
    let path = &segment.path;
    let read_error = |e| failed(Error::io("read the log", path, e));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let modified = disk.metadata(path).map_err(read_error)?.modified;
    let file = disk.open(path, OpenMode::Read).map_err(read_error)?;
    writer.begin_entry(EntryMeta::file(&*name, bytes, modified)).map_err(failed)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < bytes {
        let want = usize::try_from(bytes - at).map_or(PIECE, |left| left.min(PIECE));
        file.read_exact_at(&mut piece[..want], at).map_err(read_error)?;
        let before = writer.written();
        writer.write(&piece[..want]).map_err(failed)?;
        at += want as u64;
        step(want as u64, writer.written() - before)?;
    }
    writer.end_entry().map_err(failed)
}

/// Gives an error of the log's part of a backup its number.
pub(super) fn failed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Stopped | ErrorKind::BackupFailed => error,
        ErrorKind::StorageFull => error.with_code(code::LOG_COPY),
        ErrorKind::Corrupt => Error::new(
            ErrorKind::Corrupt,
            "a segment of the log is damaged; the backup was given up",
        )
        .with_code(code::LOG_COPY)
        .because(error)
        .hint(
            "Back up with accept_log_damage() (--accept-log-damage): the store is saved, and the \
             commits that cannot be read become a gap that is reported.",
        ),
        _ => Error::new(ErrorKind::BackupFailed, "the copy of the log failed")
            .with_code(code::LOG_COPY)
            .because(error),
    }
}

/// Tells of commits that are in no log archive.
pub(super) fn log_gap(gap: &LogGap) -> Error {
    let message = format!(
        "the log no longer has the commits from {} to {}: they are in no log archive",
        gap.after + 1,
        gap.last
    );
    Error::new(ErrorKind::NotFound, message).with_code(code::LOG_GAP).hint(
        "The backup itself is complete. Earlier ones cannot be rolled forward beyond the gap.",
    )
}
