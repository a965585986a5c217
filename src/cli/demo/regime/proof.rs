//! A store that came back, compared with what it must contain.

use serde_json::{Value, json};

use crate::cli::demo::history::Comparison;
use crate::cli::show::human;
use crate::cli::show::table::{Align, Table};

/// One restore, and what it brought back.
pub(super) struct Proof {
    /// How it came back.
    pub(super) way: &'static str,
    /// The commit that was asked for.
    pub(super) lsn: u64,
    /// Against the demo's own account of that commit, and of the one before.
    pub(super) found: Comparison,
    pub(super) one_before: Comparison,
}

impl Proof {
    /// Whether it is the store at that commit, and could be told from the one before.
    pub(super) fn is_right(&self) -> bool {
        self.found.is_equal() && !self.one_before.is_equal()
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "way": self.way,
            "lsn": self.lsn,
            "same": self.found.same,
            "differences": self.found.differences(),
            "differences_from_the_commit_before": self.one_before.differences(),
            "right": self.is_right(),
        })
    }
}

/// The proofs, one a line.
pub(super) fn as_table(proofs: &[Proof]) -> String {
    let mut table = Table::new([
        ("Brought back", Align::Left),
        ("at LSN", Align::Right),
        ("records the same", Align::Right),
        ("other", Align::Right),
    ]);
    for proof in proofs {
        table.row([
            proof.way.to_owned(),
            human::count(proof.lsn),
            human::count(proof.found.same),
            human::count(proof.found.differences()),
        ]);
    }
    table.render()
}
