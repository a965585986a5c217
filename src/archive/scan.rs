//! Reading many frames: in order, with the unpacking on worker threads.
//!
//! The caller's thread reads the file and takes the results; the workers unpack and hash. At most
//! [`depth`](Scan::run) frames are under way, so memory is bounded. Progress and sinks are called on
//! the caller's thread, which is why they need not be `Send`.

use super::digest::{Piece, Place};
use super::frames::{self, FrameReader};
use super::pipeline::{self, Collector, Feeder, Workers};
use super::reader::ArchiveFile;
use crate::disk::File;
use crate::error::{Error, ErrorKind, Result};
use std::collections::VecDeque;

/// How many bytes are read before they are dropped from the page cache.
const DROP_EVERY: u64 = 16 << 20;

/// A frame to be read.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) number: usize,
    /// The entry that it belongs to: whatever index the caller uses.
    pub(crate) entry: usize,
    /// Where it lies in that entry; `None` for tar headers and padding.
    pub(crate) place: Option<Place>,
}

/// What was read.
pub(crate) struct Scanned<'a> {
    pub(crate) wanted: Wanted,
    pub(crate) content: &'a [u8],
    pub(crate) piece: Option<Piece>,
}

/// A frame on its way.
struct Job {
    wanted: Wanted,
    packed: Vec<u8>,
    /// Length of the content; what unpacking must give.
    len: usize,
    content: Vec<u8>,
    piece: Option<Piece>,
}

/// The threads that unpack. The ends come before the threads: they are dropped in that order.
pub(crate) struct Scan<'a> {
    archive: &'a ArchiveFile,
    file: &'a dyn File,
    /// Where frames are read that are damaged in `file`.
    repaired: Option<&'a dyn File>,
    feeder: Feeder<Job>,
    frames: Collector<Job>,
    _workers: Workers,
    depth: usize,
    /// Whether what was read is dropped from the page cache.
    drop_cache: bool,
    dropped: u64,
}

impl<'a> Scan<'a> {
    /// Starts `workers` threads; 0 takes one for each processor.
    pub(crate) fn start(archive: &'a ArchiveFile, workers: usize) -> Result<Scan<'a>> {
        let workers = match workers {
            0 => pipeline::default_workers(),
            // It touches no disk, so the order of calls is the same with it.
            pipeline::INLINE => 1,
            some => some,
        };
        let depth = pipeline::depth(workers);
        let (feeder, frames, threads) = pipeline::start(workers, depth, || {
            let path = archive.path.clone();
            let mut decoder = frames::new_decoder(&path)?;
            Ok(move |mut job: Job| {
                let Job { wanted, packed, len, content, piece } = &mut job;
                frames::decode(&mut decoder, &path, wanted.number, packed, *len, content)?;
                *piece = wanted.place.map(|place| Piece::of(content, place));
                Ok(job)
            })
        })?;
        Ok(Scan {
            archive,
            file: &*archive.file,
            repaired: archive.repaired.as_deref(),
            feeder,
            frames,
            _workers: threads,
            depth,
            drop_cache: false,
            dropped: 0,
        })
    }

    /// Reads the frames of `file` and nothing else.
    pub(crate) fn only(self, file: &'a dyn File) -> Scan<'a> {
        Scan { file, repaired: None, ..self }
    }

    /// Drops from the page cache what was read, as it goes on.
    pub(crate) fn dropping_cache(mut self) -> Scan<'a> {
        self.drop_cache = true;
        self
    }

    /// Reads `plan`, shows each frame as it lies to `read` and unpacked to `take`, both in order.
    pub(crate) fn run(
        mut self,
        plan: impl Iterator<Item = Wanted>,
        mut read: impl FnMut(&[u8]),
        mut take: impl FnMut(Scanned<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut plan = plan.fuse();
        let mut spare: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut under_way = 0;
        let mut sent = VecDeque::new();
        loop {
            while under_way < self.depth {
                let Some(wanted) = plan.next() else { break };
                let (mut packed, content) = spare.pop().unwrap_or_default();
                let len = self.read_frame(wanted.number, &mut packed)?;
                read(&packed);
                under_way += 1;
                sent.push_back(wanted);
                self.feeder
                    .send(Job { wanted, packed, len, content, piece: None })
                    .map_err(|_| self.gone())?;
            }
            if under_way == 0 {
                return Ok(());
            }
            // Results come in the order in which the frames were read.
            let Some(wanted) = sent.pop_front() else { return Err(self.gone()) };
            let job = self.frames.next().unwrap_or_else(|| Err(self.gone()));
            let job = job.or_else(|error| self.repaired_frame(wanted).ok_or(error));
            let job = job.map_err(|error| self.archive.in_its_file(error, wanted.number))?;
            under_way -= 1;
            take(Scanned { wanted: job.wanted, content: &job.content, piece: job.piece })?;
            spare.push((job.packed, job.content));
        }
    }

    fn read_frame(&mut self, number: usize, packed: &mut Vec<u8>) -> Result<usize> {
        let archive = self.archive;
        let mut read = |file: &dyn File| {
            frames::read_packed(file, &archive.path, &archive.map, number, packed)
        };
        let len = match (read(self.file), self.repaired) {
            (Err(error), Some(repaired)) => read(repaired).map_err(|_| error),
            (read, _) => read,
        };
        let len = len.map_err(|error| archive.in_its_file(error, number))?;
        if let (true, Some((at, _))) = (self.drop_cache, archive.map.get(number))
            && at >= self.dropped + DROP_EVERY
        {
            self.file.drop_cache(self.dropped, at - self.dropped);
            self.dropped = at;
        }
        Ok(len)
    }

    /// A frame that did not unpack, as parity repairs it.
    fn repaired_frame(&self, wanted: Wanted) -> Option<Job> {
        let (archive, repaired) = (self.archive, self.repaired?);
        let mut frames = FrameReader::new(repaired, &archive.path, &archive.map).ok()?;
        let mut content = Vec::new();
        frames.read(wanted.number, &mut content).ok()?;
        let piece = wanted.place.map(|place| Piece::of(&content, place));
        Some(Job { wanted, packed: Vec::new(), len: content.len(), content, piece })
    }

    fn gone(&self) -> Error {
        Error::new(ErrorKind::Io, "the threads that unpack are gone").at(&self.archive.path)
    }
}
