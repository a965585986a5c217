//! A file that is made like another: what is right there already is read, and not written.
//!
//! It knows pages as blocks of bytes and nothing of what they mean; whether they are right at the end
//! is checked by whoever asked for them.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::chain::Chain;
use super::super::overlay::Piece;
use super::super::pour::Sink;
use crate::disk::File;
use crate::error::{Error, Result};

/// Bytes that are compared at once where nothing comes from an archive.
const PIECE: usize = 256 << 10;

/// A file in which only what differs is written.
pub(super) struct Compared {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Bytes that are compared, and written, as one.
    block: usize,
    /// What is there, for as long as it is compared.
    there: Vec<u8>,
    written: u64,
}

impl Sink for Compared {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.there.resize(bytes.len(), 0);
        let read = self.file.read_exact_at(&mut self.there, offset);
        read.map_err(|e| Error::io("read the data file", &self.path, e))?;
        let differs = |at: usize, there: &[u8]| {
            let end = (at + self.block).min(bytes.len());
            bytes[at..end] != there[at..end]
        };
        let mut at = 0;
        while at < bytes.len() {
            let begin = at;
            while at < bytes.len() && differs(at, &self.there) {
                at += self.block;
            }
            let end = at.min(bytes.len());
            if end > begin {
                let written = self.file.write_at(&bytes[begin..end], offset + begin as u64);
                written.map_err(|e| Error::io("write the data file", &self.path, e))?;
                self.written += (end - begin) as u64;
            }
            at = end.max(begin + self.block);
        }
        Ok(())
    }
}

impl Compared {
    /// Of `file` at `path`, in pieces of `page_size` bytes.
    pub(super) fn new(file: Arc<dyn File>, path: PathBuf, page_size: u32) -> Compared {
        Compared { file, path, block: page_size as usize, there: Vec::new(), written: 0 }
    }

    /// Makes zeros of the pages that come from no archive: those that are dead.
    pub(super) fn clear_between(&mut self, pieces: &[Piece], chain: &Chain) -> Result<()> {
        let size = u64::from(chain.page_size());
        let zeros = vec![0; PIECE];
        let mut at = 0;
        let ends = pieces.iter().map(|piece| (piece.first, piece.first + piece.pages));
        for (first, after) in ends.chain([(chain.page_count(), 0)]) {
            while at < first * size {
                let many = (first * size - at).min(PIECE as u64);
                self.put(at, &zeros[..many as usize])?;
                at += many;
            }
            at = after * size;
        }
        Ok(())
    }

    /// Gives the file its length and makes it durable; says how much was written.
    pub(super) fn end(self, bytes: u64) -> Result<u64> {
        let ended = self.file.set_len(bytes).and_then(|()| self.file.sync());
        ended.map_err(|e| Error::io("sync the restored data file", &self.path, e))?;
        Ok(self.written)
    }
}
