//! Whether this is still the process that made a value, or a fork of it: asked in each commit, so
//! without a call of the system.
//!
//! A page of memory holds a mark, and the system is asked to clear the page in whatever is forked
//! (`MADV_WIPEONFORK`). Where the mark is gone, or the system cannot do that, the process id decides.
//!
//! # Why this is sound
//!
//! The page belongs to the map, which is private, lives as long as the value, and is never written
//! after the mark. The advice concerns that page alone. Only a fork changes it, before the child runs:
//! no thread of a process sees it change. It is read as volatile, so the compiler assumes nothing of
//! what an earlier read found.
#![allow(unsafe_code)]

use memmap2::MmapMut;

const MARK: u8 = 1;

/// The process that made the value.
pub(crate) struct OwnProcess {
    id: u32,
    /// `None` where the system cannot clear a page in a fork.
    page: Option<MmapMut>,
}

impl OwnProcess {
    /// This process.
    pub(crate) fn new() -> OwnProcess {
        OwnProcess { id: std::process::id(), page: page() }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether it is the one that runs this.
    #[inline]
    pub(crate) fn is_this(&self) -> bool {
        self.is_marked() || std::process::id() == self.id
    }

    #[inline]
    fn is_marked(&self) -> bool {
        // SAFETY: the map has at least one byte and lives as long as `self`.
        self.page.as_ref().is_some_and(|page| unsafe { page.as_ptr().read_volatile() } == MARK)
    }
}

#[cfg(target_os = "linux")]
fn page() -> Option<MmapMut> {
    let mut page = MmapMut::map_anon(1).ok()?;
    // SAFETY: the map is private, anonymous and our own; the advice rounds its length up to the page,
    // all of which belongs to it.
    let done =
        unsafe { libc::madvise(page.as_mut_ptr().cast(), page.len(), libc::MADV_WIPEONFORK) };
    page[0] = MARK;
    (done == 0).then_some(page)
}

/// Other systems have no such advice.
#[cfg(not(target_os = "linux"))]
fn page() -> Option<MmapMut> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself_by_the_mark_and_by_its_number() {
        let own = OwnProcess::new();
        assert!(own.is_this());
        assert_eq!(own.is_marked(), own.page.is_some());
        assert!(OwnProcess { page: None, ..OwnProcess::new() }.is_this());
    }

    #[test]
    fn another_number_without_the_mark_is_another_process() {
        let id = std::process::id() + 1;
        assert!(!OwnProcess { id, page: None }.is_this());
        assert!(!OwnProcess { id, page: MmapMut::map_anon(1).ok() }.is_this());
    }
}
