//! An entry of an archive as a file: any place of it can be read, without the rest.
//!
//! A small cache of unpacked frames stands behind it, in shards with a lock each, so that readers of
//! different places seldom meet. A frame is unpacked under its shard's lock: two readers of one frame
//! do the work once. Each frame's checksum is tried whenever it is unpacked; the digest of the whole
//! entry is not, since that needs all of it. It is read-only, and cannot be mapped.

use super::frame::FrameDecoder;
use super::frames;
use super::reader::{ArchiveFile, Entry};
use crate::disk::File;
use crate::error::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

const SHARDS: usize = 8;
/// Frames that a shard keeps: with 256 KiB each, 8 MiB in all.
const FRAMES_PER_SHARD: usize = 4;

/// One entry, open for reading at any place.
struct EntryFile {
    archive: Arc<ArchiveFile>,
    first_frame: usize,
    size: u64,
    shards: [Mutex<Shard>; SHARDS],
}

struct Shard {
    decoder: FrameDecoder,
    packed: Vec<u8>,
    /// Frames by number, the one that was used last at the end.
    frames: Vec<(usize, Vec<u8>)>,
}

impl ArchiveFile {
    /// The content of `entry` as a file that can be read at any place.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the decompressor has no memory.
    pub fn entry_file(self: &Arc<Self>, entry: &Entry) -> Result<Arc<dyn File>> {
        let shard = || -> Result<Mutex<Shard>> {
            let decoder = frames::new_decoder(&self.path)?;
            Ok(Mutex::new(Shard { decoder, packed: Vec::new(), frames: Vec::new() }))
        };
        let shards: Vec<Mutex<Shard>> = (0..SHARDS).map(|_| shard()).collect::<Result<_>>()?;
        let Ok(shards) = shards.try_into() else { unreachable!("SHARDS of them were made") };
        Ok(Arc::new(EntryFile {
            archive: self.clone(),
            first_frame: entry.first_frame,
            size: entry.meta.size,
            shards,
        }))
    }
}

impl Shard {
    /// The content of frame `number`; the least recently used frame makes room.
    fn frame(&mut self, archive: &ArchiveFile, number: usize) -> Result<&[u8]> {
        let found = self.frames.iter().position(|(other, _)| *other == number);
        let frame = match found {
            Some(at) => self.frames.remove(at),
            None => {
                let mut content = match self.frames.len() < FRAMES_PER_SHARD {
                    true => Vec::new(),
                    false => self.frames.remove(0).1,
                };
                self.unpack(archive, number, &mut content)
                    .map_err(|error| archive.in_its_file(error, number))?;
                (number, content)
            }
        };
        self.frames.push(frame);
        Ok(self.frames.last().map_or(&[], |(_, content)| content))
    }
}

impl Shard {
    fn unpack(
        &mut self,
        archive: &ArchiveFile,
        number: usize,
        content: &mut Vec<u8>,
    ) -> Result<()> {
        let mut read = |file: &dyn File| {
            let (path, packed) = (&archive.path, &mut self.packed);
            let len = frames::read_packed(file, path, &archive.map, number, packed)?;
            frames::decode(&mut self.decoder, path, number, packed, len, content)
        };
        match (read(&*archive.file), &archive.repaired) {
            (Err(error), Some(repaired)) => read(&**repaired).map_err(|_| error),
            (read, _) => read,
        }
    }
}

impl File for EntryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let grid = u64::from(self.archive.frame_bytes);
        let number = self.first_frame + (offset / grid) as usize;
        let mut shard = self.shards[number % SHARDS].lock();
        let content = shard.frame(&self.archive, number).map_err(to_io)?;
        let content = content.get((offset % grid) as usize..).unwrap_or_default();
        let count = content.len().min(buffer.len());
        buffer[..count].copy_from_slice(&content[..count]);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}

/// Damage stays recognisable through the seam: `InvalidData`, with the error inside.
fn to_io(error: Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Corrupt => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
