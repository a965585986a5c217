//! Several archives as one file: each page from the newest that holds it.
//!
//! An incremental archive holds every page that its checkpoint reaches and that was born after its
//! parent's. So a page that the newest checkpoint reaches lies in the newest layer that has it, as
//! it must be; what older layers have in its place is of the past. Pages that no layer has are dead,
//! and read as zeros.

use std::io;
use std::sync::Arc;

use crate::disk::File;
use crate::engine::tree::PageSet;

/// The pages of one archive: `file` holds those of `extents`, one after the other.
pub(super) struct Layer<'l> {
    pub(super) file: Arc<dyn File>,
    pub(super) extents: &'l [(u64, u64)],
}

/// Pages that lie together in one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first page.
    pub(super) first: u64,
    pub(super) pages: u64,
    /// Which layer they come from.
    pub(super) layer: usize,
    /// Where the first lies in the layer, in pages.
    pub(super) at: u64,
}

/// Where each page below `end` comes from: the first of `layers` that has it and from no layer where
/// it is in `dead`. In order of pages.
pub(super) fn resolve(layers: &[&[(u64, u64)]], dead: PageSet, end: u64) -> Vec<Piece> {
    let mut taken = dead;
    let mut pieces = Vec::new();
    for (layer, extents) in layers.iter().enumerate() {
        let mut before = 0;
        for (first, len) in *extents {
            let stop = (first + len).min(end);
            let mut at = *first;
            while let Some(free) = taken.next(at, stop, false) {
                at = taken.next(free, stop, true).unwrap_or(stop);
                let place = before + (free - first);
                pieces.push(Piece { first: free, pages: at - free, layer, at: place });
            }
            if *first < stop {
                taken.insert(*first, stop - first);
            }
            before += len;
        }
    }
    pieces.sort_unstable_by_key(|piece| piece.first);
    pieces
}

/// The file that the layers make, read-only.
pub(super) struct Overlay {
    page_size: u64,
    end: u64,
    files: Vec<Arc<dyn File>>,
    pieces: Vec<Piece>,
}

impl Overlay {
    /// The newest of `layers` comes first.
    pub(super) fn new(page_size: u32, end: u64, layers: &[Layer<'_>]) -> Overlay {
        let extents: Vec<&[(u64, u64)]> = layers.iter().map(|layer| layer.extents).collect();
        Overlay {
            page_size: u64::from(page_size),
            end,
            files: layers.iter().map(|layer| layer.file.clone()).collect(),
            pieces: resolve(&extents, PageSet::default(), end),
        }
    }
}

impl File for Overlay {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let size = self.page_size;
        let (page, within) = (offset / size, offset % size);
        if page >= self.end || buffer.is_empty() {
            return Ok(0);
        }
        let bound = |pages: u64| {
            let bytes = pages * size - within;
            usize::try_from(bytes).map_or(buffer.len(), |bytes| bytes.min(buffer.len()))
        };
        let next = self.pieces.partition_point(|piece| piece.first + piece.pages <= page);
        match self.pieces.get(next) {
            Some(piece) if piece.first <= page => {
                let skipped = page - piece.first;
                let count = bound(piece.pages - skipped);
                let at = (piece.at + skipped) * size + within;
                self.files[piece.layer].read_at(&mut buffer[..count], at)
            }
            after => {
                let until = after.map_or(self.end, |piece| piece.first);
                let count = bound(until - page);
                buffer[..count].fill(0);
                Ok(count)
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.end * self.page_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(first: u64, pages: u64, layer: usize, at: u64) -> Piece {
        Piece { first, pages, layer, at }
    }

    #[test]
    fn each_page_comes_from_the_newest_layer_that_has_it() {
        let (new, old, full) = ([(0, 2), (5, 3)], [(0, 2), (4, 2), (9, 4)], [(0, 12)]);
        let pieces = resolve(&[&new, &old, &full], PageSet::default(), 11);
        let expected = [
            piece(0, 2, 0, 0),
            piece(2, 2, 2, 2),
            piece(4, 1, 1, 2),
            piece(5, 3, 0, 2),
            piece(8, 1, 2, 8),
            piece(9, 2, 1, 4),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn what_is_dead_and_what_nobody_has_comes_from_nowhere() {
        let mut dead = PageSet::default();
        dead.insert(3, 2);
        let pieces = resolve(&[&[(0, 2), (4, 1)], &[(0, 6)]], dead, 20);
        assert_eq!(pieces, [piece(0, 2, 0, 0), piece(2, 1, 1, 2), piece(5, 1, 1, 5)]);
    }
}
