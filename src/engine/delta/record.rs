//! What a delta keeps of a record: its key once, and under it the versions, newest first.
//!
//! Invariants: the versions of a record have descending LSNs; a version, once linked, never changes
//! but for its link to the next older one. A value of [`SHARED_FROM`] bytes or more lies outside
//! the arena as an `Arc<[u8]>`, held once and given back when the delta drops.
//!
//! # Why this is sound
//!
//! - *Written, then linked.* [`Record::place`] and [`Version::place`] write header and bytes before
//!   the handle exists; [`RecordLink::set`] and `VersionLink::set` store with Release, `get` loads
//!   with Acquire. Later only `versions` and `older`, which are atomic, change.
//! - *Nothing is freed early.* Headers and the bytes behind them lie in the arena, which lives as
//!   long as any borrow of a link that leads into it (see `arena.rs`). Shared values are given back
//!   by the drop of [`SharedValues`], which is a field of the delta: no borrow of it is left then.
//! - *Provenance.* A handle keeps the raw pointer that the arena gave, never one made from a
//!   reference to the header, so it may reach the bytes behind the header.
#![allow(unsafe_code)]

use super::super::{Change, Lsn, TableId};
use super::DeltaChange;
use super::arena::ArenaWriter;
use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Values of this many bytes or more are held as `Arc<[u8]>` instead of being copied into the
/// arena.
pub(super) const SHARED_FROM: usize = 16 << 10;

/// The first eight bytes of a key, big-endian and filled up with zeros: where the heads of two keys
/// differ, their order is the order of the keys.
pub(super) fn head_of(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut head = [0; 8];
            head[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(head)
        }
    }
}

/// Stands before the bytes of a key.
struct RecordHeader {
    versions: VersionLink,
    table: TableId,
    key_len: u32,
}

/// One record of the delta. Its head is not kept: index nodes have it beside their link.
#[derive(Clone, Copy)]
pub(super) struct Record<'a>(NonNull<RecordHeader>, PhantomData<&'a RecordHeader>);

// SAFETY: the handle gives what `&RecordHeader` and `&[u8]` give, and both may be shared and sent.
unsafe impl Send for Record<'_> {}
// SAFETY: as above.
unsafe impl Sync for Record<'_> {}

impl<'a> Record<'a> {
    /// Puts a record without versions into the arena.
    pub(super) fn place(arena: &'a ArenaWriter, table: TableId, key: &[u8]) -> Record<'a> {
        let key_len = u32::try_from(key.len()).expect("the store bounds keys far below 4 GiB");
        let header = RecordHeader { versions: VersionLink::none(), table, key_len };
        Record(place_with_tail(arena, header, key), PhantomData)
    }

    fn header(self) -> &'a RecordHeader {
        // SAFETY: the header was written before the handle was made and lives as long as `'a`.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn table(self) -> TableId {
        self.header().table
    }

    pub(super) fn key(self) -> &'a [u8] {
        // SAFETY: `place` wrote `key_len` bytes right behind the header.
        unsafe { tail(self.0, self.header().key_len as usize) }
    }

    /// The newest version that is not younger than `at`.
    pub(super) fn visible(self, at: Lsn) -> Option<Version<'a>> {
        let mut version = self.header().versions.get()?;
        while version.lsn() > at {
            version = version.header().older.get()?;
        }
        Some(version)
    }

    /// Links `version` where its LSN belongs. By the one writer only.
    pub(super) fn add(self, version: Version<'a>) {
        let mut link = &self.header().versions;
        while let Some(newer) = link.get().filter(|other| other.lsn() > version.lsn()) {
            link = &newer.header().older;
        }
        version.header().older.set(link.get());
        link.set(Some(version));
    }
}

/// Leads to a record in the same arena, or nowhere yet.
pub(super) struct RecordLink(AtomicPtr<RecordHeader>);

impl RecordLink {
    pub(super) const fn none() -> RecordLink {
        RecordLink(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn get(&self) -> Option<Record<'_>> {
        NonNull::new(self.0.load(Ordering::Acquire)).map(|at| Record(at, PhantomData))
    }

    pub(super) fn set(&self, record: Option<Record<'_>>) {
        self.0.store(record.map_or(ptr::null_mut(), |record| record.0.as_ptr()), Ordering::Release);
    }
}

/// How the bytes of a version are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The record is no more; no bytes.
    Delete,
    /// The value follows the header.
    Inline,
    /// A [`SharedTail`] follows the header.
    Shared,
}

/// Stands before the bytes of a version.
struct VersionHeader {
    older: VersionLink,
    lsn: Lsn,
    /// Length of the value, shifted left by two bits, and the kind below it: one word less.
    len_and_kind: u64,
}

/// What stands behind the header of a version whose value is shared.
#[derive(Clone, Copy)]
struct SharedTail {
    value: *const u8,
    earlier: *mut VersionHeader,
}

/// One version of a record.
#[derive(Clone, Copy)]
pub(super) struct Version<'a>(NonNull<VersionHeader>, PhantomData<&'a VersionHeader>);

// SAFETY: the handle gives what `&VersionHeader` and `&[u8]` give, and both may be shared and sent.
unsafe impl Send for Version<'_> {}
// SAFETY: as above.
unsafe impl Sync for Version<'_> {}

impl<'a> Version<'a> {
    /// Puts a version into the arena. `shared` takes what is not copied into it.
    pub(super) fn place(
        arena: &'a ArenaWriter,
        shared: &SharedValues,
        lsn: Lsn,
        change: DeltaChange<'_>,
    ) -> Version<'a> {
        let at = match change {
            DeltaChange::Delete => place_with_tail(arena, header(lsn, 0, Kind::Delete), &[]),
            DeltaChange::Put(value) if value.len() < SHARED_FROM => {
                place_with_tail(arena, header(lsn, value.len(), Kind::Inline), value)
            }
            DeltaChange::Put(value) => shared.place(arena, lsn, Arc::from(value)),
            DeltaChange::Shared(value) => shared.place(arena, lsn, value),
        };
        Version(at, PhantomData)
    }

    fn header(self) -> &'a VersionHeader {
        // SAFETY: the header was written before the handle was made and lives as long as `'a`.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn lsn(self) -> Lsn {
        self.header().lsn
    }

    pub(super) fn change(self) -> Change<'a> {
        let header = self.header();
        match header.kind() {
            Kind::Delete => Change::Delete,
            // SAFETY: `place` wrote `len` bytes right behind the header.
            Kind::Inline => Change::Put(unsafe { tail(self.0, header.len()) }),
            // SAFETY: the tail was written with the header, and the value it leads to is held until
            // the delta drops.
            Kind::Shared => Change::Put(unsafe { &*shared_slice(self.0) }),
        }
    }
}

impl VersionHeader {
    fn len(&self) -> usize {
        // It was a `usize` when it was written; nothing here comes from a disk.
        (self.len_and_kind >> 2) as usize
    }

    fn kind(&self) -> Kind {
        match self.len_and_kind & 3 {
            0 => Kind::Delete,
            1 => Kind::Inline,
            _ => Kind::Shared,
        }
    }
}

fn header(lsn: Lsn, len: usize, kind: Kind) -> VersionHeader {
    let len_and_kind = (len as u64) << 2 | kind as u64;
    VersionHeader { older: VersionLink::none(), lsn, len_and_kind }
}

struct VersionLink(AtomicPtr<VersionHeader>);

impl VersionLink {
    const fn none() -> VersionLink {
        VersionLink(AtomicPtr::new(ptr::null_mut()))
    }

    fn get(&self) -> Option<Version<'_>> {
        NonNull::new(self.0.load(Ordering::Acquire)).map(|at| Version(at, PhantomData))
    }

    fn set(&self, version: Option<Version<'_>>) {
        let to = version.map_or(ptr::null_mut(), |version| version.0.as_ptr());
        self.0.store(to, Ordering::Release);
    }
}

/// Keeper of the values outside the arena: a chain through the versions that have them. Must drop
/// before the arena (the delta declares its fields in that order).
pub(super) struct SharedValues {
    latest: AtomicPtr<VersionHeader>,
    bytes: AtomicUsize,
}

impl SharedValues {
    pub(super) const fn new() -> SharedValues {
        SharedValues { latest: AtomicPtr::new(ptr::null_mut()), bytes: AtomicUsize::new(0) }
    }

    /// Bytes of all values held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Puts a version into the arena and its value into the chain. By the one writer only.
    fn place(&self, arena: &ArenaWriter, lsn: Lsn, value: Arc<[u8]>) -> NonNull<VersionHeader> {
        self.bytes.fetch_add(value.len(), Ordering::Relaxed);
        let header = header(lsn, value.len(), Kind::Shared);
        let earlier = self.latest.load(Ordering::Relaxed);
        let shared = SharedTail { value: Arc::into_raw(value).cast(), earlier };
        let at = arena.take(Layout::new::<(VersionHeader, SharedTail)>()).cast::<VersionHeader>();
        // SAFETY: the layout has room for both, and the header's size is a multiple of the tail's
        // alignment (checked in `shared_tail`).
        unsafe {
            at.write(header);
            shared_tail(at).write(shared);
        }
        self.latest.store(at.as_ptr(), Ordering::Release);
        at
    }
}

impl Drop for SharedValues {
    fn drop(&mut self) {
        let mut latest = *self.latest.get_mut();
        while let Some(at) = NonNull::new(latest) {
            // SAFETY: each version of the chain has a shared tail, owns one count of its value, and
            // is in the chain once. The arena still lives, and nobody borrows from the delta.
            unsafe {
                drop(Arc::from_raw(shared_slice(at)));
                latest = shared_tail(at).read().earlier;
            }
        }
    }
}

/// Where the tail of a version with a shared value is.
///
/// # Safety
/// `at` must lead to memory of the arena with room for header and tail.
unsafe fn shared_tail(at: NonNull<VersionHeader>) -> NonNull<SharedTail> {
    const { assert!(size_of::<VersionHeader>().is_multiple_of(align_of::<SharedTail>())) };
    // SAFETY: by the caller's promise the next bytes are within the same allocation.
    unsafe { at.add(1).cast() }
}

/// The value of a version of kind `Shared`.
///
/// # Safety
/// `at` must lead to a version of that kind, fully written.
unsafe fn shared_slice(at: NonNull<VersionHeader>) -> *const [u8] {
    // SAFETY: by the caller's promise header and tail are there; the pointer came from
    // `Arc::into_raw` of a slice of this length.
    unsafe { ptr::slice_from_raw_parts(shared_tail(at).read().value, at.as_ref().len()) }
}

/// Writes a header and `bytes` right behind it.
fn place_with_tail<H>(arena: &ArenaWriter, header: H, bytes: &[u8]) -> NonNull<H> {
    let size = size_of::<H>() + bytes.len();
    let layout = Layout::from_size_align(size, align_of::<H>())
        .expect("the bytes are in memory already, so a header more cannot overflow");
    let at = arena.take(layout).cast::<H>();
    // SAFETY: the memory is unused, aligned for `H`, and large enough for both parts.
    unsafe {
        at.write(header);
        ptr::copy_nonoverlapping(bytes.as_ptr(), at.add(1).cast().as_ptr(), bytes.len());
    }
    at
}

/// The `len` bytes behind a header.
///
/// # Safety
/// `place_with_tail` must have written that header with `len` bytes, and its arena must outlive
/// `'a`.
unsafe fn tail<'a, H>(at: NonNull<H>, len: usize) -> &'a [u8] {
    // SAFETY: by the caller's promise; the bytes never change after they were linked.
    unsafe { std::slice::from_raw_parts(at.add(1).cast().as_ptr(), len) }
}
