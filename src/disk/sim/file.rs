//! An open file of the simulated disk.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::MmapRaw;
use rustix::io::Errno;

use super::faults::Call;
use super::image::CHUNK;
use super::names::Ino;
use super::state::{Guard, Shared, Trouble};
use crate::disk::File;

/// The largest offset that a file of the system can have.
const MAX_LEN: u64 = i64::MAX as u64;

/// A handle. It stands for the file, whatever becomes of its name.
pub(super) struct SimFile {
    pub(super) shared: Arc<Shared>,
    pub(super) ino: Ino,
    pub(super) writable: bool,
    /// The path by which it was opened.
    pub(super) path: PathBuf,
}

impl SimFile {
    fn enter(&self, call: Call, bytes: usize) -> io::Result<(Guard<'_>, Option<Trouble>)> {
        self.shared.enter(call, &[&self.path], Some(self.ino), bytes)
    }

    /// Enters a call that changes the file and cannot be done by half.
    fn enter_change(&self, call: Call) -> io::Result<Guard<'_>> {
        if !self.writable {
            return Err(Errno::BADF.into());
        }
        let mut state = whole(self.enter(call, 0)?)?;
        state.check_medium(call, self.ino)?;
        Ok(state)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !self.writable {
            return Err(Errno::BADF.into());
        }
        end_of(offset, bytes.len() as u64)?;
        let (mut state, trouble) = self.enter(Call::Write, bytes.len())?;
        state.check_medium(Call::Write, self.ino)?;
        let (mut count, mut error) = match trouble {
            Some(trouble) => (trouble.bytes.min(bytes.len()), Some(trouble.error)),
            None => (bytes.len(), None),
        };
        if let Some(free) = state.free_chunks() {
            let fitting = state.medium.content(self.ino)?.fitting(offset, count, free);
            if fitting < count {
                (count, error) = (fitting, Some(Errno::NOSPC.into()));
            }
        }
        if count > 0 {
            let now = state.now;
            let content = state.medium.content(self.ino)?;
            content.modified = now;
            content.write(&bytes[..count], offset)?;
        }
        error.map_or(Ok(()), Err)
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (mut state, trouble) = self.enter(Call::Read, buffer.len())?;
        let content = state.medium.content(self.ino)?;
        match trouble {
            None => Ok(content.read(buffer, offset)),
            Some(short) if short.bytes > 0 && !short.crash => {
                let count = short.bytes.min(buffer.len());
                Ok(content.read(&mut buffer[..count], offset))
            }
            Some(trouble) => Err(trouble.error),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset)
    }

    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.write(&parts.concat(), offset)
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = whole(self.enter(Call::Look, 0)?)?;
        Ok(state.medium.content(self.ino)?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        end_of(len, 0)?;
        let mut state = self.enter_change(Call::SetLen)?;
        let now = state.now;
        let content = state.medium.content(self.ino)?;
        content.modified = now;
        content.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = end_of(offset, len)?;
        let mut state = self.enter_change(Call::Allocate)?;
        if len == 0 {
            return Ok(());
        }
        let free = state.free_chunks();
        let content = state.medium.content(self.ino)?;
        if free.is_some_and(|free| content.missing_below(end) > free) {
            return Err(Errno::NOSPC.into());
        }
        content.reserve(end)
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, trouble) = self.enter(Call::Sync, 0)?;
        state.check_medium(Call::Sync, self.ino)?;
        let content = state.medium.content(self.ino)?;
        match trouble {
            None => content.sync(),
            Some(trouble) => {
                // A crash in the middle is no failure: the system may still write it all.
                if !trouble.crash {
                    content.give_up();
                }
                return Err(trouble.error);
            }
        }
        Ok(())
    }

    /// Reads have no cache here: nothing to drop.
    fn drop_cache(&self, _offset: u64, _len: u64) {}

    fn map(&self, reserve: u64) -> io::Result<MmapRaw> {
        let mut state = whole(self.enter(Call::Map, 0)?)?;
        state.medium.content(self.ino)?.map(reserve)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if let Ok(content) = state.medium.content(self.ino) {
            content.handles -= 1;
            if content.handles == 0 && !state.medium.names.knows(self.ino) {
                state.medium.nodes.remove(&self.ino);
            }
        }
    }
}

/// The state, for a call that trouble prevents as a whole.
pub(super) fn whole<'a>((state, trouble): (Guard<'a>, Option<Trouble>)) -> io::Result<Guard<'a>> {
    match trouble {
        None => Ok(state),
        Some(trouble) => Err(trouble.error),
    }
}

fn end_of(offset: u64, len: u64) -> io::Result<u64> {
    match offset.checked_add(len) {
        Some(end) if end <= MAX_LEN - CHUNK => Ok(end),
        _ => Err(Errno::FBIG.into()),
    }
}
