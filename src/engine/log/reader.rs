//! Reading a segment: group by group from its start, or looking for whatever is sound in it.
//!
//! Reads with `read_at` into one buffer. It holds a chunk, or one group where that is longer: at most
//! [`super::MAX_GROUP`] bytes, and never more than the file has. Decides nothing: a place where no
//! sound group follows is [`Step::Bad`], and what that means is the caller's business.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{
    ALIGN, GROUP_HEAD, GROUP_MAGIC, GroupHead, HeadKind, Malformed, SEGMENT_HEADER, SegmentHeader,
    seed,
};
use super::group::GroupBody;
use super::segment::{Header, open, read_header};
use crate::disk::{Disk, File, OpenMode};
use crate::engine::{Lsn, StoreId};
use crate::{Error, ErrorKind, Result};

/// What is read at once where groups are small.
const CHUNK: usize = 256 << 10;

/// Part of a file in memory.
struct Window {
    path: PathBuf,
    file: Arc<dyn File>,
    /// Length of the file: as it was when it was opened, or where a read found it to end since.
    len: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer's first byte stands.
    start: u64,
}

impl Window {
    fn new(path: &Path, file: Arc<dyn File>, len: u64) -> Window {
        Window { path: path.to_path_buf(), file, len, buffer: Vec::new(), start: 0 }
    }

    /// The `wanted` bytes at `at`, or `None` where the file ends before them.
    fn bytes(&mut self, at: u64, wanted: usize) -> Result<Option<&[u8]>> {
        if !self.holds(at, wanted) {
            if at.checked_add(wanted as u64).is_none_or(|end| end > self.len) {
                return Ok(None);
            }
            self.fill(at, wanted)?;
            if !self.holds(at, wanted) {
                return Ok(None);
            }
        }
        let from = (at - self.start) as usize;
        Ok(Some(&self.buffer[from..from + wanted]))
    }

    /// The ranges from `from` on that may hold anything but zeros. They are sought before any of them
    /// is read: room that was allocated ahead counts as data once it is in the page cache.
    fn data(&self, from: u64) -> Result<Vec<Range<u64>>> {
        let mut found = Vec::new();
        let mut at = from;
        self.file.drop_cache(from, self.len.saturating_sub(from));
        while at < self.len {
            let next = self.file.next_data(at);
            match next.map_err(|e| Error::io("read the log", &self.path, e))? {
                Some(data) => {
                    at = data.end.max(at + 1);
                    found.push(data.start..data.end.min(self.len));
                }
                None => break,
            }
        }
        Ok(found)
    }

    fn holds(&self, at: u64, wanted: usize) -> bool {
        let end = self.start + self.buffer.len() as u64;
        at >= self.start && at.checked_add(wanted as u64).is_some_and(|wanted| wanted <= end)
    }

    /// Moves the window to `at`; `wanted` bytes are known to lie within the file.
    fn fill(&mut self, at: u64, wanted: usize) -> Result<()> {
        let rest = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        self.buffer.resize(wanted.max(CHUNK).min(rest), 0);
        self.start = at;
        let mut done = 0;
        while done < self.buffer.len() {
            match self.file.read_at(&mut self.buffer[done..], at + done as u64) {
                Ok(0) => {
                    // A closed segment may be cut at its end while it is read.
                    self.len = at + done as u64;
                    self.buffer.truncate(done);
                }
                Ok(read) => done += read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read the log", &self.path, e)),
            }
        }
        Ok(())
    }
}

/// A sound group.
pub(crate) struct Group<'a> {
    /// Its head.
    pub(crate) head: GroupHead,
    /// The checksum of its head.
    pub(crate) chain: u32,
    /// Its commits.
    pub(crate) body: GroupBody<'a>,
}

/// What comes next in a segment.
pub(crate) enum Step<'a> {
    /// A sound group that follows the one before.
    Group(Group<'a>),
    /// The end, stated by the writer.
    Trailer(GroupHead),
    /// No sound group follows; the reader stays where it is.
    Bad(Malformed),
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its last commit; the one before it where it has none.
    pub(crate) last: Lsn,
    /// The time of that commit.
    pub(crate) last_time: i64,
    /// Nothing more will be written to it: it has a trailer.
    pub(crate) closed: bool,
}

/// Reads one segment from its start.
pub(crate) struct SegmentReader {
    window: Window,
    header: SegmentHeader,
    seed: u32,
    at: u64,
    chain: u32,
    next_lsn: Lsn,
}

impl SegmentReader {
    /// Opens the segment at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it has no sound header, [`ErrorKind::Unsupported`] where another
    /// version wrote it.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<SegmentReader> {
        let (file, len) = open(disk, path, OpenMode::Read)?;
        SegmentReader::on(file, len, path)
    }

    /// Reads the segment that the first `len` bytes of `file` hold; `path` is for errors.
    ///
    /// # Errors
    /// As [`SegmentReader::open`].
    pub(crate) fn on(file: Arc<dyn File>, len: u64, path: &Path) -> Result<SegmentReader> {
        let (header, chain) = match read_header(&*file, path, len)? {
            Header::Sound(header, chain) => (header, chain),
            Header::Foreign(version) => return Err(unsupported(path, version)),
            Header::Blank | Header::Torn => {
                return Err(Error::corrupt(path, "a log segment without a sound header"));
            }
        };
        Ok(SegmentReader {
            window: Window::new(path, file, len),
            header,
            seed: seed(header.salt, header.store_id),
            at: SEGMENT_HEADER as u64,
            chain,
            next_lsn: header.base + 1,
        })
    }

    /// Its header.
    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Where the next step begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Checksum of the last head.
    pub(crate) fn chain(&self) -> u32 {
        self.chain
    }

    /// LSN of the next commit.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The trailer that the file ends with, where it says that all commits before it, the last of them
    /// being `lsn`, were durable when it was written. A segment with such an end need not be read by
    /// whoever has its commits: its salt is drawn for it alone, and its writer ends it once.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(crate) fn clean_end(&mut self, lsn: Lsn) -> Result<Option<GroupHead>> {
        let ends_here = |head: &GroupHead| head.last_lsn() == lsn && head.synced_through >= lsn;
        Ok(self.trailer_at_end()?.filter(ends_here))
    }

    /// The trailer that the file ends with, where it ends with one.
    fn trailer_at_end(&mut self) -> Result<Option<GroupHead>> {
        let (store_id, salt) = (self.header.store_id, self.header.salt);
        let at = self.window.len.saturating_sub(GROUP_HEAD as u64);
        if at < SEGMENT_HEADER as u64 {
            return Ok(None);
        }
        let bytes = self.window.bytes(at, GROUP_HEAD)?.and_then(<[u8]>::as_array);
        let head = bytes.and_then(|bytes| GroupHead::decode(bytes, store_id).ok());
        Ok(head.map(|(head, _)| head).filter(|head| {
            head.kind == HeadKind::Trailer
                && head.salt == salt
                && head.last_lsn() >= self.header.base
        }))
    }

    /// How the segment ends: as its trailer says where the file ends with one, else as reading all of
    /// it shows. Commits through `limit` only are looked at.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(crate) fn span(&mut self, limit: Lsn) -> Result<Span> {
        if let Some(trailer) = self.trailer_at_end()?.filter(|head| head.last_lsn() <= limit) {
            let (last, last_time) = (trailer.last_lsn(), trailer.time);
            return Ok(Span { last, last_time, closed: true });
        }
        let mut span =
            Span { last: self.header.base, last_time: self.header.base_time, closed: false };
        while span.last < limit {
            match self.next()? {
                Step::Group(group) => {
                    (span.last, span.last_time) = (group.head.last_lsn(), group.head.time);
                }
                Step::Trailer(_) => {
                    span.closed = true;
                    break;
                }
                Step::Bad(_) => break,
            }
        }
        Ok(span)
    }

    /// Reads and checks what comes next, all of it, before any of it is shown.
    ///
    /// # Errors
    /// Those of reading the file. Bytes that are not sound are no error: [`Step::Bad`].
    pub(crate) fn next(&mut self) -> Result<Step<'_>> {
        let (head, chain) = match self.head()? {
            Ok(found) => found,
            Err(why) => return Ok(Step::Bad(why)),
        };
        if head.kind == HeadKind::Trailer {
            return Ok(Step::Trailer(head));
        }
        let Some(group) = self.window.bytes(self.at, head.total as usize)? else {
            return Ok(Step::Bad(Malformed::Length));
        };
        let body = &group[GROUP_HEAD..];
        if crc32c::crc32c_append(self.seed, body) != head.body_crc {
            return Ok(Step::Bad(Malformed::Checksum));
        }
        match GroupBody::parse(body, head.contexts, head.commits, head.first_lsn) {
            Ok(body) => {
                self.at += u64::from(head.total);
                self.chain = chain;
                self.next_lsn = head.last_lsn() + 1;
                Ok(Step::Group(Group { head, chain, body }))
            }
            Err(why) => Ok(Step::Bad(why)),
        }
    }

    /// The head that begins here, where it belongs to this place of this segment.
    fn head(&mut self) -> Result<Result<(GroupHead, u32), Malformed>> {
        let (store_id, at) = (self.header.store_id, self.at);
        let found = match self.window.bytes(at, GROUP_HEAD)?.and_then(<[u8]>::as_array) {
            Some(bytes) => GroupHead::decode(bytes, store_id),
            None => Err(Malformed::Length),
        };
        Ok(found.and_then(|(head, chain)| {
            let here = head.salt == self.header.salt
                && head.prev_chain == self.chain
                && head.first_lsn == self.next_lsn;
            if here { Ok((head, chain)) } else { Err(Malformed::Field) }
        }))
    }
}

/// The error for a segment of another format version.
pub(crate) fn unsupported(path: &Path, version: u32) -> Error {
    let why = format!("the log has format version {version}, which this version cannot read");
    Error::new(ErrorKind::Unsupported, why).at(path)
}

/// What stands in a part of a segment, whether or not anything leads to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// The highest LSN that a sound head says was durable.
    pub(crate) synced_through: Lsn,
    /// The highest LSN that a sound head says it holds.
    pub(crate) last_lsn: Lsn,
    /// Not all bytes are zero.
    pub(crate) written: bool,
}

impl Remains {
    /// Both together.
    pub(crate) fn and(self, other: Remains) -> Remains {
        Remains {
            synced_through: self.synced_through.max(other.synced_through),
            last_lsn: self.last_lsn.max(other.last_lsn),
            written: self.written || other.written,
        }
    }
}

/// Looks at everything from byte `from` of the segment at `path` on. Only heads count that belong to
/// the store, and to the segment where its `salt` is known.
pub(crate) fn look_at(
    disk: &dyn Disk,
    path: &Path,
    from: u64,
    store_id: StoreId,
    salt: Option<u64>,
) -> Result<Remains> {
    let (file, len) = open(disk, path, OpenMode::Read)?;
    let mut window = Window::new(path, file, len);
    let mut remains = Remains::default();
    for data in window.data(from)? {
        // A head may begin in the hole before, where that ends within a block.
        let before = data.start.saturating_sub(GROUP_HEAD as u64).max(from);
        let mut at = before.next_multiple_of(ALIGN as u64);
        while at < data.end.min(window.len) {
            // Chunks overlap by a head, so that none is missed where two of them meet.
            let wanted = usize::try_from(window.len - at).unwrap_or(usize::MAX).min(CHUNK);
            let Some(bytes) = window.bytes(at, wanted)? else { continue };
            look_at_bytes(bytes, store_id, salt, &mut remains);
            at += wanted.saturating_sub(GROUP_HEAD).max(ALIGN) as u64;
            at = at.next_multiple_of(ALIGN as u64);
        }
    }
    Ok(remains)
}

fn look_at_bytes(bytes: &[u8], store_id: StoreId, salt: Option<u64>, remains: &mut Remains) {
    // Most of what is looked at was never written.
    if bytes.iter().fold(0, |any, byte| any | byte) == 0 {
        return;
    }
    remains.written = true;
    for (place, eight) in bytes.chunks_exact(ALIGN).enumerate() {
        if eight[..4] != GROUP_MAGIC.to_le_bytes() {
            continue;
        }
        let head = bytes.get(place * ALIGN..).and_then(<[u8]>::first_chunk);
        let Some(Ok((head, _))) = head.map(|head| GroupHead::decode(head, store_id)) else {
            continue;
        };
        if salt.is_none_or(|salt| salt == head.salt) {
            remains.synced_through = remains.synced_through.max(head.synced_through);
            remains.last_lsn = remains.last_lsn.max(head.last_lsn());
        }
    }
}
