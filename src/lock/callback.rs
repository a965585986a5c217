//! Who is inside a callback of a backup: a mark on the thread.
//!
//! While a thread runs a callback of a backup, an operation on the same store that would have to
//! wait could only wait for itself, so it is refused at once. The mark is a list of store numbers,
//! because callbacks of several stores may be nested.

use std::cell::RefCell;
use std::marker::PhantomData;

thread_local!(static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) });

/// Marks the thread as running a callback until it is dropped. Made by
/// [`LockManager::callback_scope`](super::LockManager::callback_scope); stays on its thread.
#[must_use = "the mark ends when this is dropped"]
#[derive(Debug)]
pub struct CallbackScope {
    store: u64,
    stays: PhantomData<*const ()>,
}

impl CallbackScope {
    pub(crate) fn enter(store: u64) -> CallbackScope {
        INSIDE.with_borrow_mut(|inside| inside.push(store));
        CallbackScope { store, stays: PhantomData }
    }
}

impl Drop for CallbackScope {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| {
            if let Some(at) = inside.iter().rposition(|store| *store == self.store) {
                inside.remove(at);
            }
        });
    }
}

/// Whether the calling thread runs a callback of a backup of `store`.
pub(crate) fn is_inside(store: u64) -> bool {
    INSIDE.with_borrow(|inside| inside.contains(&store))
}
