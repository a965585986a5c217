//! The archive: one file that standard tools open, written and read.
//!
//! It is a `tar` stream in independent `zstd` frames, then a seal (BLAKE3 of all before it), then a
//! seek table: `tar --zstd -xf` takes it, and so does anything that knows the zstd seekable format.
//! `docs/format/archive.md` has every byte. The layers go one way, each with a file of its own:
//! entries (`entry`, `tar`) -> frames (`frame`, `digest`) -> seal and table (`sink`, `seal`) ->
//! encryption (`crypt`, `keys`) -> segments (`output`, `parts`) -> parity beside them (`parity`). What
//! is not asked for is not there: a plain archive is one file.
//!
//! It knows no store: what an application has to say in header and manifest is opaque JSON. Outside of
//! `naming`, `claim` and the repair of a parity file it neither renames nor removes files; the rooms
//! that back up and restore do.

mod assembly;
mod claim;
#[cfg(feature = "encryption")]
mod crypt;
#[cfg(not(feature = "encryption"))]
#[path = "crypt_absent.rs"]
mod crypt;
mod digest;
mod entry;
mod entry_file;
mod extract;
mod frame;
mod frames;
mod keys;
mod layers;
mod level;
mod names;
mod naming;
mod output;
mod pages;
mod parity;
mod parts;
mod pipeline;
mod proof;
mod reader;
mod repair;
mod scan;
mod seal;
mod sink;
mod source;
mod tar;
#[cfg(test)]
mod tests;
mod verify;
mod walk;
mod writer;

pub use claim::Claim;
pub use digest::Digest;
pub use entry::{
    EntryKind, EntryMeta, EntryPath, FORMAT, HEADER_NAME, Header, MANIFEST_NAME, MAX_JSON,
    MAX_PATH, Manifest, ManifestEntry,
};
pub use extract::Unpack;
pub use frame::Compression;
pub use keys::{Keys, MAX_RECIPIENTS, Recipients};
pub use layers::{ArchivePlace, Layers, MAX_SEGMENTS, MIN_SEGMENT_BYTES, WrittenFile};
pub use level::{Level, NoLevel};
pub use names::{
    ArchiveKind, ArchiveName, EXTENSION, Listed, MAX_NAME, check_set_name, list_archives,
    list_partials, partial,
};
pub(crate) use names::{group, numbered};
pub use naming::{name_files, remove_unfinished};
pub use pages::{PAGES, PAGES_INDEX, PageIndex};
pub use parity::{ArchiveRepair, Promise, ReadRepair};
pub(crate) use parity::{RepairCounts, merged};
pub(crate) use parts::Files;
pub(crate) use pipeline::INLINE;
pub use reader::{ArchiveFile, Entry};
pub use repair::{repair, repair_with};
pub(crate) use source::OpenFiles;
pub(crate) use verify::stopped;
pub use verify::{Progress, Verified};
pub use writer::{ArchiveOptions, ArchiveWriter, Finished};
