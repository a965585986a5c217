//! The two metas: pages 0 and 1, from which everything else is reached.
//!
//! Both say the same once a checkpoint is finished. A checkpoint writes the older of the two, syncs,
//! and then brings the other up to it: a torn write leaves the other one valid, and afterwards the rot
//! of one costs nothing. Pages that the checkpoint before reaches are not used again before the second
//! meta is durable too, so whichever meta is valid, all that it reaches is there.
//!
//! ```text
//! 0    8 bytes  "STILLPT\0"       80   u64  LSN of the last commit in the tree
//! 8    u32      format: 2         88   i64  time of that commit, microseconds since 1970
//! 12   u32      page size         96   u64  LSN known durable in the log
//! 16   u128     store id          104  32   root of the catalogue
//! 32   u128     timeline id       136  u64  pages: one past the highest live page
//! 48   u128     its parent        144  u64  first page of the free list, 0 for none
//! 64   u64      LSN of the fork   152  u32  CRC32C of that page
//! 72   u64      checkpoint number 156  u32  next table id
//!                                 160  u64  birth of the free list
//!                                 168  u32  flags: bit 0, from an archive; bit 1, foreign
//!                                 172  u64  digest of the ancestry of the commit in the tree
//! ```
//!
//! The last four bytes of the page are the CRC32C of all before them; the rest is zeros.

use std::path::Path;

use super::page::{u32_at, u64_at};
use super::pointer::{BIRTH_LIMIT, PAGE_LIMIT, ROOT_LEN, TableRoot};
use crate::disk::{Disk, File, OpenMode};
use crate::engine::{LSN_LIMIT, Lsn, StoreId, TABLE_LIMIT, Timeline};
use crate::error::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"STILLPT\0";
/// The format that this library writes.
pub(crate) const FORMAT: u32 = 2;
/// Smallest page size.
pub(crate) const MIN_PAGE: usize = 4096;
/// Largest page size: places within a page are 16 bits.
pub(crate) const MAX_PAGE: usize = 32768;

const FROM_ARCHIVE: u32 = 1;
const FOREIGN: u32 = 2;

/// What a meta page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Bytes of a page.
    pub(crate) page_size: usize,
    /// Identity of the store.
    pub(crate) store_id: StoreId,
    /// Branch of history that the tree belongs to.
    pub(crate) timeline: Timeline,
    /// Digest of the whole line of timelines that led there ([`crate::engine::Ancestry::digest`]).
    pub(crate) ancestry_digest: u64,
    /// Number of the checkpoint; the first is 1.
    pub(crate) number: u64,
    /// The last commit that the tree holds.
    pub(crate) lsn: Lsn,
    /// Its time, in microseconds since the Unix epoch.
    pub(crate) time: i64,
    /// What was known durable in the log when the meta was written.
    pub(crate) durable_log_lsn: Lsn,
    /// Root of the catalogue tree.
    pub(crate) catalogue: TableRoot,
    /// One past the highest page that the checkpoint reaches.
    pub(crate) page_count: u64,
    /// First page of the free list; 0 where nothing is free.
    pub(crate) free_list: u64,
    /// CRC32C of that page.
    pub(crate) free_list_crc: u32,
    /// Number of the checkpoint that wrote the free list.
    pub(crate) free_list_birth: u64,
    /// The lowest table id never used.
    pub(crate) next_table_id: u32,
    /// Whether the file was made by a backup: it needs no log, and starts a timeline of its own.
    pub(crate) from_archive: bool,
    /// Whether the timeline is not this store's own to go on: its commits were applied from another
    /// store's log, or a tail was lost. The next commit of the store's own begins a new one.
    pub(crate) foreign: bool,
}

/// Whether `size` can be the size of a page.
pub(crate) fn is_page_size(size: usize) -> bool {
    size.is_power_of_two() && (MIN_PAGE..=MAX_PAGE).contains(&size)
}

impl Meta {
    /// Bytes of the file up to the last page that the checkpoint reaches.
    pub(crate) fn bytes(&self) -> u64 {
        self.page_count.saturating_mul(self.page_size as u64)
    }

    /// The meta as a page.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.page_size);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&(self.page_size as u32).to_le_bytes());
        out.extend_from_slice(&self.store_id.to_le_bytes());
        out.extend_from_slice(&self.timeline.id.to_le_bytes());
        out.extend_from_slice(&self.timeline.parent.to_le_bytes());
        out.extend_from_slice(&self.timeline.fork.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.lsn.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.durable_log_lsn.to_le_bytes());
        out.extend_from_slice(&self.catalogue.encode());
        out.extend_from_slice(&self.page_count.to_le_bytes());
        out.extend_from_slice(&self.free_list.to_le_bytes());
        out.extend_from_slice(&self.free_list_crc.to_le_bytes());
        out.extend_from_slice(&self.next_table_id.to_le_bytes());
        out.extend_from_slice(&self.free_list_birth.to_le_bytes());
        let from_archive = if self.from_archive { FROM_ARCHIVE } else { 0 };
        let flags = from_archive | if self.foreign { FOREIGN } else { 0 };
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.ancestry_digest.to_le_bytes());
        out.resize(self.page_size - 4, 0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a meta page. The error says what is wrong with it.
    pub(crate) fn decode(page: &[u8]) -> Result<Meta, Fault> {
        debug_assert!(is_page_size(page.len()));
        if &page[..8] != MAGIC {
            return Err(Fault::NotAMeta);
        }
        let body = &page[..page.len() - 4];
        if u32_at(page, body.len()) != crc32c::crc32c(body) {
            return Err(Fault::Damaged("its checksum is wrong"));
        }
        if u32_at(page, 8) != FORMAT {
            return Err(Fault::Format(u32_at(page, 8)));
        }
        let mut root = [0; ROOT_LEN];
        root.copy_from_slice(&page[104..104 + ROOT_LEN]);
        let meta = Meta {
            page_size: u32_at(page, 12) as usize,
            store_id: u128_at(page, 16),
            timeline: Timeline {
                id: u128_at(page, 32),
                parent: u128_at(page, 48),
                fork: u64_at(page, 64),
            },
            ancestry_digest: u64_at(page, 172),
            number: u64_at(page, 72),
            lsn: u64_at(page, 80),
            time: u64_at(page, 88) as i64,
            durable_log_lsn: u64_at(page, 96),
            catalogue: TableRoot::decode(&root),
            page_count: u64_at(page, 136),
            free_list: u64_at(page, 144),
            free_list_crc: u32_at(page, 152),
            next_table_id: u32_at(page, 156),
            free_list_birth: u64_at(page, 160),
            from_archive: u32_at(page, 168) & FROM_ARCHIVE != 0,
            foreign: u32_at(page, 168) & FOREIGN != 0,
        };
        let sound = meta.page_size == page.len()
            && (2..PAGE_LIMIT).contains(&meta.page_count)
            && (1..BIRTH_LIMIT - 1).contains(&meta.number)
            && meta.lsn < LSN_LIMIT
            && (1..=TABLE_LIMIT).contains(&meta.next_table_id)
            && u32_at(page, 168) & !(FROM_ARCHIVE | FOREIGN) == 0;
        if sound { Ok(meta) } else { Err(Fault::Damaged("its numbers make no sense")) }
    }
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from(u64_at(bytes, at)) | u128::from(u64_at(bytes, at + 8)) << 64
}

/// Why a page is not a meta that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not begin like one.
    NotAMeta,
    /// Another version of the format.
    Format(u32),
    /// It begins like one, and is damaged.
    Damaged(&'static str),
}

/// The store that the data file at `path` is of. Reads its metas only.
///
/// # Errors
/// As [`Metas::read`]; what the disk says.
pub(crate) fn store_of(disk: &dyn Disk, path: &Path) -> Result<StoreId> {
    let opened = disk.open(path, OpenMode::Read);
    let file = opened.map_err(|e| Error::io("open the data file", path, e))?;
    Ok(Metas::read(&*file, path)?.newest().1.store_id)
}

/// Writes both metas of a file anew: the newest one, changed by `change`. The file is nobody's store yet.
///
/// # Durability
/// Durable when it returns.
///
/// # Errors
/// As [`Metas::read`]; what the disk says.
pub(crate) fn rewrite_metas(
    file: &dyn File,
    path: &Path,
    change: impl FnOnce(Meta) -> Meta,
) -> Result<()> {
    let newest = Metas::read(file, path)?.newest().1.clone();
    let page = change(newest).encode();
    file.write_parts_at(&[&page, &page], 0)
        .and_then(|()| file.sync())
        .map_err(|e| Error::io("write the metas of the data file", path, e))
}

/// Whether another version of the library wrote the data file at `path`, which is then whole.
pub(crate) fn is_of_other_format(disk: &dyn Disk, path: &Path) -> bool {
    let Ok(file) = disk.open(path, OpenMode::Read) else { return false };
    let sizes = std::iter::successors(Some(MIN_PAGE), |size| Some(size * 2));
    sizes.take_while(|size| *size <= MAX_PAGE).any(|size| {
        [0, size as u64].into_iter().any(|offset| {
            let mut page = vec![0; size];
            let read = file.read_exact_at(&mut page, offset);
            read.is_ok() && matches!(Meta::decode(&page), Err(Fault::Format(_)))
        })
    })
}

/// Both metas of a file, as far as they are valid, and the page size.
pub(crate) struct Metas {
    pub(crate) page_size: usize,
    pub(crate) slots: [Result<Meta, Fault>; 2],
}

impl Metas {
    /// Reads both.
    ///
    /// # Errors
    /// `Unsupported` where this is no data file or one of another version, `Corrupt` where neither
    /// meta can be used.
    pub(crate) fn read(file: &dyn File, path: &Path) -> Result<Metas> {
        let len = file.len().map_err(|e| Error::io("measure the data file", path, e))?;
        let mut worst = Fault::NotAMeta;
        let mut size = MIN_PAGE;
        while size <= MAX_PAGE {
            let mut slots = [Err(Fault::NotAMeta), Err(Fault::NotAMeta)];
            for (slot, found) in slots.iter_mut().enumerate() {
                let offset = (slot * size) as u64;
                if len < offset + size as u64 {
                    continue;
                }
                let mut page = vec![0; size];
                file.read_exact_at(&mut page, offset)
                    .map_err(|e| Error::io("read a meta of the data file", path, e))?;
                *found = Meta::decode(&page);
                match found {
                    Err(fault @ Fault::Format(_)) => worst = *fault,
                    Err(fault) if worst == Fault::NotAMeta => worst = *fault,
                    _ => {}
                }
            }
            if slots.iter().any(|slot| slot.is_ok()) {
                let metas = Metas { page_size: size, slots };
                metas.check_pair(path)?;
                return Ok(metas);
            }
            size *= 2;
        }
        Err(match worst {
            Fault::NotAMeta => {
                Error::new(ErrorKind::Unsupported, "the file is no data file of this library")
                    .at(path)
            }
            Fault::Format(found) => Error::new(
                ErrorKind::Unsupported,
                format!("the data file has format {found}; this library reads {FORMAT}"),
            )
            .at(path)
            .hint("Open it with the version of the library that wrote it."),
            Fault::Damaged(_) => Error::corrupt(path, "both metas of the data file are damaged")
                .hint("Restore the store from its last backup."),
        })
    }

    fn check_pair(&self, path: &Path) -> Result<()> {
        if let [Ok(a), Ok(b)] = &self.slots
            && (a.store_id != b.store_id || (a.number == b.number && a != b))
        {
            return Err(Error::corrupt(path, "the two metas contradict each other"));
        }
        Ok(())
    }

    /// The newer of the valid metas, and its slot.
    pub(crate) fn newest(&self) -> (usize, &Meta) {
        match &self.slots {
            [Ok(a), Ok(b)] if b.number > a.number => (1, b),
            [Ok(a), _] => (0, a),
            [Err(_), Ok(b)] => (1, b),
            [Err(_), Err(_)] => unreachable!("Metas::read refuses a file without a valid meta"),
        }
    }

    /// The older of two valid metas, where they differ.
    pub(crate) fn other(&self) -> Option<&Meta> {
        match &self.slots {
            [Ok(a), Ok(b)] if a.number < b.number => Some(a),
            [Ok(a), Ok(b)] if b.number < a.number => Some(b),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
