//! The bytes of one simulated file at one time.
//!
//! Chunks are shared: a copy of an image costs a copy of its index, and writing to a copy leaves the
//! other alone. What was never written has no chunk and reads as zeros. Space is counted in chunks:
//! those written, and those below `reserved`, which allocation took beforehand.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The grain of sharing and of space.
pub(super) const CHUNK: u64 = 4096;

/// Content and length of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    /// Chunks below this number have room on the disk whether written or not.
    reserved: u64,
    /// How many chunks at or above `reserved` are written.
    beyond: u64,
    chunks: BTreeMap<u64, Arc<[u8; CHUNK as usize]>>,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The chunks that this image takes of the disk's capacity.
    pub(super) fn space(&self) -> u64 {
        self.reserved + self.beyond
    }

    /// Whether the chunk with this number has its room already.
    pub(super) fn has_room(&self, number: u64) -> bool {
        number < self.reserved || self.chunks.contains_key(&number)
    }

    /// Reads at most `buffer.len()` bytes at `offset`; the rest of the buffer is left alone.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let count = self.len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for (number, start, piece) in pieces(offset, count) {
            let to = &mut buffer[piece.clone()];
            match self.chunks.get(&number) {
                Some(chunk) => to.copy_from_slice(&chunk[start..start + piece.len()]),
                None => to.fill(0),
            }
        }
        count
    }

    /// Writes without changing what lies around; grows the length where needed.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        for (number, start, piece) in pieces(offset, bytes.len()) {
            let count = piece.len();
            Arc::make_mut(self.chunk(number))[start..start + count].copy_from_slice(&bytes[piece]);
        }
        if !bytes.is_empty() {
            self.len = self.len.max(offset + bytes.len() as u64);
        }
    }

    fn chunk(&mut self, number: u64) -> &mut Arc<[u8; CHUNK as usize]> {
        self.chunks.entry(number).or_insert_with(|| {
            self.beyond += u64::from(number >= self.reserved);
            Arc::new([0; CHUNK as usize])
        })
    }

    /// Takes over every chunk of `other` in the range, without copying.
    pub(super) fn share(&mut self, other: &Image, offset: u64, len: usize) {
        for (number, _, _) in pieces(offset, len) {
            match other.chunks.get(&number) {
                Some(chunk) => *self.chunk(number) = chunk.clone(),
                None => self.drop_chunk(number),
            }
        }
    }

    fn drop_chunk(&mut self, number: u64) {
        if self.chunks.remove(&number).is_some() {
            self.beyond -= u64::from(number >= self.reserved);
        }
    }

    /// Cuts, or extends with zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = len.div_ceil(CHUNK);
            self.reserved = self.reserved.min(keep);
            self.chunks.split_off(&keep);
            let tail = (len % CHUNK) as usize;
            if tail != 0
                && let Some(chunk) = self.chunks.get_mut(&(len / CHUNK))
            {
                Arc::make_mut(chunk)[tail..].fill(0);
            }
            self.count_beyond();
        }
        self.len = len;
    }

    /// Takes room for everything below `end` and grows the length to it.
    pub(super) fn reserve(&mut self, end: u64) {
        self.reserved = self.reserved.max(end.div_ceil(CHUNK));
        self.len = self.len.max(end);
        self.count_beyond();
    }

    fn count_beyond(&mut self) {
        self.beyond = self.chunks.range(self.reserved..).count() as u64;
    }

    /// The written chunks with their offsets.
    pub(super) fn written(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.chunks.iter().map(|(number, chunk)| (number * CHUNK, chunk.as_slice()))
    }
}

/// Cuts `[offset, offset + len)` at chunk ends: number of the chunk, start in it, range of the bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let start = (at % CHUNK) as usize;
        let count = (CHUNK as usize - start).min(len - done);
        let piece = done..done + count;
        done += count;
        Some((at / CHUNK, start, piece))
    })
}
