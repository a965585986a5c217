//! The access table: what a backup locks, by what it contains, how the store is opened, and what
//! others may do meanwhile. It is data, so that it can be read, printed and checked cell by cell.
//!
//! Invariant: a backup asks for nothing that this table does not say, and [`Access::Live`] asks for
//! nothing at all.

use super::granule::Granule;
use super::mode::Mode;

/// What others may do during a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum Access {
    /// Reads and writes both wait.
    Frozen,
    /// Reads go on, writes wait.
    ReadOnly,
    /// Nobody waits.
    Live,
}

/// How a store is opened. It sets the access that a backup gives when nothing else is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StoreMode {
    /// Many clients: during a backup reads go on and writes wait.
    #[default]
    Server,
    /// One user: during a backup everything waits.
    SingleUser,
}

impl StoreMode {
    /// The access that a backup gives unless another is asked for.
    pub fn default_access(self) -> Access {
        match self {
            StoreMode::Server => Access::ReadOnly,
            StoreMode::SingleUser => Access::Frozen,
        }
    }
}

/// What a backup contains, as far as locks are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Contents {
    /// The catalogue.
    pub structure: bool,
    /// The records.
    pub data: bool,
}

/// A row of the access table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRow {
    /// What the backup contains.
    pub contents: Contents,
    /// What others may do.
    pub access: Access,
    /// What is locked on [`Granule::Structure`].
    pub structure: Option<Mode>,
    /// What is locked on [`Granule::Data`].
    pub data: Option<Mode>,
}

const STRUCTURE: Contents = Contents { structure: true, data: false };
const DATA: Contents = Contents { structure: false, data: true };
const BOTH: Contents = Contents { structure: true, data: true };

/// The access table. Single-user stores use the rows `Frozen`, server stores the rows `ReadOnly`,
/// unless the backup asks for another access.
pub const ACCESS_TABLE: [AccessRow; 9] = [
    row(STRUCTURE, Access::Frozen, Some(Mode::X), None),
    row(STRUCTURE, Access::ReadOnly, Some(Mode::X), None),
    row(STRUCTURE, Access::Live, None, None),
    row(DATA, Access::Frozen, Some(Mode::X), Some(Mode::X)),
    row(DATA, Access::ReadOnly, None, Some(Mode::S)),
    row(DATA, Access::Live, None, None),
    row(BOTH, Access::Frozen, Some(Mode::X), Some(Mode::X)),
    row(BOTH, Access::ReadOnly, Some(Mode::X), Some(Mode::S)),
    row(BOTH, Access::Live, None, None),
];

const fn row(
    contents: Contents,
    access: Access,
    structure: Option<Mode>,
    data: Option<Mode>,
) -> AccessRow {
    AccessRow { contents, access, structure, data }
}

/// The locks that a backup of `contents` with `access` asks for, in one request.
///
/// Contents of neither kind (attachments only) ask for nothing.
pub fn roots(contents: Contents, access: Access) -> Vec<(Granule, Mode)> {
    let row = ACCESS_TABLE.iter().find(|row| row.contents == contents && row.access == access);
    let Some(row) = row else { return Vec::new() };
    let structure = row.structure.map(|mode| (Granule::Structure, mode));
    structure.into_iter().chain(row.data.map(|mode| (Granule::Data, mode))).collect()
}
