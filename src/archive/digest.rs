//! BLAKE3 of an entry, taken frame by frame on several threads.
//!
//! BLAKE3 is a tree, and a frame begins at a multiple of a power of two: so each worker hashes the
//! piece that it has in its cache anyway, and what is left to do in order is to join one value of 32
//! bytes for each frame. The result is the plain BLAKE3 that `b3sum` prints for the extracted file.

use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A BLAKE3 digest; shown and stored as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(&text).map_err(serde::de::Error::custom)?;
        Ok(Digest(*hash.as_bytes()))
    }
}

/// Where a frame's content lies in its entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    /// Offset in the entry: a multiple of the frame size, which is a power of two.
    pub(crate) offset: u64,
    /// Whether this is the only frame of the entry.
    pub(crate) alone: bool,
    /// Whether this is the last frame of the entry.
    pub(crate) last: bool,
}

/// What the hashing of one frame gives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    /// The digest of the entry, which has no other frame.
    Whole([u8; 32]),
    /// The chaining value of a subtree.
    Part(ChainingValue),
}

impl Piece {
    /// Hashes `content`, which lies at `place`.
    pub(crate) fn of(content: &[u8], place: Place) -> Piece {
        if place.alone {
            return Piece::Whole(*blake3::hash(content).as_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(place.offset).update(content);
        Piece::Part(hasher.finalize_non_root())
    }
}

/// Joins the pieces of one entry, in order.
///
/// The stack holds the roots of complete subtrees, largest first, as a binary counter has its bits.
/// A subtree is closed only when another piece follows, since the last join is the root's.
#[derive(Default)]
pub(crate) struct Joiner {
    pieces: u64,
    stack: Vec<ChainingValue>,
    whole: Option<[u8; 32]>,
}

impl Joiner {
    pub(crate) fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Whole(digest) => self.whole = Some(digest),
            Piece::Part(value) => {
                while self.stack.len() > self.pieces.count_ones() as usize {
                    self.join();
                }
                self.stack.push(value);
                self.pieces += 1;
            }
        }
    }

    fn join(&mut self) {
        if let (Some(right), Some(left)) = (self.stack.pop(), self.stack.pop()) {
            self.stack.push(hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash));
        }
    }

    /// The digest of all pieces; the joiner is ready for the next entry then.
    pub(crate) fn finish(&mut self) -> Digest {
        while self.stack.len() > 2 {
            self.join();
        }
        let digest = match (self.whole.take(), self.stack.as_slice()) {
            (Some(digest), _) => digest,
            (None, [left, right]) => {
                *hazmat::merge_subtrees_root(left, right, Mode::Hash).as_bytes()
            }
            (None, _) => *blake3::hash(&[]).as_bytes(),
        };
        *self = Joiner::default();
        Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_plain_blake3_of_the_whole() {
        let content: Vec<u8> = (0..70_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let mut joiner = Joiner::default();
        for frame in [1024usize, 4096, 65_536] {
            for len in (0..20).map(|n| n * 1024).chain([1, 1023, 1025, 69_999, 65_537, 16_385]) {
                let content = &content[..len];
                for (number, piece) in content.chunks(frame).enumerate() {
                    let offset = (number * frame) as u64;
                    let last = number + 1 == len.div_ceil(frame);
                    let place = Place { offset, alone: len <= frame, last };
                    joiner.push(Piece::of(piece, place));
                }
                assert_eq!(
                    joiner.finish(),
                    Digest::of(content),
                    "{len} bytes in frames of {frame}"
                );
            }
        }
    }

    #[test]
    fn a_digest_is_written_as_hexadecimal_digits_and_read_back() {
        let digest = Digest::of(b"still point");
        let text = serde_json::to_string(&digest).expect("a digest is a string");
        assert_eq!(text.len(), 66);
        assert_eq!(serde_json::from_str::<Digest>(&text).expect("it reads back"), digest);
        assert!(serde_json::from_str::<Digest>("\"abc\"").is_err());
    }
}
