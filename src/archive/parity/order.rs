//! Writing the parity of an archive that was just finished, before any of its files has its name.
//!
//! The archive is read again for it, stripe by stripe: its length must be known before it is woven,
//! and one stripe at a time keeps the memory small however far the blocks of a stripe are apart.

use super::file::Header;
use super::geometry::{Geometry, PAGE};
use super::stripe::Weaver;
use crate::archive::digest::Digest;
use crate::archive::layers::{ArchivePlace, Layers, WrittenFile};
use crate::archive::level::Level;
use crate::archive::names::ArchiveName;
use crate::archive::parts::{Files, Joined};
use crate::archive::verify::{Progress, stopped};
use crate::disk::{Access, Disk, File, create_like};
use crate::error::{Error, Result};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// After how many bytes the parity is synced.
const SYNC_EVERY: u64 = 16 << 20;

/// That an archive is to have parity.
pub(crate) struct Order {
    disk: Arc<dyn Disk>,
    file: WrittenFile,
    segment_bytes: u64,
    redundancy: Level,
    interlacing: Level,
}

impl Order {
    /// The order that `layers` give; `None` without redundancy.
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        place: &ArchivePlace,
        whole: &ArchiveName,
        layers: &Layers,
    ) -> Option<Order> {
        (layers.redundancy != Level::None).then(|| Order {
            disk: disk.clone(),
            file: place.file(&whole.parity()),
            segment_bytes: layers.segment_bytes.unwrap_or(0),
            redundancy: layers.redundancy,
            interlacing: layers.interlacing,
        })
    }

    /// Writes the parity over `files`, durably.
    pub(crate) fn write(
        self,
        files: &[WrittenFile],
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<WrittenFile> {
        let archive = Joined::strict(&*self.disk, &Files::written(files))?;
        let mut file = self.file;
        let Some(geometry) = Geometry::of(archive.total(), self.redundancy, self.interlacing)
        else {
            return Ok(file);
        };
        let shape = (geometry, self.segment_bytes);
        write_parity(&*self.disk, &archive, shape, &file.partial, progress)?;
        file.bytes = geometry.file_bytes();
        Ok(file)
    }
}

/// Writes a parity file over `archive` at `path`, where nothing may be, durably; gives its set hash.
pub(crate) fn write_parity(
    disk: &dyn Disk,
    archive: &Joined,
    (geometry, segment_bytes): (Geometry, u64),
    path: &Path,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Digest> {
    let failed = |cause| Error::io("create", path, cause);
    // It tells no less of the archive than the archive does.
    let model = archive.parts.first().map(|part| Access::at(disk, &part.path));
    let model = model.transpose().map_err(failed)?.flatten();
    let file = create_like(disk, path, model).map_err(failed)?;
    let failed = |cause| Error::io("write to", path, cause);
    let mut set = blake3::Hasher::new();
    let mut weaver = Weaver::new(&geometry);
    let (mut read, mut unsynced) = (0, 0);
    for number in 0..geometry.stripes() {
        let stripe = geometry.stripe(number);
        let table = weaver.weave(
            &stripe,
            |block, buffer| read_all(archive, &geometry, block, buffer),
            |index, parity| {
                let at = geometry.parity_at(stripe.parity_before + index as u64);
                file.write_at(parity, at).map_err(failed)
            },
        )?;
        set.update(&table.digests[..stripe.data].concat());
        let bytes = table.encode(&stripe, &geometry);
        for at in geometry.table_at(number) {
            file.write_at(&bytes, at).map_err(failed)?;
        }
        let block_bytes = u64::from(geometry.block_bytes);
        unsynced += stripe.parity as u64 * block_bytes;
        if unsynced >= SYNC_EVERY {
            unsynced = 0;
            file.sync().map_err(|cause| Error::io("sync", path, cause))?;
        }
        read = (read + stripe.data as u64 * block_bytes).min(geometry.total);
        if progress(Progress { done: read, total: geometry.total }).is_break() {
            return Err(stopped(path));
        }
    }
    let set = Digest(*set.finalize().as_bytes());
    let header = Header { geometry, segment_bytes, set };
    write_headers(&*file, &header).map_err(failed)?;
    file.sync().map_err(|cause| Error::io("sync", path, cause))?;
    file.drop_cache(0, geometry.file_bytes());
    archive.drop_cache(0, geometry.total);
    Ok(set)
}

fn write_headers(file: &dyn File, header: &Header) -> std::io::Result<()> {
    let page = header.encode();
    debug_assert_eq!(page.len() as u64, PAGE);
    // What no table fills is a hole up to here: the last copy gives the file its length.
    header.geometry.headers_at().iter().try_for_each(|at| file.write_at(&page, *at))
}

/// Reads a block of an archive that must be whole.
fn read_all(archive: &Joined, geometry: &Geometry, block: u64, buffer: &mut [u8]) -> Result<()> {
    let at = block * u64::from(geometry.block_bytes);
    let len = (geometry.total - at).min(buffer.len() as u64) as usize;
    buffer[len..].fill(0);
    archive
        .read_exact_at(&mut buffer[..len], at)
        .map_err(|cause| Error::io("read", archive.path_at(at), cause))
}
