//! The delta of the engine, from its own source: it is no part of the public API.

/// Names that the delta takes from the engine.
pub type Lsn = u64;
pub type TableId = u32;

#[derive(Clone, Copy)]
pub enum Change<'a> {
    Put(&'a [u8]),
    Delete,
}

#[path = "../../../src/engine/delta/mod.rs"]
#[allow(dead_code, reason = "the engine needs more of it")]
pub mod delta;
