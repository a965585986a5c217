//! How much of something: the four steps in which redundancy and interlacing are chosen.
//!
//! What a step means for the bytes of an archive is said where the parity is made; here it has its
//! name and its order alone.

use serde::{Deserialize, Serialize};

/// How much redundancy or interlacing an archive gets.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not any.
    #[default]
    None,
    /// A little.
    Low,
    /// More.
    Medium,
    /// Most.
    High,
}
