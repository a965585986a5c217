//! Lock modes: which go together, and what two of them held by one owner amount to.
//!
//! The matrix is Gray's for IS, IX, S, SIX, X, with U added for records: U goes with S and not with
//! U, so that two owners who read a record in order to change it queue up instead of deadlocking.
//! Invariant: the matrix is symmetric, and [`Mode::join`] is the least mode that covers both.

use std::fmt;

/// How a granule is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Mode {
    /// Intention to share something below.
    IS,
    /// Intention to change something below.
    IX,
    /// Shared: others may read, nobody may change.
    S,
    /// Shared here, with the intention to change something below.
    SIX,
    /// Shared now, exclusive later: goes with S, not with another U.
    U,
    /// Exclusive.
    X,
}

/// All modes, from weak to strong; S and IX, SIX and U cannot be compared.
pub const MODES: [Mode; 6] = [Mode::IS, Mode::IX, Mode::S, Mode::SIX, Mode::U, Mode::X];

const IS: u8 = 1;
const IX: u8 = 1 << 1;
const S: u8 = 1 << 2;
const SIX: u8 = 1 << 3;
const U: u8 = 1 << 4;
const X: u8 = 1 << 5;

/// For each mode, the modes that another owner may hold at the same time.
const GOES_WITH: [u8; 6] = [
    IS | IX | S | SIX | U, // IS
    IS | IX,               // IX
    IS | S | U,            // S
    IS,                    // SIX
    IS | S,                // U
    0,                     // X
];

impl Mode {
    /// Whether another owner may hold `other` on the same granule.
    pub fn goes_with(self, other: Mode) -> bool {
        GOES_WITH[self as usize] & (1 << other as u8) != 0
    }

    /// The modes that no other owner may hold at the same time.
    pub(crate) fn conflicts(self) -> ModeSet {
        ModeSet(!GOES_WITH[self as usize] & ModeSet::ALL)
    }

    /// The least mode that permits what `self` and `other` permit.
    pub fn join(self, other: Mode) -> Mode {
        use Mode::*;
        match (self, other) {
            (a, b) if a == b => a,
            (IS, b) | (b, IS) => b,
            (S, U) | (U, S) => U,
            (IX | SIX, S | SIX) | (S | SIX, IX | SIX) => SIX,
            _ => X,
        }
    }

    /// Whether an owner that holds `self` needs nothing more for `wanted`.
    pub fn covers(self, wanted: Mode) -> bool {
        self.join(wanted) == self
    }

    /// Whether the mode only announces locks further down.
    pub fn is_intent(self) -> bool {
        matches!(self, Mode::IS | Mode::IX)
    }

    /// What has to be held on the granule above before this mode may be asked for.
    pub(crate) fn intent_above(self) -> Mode {
        match self {
            Mode::IS | Mode::S => Mode::IS,
            Mode::IX | Mode::SIX | Mode::U | Mode::X => Mode::IX,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A set of modes in one byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModeSet(u8);

impl ModeSet {
    const ALL: u8 = 0b11_1111;

    pub(crate) fn insert(&mut self, mode: Mode) {
        self.0 |= 1 << mode as u8;
    }

    pub(crate) fn contains(self, mode: Mode) -> bool {
        self.0 & (1 << mode as u8) != 0
    }

    pub(crate) fn meets(self, other: ModeSet) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether every mode there is would conflict with something in this set.
    pub(crate) fn blocks_all(self) -> bool {
        self.0 & X != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_is_the_least_mode_that_conflicts_with_all_that_either_conflicts_with() {
        for a in MODES {
            for b in MODES {
                let join = a.join(b);
                assert_eq!(join, b.join(a), "{a} {b}");
                assert!(join.covers(a) && join.covers(b), "{a} {b}");
                let both = ModeSet(a.conflicts().0 | b.conflicts().0);
                assert_eq!(
                    join.conflicts().0 & both.0,
                    both.0,
                    "{a} join {b} = {join} is too weak"
                );
                for lesser in MODES.into_iter().filter(|m| m.covers(a) && m.covers(b)) {
                    assert!(lesser.covers(join), "{lesser} covers {a} and {b} but not {join}");
                }
            }
        }
    }

    #[test]
    fn the_matrix_is_symmetric() {
        for a in MODES {
            for b in MODES {
                assert_eq!(a.goes_with(b), b.goes_with(a), "{a} {b}");
                assert_eq!(a.goes_with(b), !ModeSet(1 << b as u8).meets(a.conflicts()));
            }
        }
    }
}
