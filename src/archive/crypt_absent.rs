//! What stands for encryption in a program that was built without it: everything is refused.

use super::keys::{self, Keys};
use crate::disk::File;
use crate::error::Result;
use std::convert::Infallible;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Why a text is not taken for a key.
#[derive(Debug)]
pub(super) enum Refused {
    #[expect(dead_code, reason = "nothing is looked at without encryption")]
    Malformed,
    Absent,
}

/// A key that opens nothing.
#[derive(Clone)]
pub(super) struct Key;

impl Key {
    pub(super) fn passphrase(_: String) -> Key {
        Key
    }

    pub(super) fn identity(_: &str) -> Result<Key, Refused> {
        Err(Refused::Absent)
    }
}

/// There are no recipients.
#[derive(Clone)]
pub(super) struct Sealing(Infallible);

impl Sealing {
    pub(super) fn passphrase(_: String) -> Result<Sealing, Refused> {
        Err(Refused::Absent)
    }

    pub(super) fn public_keys(_: &[&str]) -> Result<Sealing, (usize, Refused)> {
        Err((0, Refused::Absent))
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        match self.0 {}
    }

    pub(super) fn ready(&self) -> Result<Ready> {
        match self.0 {}
    }
}

/// Never made.
pub(super) struct Ready(Infallible);

/// Never made.
pub(super) struct Encrypted<W>(Infallible, std::marker::PhantomData<W>);

impl<W: Write> Encrypted<W> {
    pub(super) fn begin(ready: Ready, _: W) -> Result<(Encrypted<W>, Keys)> {
        match ready.0 {}
    }

    pub(super) fn finish(self) -> io::Result<W> {
        match self.0 {}
    }
}

impl<W: Write> Write for Encrypted<W> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

pub(super) fn decrypt(_: Arc<dyn File>, _: &Keys, path: &Path) -> Result<Arc<dyn File>> {
    Err(keys::absent().at(path))
}
