//! What an application holds: the store, its tables, read and write handles, waiting writes.

mod bytes;
mod key;

pub use bytes::Bytes;
pub use key::{AsKey, AsPrefix, Key, KeyBuf, KeyReader, KeyType};
