//! The writing end of the log. Used by one thread at a time: the leader of the commit line.
//!
//! An append encodes its group into one buffer that is kept, and hands it to the disk in one write.
//! A new segment begins with the first append, when the current one is full, and after
//! [`Log::roll`]; its header is written together with its first group.

use std::path::PathBuf;
use std::sync::Arc;

use super::format::{
    GROUP_HEAD, GroupHead, HeadKind, SEGMENT_HEADER, SegmentEnd, SegmentHeader, seed, segment_chain,
};
use super::group::{Body, Context, Encoder, LogCommit};
use super::keep::Keep;
use super::prepare::Supply;
use super::segment::{numbers, path_of};
use super::sync::{SyncSet, SyncState, Unproven};
use super::upkeep::{Shared, Upkeep};
use crate::disk::{Disk, File};
use crate::engine::{Ancestry, AncestryFile, LSN_LIMIT, Lsn, StoreId};
use crate::{Error, ErrorKind, Result};

/// Bytes before a body in the buffer: room for both headers, of which a group in the middle of a
/// segment uses the second only.
const PREFIX: usize = SEGMENT_HEADER + GROUP_HEAD;

/// How a log goes on.
pub(crate) struct LogParams {
    /// The store.
    pub(crate) store_id: StoreId,
    /// The ancestry of what will be appended.
    pub(crate) ancestry: Ancestry,
    /// The store's file of it, which has the line of a segment before the segment is begun.
    pub(crate) ancestry_file: Arc<AncestryFile>,
    /// Whether what will be appended was made by another store.
    pub(crate) applied: bool,
    /// Length of a segment; a group that is longer gets a segment of its own.
    pub(crate) segment_bytes: u64,
    /// LSN of the next commit.
    pub(crate) next_lsn: Lsn,
    /// Time of the last commit; no later one gets an earlier time.
    pub(crate) last_time: i64,
    /// What recovery found the log to end with; `None` where the log begins here.
    pub(crate) prev: Option<SegmentEnd>,
    /// Everything through this LSN is known to be durable ([`super::Recovered::durable_lsn`]).
    pub(crate) durable_lsn: Lsn,
    /// What the first sync must cover too ([`super::Recovered::unproven`]).
    pub(crate) unproven: Vec<Unproven>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// LSN of the first commit.
    pub(crate) first_lsn: Lsn,
    /// LSN of the last commit.
    pub(crate) last_lsn: Lsn,
    /// The time of all of them: not before that of any earlier commit.
    pub(crate) time: i64,
    /// Bytes written.
    pub(crate) bytes: u64,
}

/// The segment that is written to.
struct Active {
    header: SegmentHeader,
    path: PathBuf,
    file: Arc<dyn File>,
    capacity: u64,
    seed: u32,
    /// Where the next group begins; 0 until the first one is written, with the header.
    end: u64,
    /// Checksum of the last head.
    chain: u32,
    /// Commits in it.
    commits: u32,
}

/// A context, encoded, and the segment that last got its definition.
struct Defined {
    context: Context,
    bytes: Vec<u8>,
    written_in: u64,
}

/// The writing end of the log.
pub(crate) struct Log {
    pub(super) shared: Arc<Shared>,
    store_id: StoreId,
    ancestry: Ancestry,
    ancestry_file: Arc<AncestryFile>,
    applied: bool,
    next_lsn: Lsn,
    last_time: i64,
    prev: Option<SegmentEnd>,
    active: Option<Active>,
    contexts: Vec<Defined>,
    encoder: Encoder,
}

impl Log {
    /// A log in the folder `dir` that goes on as `params` say. Creates nothing on disk.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where `params` contradict each other; errors of listing the folder.
    pub(crate) fn start(disk: Arc<dyn Disk>, dir: PathBuf, params: LogParams) -> Result<Log> {
        let base = params.next_lsn.saturating_sub(1);
        let follows = params.prev.is_none_or(|prev| prev.lsn == base);
        if params.next_lsn == 0 || !follows || params.durable_lsn > base {
            return Err(Error::new(ErrorKind::Invalid, "the log does not go on where it ended"));
        }
        let newest = numbers(&*disk, &dir)?.last().copied().unwrap_or(0);
        let next_number = newest.max(params.prev.map_or(0, |prev| prev.number)) + 1;
        let unproven =
            params.unproven.iter().map(|&part| (part, path_of(&dir, part.number))).collect();
        // A log that begins anew has nothing to make durable until the first append.
        let ends = params.prev.map_or(params.durable_lsn, |prev| prev.lsn);
        let sync = SyncState::new(Arc::clone(&disk), ends, params.durable_lsn, unproven);
        let supply = Supply::new(Arc::clone(&disk), dir.clone(), params.segment_bytes, next_number);
        let keep = Keep::new(params.prev);
        Ok(Log {
            shared: Arc::new(Shared { disk, dir, supply, sync, keep }),
            store_id: params.store_id,
            ancestry: params.ancestry,
            ancestry_file: params.ancestry_file,
            applied: params.applied,
            next_lsn: params.next_lsn,
            last_time: params.last_time,
            prev: params.prev,
            active: None,
            contexts: Vec::new(),
            encoder: Encoder::default(),
        })
    }

    /// A handle for the background thread.
    pub(crate) fn upkeep(&self) -> Upkeep {
        Upkeep(Arc::clone(&self.shared))
    }

    /// Gives `context` a number to be used in commits. Valid as long as this log is open.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] where it is too long.
    pub(crate) fn define_context(&mut self, context: &Context) -> Result<u32> {
        let id = self.contexts.len() as u32;
        let bytes = context.encode(id)?;
        self.contexts.push(Defined { context: context.clone(), bytes, written_in: 0 });
        Ok(id)
    }

    /// The number of `context`, which is defined where it was not yet.
    ///
    /// # Errors
    /// As [`Log::define_context`].
    pub(crate) fn context(&mut self, context: &Context) -> Result<u32> {
        match self.contexts.iter().position(|defined| defined.context == *context) {
            Some(id) => Ok(id as u32),
            None => self.define_context(context),
        }
    }

    /// What is appended from now on is on the tip of `ancestry`, and made by another store where
    /// `applied` says so. Ends the segment where that is not what it says of itself.
    ///
    /// # Errors
    /// As [`Log::roll`]; the log goes on as before then.
    pub(crate) fn go_on(&mut self, ancestry: &Ancestry, applied: bool) -> Result<()> {
        if (&self.ancestry, self.applied) == (ancestry, applied) {
            return Ok(());
        }
        self.roll()?;
        (self.ancestry, self.applied) = (ancestry.clone(), applied);
        // Begun, and nothing is in it: an append had no room for its first group.
        if let Some(active) = &mut self.active {
            self.ancestry_file.set(ancestry)?;
            let header = &mut active.header;
            (header.timeline, header.applied) = (ancestry.tip(), applied);
            header.ancestry_digest = ancestry.digest();
            active.chain = segment_chain(&header.encode());
        }
        Ok(())
    }

    /// LSN of the next commit.
    #[cfg(test)]
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// Appends `commits` as one group. They get the next LSNs, and `now` as their time unless an
    /// earlier commit has a later one.
    ///
    /// # Durability
    /// After the return the commits survive the end of the process; a crash of the machine only
    /// after [`Log::sync`].
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`], [`ErrorKind::Busy`] (there is no segment to be had now) and
    /// [`ErrorKind::Limit`] leave everything as it was. Any other failed write latches the log: whether the commits are found again is unknown.
    pub(crate) fn append<C: LogCommit>(&mut self, commits: &[C], now: i64) -> Result<Appended> {
        self.shared.sync.check()?;
        let count = self.check(commits)?;
        let mut encoder = std::mem::take(&mut self.encoder);
        let appended = self.append_encoded(&mut encoder, commits, count, now);
        self.encoder = encoder;
        appended
    }

    fn append_encoded<C: LogCommit>(
        &mut self,
        encoder: &mut Encoder,
        commits: &[C],
        count: u32,
        now: i64,
    ) -> Result<Appended> {
        let mut ids = self.contexts_to_define(commits);
        let mut body = self.encode(encoder, &ids, commits)?;
        if !self.has_room(body.len) {
            let needed = self.needed(body.len);
            self.roll()?;
            self.begin_segment(needed)?;
            ids = self.contexts_to_define(commits);
            body = self.encode(encoder, &ids, commits)?;
        }
        let time = now.max(self.last_time);
        let bytes = self.write(body, ids.len() as u16, count, time)?;
        let number = self.active.as_ref().map_or(0, |active| active.header.number);
        for &id in &ids {
            self.contexts[id as usize].written_in = number;
        }
        let first_lsn = self.next_lsn;
        self.next_lsn += u64::from(count);
        self.last_time = time;
        Ok(Appended { first_lsn, last_lsn: self.next_lsn - 1, time, bytes })
    }

    /// How many `commits` there are, where all of them may be appended.
    fn check<C: LogCommit>(&self, commits: &[C]) -> Result<u32> {
        let invalid = |why| Err(Error::new(ErrorKind::Invalid, why));
        if commits.is_empty() {
            return invalid("a group without commits");
        }
        if commits.iter().any(|commit| commit.context() as usize >= self.contexts.len()) {
            return invalid("a commit with a context that was not defined");
        }
        let count = u32::try_from(commits.len())
            .map_err(|_| Error::new(ErrorKind::Limit, "too many commits in one group"))?;
        if self.next_lsn.checked_add(count.into()).is_none_or(|next| next > LSN_LIMIT) {
            return Err(Error::new(
                ErrorKind::Limit,
                "the store has had as many commits as it can",
            ));
        }
        Ok(count)
    }

    /// The contexts of `commits` that the current segment does not define yet, each once.
    fn contexts_to_define<C: LogCommit>(&self, commits: &[C]) -> Vec<u32> {
        let number = self.active.as_ref().map_or(u64::MAX, |active| active.header.number);
        let mut ids = Vec::new();
        for id in commits.iter().map(LogCommit::context) {
            if self.contexts[id as usize].written_in != number && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn encode<'e, 'a, C: LogCommit>(
        &self,
        encoder: &'e mut Encoder,
        ids: &[u32],
        commits: &'a [C],
    ) -> Result<Body<'e, 'a>> {
        let contexts: Vec<&[u8]> =
            ids.iter().map(|&id| &*self.contexts[id as usize].bytes).collect();
        encoder.encode(PREFIX, &contexts, commits)
    }

    /// Whether a body of `len` bytes, and a trailer, fit into the current segment.
    fn has_room(&self, len: usize) -> bool {
        self.active.as_ref().is_some_and(|active| {
            let header = if active.end == 0 { SEGMENT_HEADER } else { 0 };
            active.end + (header + GROUP_HEAD + len + GROUP_HEAD) as u64 <= active.capacity
        })
    }

    /// The room that a body of `len` bytes needs in a segment of its own, where it defines anew
    /// whatever contexts it uses.
    fn needed(&self, len: usize) -> u64 {
        let contexts: usize = self.contexts.iter().map(|context| context.bytes.len()).sum();
        (PREFIX + len + contexts.next_multiple_of(8) + GROUP_HEAD) as u64
    }

    fn begin_segment(&mut self, needed: u64) -> Result<()> {
        self.ancestry_file.set(&self.ancestry)?;
        let blank = self.shared.supply.take(needed)?;
        let mut salt = [0; 8];
        self.shared.disk.random(&mut salt);
        let salt = u64::from_le_bytes(salt);
        let header = SegmentHeader {
            store_id: self.store_id,
            timeline: self.ancestry.tip(),
            ancestry_digest: self.ancestry.digest(),
            number: blank.number,
            salt,
            prev: self.prev,
            base: self.next_lsn - 1,
            base_time: self.last_time,
            applied: self.applied,
        };
        self.shared.sync.opened(blank.number, blank.path.clone(), Arc::clone(&blank.file));
        self.active = Some(Active {
            header,
            path: blank.path,
            file: blank.file,
            capacity: blank.capacity,
            seed: seed(salt, self.store_id),
            end: 0,
            chain: segment_chain(&header.encode()),
            commits: 0,
        });
        Ok(())
    }

    /// Writes `body` behind its head, and behind the segment's header where it is the first.
    fn write(&mut self, body: Body<'_, '_>, contexts: u16, count: u32, time: i64) -> Result<u64> {
        let sync = &self.shared.sync;
        let active = self.active.as_mut().expect("the caller has begun a segment");
        let head = GroupHead {
            kind: HeadKind::Group,
            contexts,
            body_crc: body.crc(active.seed),
            total: (GROUP_HEAD + body.len) as u32,
            commits: count,
            prev_chain: active.chain,
            first_lsn: self.next_lsn,
            time,
            synced_through: sync.durable(),
            salt: active.header.salt,
        };
        let (head, chain) = head.encode(active.seed);
        body.buffer[SEGMENT_HEADER..PREFIX].copy_from_slice(&head);
        let from = if active.end == 0 {
            body.buffer[..SEGMENT_HEADER].copy_from_slice(&active.header.encode());
            0
        } else {
            SEGMENT_HEADER
        };
        let written = if body.big.is_empty() {
            active.file.write_at(&body.buffer[from..], active.end)
        } else {
            active.file.write_parts_at(&body.parts(from), active.end)
        };
        active.wrote(written, sync)?;
        let bytes = (PREFIX - from + body.len) as u64;
        active.end += bytes;
        active.chain = chain;
        active.commits = active.commits.saturating_add(count);
        sync.wrote(active.end, self.next_lsn + u64::from(count) - 1);
        self.shared.keep.wrote(active.end);
        Ok(bytes)
    }

    /// Ends the segment here: whatever is appended next stands in another one. No sync.
    ///
    /// # Errors
    /// As [`Log::append`]; where there is no room for the trailer, the segment goes on.
    pub(crate) fn roll(&mut self) -> Result<()> {
        let sync = &self.shared.sync;
        let Some(active) = self.active.as_mut().filter(|active| active.end > 0) else {
            return Ok(());
        };
        sync.check()?;
        let trailer = GroupHead {
            kind: HeadKind::Trailer,
            contexts: 0,
            body_crc: 0,
            total: GROUP_HEAD as u32,
            commits: active.commits,
            prev_chain: active.chain,
            first_lsn: self.next_lsn,
            time: self.last_time,
            synced_through: sync.durable(),
            salt: active.header.salt,
        };
        let (bytes, _) = trailer.encode(active.seed);
        active.wrote(active.file.write_at(&bytes, active.end), sync)?;
        let bytes = active.end + GROUP_HEAD as u64;
        sync.closed(bytes);
        let (number, chain) = (active.header.number, active.chain);
        let end = SegmentEnd { number, chain, lsn: self.next_lsn - 1 };
        self.shared.keep.closed(end, bytes);
        self.prev = Some(end);
        self.active = None;
        Ok(())
    }

    /// Makes all that was appended durable: every segment with unsynced bytes, oldest first.
    ///
    /// # Errors
    /// The first failure, which latches the log.
    pub(crate) fn sync(&mut self) -> Result<Lsn> {
        self.unsynced().sync()
    }

    /// The same as a thing, to be synced on another thread while appends go on.
    pub(crate) fn unsynced(&self) -> SyncSet {
        self.shared.sync.unsynced()
    }

    /// The highest LSN that is known to be durable.
    #[cfg(test)]
    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.shared.sync.durable()
    }

    /// Gives the room that is kept for a full disk back to it; whether there was any.
    pub(crate) fn spend_reserve(&self) -> bool {
        self.shared.supply.spend_reserve()
    }

    /// Where the newest closed segment ended.
    pub(super) fn end(&self) -> Option<SegmentEnd> {
        self.prev
    }

    /// Begins a segment, ends it without a commit, and makes it durable.
    pub(super) fn write_marker(&mut self, needed: u64) -> Result<()> {
        self.begin_segment(needed)?;
        let sync = &self.shared.sync;
        let active = self.active.as_mut().expect("it was begun");
        active.wrote(active.file.write_at(&active.header.encode(), 0), sync)?;
        active.end = SEGMENT_HEADER as u64;
        sync.wrote(active.end, self.next_lsn - 1);
        self.roll()?;
        self.sync().map(drop)
    }
}

impl Active {
    /// What became of a write to this segment. A full disk leaves the end where it was: the next
    /// write goes over the same place.
    fn wrote(&self, result: std::io::Result<()>, sync: &SyncState) -> Result<()> {
        result.map_err(|e| {
            let error = Error::io("write the log", &self.path, e);
            if error.kind() != ErrorKind::StorageFull {
                sync.latch();
            }
            error
        })
    }
}
