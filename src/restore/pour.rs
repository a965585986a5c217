//! Pages out of the archives of a chain, each from where it belongs, to where they go.
//!
//! The archives are read one after the other, each from its beginning to its end, unpacked on several
//! threads and compared with its digest, as any entry is. Of what comes out only those pages are
//! handed on that the checkpoint takes from this archive, so each page is written once.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::Chain;
use super::overlay::Piece;
use crate::archive::{Entry, Progress, Unpack};
use crate::disk::File;
use crate::error::{Error, Result};

/// Where the bytes of a data file go.
pub(super) trait Sink {
    /// Bytes that belong at `offset`. They come in any order, and none comes twice.
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
}

/// Hands `pieces` of the chain to `sink`. `tell` hears of the bytes that were unpacked.
pub(super) fn pour(
    chain: &Chain,
    pieces: &[Piece],
    workers: usize,
    sink: &mut dyn Sink,
    tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<()> {
    let size = u64::from(chain.page_size());
    let mut before = 0;
    let total = bytes_to_unpack(chain, pieces)?;
    for (layer, link) in chain.links().iter().enumerate() {
        let own = pieces.iter().filter(|piece| piece.layer == layer);
        let own: Vec<Piece> = own.copied().collect();
        if own.is_empty() {
            continue;
        }
        let entry = link.entry()?;
        let mut stream = Stream { size, pieces: &own, at: 0, sink: &mut *sink };
        let only = |other: &Entry| other.meta.path == entry.meta.path;
        link.file.extract(only, workers, &mut stream, &mut |progress| {
            tell(Progress { done: before + progress.done, total })
        })?;
        before += entry.meta.size;
    }
    Ok(())
}

/// What [`pour`] has to unpack.
pub(super) fn bytes_to_unpack(chain: &Chain, pieces: &[Piece]) -> Result<u64> {
    let mut total = 0;
    for (layer, link) in chain.links().iter().enumerate() {
        if pieces.iter().any(|piece| piece.layer == layer) {
            total += link.entry()?.meta.size;
        }
    }
    Ok(total)
}

/// The pages of one archive on their way.
struct Stream<'s> {
    size: u64,
    /// What is wanted of it, in order; what was handed on is cut off.
    pieces: &'s [Piece],
    /// Bytes that came so far.
    at: u64,
    sink: &'s mut dyn Sink,
}

impl Unpack for Stream<'_> {
    fn begin(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> Result<()> {
        let (begin, end) = (self.at, self.at + bytes.len() as u64);
        self.at = end;
        while let Some(piece) = self.pieces.first() {
            let (from, to) = (piece.at * self.size, (piece.at + piece.pages) * self.size);
            let (low, high) = (from.max(begin), to.min(end));
            if low < high {
                let place = piece.first * self.size + (low - from);
                self.sink.put(place, &bytes[(low - begin) as usize..(high - begin) as usize])?;
            }
            if to > end {
                break;
            }
            self.pieces = &self.pieces[1..];
        }
        Ok(())
    }

    fn end(&mut self, _: &Entry) -> Result<()> {
        Ok(())
    }
}

/// A new file, in which all that is not written is zeros.
pub(super) struct Fresh {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
}

impl Sink for Fresh {
    fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_at(bytes, offset);
        written.map_err(|e| Error::io("write the restored data file", &self.path, e))
    }
}
