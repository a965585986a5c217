//! The parity file: its header, its tables.
//!
//! The header stands at the beginning, before the parity blocks and at the end; each copy vouches for
//! itself. So does each table, of which there are two copies. Nothing is allocated by what a header
//! claims: only by the bounds that [`Geometry::is_sound`] sets for one stripe.

use super::geometry::{DIGEST, Geometry, PAGE, Stripe};
use crate::archive::digest::Digest;
use crate::archive::layers::MAX_SEGMENTS;
use crate::archive::source::OpenFiles;
use crate::disk::File;
use crate::error::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"SPPARITY";
const FORMAT: u32 = 1;
/// What is hashed of a copy of the header.
const HASHED: usize = PAGE as usize - DIGEST;

/// What a parity file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) geometry: Geometry,
    /// Length of every segment but the last; 0 for an archive in one piece.
    pub(crate) segment_bytes: u64,
    /// BLAKE3 of the digests of all data blocks, stripe by stripe: it stands for the archive.
    pub(crate) set: Digest,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let geometry = &self.geometry;
        let mut page = Vec::with_capacity(PAGE as usize);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&FORMAT.to_le_bytes());
        page.extend_from_slice(&geometry.block_bytes.to_le_bytes());
        page.extend_from_slice(&geometry.total.to_le_bytes());
        page.extend_from_slice(&self.segment_bytes.to_le_bytes());
        page.extend_from_slice(&geometry.share.to_le_bytes());
        page.extend_from_slice(&geometry.distance.to_le_bytes());
        page.extend_from_slice(&self.set.0);
        page.resize(HASHED, 0);
        let digest = Digest::of(&page);
        page.extend_from_slice(&digest.0);
        page
    }

    /// Reads a copy; `None` where it is damaged, or none.
    pub(crate) fn decode(page: &[u8]) -> Option<Header> {
        let (hashed, digest) = page.split_at_checked(HASHED)?;
        if Digest::of(hashed).0 != *digest || !hashed.starts_with(&MAGIC) {
            return None;
        }
        let u32_at = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(hashed.get(at..at + 4)?.try_into().ok()?))
        };
        let u64_at = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(hashed.get(at..at + 8)?.try_into().ok()?))
        };
        let geometry = Geometry {
            block_bytes: u32_at(12)?,
            total: u64_at(16)?,
            share: u32_at(32)?,
            distance: u32_at(36)?,
        };
        let segment_bytes = u64_at(24)?;
        let set = Digest(hashed.get(40..72)?.try_into().ok()?);
        let most = u64::from(MAX_SEGMENTS);
        let segments = segment_bytes == 0 || geometry.total.div_ceil(segment_bytes) <= most;
        let sound = u32_at(8)? == FORMAT && geometry.is_sound() && segments;
        sound.then_some(Header { geometry, segment_bytes, set })
    }

    /// The length of the archive, and that of its segments.
    pub(crate) fn lengths(&self) -> (u64, u64) {
        (self.geometry.total, self.segment_bytes)
    }
}

/// The digests of a stripe's blocks.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Data blocks first, then parity blocks.
    pub(crate) digests: Vec<[u8; DIGEST]>,
}

impl Table {
    pub(crate) fn encode(&self, stripe: &Stripe, geometry: &Geometry) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.digests.concat();
        bytes.resize(geometry.table_bytes() - DIGEST, 0);
        let digest = vouch(stripe.number, &bytes);
        bytes.extend_from_slice(&digest.0);
        bytes
    }

    fn decode(bytes: &[u8], stripe: &Stripe) -> Option<Table> {
        let (digests, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        if vouch(stripe.number, digests).0 != *digest {
            return None;
        }
        let digests = digests.as_chunks::<DIGEST>().0;
        Some(Table { digests: digests.get(..stripe.data + stripe.parity)?.to_vec() })
    }
}

/// The digest of a table, which holds for its own stripe only.
fn vouch(stripe: u64, digests: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&stripe.to_le_bytes()).update(digests);
    Digest(*hasher.finalize().as_bytes())
}

/// A parity file, open for reading.
#[derive(Clone)]
pub(crate) struct Parity {
    pub(crate) file: Arc<dyn File>,
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    /// Whether a copy of the header, or the length of the file, is not what it should be.
    pub(crate) worn: bool,
}

impl Parity {
    /// Opens the parity file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when no copy of the header is whole, or more than half of the file is
    /// missing, which also bounds what a header can make a reader do.
    pub(crate) fn open<S: OpenFiles + ?Sized>(source: &S, path: &Path) -> Result<Parity> {
        let file = source.open_file(path).map_err(|cause| Error::io("open", path, cause))?;
        let len = file.len().map_err(|cause| Error::io("measure", path, cause))?;
        let Some(header) = find_header(&*file, len) else {
            return Err(Error::corrupt(path, "the header of the parity is damaged, all copies"));
        };
        if header.geometry.file_bytes() / 2 > len {
            return Err(Error::corrupt(path, "more than half of the parity is missing"));
        }
        let copies = header.geometry.headers_at();
        let whole = copies.iter().all(|at| header_at(&*file, *at) == Some(header));
        let worn = !whole || len != header.geometry.file_bytes();
        Ok(Parity { file, path: path.to_path_buf(), header, worn })
    }

    /// The table of `stripe`, and whether both copies are whole; `None` where neither is.
    pub(crate) fn table(&self, stripe: &Stripe) -> Option<(Table, bool)> {
        let geometry = &self.header.geometry;
        let mut bytes = vec![0; geometry.table_bytes()];
        let mut copies = geometry.table_at(stripe.number).map(|at| {
            // A place that cannot be read is damaged like any other.
            let read = self.file.read_exact_at(&mut bytes, at).is_ok();
            read.then(|| Table::decode(&bytes, stripe)).flatten()
        });
        let both = copies.iter().all(Option::is_some);
        copies.iter_mut().find_map(Option::take).map(|table| (table, both))
    }

    /// Reads parity block `index` of `stripe`; `false` where it cannot be read.
    pub(crate) fn read_block(&self, stripe: &Stripe, index: usize, block: &mut [u8]) -> bool {
        let at = self.header.geometry.parity_at(stripe.parity_before + index as u64);
        self.file.read_exact_at(block, at).is_ok()
    }

    /// What is wrong with the file itself, beyond use or not.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::corrupt(&self.path, what)
    }
}

/// The first copy of the header that is whole: where it should be, or wherever it is.
fn find_header(file: &dyn File, len: u64) -> Option<Header> {
    let last = len.saturating_sub(PAGE);
    header_at(file, 0).or_else(|| header_at(file, last)).or_else(|| {
        let pages = (0..len / PAGE).map(|page| page * PAGE);
        pages.into_iter().find_map(|at| header_at(file, at))
    })
}

fn header_at(file: &dyn File, at: u64) -> Option<Header> {
    let mut page = [0; PAGE as usize];
    // Pages that are no header are told apart by their first bytes: most of the file need not be read.
    file.read_exact_at(&mut page[..MAGIC.len()], at).ok()?;
    if page[..MAGIC.len()] != MAGIC {
        return None;
    }
    file.read_exact_at(&mut page, at).ok()?;
    Header::decode(&page)
}

/// The error of an archive that is damaged more than its parity can bear.
pub(crate) fn beyond(path: &Path, bad: usize, stripe: &Stripe) -> Error {
    let message = format!(
        "{bad} blocks of stripe {} are damaged, and its parity repairs {}",
        stripe.number, stripe.parity
    );
    Error::new(ErrorKind::Corrupt, message).at(path)
}
