//! Memory of one delta: chunks that only grow, and the links between what lies in them.
//!
//! A delta takes nothing back while it lives, so its memory is a chain of chunks with a pointer
//! that moves on. The first chunk is 64 KiB and comes with the first record; each later one is
//! twice as large, up to 1 MiB. Nothing here knows records, order or LSNs.
//!
//! # Why this is sound
//!
//! - *One writer.* Only [`ArenaWriter`] hands out memory; it is neither `Clone` nor `Sync`.
//! - *Written, then linked.* [`ArenaWriter::place`] writes a node fully before anybody gets a
//!   reference to it. It becomes reachable for others only by [`Link::set`] or [`ChildLink::set`],
//!   which store with Release; `get` loads with Acquire. After that only its atomic fields change.
//! - *Nothing is freed early.* Chunks are freed when the [`Arena`] drops and never before. The
//!   types of this room are private to it, and their nodes are made by `place` only. A link lives
//!   in a node of its arena, or in the `Delta` or `DeltaWriter` that hold that arena in an `Arc`,
//!   and leads into the same arena. Whoever borrows the link for `'a` therefore borrows a keeper of
//!   the arena for `'a`, and `get` may return a reference of that lifetime.
//! - *No drop glue.* Nodes own nothing outside their chunk (checked when `place` is compiled), so
//!   freeing the chunks is all the dropping they need.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Alignment of a chunk: a cache line, so that index nodes can lie on whole lines.
const LINE: usize = 64;
const FIRST_CHUNK: usize = 64 << 10;
const LARGEST_CHUNK: usize = 1 << 20;

/// Stands at the start of each chunk, on a line of its own.
struct Chunk {
    before: *mut Chunk,
    layout: Layout,
}

/// Keeps the chunks. Shared by the delta, which only reads, and the one [`ArenaWriter`].
pub(super) struct Arena {
    newest: AtomicPtr<Chunk>,
    bytes: AtomicUsize,
}

impl Arena {
    pub(super) fn new() -> (Arc<Arena>, ArenaWriter) {
        let newest = AtomicPtr::new(ptr::null_mut());
        let arena = Arc::new(Arena { newest, bytes: AtomicUsize::new(0) });
        let writer = ArenaWriter {
            arena: Arc::clone(&arena),
            next: Cell::new(ptr::null_mut()),
            left: Cell::new(0),
            chunk: Cell::new(FIRST_CHUNK),
        };
        (arena, writer)
    }

    /// Bytes taken from the allocator, used or not.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let mut chunk = *self.newest.get_mut();
        while !chunk.is_null() {
            // SAFETY: `add_chunk` wrote this header and allocated the chunk with this very layout.
            // Nobody else is left: the arena is dropped by its last keeper.
            unsafe {
                let Chunk { before, layout } = chunk.read();
                dealloc(chunk.cast(), layout);
                chunk = before;
            }
        }
    }
}

/// The one hand that takes memory from an [`Arena`].
pub(super) struct ArenaWriter {
    arena: Arc<Arena>,
    next: Cell<*mut u8>,
    left: Cell<usize>,
    chunk: Cell<usize>,
}

// SAFETY: `next` points into a chunk of `arena`, which the writer keeps alive wherever it goes. The
// cells are not shared: the type stays `!Sync`.
unsafe impl Send for ArenaWriter {}

impl ArenaWriter {
    /// Memory for `layout`, not initialised, valid as long as the arena.
    pub(super) fn take(&self, layout: Layout) -> NonNull<u8> {
        let layout = layout.pad_to_align();
        let skip = self.next.get().align_offset(layout.align());
        let wanted = layout.size();
        if self.left.get().checked_sub(skip).is_none_or(|left| left < wanted) {
            return self.take_from_new_chunk(layout);
        }
        // SAFETY: `left` bytes from `next` on are unused bytes of the newest chunk, and
        // `skip + wanted` is not more than `left`.
        let (start, next) = unsafe {
            let start = self.next.get().add(skip);
            (start, start.add(wanted))
        };
        self.next.set(next);
        self.left.set(self.left.get() - skip - wanted);
        NonNull::new(start).expect("a place within a chunk is not null")
    }

    /// What does not fit begins a chunk of its own size; the one in use goes on being used then.
    #[cold]
    fn take_from_new_chunk(&self, layout: Layout) -> NonNull<u8> {
        let wanted = layout.size();
        if wanted > self.chunk.get() / 4 {
            return self.add_chunk(wanted);
        }
        let size = self.chunk.get();
        let start = self.add_chunk(size);
        self.chunk.set((size * 2).min(LARGEST_CHUNK));
        // SAFETY: the new chunk has `size` bytes behind its header, and `wanted` is a part of them.
        // Its start is on a line, which no node here exceeds in alignment.
        self.next.set(unsafe { start.as_ptr().add(wanted) });
        self.left.set(size - wanted);
        start
    }

    /// A new chunk with `size` bytes behind its header: where those start.
    fn add_chunk(&self, size: usize) -> NonNull<u8> {
        // A chunk is never larger than what the caller already holds in memory, plus a line.
        let layout = Layout::from_size_align(LINE + size, LINE).expect("a chunk fits into memory");
        // SAFETY: the layout is not empty. The header is written into the first line of the new
        // memory, which is large enough and aligned for it; the rest follows within the allocation.
        let start = unsafe {
            let Some(raw) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            let before = self.arena.newest.load(Ordering::Relaxed);
            raw.cast::<Chunk>().write(Chunk { before, layout });
            self.arena.newest.store(raw.cast().as_ptr(), Ordering::Release);
            raw.add(LINE)
        };
        self.arena.bytes.fetch_add(layout.size(), Ordering::Relaxed);
        start
    }

    /// Puts a node into the arena. It stays where it is until the arena drops.
    pub(super) fn place<T: Sync>(&self, node: T) -> &T {
        const { assert!(!std::mem::needs_drop::<T>() && align_of::<T>() <= LINE) };
        let place = self.take(Layout::new::<T>()).cast::<T>();
        // SAFETY: the memory is unused, large enough and aligned for `T`; the writer, which is
        // borrowed for as long as the reference, keeps the arena.
        unsafe {
            place.write(node);
            place.as_ref()
        }
    }
}

/// Leads to a node in the same arena, or nowhere yet.
pub(super) struct Link<T>(AtomicPtr<T>);

impl<T: Sync> Link<T> {
    pub(super) const fn none() -> Link<T> {
        Link(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn get(&self) -> Option<&T> {
        // SAFETY: the link leads to a node that was written before it was linked and that lives as
        // long as the arena, which outlives the borrow of the link (see the top of this file).
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Publishes `node`: whoever sees the link sees all that was written into the node before.
    pub(super) fn set(&self, node: Option<&T>) {
        let to = node.map_or(ptr::null_mut(), |node| ptr::from_ref(node).cast_mut());
        self.0.store(to, Ordering::Release);
    }
}

/// Leads to a node of one of two kinds. Which one is told by the lowest bit of the address, so that
/// both change in one store.
pub(super) struct ChildLink<A, B>(AtomicPtr<A>, std::marker::PhantomData<AtomicPtr<B>>);

/// What a [`ChildLink`] leads to.
pub(super) enum Child<'a, A, B> {
    One(&'a A),
    Other(&'a B),
}

impl<A, B> Clone for Child<'_, A, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, B> Copy for Child<'_, A, B> {}

impl<A, B> Child<'_, A, B> {
    /// Whether both are the very same node.
    pub(super) fn is(self, other: Self) -> bool {
        match (self, other) {
            (Child::One(this), Child::One(that)) => ptr::eq(this, that),
            (Child::Other(this), Child::Other(that)) => ptr::eq(this, that),
            _ => false,
        }
    }
}

impl<A: Sync, B: Sync> ChildLink<A, B> {
    pub(super) const fn none() -> ChildLink<A, B> {
        const { assert!(align_of::<A>() > 1 && align_of::<B>() > 1) };
        ChildLink(AtomicPtr::new(ptr::null_mut()), std::marker::PhantomData)
    }

    pub(super) fn get(&self) -> Option<Child<'_, A, B>> {
        let to = self.0.load(Ordering::Acquire);
        // SAFETY: as for `Link::get`. `set` marks addresses of `B` and no others with the lowest
        // bit, which alignment leaves free.
        unsafe {
            if to.addr() & 1 == 0 {
                return to.as_ref().map(Child::One);
            }
            to.map_addr(|addr| addr & !1).cast::<B>().as_ref().map(Child::Other)
        }
    }

    /// Publishes `child`: whoever sees the link sees all that was written into the node before.
    pub(super) fn set(&self, child: Child<'_, A, B>) {
        let to = match child {
            Child::One(node) => ptr::from_ref(node).cast_mut(),
            Child::Other(node) => {
                ptr::from_ref(node).cast_mut().cast::<A>().map_addr(|addr| addr | 1)
            }
        };
        self.0.store(to, Ordering::Release);
    }
}

/// Words that are all zero, of which the system gives the memory when they are first touched.
pub(super) fn zeroed_words(words: usize) -> Box<[AtomicU64]> {
    // SAFETY: an `AtomicU64` of zero bytes is a valid one.
    unsafe { Box::new_zeroed_slice(words).assume_init() }
}

/// Asks for all cache lines of a node at once: a search needs them one after the other, and each
/// would be waited for.
#[inline]
pub(super) fn prefetch<T>(node: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>()).step_by(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees, and the line is part of the node.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr::from_ref(node).byte_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = node;
}
