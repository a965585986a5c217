//! Which history a commit is of: timelines, the line of them that a store came through, and every
//! question that is asked about two histories.
//!
//! A commit is named by its timeline and its LSN. A timeline begins where a store leaves the history
//! that it was on: with its first own commit after a restore, a rollback, an integration or a lost
//! tail. An [`Ancestry`] is the whole line of timelines from the birth of the store; a [`History`] is
//! an ancestry with its last commit. `docs/recovery.md` has the table of the questions; each is
//! answered by one method here, and nowhere else.
//!
//! Every store, archive and log archive has its ancestry in a file or entry of its own
//! ([`ANCESTRY_FILE`]). Metas and segment headers carry the [digest](Ancestry::digest) of theirs, so
//! that files that do not belong together are recognised.
//!
//! ```text
//! 0   8 bytes  "STILLANC"
//! 8   u32      format: 1
//! 12  u32      number of timelines, at least 1
//! 16  24 bytes for each, oldest first: id u128, fork u64
//!     u32      CRC32C of all before it
//! ```
//!
//! Invariants: ids are not 0 and occur once; the first fork is 0, and forks never go back; a line has
//! at most [`MAX_FORKS`] forks. Decoding checks all of it and never panics.

mod file;
mod history;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::Lsn;
use crate::error::{Error, ErrorKind, Result};

pub(crate) use file::{ANCESTRY_FILE, AncestryFile};
pub(crate) use history::{Age, History, Known};

/// A branch of history. Commits are the same only where timeline ancestry *and* LSN agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Timeline {
    /// Drawn at random when the timeline is minted.
    #[serde(serialize_with = "super::id_in_hex")]
    pub id: u128,
    /// The timeline that this one left, or 0 for the first of a store.
    #[serde(serialize_with = "super::id_in_hex")]
    pub parent: u128,
    /// The last LSN that this timeline shares with its parent.
    pub fork: Lsn,
}

/// The newest commit of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last commit.
    pub(crate) lsn: Lsn,
    /// Its time.
    pub(crate) time: i64,
    /// Its timeline.
    pub(crate) timeline: Timeline,
    /// Whether a commit of the store's own begins a new timeline.
    pub(crate) foreign: bool,
}

/// The most forks of a line.
pub(crate) const MAX_FORKS: usize = 65_536;

const MAGIC: &[u8; 8] = b"STILLANC";
const FORMAT: u32 = 1;
const HEAD: usize = 16;
const ENTRY: usize = 24;

/// One timeline of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stem {
    id: u128,
    /// The last commit that it shares with the one before it.
    fork: Lsn,
    /// Covers it and all before it.
    digest: u64,
}

/// The whole line of timelines that led to a commit, from the birth of its store.
#[derive(Clone, Debug)]
pub(crate) struct Ancestry {
    /// Oldest first, never empty.
    line: Arc<[Stem]>,
}

impl Ancestry {
    /// The line of a store that was just created.
    pub(crate) fn first(id: u128) -> Ancestry {
        let digest = digest_of(0, id, 0);
        Ancestry { line: Arc::new([Stem { id, fork: 0, digest }]) }
    }

    /// The line of a log that is read by itself: what the header of a segment states, without what
    /// came before. It is compared, and never written.
    pub(crate) fn stated(tip: Timeline, digest: u64) -> Ancestry {
        let own = Stem { id: tip.id, fork: tip.fork, digest };
        let above = Stem { id: tip.parent, fork: 0, digest: 0 };
        let line = [above, own];
        Ancestry { line: line[usize::from(tip.parent == 0)..].into() }
    }

    /// The line to `tip` as far as `known` tells of it. It is compared, and never written.
    pub(crate) fn presumed(tip: Timeline, known: &Known) -> Ancestry {
        let mut line = vec![tip];
        while let Some(above) = known.get(line[line.len() - 1].parent)
            && line.len() <= MAX_FORKS
            && !line.iter().any(|one| one.id == above.id)
        {
            line.push(above);
        }
        let first = line[line.len() - 1];
        let whole =
            line.iter().rev().skip(1).try_fold(Ancestry::stated(first, 0), |line, next| {
                line.extended(next.id, next.fork)
            });
        whole.unwrap_or_else(|_| Ancestry::stated(tip, 0))
    }

    /// The last timeline.
    pub(crate) fn tip(&self) -> Timeline {
        self.timeline(self.line.len() - 1)
    }

    /// Stands for the whole line: equal digests mean equal lines.
    pub(crate) fn digest(&self) -> u64 {
        self.line[self.line.len() - 1].digest
    }

    fn timeline(&self, at: usize) -> Timeline {
        let Stem { id, fork, .. } = self.line[at];
        Timeline { id, parent: at.checked_sub(1).map_or(0, |above| self.line[above].id), fork }
    }

    /// Its timelines, the newest first.
    pub(crate) fn timelines(&self) -> impl Iterator<Item = Timeline> {
        (0..self.line.len()).rev().map(|at| self.timeline(at))
    }

    /// The line at the birth of the store: its first timeline alone.
    pub(crate) fn birth(&self) -> Ancestry {
        Ancestry { line: self.line[..1].into() }
    }

    fn index_of(&self, id: u128) -> Option<usize> {
        self.line.iter().rposition(|stem| stem.id == id)
    }

    /// The line through the timeline `id`; `None` where that is not of it.
    pub(crate) fn through(&self, id: u128) -> Option<Ancestry> {
        let at = self.index_of(id)?;
        Some(Ancestry { line: self.line[..=at].into() })
    }

    /// Whether `other` is this line, or an earlier part of it.
    pub(crate) fn begins_with(&self, other: &Ancestry) -> bool {
        self.line.get(other.line.len() - 1) == other.line.last()
    }

    /// The last commit of the timeline `id` that is shared with what follows it in the line: `Lsn::MAX`
    /// for the tip. `None` where the timeline is not of the line.
    pub(crate) fn end_of(&self, id: u128) -> Option<Lsn> {
        let at = self.index_of(id)?;
        Some(self.line.get(at + 1).map_or(Lsn::MAX, |next| next.fork))
    }

    /// The last commit before the timeline `id`; `None` where that is not of the line.
    pub(crate) fn fork_of(&self, id: u128) -> Option<Lsn> {
        self.index_of(id).map(|at| self.line[at].fork)
    }

    /// The line with a new timeline `id` that leaves the last one after the commit `fork`.
    ///
    /// # Errors
    /// `Limit` where there are too many forks, `Invalid` where the fork is before that of the tip, or
    /// the timeline is in the line already.
    pub(crate) fn extended(&self, id: u128, fork: Lsn) -> Result<Ancestry> {
        if self.line.len() > MAX_FORKS {
            let why = format!("the store has left its history {MAX_FORKS} times; no more fit");
            let error = Error::new(ErrorKind::Limit, why);
            return Err(error.hint("Export its tables and import them into a new store."));
        }
        let last = self.line[self.line.len() - 1];
        if id == 0 || self.index_of(id).is_some() || fork < last.fork || fork == Lsn::MAX {
            return Err(Error::new(ErrorKind::Invalid, "a timeline cannot leave its line there"));
        }
        let next = Stem { id, fork, digest: digest_of(last.digest, id, fork) };
        Ok(Ancestry { line: self.line.iter().copied().chain([next]).collect() })
    }

    /// May a log follow here: the line of the commit after `lsn`, where that is of the timeline
    /// `theirs` in a line with this digest. `None` where such a commit cannot follow.
    pub(crate) fn follow(&self, theirs: Timeline, digest: u64, lsn: Lsn) -> Option<Ancestry> {
        let next = match theirs.id == self.tip().id {
            true => self.clone(),
            false if theirs.parent == self.tip().id && theirs.fork == lsn => {
                self.extended(theirs.id, theirs.fork).ok()?
            }
            false => return None,
        };
        (next.digest() == digest).then_some(next)
    }

    /// The line whose tip is `tip` and whose digest is `digest`: this one, part of it, or this one
    /// with some of the timelines `known`. The digest proves it; `None` where nothing fits.
    pub(crate) fn proven(
        stored: Option<&Ancestry>,
        tip: Timeline,
        digest: u64,
        known: &Known,
    ) -> Option<Ancestry> {
        let mut above = Vec::new();
        let mut at = tip;
        let base = loop {
            if let Some(base) = stored.and_then(|stored| stored.through(at.id)) {
                break base;
            }
            if at.parent == 0 {
                break Ancestry::first(at.id);
            }
            above.push(at);
            if above.len() > MAX_FORKS {
                return None;
            }
            at = match stored.and_then(|stored| stored.through(at.parent)) {
                Some(base) => break base,
                None => known.get(at.parent)?,
            };
        };
        let mut line = base;
        for timeline in above.iter().rev() {
            line = line.extended(timeline.id, timeline.fork).ok()?;
        }
        (line.tip() == tip && line.digest() == digest).then_some(line)
    }

    /// The line as the bytes of a file or entry.
    pub(crate) fn encode(&self) -> Vec<u8> {
        debug_assert!(self.is_whole(), "a line without its beginning is not written");
        let mut out = Vec::with_capacity(HEAD + self.line.len() * ENTRY + 4);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.line.len() as u32).to_le_bytes());
        for stem in &*self.line {
            out.extend_from_slice(&stem.id.to_le_bytes());
            out.extend_from_slice(&stem.fork.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The line in `bytes`. The error says what is wrong with them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Ancestry, &'static str> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        let (magic, body_rest) = body.split_first_chunk::<8>().ok_or("it is too short")?;
        if magic != MAGIC {
            return Err("it does not begin as an ancestry does");
        }
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err("its checksum is wrong");
        }
        let (format, rest) = body_rest.split_first_chunk::<4>().ok_or("it is too short")?;
        if u32::from_le_bytes(*format) != FORMAT {
            return Err("another version of the library wrote it");
        }
        let (count, rest) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
        let count = u32::from_le_bytes(*count) as usize;
        let (entries, left) = rest.as_chunks::<ENTRY>();
        if count == 0 || count > MAX_FORKS + 1 || entries.len() != count || !left.is_empty() {
            return Err("its length is wrong");
        }
        Ancestry::of(entries.iter().map(|entry| {
            let mut id = [0; 16];
            let mut fork = [0; 8];
            id.copy_from_slice(&entry[..16]);
            fork.copy_from_slice(&entry[16..]);
            (u128::from_le_bytes(id), u64::from_le_bytes(fork))
        }))
    }

    fn is_whole(&self) -> bool {
        Ancestry::of(self.line.iter().map(|stem| (stem.id, stem.fork))).as_ref() == Ok(self)
    }

    fn of(timelines: impl Iterator<Item = (u128, Lsn)>) -> Result<Ancestry, &'static str> {
        let mut seen = std::collections::HashSet::new();
        let mut line: Vec<Stem> = Vec::new();
        for (id, fork) in timelines {
            if id == 0 || !seen.insert(id) {
                return Err("a timeline occurs twice, or has no id");
            }
            let (least, most) = line.last().map_or((0, 0), |last| (last.fork, Lsn::MAX - 1));
            if !(least..=most).contains(&fork) {
                return Err("its forks go back");
            }
            let above = line.last().map_or(0, |last| last.digest);
            line.push(Stem { id, fork, digest: digest_of(above, id, fork) });
        }
        if line.is_empty() { Err("it is empty") } else { Ok(Ancestry { line: line.into() }) }
    }

    /// The most bytes that an encoded line has.
    pub(crate) const MAX_BYTES: u64 = (HEAD + (MAX_FORKS + 1) * ENTRY + 4) as u64;
}

impl PartialEq for Ancestry {
    fn eq(&self, other: &Ancestry) -> bool {
        // The log asks in each commit, and nearly always about the same value.
        Arc::ptr_eq(&self.line, &other.line)
            || self.line.len() == other.line.len() && self.line.last() == other.line.last()
    }
}

impl Eq for Ancestry {}

/// The digest of a line whose last timeline is `id`, and whose digest without it is `above`.
fn digest_of(above: u64, id: u128, fork: Lsn) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&above.to_le_bytes());
    hasher.update(&id.to_le_bytes());
    hasher.update(&fork.to_le_bytes());
    let mut digest = [0; 8];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(digest)
}
