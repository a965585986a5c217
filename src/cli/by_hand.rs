//! What the commands put into the books of the store that they work on: journal and history.

use std::path::Path;

use stillpoint::Result;
use stillpoint::disk::RealDisk;
use stillpoint::regime::{ByHand, Origin};

/// An act on the store in `folder` begins.
pub(crate) fn begin(folder: &Path) -> ByHand {
    ByHand::begin(RealDisk::new(), folder, Origin::Manual)
}

/// Books that cannot be written fail nobody's work; it is told.
pub(crate) fn tell(written: Result<()>) {
    if let Err(error) = written {
        eprintln!("note: this is not recorded in both journal and history: {}", error.report());
    }
}
