//! One zstd frame: packed, laid out raw, and opened again.
//!
//! Every frame of an archive states the size of its content and carries the content checksum, also
//! those of compression `None`, whose blocks are raw (or one repeated byte, for zeros): any zstd
//! reads them. A raw frame is never assembled in memory: its glue and its content are written as
//! they lie. Invariants kept on reading: the bytes given are exactly one frame, its content has
//! exactly the size that the seek table promised, and nothing is allocated before both are known.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use xxhash_rust::xxh64::xxh64;
use zstd::zstd_safe;

/// The largest content that a frame may state: a bound for every reader's allocation.
pub(crate) const MAX_CONTENT: usize = 1 << 20;
/// The smallest frame possible here: magic, descriptor, size, one block of one byte, checksum.
pub(crate) const MIN_FRAME: u32 = 4 + 1 + 1 + 3 + 1 + 4;

/// The four bytes that every zstd frame begins with.
pub(crate) const MAGIC: [u8; 4] = 0xFD2F_B528u32.to_le_bytes();
/// The largest block of a frame, by the zstd format.
const MAX_BLOCK: usize = 128 * 1024;
/// Frame header descriptor: one segment (the window is the content), with content checksum.
const DESCRIPTOR: u8 = 0b0010_0100;

/// How hard an archive is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all: the frames are valid zstd, their blocks are raw.
    None,
    /// Fast enough to keep up with most disks (zstd level 1).
    #[default]
    Fast,
    /// Small (zstd level 9), at several times the work.
    Compact,
}

impl Compression {
    fn level(self) -> Option<i32> {
        match self {
            Compression::None => None,
            Compression::Fast => Some(1),
            Compression::Compact => Some(9),
        }
    }
}

/// The most bytes that a frame with `content` bytes can take up in the file.
pub(crate) fn bound(content: usize) -> usize {
    zstd_safe::compress_bound(content) + 32
}

/// Makes frames; one for each worker thread.
pub(crate) enum FrameEncoder {
    Raw,
    Packing(zstd::bulk::Compressor<'static>),
}

/// What has to be written for one frame, beside its content.
#[derive(Debug, PartialEq)]
pub(crate) enum Encoded {
    /// The whole frame lies in the buffer that the encoder was given.
    Packed,
    /// Glue to be written between ranges of the content.
    Raw(RawFrame),
}

impl FrameEncoder {
    pub(crate) fn new(compression: Compression) -> std::io::Result<FrameEncoder> {
        let Some(level) = compression.level() else { return Ok(FrameEncoder::Raw) };
        let mut packer = zstd::bulk::Compressor::new(level)?;
        packer.set_parameter(zstd_safe::CParameter::ChecksumFlag(true))?;
        packer.set_parameter(zstd_safe::CParameter::ContentSizeFlag(true))?;
        if compression == Compression::Fast {
            // Measured on pages of records: a seventh faster than the level's own 6, for a twentieth
            // more bytes; with it a verified backup keeps up with zstd alone.
            packer.set_parameter(zstd_safe::CParameter::MinMatch(7))?;
        }
        Ok(FrameEncoder::Packing(packer))
    }

    /// Encodes `content`, which is not empty, as one frame; `packed` is scratch that keeps its room.
    pub(crate) fn encode(
        &mut self,
        content: &[u8],
        packed: &mut Vec<u8>,
    ) -> std::io::Result<Encoded> {
        match self {
            FrameEncoder::Raw => Ok(Encoded::Raw(RawFrame::new(content))),
            FrameEncoder::Packing(packer) => {
                packed.clear();
                packed.reserve(zstd_safe::compress_bound(content.len()));
                packer.compress_to_buffer(content, packed)?;
                Ok(Encoded::Packed)
            }
        }
    }
}

/// A frame of raw blocks: its glue, and where the content goes between.
#[derive(Debug, PartialEq)]
pub(crate) struct RawFrame {
    glue: Vec<u8>,
    /// For each block: where the glue before it ends, and the content after that.
    cuts: Vec<(usize, Range<usize>)>,
}

impl RawFrame {
    fn new(content: &[u8]) -> RawFrame {
        let mut frame = RawFrame { glue: frame_header(content.len()), cuts: Vec::new() };
        let blocks = content.len().div_ceil(MAX_BLOCK);
        for (number, block) in content.chunks(MAX_BLOCK).enumerate() {
            let start = number * MAX_BLOCK;
            let last = number + 1 == blocks;
            if is_zero(block) {
                frame.glue.extend_from_slice(&block_header(last, BLOCK_REPEATED, block.len()));
                frame.glue.push(0);
            } else {
                frame.glue.extend_from_slice(&block_header(last, BLOCK_RAW, block.len()));
                frame.cuts.push((frame.glue.len(), start..start + block.len()));
            }
        }
        frame.glue.extend_from_slice(&(xxh64(content, 0) as u32).to_le_bytes());
        frame
    }

    /// The parts of the frame in the order of the file.
    pub(crate) fn parts<'a>(&'a self, content: &'a [u8]) -> Vec<&'a [u8]> {
        let mut parts = Vec::with_capacity(2 * self.cuts.len() + 1);
        let mut from = 0;
        for (to, range) in &self.cuts {
            parts.push(&self.glue[from..*to]);
            parts.push(&content[range.clone()]);
            from = *to;
        }
        parts.push(&self.glue[from..]);
        parts
    }
}

const BLOCK_RAW: u32 = 0;
const BLOCK_REPEATED: u32 = 1;

fn block_header(last: bool, kind: u32, len: usize) -> [u8; 3] {
    let [a, b, c, _] = (u32::from(last) | kind << 1 | (len as u32) << 3).to_le_bytes();
    [a, b, c]
}

/// Magic, descriptor and content size in the shortest of the format's widths.
fn frame_header(content: usize) -> Vec<u8> {
    let mut header = Vec::with_capacity(32);
    header.extend_from_slice(&MAGIC);
    match content {
        0..=255 => header.extend_from_slice(&[DESCRIPTOR, content as u8]),
        256..=65_791 => {
            header.push(DESCRIPTOR | 1 << 6);
            header.extend_from_slice(&((content - 256) as u16).to_le_bytes());
        }
        _ => {
            header.push(DESCRIPTOR | 2 << 6);
            header.extend_from_slice(&(content as u32).to_le_bytes());
        }
    }
    header
}

/// Whether all of `bytes` are zero; looks no further than the first sixteen where they are not.
fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_le_bytes(*word) == 0) && tail.iter().all(|byte| *byte == 0)
}

/// Why bytes are not the frame that was expected.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("it is no zstd frame")]
    NoFrame,
    #[error("it lacks the content checksum, or has flags that this format never sets")]
    Flags,
    #[error("it states {stated:?} bytes of content where the seek table has {table}")]
    Content { stated: Option<u64>, table: usize },
    #[error("it is {found} bytes long where the seek table has {table}")]
    Length { found: usize, table: usize },
    #[error("it does not unpack: {0}")]
    Damaged(String),
}

/// Opens frames; one for each worker thread.
pub(crate) struct FrameDecoder(zstd::bulk::Decompressor<'static>);

impl FrameDecoder {
    pub(crate) fn new() -> std::io::Result<FrameDecoder> {
        Ok(FrameDecoder(zstd::bulk::Decompressor::new()?))
    }

    /// Unpacks `frame`, whose content must be `content` bytes, into `out`, which is emptied first.
    pub(crate) fn decode(
        &mut self,
        frame: &[u8],
        content: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        out.clear();
        check_header(frame, content)?;
        out.reserve_exact(content);
        let unpacked = self
            .0
            .decompress_to_buffer(frame, out)
            .map_err(|cause| FrameError::Damaged(cause.to_string()))?;
        if unpacked != content || out.len() != content {
            out.clear();
            return Err(FrameError::Content { stated: Some(unpacked as u64), table: content });
        }
        Ok(())
    }
}

fn check_header(frame: &[u8], content: usize) -> Result<(), FrameError> {
    let Some((descriptor, _)) = frame.strip_prefix(&MAGIC).and_then(|rest| rest.split_first())
    else {
        return Err(FrameError::NoFrame);
    };
    // Checksum on, reserved bit off, no dictionary: bits 2, 3 and 0 to 1 of the descriptor.
    if descriptor & 0b0000_1111 != 0b0000_0100 {
        return Err(FrameError::Flags);
    }
    let stated = zstd_safe::get_frame_content_size(frame).ok().flatten();
    if stated != Some(content as u64) || content > MAX_CONTENT {
        return Err(FrameError::Content { stated, table: content });
    }
    match zstd_safe::find_frame_compressed_size(frame) {
        Ok(found) if found == frame.len() => Ok(()),
        Ok(found) => Err(FrameError::Length { found, table: frame.len() }),
        Err(code) => Err(FrameError::Damaged(zstd_safe::get_error_name(code).to_string())),
    }
}

/// The length of the frame that `bytes` begin with and that of its content, as it states them, where
/// it is one that is read here.
pub(crate) fn sizes(bytes: &[u8]) -> Option<(usize, usize)> {
    let packed = zstd_safe::find_frame_compressed_size(bytes).ok()?;
    let content = zstd_safe::get_frame_content_size(bytes).ok()??;
    let content = usize::try_from(content).ok().filter(|content| *content <= MAX_CONTENT)?;
    check_header(bytes.get(..packed)?, content).ok()?;
    Some((packed, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 3] = [Compression::None, Compression::Fast, Compression::Compact];

    fn frame_of(compression: Compression, content: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut encoder = FrameEncoder::new(compression).expect("an encoder is made");
        match encoder.encode(content, &mut packed).expect("any content can be encoded") {
            Encoded::Packed => packed,
            Encoded::Raw(raw) => raw.parts(content).concat(),
        }
    }

    fn contents() -> Vec<Vec<u8>> {
        let noise = |len: usize| -> Vec<u8> {
            (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
        };
        let mut contents: Vec<Vec<u8>> =
            [1, 31, 32, 33, 255, 256, 257, 65_791, 65_792, MAX_BLOCK, MAX_BLOCK + 1, 262_144]
                .map(noise)
                .to_vec();
        contents.push(vec![0; 262_144]);
        contents.push([vec![0; MAX_BLOCK], noise(5)].concat());
        contents.push([noise(MAX_BLOCK), vec![0; 77]].concat());
        contents.push(noise(MAX_CONTENT));
        contents
    }

    #[test]
    fn every_frame_comes_back_whatever_its_compression() {
        let mut decoder = FrameDecoder::new().expect("a decoder is made");
        let mut out = Vec::new();
        for content in contents() {
            for compression in ALL {
                let frame = frame_of(compression, &content);
                assert!(frame.len() <= bound(content.len()) && frame.len() >= MIN_FRAME as usize);
                decoder.decode(&frame, content.len(), &mut out).expect("a good frame is accepted");
                assert_eq!(out, content);
            }
        }
    }

    #[test]
    fn zeros_take_no_room_without_compression() {
        assert!(frame_of(Compression::None, &vec![0; MAX_CONTENT]).len() < 64);
    }

    #[test]
    fn the_checksum_finds_a_flipped_bit_in_a_raw_block() {
        let mut frame = frame_of(Compression::None, &[7; 100]);
        frame[50] ^= 1;
        let refused = FrameDecoder::new().expect("made").decode(&frame, 100, &mut Vec::new());
        assert!(matches!(refused, Err(FrameError::Damaged(_))), "{refused:?}");
    }

    #[test]
    fn a_frame_of_another_size_or_with_company_is_refused_before_anything_is_allocated() {
        let mut decoder = FrameDecoder::new().expect("a decoder is made");
        let frame = frame_of(Compression::Fast, &[7; 100]);
        let mut out = Vec::new();
        for wrong in [0, 99, 101, MAX_CONTENT] {
            assert!(decoder.decode(&frame, wrong, &mut out).is_err());
        }
        assert!(decoder.decode(&[&frame[..], &frame].concat(), 100, &mut out).is_err());
        assert!(decoder.decode(&[&frame[..], &[0]].concat(), 100, &mut out).is_err());
        let bomb = frame_of(Compression::Fast, &vec![0; MAX_CONTENT + 1]);
        assert!(decoder.decode(&bomb, MAX_CONTENT + 1, &mut out).is_err());
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn a_frame_without_checksum_is_refused() {
        let frame = zstd::bulk::compress(&[7; 100], 1).expect("zstd packs");
        let refused = FrameDecoder::new().expect("made").decode(&frame, 100, &mut Vec::new());
        assert_eq!(refused, Err(FrameError::Flags));
    }
}
