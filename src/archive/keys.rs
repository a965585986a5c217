//! Keys of encrypted archives: those that open them, and those that they are made for.
//!
//! Invariants: no key is ever shown, neither by `Debug` nor in an error nor in a log; passphrases are
//! wiped from memory when they are dropped. The types are there without the feature `encryption` too,
//! so that nobody's code depends on it: an encrypted archive is then refused (2011).
//!
//! We write no cryptography: it is all that of the age format, and `age` opens what was written.

use super::crypt;
use crate::error::{Error, ErrorKind, Result, code};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// What every file in the age format begins with.
pub(crate) const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// The most public keys that one archive is encrypted for.
pub const MAX_RECIPIENTS: usize = 64;

/// Passphrases and private keys that may open archives. None by default.
#[derive(Clone, Default)]
pub struct Keys(pub(super) Vec<crypt::Key>);

impl Keys {
    /// No keys: for archives that are not encrypted.
    pub fn none() -> Keys {
        Keys::default()
    }

    /// These and the passphrase `passphrase`.
    pub fn with_passphrase(mut self, passphrase: impl Into<String>) -> Keys {
        self.0.push(crypt::Key::passphrase(passphrase.into()));
        self
    }

    /// These and the private keys in `text`, which is what `age-keygen` writes: one
    /// `AGE-SECRET-KEY-1...` a line; empty lines, and those that begin with `#`, do not count.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] (2011) with the number of a line that is none, or when there is none at
    /// all; [`ErrorKind::Unsupported`] (2011) without the feature `encryption`.
    pub fn with_identities(mut self, text: &str) -> Result<Keys> {
        let before = self.0.len();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            self.0.push(crypt::Key::identity(line).map_err(|refused| match refused {
                // The line itself may be a key with a slip in it: it is not repeated.
                crypt::Refused::Malformed => {
                    let message = format!("line {} is no private key of age", number + 1);
                    key_error(ErrorKind::Invalid, message)
                }
                crypt::Refused::Absent => absent(),
            })?);
        }
        match self.0.len() > before {
            true => Ok(self),
            false => Err(key_error(ErrorKind::Invalid, "there is no private key")),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({} hidden)", self.0.len())
    }
}

/// Who can read an encrypted archive: those who know a passphrase, or those who have one of some
/// private keys. The age format does not mix the two.
#[derive(Clone)]
pub struct Recipients {
    pub(super) sealing: crypt::Sealing,
    /// Encryptions that were made ready for the next files.
    pub(super) ready: Arc<Mutex<Vec<crypt::Ready>>>,
}

impl Recipients {
    /// Whoever knows `passphrase`. To try one passphrase takes about a second and 256 MiB.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] (2011) for an empty one; [`ErrorKind::Unsupported`] (2011) without the
    /// feature `encryption`.
    pub fn passphrase(passphrase: impl Into<String>) -> Result<Recipients> {
        let passphrase = passphrase.into();
        if passphrase.is_empty() {
            return Err(key_error(ErrorKind::Invalid, "the passphrase is empty"));
        }
        crypt::Sealing::passphrase(passphrase).map(Recipients::of).map_err(|_| absent())
    }

    /// Whoever has the private key of one of `keys`, which are public keys of age: `age1...`. One to
    /// [`MAX_RECIPIENTS`] of them.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] (2011) for what is no public key, or for none or too many;
    /// [`ErrorKind::Unsupported`] (2011) without the feature `encryption`.
    pub fn public_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Recipients> {
        let keys: Vec<&str> = keys.into_iter().take(MAX_RECIPIENTS + 1).collect();
        if keys.is_empty() || keys.len() > MAX_RECIPIENTS {
            let message = format!("an archive is encrypted for 1 to {MAX_RECIPIENTS} public keys");
            return Err(key_error(ErrorKind::Invalid, message));
        }
        crypt::Sealing::public_keys(&keys).map(Recipients::of).map_err(|(number, refused)| {
            match refused {
                // Somebody may have taken the private key for the public one: it is not repeated.
                crypt::Refused::Malformed => {
                    let message = format!("recipient {} is no public key of age", number + 1);
                    key_error(ErrorKind::Invalid, message)
                        .hint("A public key begins with \"age1\".")
                }
                crypt::Refused::Absent => absent(),
            }
        })
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipients(hidden)")
    }
}

impl Recipients {
    fn of(sealing: crypt::Sealing) -> Recipients {
        Recipients { sealing, ready: Arc::default() }
    }

    /// Makes what is costly for the next `files` files now: so that it is not made while a backup
    /// keeps others waiting.
    pub(crate) fn prepare(&self, files: usize) -> Result<()> {
        let missing = files.saturating_sub(self.ready.lock().len());
        for _ in 0..missing {
            let ready = self.sealing.ready()?;
            self.ready.lock().push(ready);
        }
        Ok(())
    }

    /// The encryption of one file.
    pub(super) fn take(&self) -> Result<crypt::Ready> {
        let ready = self.ready.lock().pop();
        ready.map_or_else(|| self.sealing.ready(), Ok)
    }

    /// The keys that open what is encrypted for these, where that can be told: a passphrase does.
    pub(crate) fn keys(&self) -> Keys {
        Keys(self.sealing.keys())
    }
}

impl Keys {
    /// These and `others`.
    pub fn and(mut self, others: Keys) -> Keys {
        self.0.extend(others.0);
        self
    }
}

/// An error of keys, with their number.
pub(super) fn key_error(kind: ErrorKind, message: impl Into<String>) -> Error {
    Error::new(kind, message).with_code(code::KEY)
}

/// Encryption is not compiled in.
pub(super) fn absent() -> Error {
    key_error(ErrorKind::Unsupported, "this program was built without encryption")
        .hint("Build it with the feature `encryption`, or use `age -d` first.")
}

/// None of the keys opens the archive at `path`.
#[cfg(feature = "encryption")]
pub(super) fn no_key(path: &std::path::Path, keys: &Keys) -> Error {
    let message = match keys.is_empty() {
        true => "the archive is encrypted, and no key was given",
        false => "the archive is encrypted, and none of the keys opens it",
    };
    let hint = "Give its passphrase, or the private key of one of those that it was made for.";
    key_error(ErrorKind::Invalid, message).at(path).hint(hint)
}
