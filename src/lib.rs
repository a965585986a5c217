//! Stillpoint: an embedded, transactional record store whose live backup is consistent, bounded and
//! proven.

pub mod archive;
pub mod disk;
pub(crate) mod engine;
mod error;
pub mod lock;
mod store;

pub use error::{Error, ErrorKind, Result, code};
pub use store::{AsKey, AsPrefix, Bytes, Key, KeyBuf, KeyReader, KeyType};
