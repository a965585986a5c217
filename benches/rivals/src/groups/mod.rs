//! The groups of rows that a run can measure, by name.

mod backup;
mod commits;
mod delta;
mod large;
mod live;
mod load;
mod locks;
mod open;
mod reads;
mod regime;

use crate::bench::Bench;
use crate::table::Table;

pub use large::{CHILD as LARGE_CHILD, child as large_child};
pub use open::{CHILD as OPEN_CHILD, child as open_child};

pub type Group = fn(&Bench) -> Vec<Table>;

/// In the order of the document.
pub const GROUPS: &[(&str, Group)] = &[
    ("reads", reads::reads),
    ("scan", reads::scan),
    ("durable", commits::durable),
    ("relaxed", commits::relaxed),
    ("load", load::load),
    ("overwrites", load::overwrites),
    ("delta", delta::delta),
    ("gate", locks::gate),
    ("record-locks", locks::record_locks),
    ("pin", live::pin),
    ("live", live::live),
    ("backup", backup::backup),
    ("access", live::access),
    ("restore", backup::restore),
    ("layers", regime::layers),
    ("incremental", regime::incremental),
    ("roll-forward", regime::roll_forward),
    ("open", open::open),
    ("space", load::space),
    ("ten-million", large::ten_million),
];
