//! The end of an archive: the seal, and the seek table after it.
//!
//! The *seal* is a skippable frame with the BLAKE3 of every byte of the file before the digest. The
//! *seek table* is that of the zstd seekable format: the sizes of every frame, the seal's included,
//! with 0 bytes of content. Nothing follows. What the seal cannot cover, because it comes after it,
//! is redundant: the table's own frame is compared exactly, its sizes with the frames as they lie,
//! its sum with its own place. So there is no bit in the file that may change unseen.

use super::digest::Digest;
use super::frame::{MAX_CONTENT, MIN_FRAME, bound};
use std::io;

/// Length of the seal's frame.
pub(crate) const SEAL_LEN: usize = 56;
/// The seal's frame up to the length: skippable magic 13, size of the payload, our own mark.
const SEAL_HEAD: [u8; 16] = *b"\x5D\x2A\x4D\x18\x30\0\0\0SP\x01SEAL\n";

const TABLE_MAGIC: [u8; 4] = 0x184D_2A5Eu32.to_le_bytes();
const SEEKABLE_MAGIC: [u8; 4] = 0x8F92_EAB1u32.to_le_bytes();
/// Magic and size of the seek table's frame.
const TABLE_HEAD: usize = 8;
const TABLE_ENTRY: usize = 8;
/// Number of frames, descriptor, magic.
pub(crate) const TABLE_FOOTER: usize = 9;
/// What lies after the last tar frame at least: the seal, and a table of the seal alone.
pub(crate) const MIN_END: u64 = (SEAL_LEN + TABLE_HEAD + TABLE_ENTRY + TABLE_FOOTER) as u64;
/// The most frames that the size field of the table's frame has room for.
pub(crate) const MAX_FRAMES: usize = (u32::MAX as usize - TABLE_FOOTER) / TABLE_ENTRY - 1;

/// Sizes of one frame of the tar stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FrameSize {
    /// Bytes in the file.
    pub(crate) packed: u32,
    /// Bytes of content.
    pub(crate) content: u32,
}

/// The seal up to its digest, for a file of which `before` bytes precede it.
pub(crate) fn seal_head(before: u64) -> [u8; 24] {
    let mut head = [0; 24];
    head[..16].copy_from_slice(&SEAL_HEAD);
    head[16..].copy_from_slice(&before.to_le_bytes());
    head
}

/// The digest in `seal`, the last bytes before the seek table, if it is the seal of the `before`
/// bytes that precede it.
pub(crate) fn read_seal(seal: &[u8; SEAL_LEN], before: u64) -> Option<Digest> {
    let digest = seal.strip_prefix(&seal_head(before))?;
    Some(Digest(digest.try_into().ok()?))
}

/// The seek table of `frames` and the seal, as the bytes that end the file.
pub(crate) fn encode_table(frames: &[FrameSize]) -> Vec<u8> {
    let count = frames.len() as u32 + 1;
    let payload = count * TABLE_ENTRY as u32 + TABLE_FOOTER as u32;
    let mut out = Vec::with_capacity(payload as usize + TABLE_HEAD);
    out.extend_from_slice(&TABLE_MAGIC);
    out.extend_from_slice(&payload.to_le_bytes());
    let seal = FrameSize { packed: SEAL_LEN as u32, content: 0 };
    for size in frames.iter().chain([&seal]) {
        out.extend_from_slice(&size.packed.to_le_bytes());
        out.extend_from_slice(&size.content.to_le_bytes());
    }
    out.extend_from_slice(&count.to_le_bytes());
    out.push(0);
    out.extend_from_slice(&SEEKABLE_MAGIC);
    out
}

/// The frames of an archive and where they lie, as the seek table tells.
#[derive(Debug, PartialEq)]
pub(crate) struct FrameMap {
    /// Where each frame begins, and where the last one ends.
    offsets: Vec<u64>,
    contents: Vec<u32>,
}

impl FrameMap {
    pub(crate) fn len(&self) -> usize {
        self.contents.len()
    }

    /// Where frame `number` lies and how long it is; `None` past the last.
    pub(crate) fn get(&self, number: usize) -> Option<(u64, FrameSize)> {
        let content = *self.contents.get(number)?;
        let (from, to) = (self.offsets[number], self.offsets[number + 1]);
        Some((from, FrameSize { packed: (to - from) as u32, content }))
    }

    /// Where the frames end and the seal begins.
    pub(crate) fn end(&self) -> u64 {
        self.offsets.last().copied().unwrap_or_default()
    }
}

/// Why there is no usable seek table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("cannot be read")]
    Io(#[from] io::Error),
    #[error("it does not end with a seek table: it was cut, or never finished")]
    Missing,
    #[error("its seek table is damaged: {0}")]
    Damaged(String),
}

/// Reads the seek table of a file of `len` bytes through `read`, which fills a buffer at an offset.
///
/// What is allocated grows with what was read and found right, never with what a field claims.
pub(crate) fn read_table(
    len: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> Result<FrameMap, TableError> {
    if len < MIN_END {
        return Err(TableError::Missing);
    }
    let mut footer = [0; TABLE_FOOTER];
    read(&mut footer, len - TABLE_FOOTER as u64)?;
    let [a, b, c, d, 0, magic @ ..] = footer else { return Err(TableError::Missing) };
    if magic != SEEKABLE_MAGIC {
        return Err(TableError::Missing);
    }
    let count = u32::from_le_bytes([a, b, c, d]) as usize;
    let payload = (count * TABLE_ENTRY + TABLE_FOOTER) as u64;
    if count == 0 || count > MAX_FRAMES || payload + TABLE_HEAD as u64 + SEAL_LEN as u64 > len {
        return Err(TableError::Damaged(format!("it counts {count} frames")));
    }
    let start = len - payload - TABLE_HEAD as u64;
    let mut head = [0; TABLE_HEAD];
    read(&mut head, start)?;
    if head[..4] != TABLE_MAGIC || head[4..] != (payload as u32).to_le_bytes() {
        return Err(TableError::Damaged("its head does not fit its foot".to_string()));
    }
    read_sizes(count, start, read)
}

fn read_sizes(
    count: usize,
    table: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> Result<FrameMap, TableError> {
    let seal = table - SEAL_LEN as u64;
    let mut map = FrameMap { offsets: vec![0], contents: Vec::new() };
    let mut buffer = [0; 512 * TABLE_ENTRY];
    let mut at = table + TABLE_HEAD as u64;
    let mut end = 0u64;
    let mut left = count;
    while left > 0 {
        let some = &mut buffer[..left.min(512) * TABLE_ENTRY];
        read(some, at)?;
        at += some.len() as u64;
        for entry in some.as_chunks::<TABLE_ENTRY>().0 {
            let [a, b, c, d, e, f, g, h] = *entry;
            let packed = u32::from_le_bytes([a, b, c, d]);
            let content = u32::from_le_bytes([e, f, g, h]);
            left -= 1;
            if left == 0 {
                return match end == seal && packed as usize == SEAL_LEN && content == 0 {
                    true => Ok(map),
                    false => Err(TableError::Damaged("its sizes do not add up".to_string())),
                };
            }
            end += u64::from(packed);
            let bounded = content as usize <= MAX_CONTENT && content > 0;
            if !bounded || packed < MIN_FRAME || packed as usize > bound(content as usize) {
                let number = map.len();
                return Err(TableError::Damaged(format!(
                    "frame {number} would be {packed} bytes for a content of {content}"
                )));
            }
            if end > seal {
                return Err(TableError::Damaged("its sizes do not add up".to_string()));
            }
            map.offsets.push(end);
            map.contents.push(content);
        }
    }
    Err(TableError::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file_with(frames: &[FrameSize]) -> Vec<u8> {
        let before: u64 = frames.iter().map(|size| u64::from(size.packed)).sum();
        let mut file = vec![0; before as usize];
        file.extend_from_slice(&seal_head(before));
        file.extend_from_slice(&[9; 32]);
        file.extend_from_slice(&encode_table(frames));
        file
    }

    fn read_back(file: &[u8]) -> Result<FrameMap, TableError> {
        read_table(file.len() as u64, |buffer, at| {
            let from = usize::try_from(at).expect("small");
            let bytes = file.get(from..from + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn frames() -> Vec<FrameSize> {
        (0..600).map(|n| FrameSize { packed: 100 + n, content: 200 + n }).collect()
    }

    #[test]
    fn a_table_tells_where_each_frame_lies() {
        let map = read_back(&file_with(&frames())).expect("a good table is accepted");
        assert_eq!(map.len(), 600);
        assert_eq!(map.get(0), Some((0, frames()[0])));
        assert_eq!(map.get(2), Some((201, frames()[2])));
        assert_eq!(map.get(600), None);
    }

    #[test]
    fn the_mark_of_the_seal_is_a_skippable_frame_of_its_length() {
        let head = seal_head(7);
        assert_eq!(head[..4], 0x184D_2A5Du32.to_le_bytes());
        assert_eq!(head[4..8], (SEAL_LEN as u32 - 8).to_le_bytes());
        assert_eq!(head.len() + 32, SEAL_LEN);
    }

    proptest! {
        #[test]
        fn a_changed_table_is_refused_or_tells_other_sizes(bit in any::<usize>()) {
            let good = file_with(&frames());
            let table = encode_table(&frames()).len();
            let mut bad = good.clone();
            let bit = bit % (table * 8);
            bad[good.len() - table + bit / 8] ^= 1 << (bit % 8);
            if let Ok(map) = read_back(&bad) {
                prop_assert!(map != read_back(&good).expect("good"));
            }
        }

        #[test]
        fn random_ends_never_panic(mut tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_back(&tail);
            tail.extend_from_slice(&[3, 0, 0, 0, 0]);
            tail.extend_from_slice(&SEEKABLE_MAGIC);
            let _ = read_back(&tail);
        }
    }

    #[test]
    fn a_table_that_claims_more_than_the_file_holds_allocates_nothing() {
        let mut file = vec![0; 1000];
        file.extend_from_slice(&u32::MAX.to_le_bytes());
        file.push(0);
        file.extend_from_slice(&SEEKABLE_MAGIC);
        assert!(matches!(read_back(&file), Err(TableError::Damaged(_))));
    }
}
