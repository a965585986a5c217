//! How much of something: none, low, medium or high.
//!
//! What each level promises is stated where it is used; for parity, `docs/format/parity.md`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A level of redundancy or of interlacing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// None at all.
    #[default]
    None,
    /// A little.
    Low,
    /// More.
    Medium,
    /// The most.
    High,
}

impl Level {
    /// All levels, rising.
    pub const ALL: [Level; 4] = [Level::None, Level::Low, Level::Medium, Level::High];

    /// The name of the level: `none`, `low`, `medium`, `high`.
    pub fn name(self) -> &'static str {
        match self {
            Level::None => "none",
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not the name of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is none, low, medium or high")]
pub struct NoLevel;

impl FromStr for Level {
    type Err = NoLevel;

    /// Reads the name of a level; capitals do not matter.
    fn from_str(text: &str) -> Result<Level, NoLevel> {
        let is = |level: &Level| level.name().eq_ignore_ascii_case(text);
        Level::ALL.into_iter().find(is).ok_or(NoLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_back_from_its_name() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(level.to_string().to_uppercase().parse(), Ok(level));
        }
        assert_eq!("lowest".parse::<Level>(), Err(NoLevel));
        assert!(Level::None < Level::Low && Level::Medium < Level::High);
    }
}
