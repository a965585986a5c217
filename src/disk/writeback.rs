//! Starting the write-back of a range of a file, without waiting for it: `sync_file_range`, for which
//! neither std nor rustix has a call.
//!
//! # Why this is sound
//!
//! The call takes a descriptor and numbers and touches no memory of the process. The descriptor is
//! borrowed from an open file, so it is open for the length of the call.
#![allow(unsafe_code)]

use std::fs::File;

/// Asks the system to begin writing what is dirty in the range. Advice only: nothing is durable because
/// of it, and a failure leaves all of it to the next sync, which also reports it.
#[cfg(target_os = "linux")]
pub(in crate::disk) fn start(file: &File, offset: u64, len: u64) {
    use std::os::fd::AsRawFd;
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
    // SAFETY: no memory is passed, and `file` keeps the descriptor open.
    let _advice = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE)
    };
}

/// Other systems begin by themselves.
#[cfg(not(target_os = "linux"))]
pub(in crate::disk) fn start(_file: &File, _offset: u64, _len: u64) {}
