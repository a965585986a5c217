//! An open file of the operating system.

use std::fs;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::Errno;

use crate::disk::File;

/// Most parts that one call of the system takes (`IOV_MAX` of Linux).
const PARTS_PER_CALL: usize = 1024;
/// Zeros written at a time where the file system cannot allocate.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An open file of the operating system.
#[derive(Debug)]
pub(super) struct RealFile {
    pub(super) file: fs::File,
}

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_parts_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        let mut at = offset;
        while !left.is_empty() {
            let batch = &left[..left.len().min(PARTS_PER_CALL)];
            match rustix::io::pwritev(&self.file, batch, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    at += count as u64;
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return self.fill_with_zeros(offset, len),
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len()?;
        let found = rustix::fs::seek(&self.file, SeekFrom::Data(offset)).and_then(|data| {
            let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(data))?;
            Ok(data..hole)
        });
        match found {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((offset < len).then_some(offset..len)),
            Err(e) => Err(e.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn start_writeback(&self, offset: u64, len: u64) {
        crate::disk::writeback::start(&self.file, offset, len);
    }

    fn drop_cache(&self, offset: u64, len: u64) {
        // Advice only: where the system does not take it, the next read comes from its cache.
        if let Some(len) = NonZeroU64::new(len) {
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), Advice::DontNeed);
        }
    }

    fn map(&self, reserve: u64) -> io::Result<MmapRaw> {
        let reserve = usize::try_from(reserve)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "map too large"))?;
        MmapOptions::new().len(reserve).map_raw_read_only(&self.file)
    }
}

impl RealFile {
    /// `allocate` for file systems that cannot: everything past the end is written. Holes before the
    /// end stay holes, since zeros written there could overwrite what another thread writes.
    fn fill_with_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        let mut at = self.len()?;
        while at < end {
            let count = (end - at).min(ZEROS.len() as u64);
            self.write_at(&ZEROS[..count as usize], at)?;
            at += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_substitute_for_allocation_writes_only_past_the_end() {
        let file = RealFile { file: tempfile::tempfile().expect("a scratch file can be made") };
        file.write_at(b"abc", 0).expect("it is writable");
        file.fill_with_zeros(1, 200_000).expect("there is room");
        let mut bytes = vec![1; 200_001];
        file.read_exact_at(&mut bytes, 0).expect("it has grown to the end of the range");
        assert_eq!(&bytes[..3], b"abc");
        assert!(bytes[3..].iter().all(|&byte| byte == 0));
        file.fill_with_zeros(0, 3).expect("there is nothing to do");
        assert_eq!(file.len().expect("it is open"), 200_001);
    }
}
