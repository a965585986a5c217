//! Where keys are encoded to and decoded from.
//!
//! A [`KeyBuf`] keeps short keys on the stack, because a point read encodes one key and must not
//! allocate for it. Both know whether they stand inside a tuple, where a string needs an end.

use super::damaged;
use crate::Result;
use std::fmt;
use std::ops::Deref;

/// Keys up to this many bytes need no allocation.
const INLINE: usize = 56;

/// The encoding of a key, as it grows.
#[derive(Clone)]
pub struct KeyBuf {
    /// The bytes while they are few.
    short: [u8; INLINE],
    /// How many of `short` are used; of no meaning once `long` is.
    len: usize,
    /// All bytes, once they no longer fit in `short`.
    long: Vec<u8>,
    /// How many tuples and options are open around the next part.
    depth: u32,
}

impl KeyBuf {
    /// An empty one.
    pub fn new() -> KeyBuf {
        KeyBuf { short: [0; INLINE], len: 0, long: Vec::new(), depth: 0 }
    }

    /// Appends `bytes` as they are.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.long.is_empty() {
            if let Some(room) = self.short.get_mut(self.len..self.len + bytes.len()) {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                return;
            }
            self.long.reserve(self.len + bytes.len());
            self.long.extend_from_slice(&self.short[..self.len]);
        }
        self.long.extend_from_slice(bytes);
    }

    /// Appends bytes of any length so that they sort right and end visibly where a part may follow.
    pub fn push_variable(&mut self, bytes: &[u8]) {
        if self.depth == 0 {
            return self.push(bytes);
        }
        let mut parts = bytes.split(|&byte| byte == 0);
        self.push(parts.next().unwrap_or_default());
        for part in parts {
            self.push(&[0, 0xff]);
            self.push(part);
        }
        self.push(&[0, 0]);
    }

    /// Appends what `parts` appends, as parts of a compound key.
    pub fn compound(&mut self, parts: impl FnOnce(&mut KeyBuf)) {
        self.depth += 1;
        parts(self);
        self.depth -= 1;
    }
}

impl Default for KeyBuf {
    fn default() -> KeyBuf {
        KeyBuf::new()
    }
}

impl Deref for KeyBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }
}

impl fmt::Debug for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyBuf").field(&&**self).finish()
    }
}

/// The stored bytes of a key, as they are decoded part by part.
#[derive(Clone, Debug)]
pub struct KeyReader<'a> {
    rest: &'a [u8],
    depth: u32,
}

impl<'a> KeyReader<'a> {
    /// Reads the whole encoding `bytes`.
    pub fn new(bytes: &'a [u8]) -> KeyReader<'a> {
        KeyReader { rest: bytes, depth: 0 }
    }

    /// Takes exactly `len` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| damaged("too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes exactly `N` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where fewer are left.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| damaged("too short"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes what [`KeyBuf::push_variable`] appended.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where it has no end or a wrong escape.
    pub fn take_variable(&mut self) -> Result<Vec<u8>> {
        if self.depth == 0 {
            return Ok(std::mem::take(&mut self.rest).to_vec());
        }
        let mut bytes = Vec::new();
        loop {
            let zero = self.rest.iter().position(|&byte| byte == 0);
            let part = self.take(zero.ok_or_else(|| damaged("a part has no end"))?)?;
            bytes.extend_from_slice(part);
            match self.take_array::<2>()? {
                [_, 0] => return Ok(bytes),
                [_, 0xff] => bytes.push(0),
                _ => return Err(damaged("a part has a wrong escape")),
            }
        }
    }

    /// Takes what `parts` takes, as parts of a compound key.
    ///
    /// # Errors
    /// Those of `parts`.
    pub fn compound<T>(&mut self, parts: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        let result = parts(self);
        self.depth -= 1;
        result
    }

    /// Sees that nothing is left over.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) where something is.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged("bytes are left over")) }
    }
}
