//! The bytes of a record's value, wherever they lie.
//!
//! A value in the tree is a slice of the map, one in the delta a slice of its arena or a shared
//! allocation, one read from an archive in place is a copy. Readers see one type, which derefs to
//! the bytes; only the borrow says how long they last.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of a value.
#[derive(Clone)]
pub(crate) enum Value<'a> {
    /// Bytes that lie in the map or in the memory of the snapshot: no copy was made.
    Borrowed(&'a [u8]),
    /// Bytes that were read into memory of their own.
    Owned(Box<[u8]>),
    /// A big value that is held once and shared.
    Shared(Arc<[u8]>),
}

impl Deref for Value<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Value::Borrowed(bytes) => bytes,
            Value::Owned(bytes) => bytes,
            Value::Shared(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
