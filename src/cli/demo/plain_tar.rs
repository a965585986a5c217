//! The archive opened without this program: `tar --zstd -xf`.

use std::path::Path;
use std::process::Command;

use stillpoint::Error;

use crate::cli::exit::Outcome;

/// What plain tar made of an archive.
#[derive(Debug, PartialEq)]
pub(crate) enum Unpacked {
    /// It unpacked it.
    Whole,
    /// This machine has no tar that can unpack zstd; what it said.
    NoTool(String),
}

/// Unpacks `archive` into the new folder `into` with the `tar` of this machine.
pub(crate) fn unpack(archive: &Path, into: &Path) -> Outcome<Unpacked> {
    std::fs::create_dir(into).map_err(|cause| Error::io("create the folder", into, cause))?;
    let ran =
        Command::new("tar").arg("--zstd").arg("-xf").arg(archive).arg("-C").arg(into).output();
    Ok(match ran {
        Ok(output) if output.status.success() => Unpacked::Whole,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Unpacked::NoTool(said.lines().next().unwrap_or("it failed").to_owned())
        }
        Err(cause) => Unpacked::NoTool(cause.to_string()),
    })
}
