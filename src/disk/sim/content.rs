//! The content of one simulated file in three layers: what reads see, what is durable, and the
//! changes between the two in their order.
//!
//! Invariants: only `sync` moves the durable layer; after a crash each sector (512 bytes) holds what
//! it held at some moment since the last sync, independently of every other sector and of the length.
//! A map is a real one, over a memfd that follows each change from the first `map` on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::MemfdFlags;

use super::image::{CHUNK, Image};
use super::random::Random;
use crate::disk::Access;

/// What the medium writes whole or not at all.
const SECTOR: u64 = 512;
/// Unsynced bytes of one file past which the versions between the first and the last are forgotten.
const HISTORY_BYTES: u64 = 32 << 20;

/// One change that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLen(u64),
    Reserve { end: u64 },
}

/// A change, and whether a sync failed over it. Such a change stays readable, but the system has
/// forgotten that it is unwritten: no later sync makes it durable.
#[derive(Clone, Debug)]
struct Pending {
    change: Change,
    given_up: bool,
}

/// Owner and permission bits of a new file.
const FILE_ACCESS: Access = Access { uid: 0, gid: 0, mode: 0o644 };

/// A file's content.
#[derive(Debug)]
pub(super) struct Content {
    now: Arc<Image>,
    durable: Arc<Image>,
    pending: Vec<Pending>,
    pending_bytes: u64,
    mirror: Option<File>,
    /// When it last changed, in microseconds since the Unix epoch.
    pub(super) modified: i64,
    /// Owner and permission bits.
    pub(super) access: Access,
    /// How many handles are open.
    pub(super) handles: u64,
}

impl Content {
    /// An empty file.
    pub(super) fn new(now: i64) -> Content {
        Content {
            now: Arc::default(),
            durable: Arc::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            mirror: None,
            modified: now,
            access: FILE_ACCESS,
            handles: 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.now.len()
    }

    /// The chunks that it takes of the disk's capacity.
    pub(super) fn space(&self) -> u64 {
        self.now.space()
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.now.read(buffer, offset)
    }

    /// How many of `len` bytes at `offset` can be written with `free` more chunks.
    pub(super) fn fitting(&self, offset: u64, len: usize, mut free: u64) -> usize {
        let end = offset + len as u64;
        let mut at = offset;
        while at < end {
            if !self.now.has_room(at / CHUNK) {
                if free == 0 {
                    break;
                }
                free -= 1;
            }
            at = (at / CHUNK + 1) * CHUNK;
        }
        (at.min(end) - offset) as usize
    }

    /// How many more chunks `reserve` of everything below `end` takes.
    pub(super) fn missing_below(&self, end: u64) -> u64 {
        let mut reserved = Image::clone(&self.now);
        reserved.reserve(end);
        reserved.space() - self.now.space()
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write { offset, bytes: bytes.into() })
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::SetLen(len))
    }

    pub(super) fn reserve(&mut self, end: u64) -> io::Result<()> {
        self.change(Change::Reserve { end })
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        if let Some(mirror) = &self.mirror {
            match &change {
                Change::Write { offset, bytes } => mirror.write_all_at(bytes, *offset)?,
                Change::SetLen(len) => mirror.set_len(*len)?,
                Change::Reserve { end } => mirror.set_len(self.now.len().max(*end))?,
            }
        }
        apply(Arc::make_mut(&mut self.now), &change);
        if let Change::Write { bytes, .. } = &change {
            self.pending_bytes += bytes.len() as u64;
        }
        self.pending.push(Pending { change, given_up: false });
        if self.pending_bytes > HISTORY_BYTES.max(2 * self.now.len()) {
            self.forget_versions();
        }
        Ok(())
    }

    /// Makes everything durable, except what a failed sync gave up and nobody wrote again since.
    pub(super) fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let share = self.pending.iter().all(|pending| !pending.given_up);
        let durable = Arc::make_mut(&mut self.durable);
        let mut written = BTreeSet::new();
        for Pending { change, given_up } in &self.pending {
            match change {
                // Each byte that differs lies in a write that is synced now or in a cut, so that the
                // chunk as it is now may be shared instead of copied.
                Change::Write { offset, bytes } if share => {
                    durable.share(&self.now, *offset, bytes.len());
                }
                Change::Write { .. } if *given_up => {}
                Change::Write { .. } => written.extend(change.sectors(0)),
                change => apply(durable, change),
            }
        }
        durable.set_len(self.now.len());
        let mut bytes = [0; SECTOR as usize];
        for sector in &written {
            let count = self.now.read(&mut bytes, sector * SECTOR);
            durable.write(&bytes[..count], sector * SECTOR);
        }
        let given_up = self.pending.extract_if(.., |pending| pending.given_up);
        let left = given_up
            .flat_map(|pending| pending.change.into_sectors())
            .filter(|(sector, _)| !written.contains(sector))
            .map(|(_, change)| Pending { change, given_up: true })
            .collect();
        self.pending = left;
        self.pending_bytes = self.pending.iter().map(|pending| pending.change.bytes()).sum();
    }

    /// A sync failed: no later one will write what is unwritten now. (Cuts and growth are the file
    /// system's own records, which it keeps.)
    pub(super) fn give_up(&mut self) {
        for pending in &mut self.pending {
            pending.given_up = matches!(pending.change, Change::Write { .. });
        }
    }

    /// Bounds the memory of a file that is overwritten again and again and never synced: each sector
    /// keeps its first and its last version. Cuts and failed syncs are kept as they are.
    fn forget_versions(&mut self) {
        let grows = |p: &Pending| !p.given_up && !matches!(p.change, Change::SetLen(_));
        if !self.pending.iter().all(grows) {
            return;
        }
        let mut dirty = BTreeMap::new();
        let mut ends = Vec::new();
        for pending in &self.pending {
            match &pending.change {
                Change::Write { offset, bytes } => {
                    for chunk in offset / CHUNK..(offset + bytes.len() as u64).div_ceil(CHUNK) {
                        let start = (chunk * CHUNK).max(*offset);
                        let end = ((chunk + 1) * CHUNK).min(offset + bytes.len() as u64);
                        let range = dirty.entry(chunk).or_insert((start, end));
                        *range = (range.0.min(start), range.1.max(end));
                    }
                }
                reserve => ends.push(Pending { change: reserve.clone(), given_up: false }),
            }
        }
        self.pending = ends;
        self.pending_bytes = 0;
        for (start, end) in dirty.into_values() {
            let mut bytes = vec![0; (end - start) as usize];
            self.now.read(&mut bytes, start);
            self.pending_bytes += bytes.len() as u64;
            let change = Change::Write { offset: start, bytes: bytes.into() };
            self.pending.push(Pending { change, given_up: false });
        }
    }

    pub(super) fn map(&mut self, reserve: u64) -> io::Result<MmapRaw> {
        let reserve = usize::try_from(reserve)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "map too large"))?;
        let mirror = match &mut self.mirror {
            Some(mirror) => mirror,
            none => none.insert(mirror_of(&self.now)?),
        };
        MmapOptions::new().len(reserve).map_raw_read_only(&*mirror)
    }

    /// Flips a bit in what is read and in what is durable.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) -> io::Result<()> {
        for image in [&mut self.now, &mut self.durable] {
            let mut byte = [0];
            if image.read(&mut byte, offset) == 1 {
                Arc::make_mut(image).write(&[byte[0] ^ 1 << (bit & 7)], offset);
            }
        }
        let mut byte = [0];
        match &self.mirror {
            Some(mirror) if self.now.read(&mut byte, offset) == 1 => {
                mirror.write_all_at(&byte, offset)
            }
            _ => Ok(()),
        }
    }

    /// A copy with the same three layers and no handles.
    pub(super) fn copy(&self) -> Content {
        Content {
            now: self.now.clone(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            pending_bytes: self.pending_bytes,
            mirror: None,
            modified: self.modified,
            access: self.access,
            handles: 0,
        }
    }

    /// After a crash that left nothing but what was synced.
    pub(super) fn synced_only(&self) -> Content {
        self.settled(self.durable.clone())
    }

    fn settled(&self, image: Arc<Image>) -> Content {
        let (now, durable) = (image.clone(), image);
        Content { now, durable, access: self.access, ..Content::new(self.modified) }
    }

    /// After a crash in the middle of writing back: each sector that changed since the last sync has
    /// its durable version or any later one, and the length is one of those that the file had.
    pub(super) fn partly_synced(&self, random: &mut Random) -> Content {
        if self.pending.is_empty() {
            return self.synced_only();
        }
        let mood = random.below(4);
        let mut lens = vec![self.durable.len()];
        let mut versions: BTreeMap<u64, u64> = BTreeMap::new();
        for pending in &self.pending {
            let before = lens[lens.len() - 1];
            for sector in pending.change.sectors(before) {
                *versions.entry(sector).or_default() += 1;
            }
            lens.push(pending.change.len_after(before));
        }
        // How many of the changes to each sector reached the medium.
        for count in versions.values_mut() {
            *count = match (mood, random.below(8)) {
                (0, 1..) => 0,
                (1, 1..) => *count,
                _ => random.below(*count + 1),
            };
        }
        let mut image = Image::clone(&self.durable);
        image.set_len(lens.iter().copied().max().unwrap_or(0));
        let mut before = self.durable.len();
        for pending in &self.pending {
            for sector in pending.change.sectors(before) {
                if let Some(left) = versions.get_mut(&sector)
                    && *left > 0
                {
                    *left -= 1;
                    pending.change.apply_to_sector(&mut image, sector);
                }
            }
            before = pending.change.len_after(before);
        }
        let len = match mood {
            0 => lens[0],
            1 => lens[lens.len() - 1],
            _ => lens[random.below(lens.len() as u64) as usize],
        };
        image.set_len(len);
        self.settled(Arc::new(image))
    }
}

impl Change {
    fn bytes(&self) -> u64 {
        match self {
            Change::Write { bytes, .. } => bytes.len() as u64,
            Change::SetLen(_) | Change::Reserve { .. } => 0,
        }
    }

    fn len_after(&self, before: u64) -> u64 {
        match self {
            Change::Write { bytes, .. } if bytes.is_empty() => before,
            Change::Write { offset, bytes } => before.max(offset + bytes.len() as u64),
            Change::SetLen(len) => *len,
            Change::Reserve { end } => before.max(*end),
        }
    }

    /// The sectors whose bytes it changes, in a file of the length `before`.
    fn sectors(&self, before: u64) -> std::ops::Range<u64> {
        match self {
            Change::Write { offset, bytes } => {
                offset / SECTOR..(offset + bytes.len() as u64).div_ceil(SECTOR)
            }
            Change::SetLen(len) if *len < before => len / SECTOR..before.div_ceil(SECTOR),
            Change::SetLen(_) | Change::Reserve { .. } => 0..0,
        }
    }

    /// The same write as one for each sector, with the sector's number.
    fn into_sectors(self) -> Vec<(u64, Change)> {
        let Change::Write { offset, bytes } = &self else { return Vec::new() };
        let part = |sector: u64| {
            let from = (sector * SECTOR).max(*offset);
            let to = ((sector + 1) * SECTOR).min(offset + bytes.len() as u64);
            let bytes = bytes[(from - offset) as usize..(to - offset) as usize].into();
            (sector, Change::Write { offset: from, bytes })
        };
        self.sectors(0).map(part).collect()
    }

    /// Does to one sector what the whole does to all.
    fn apply_to_sector(&self, image: &mut Image, sector: u64) {
        let (start, end) = (sector * SECTOR, (sector + 1) * SECTOR);
        match self {
            Change::Write { offset, bytes } => {
                let from = start.max(*offset);
                let to = end.min(offset + bytes.len() as u64);
                image.write(&bytes[(from - offset) as usize..(to - offset) as usize], from);
            }
            Change::SetLen(len) => {
                let from = start.max(*len);
                let to = end.min(image.len());
                if from < to {
                    image.write(&[0; SECTOR as usize][..(to - from) as usize], from);
                }
            }
            Change::Reserve { .. } => {}
        }
    }
}

fn apply(image: &mut Image, change: &Change) {
    match change {
        Change::Write { offset, bytes } => image.write(bytes, *offset),
        Change::SetLen(len) => image.set_len(*len),
        Change::Reserve { end } => image.reserve(*end),
    }
}

/// A memfd that holds what `image` holds.
fn mirror_of(image: &Image) -> io::Result<File> {
    let mirror = File::from(rustix::fs::memfd_create("simulated file", MemfdFlags::CLOEXEC)?);
    mirror.set_len(image.len())?;
    for (offset, bytes) in image.written() {
        let count = image.len().saturating_sub(offset).min(bytes.len() as u64) as usize;
        mirror.write_all_at(&bytes[..count], offset)?;
    }
    Ok(mirror)
}
