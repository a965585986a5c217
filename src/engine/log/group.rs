//! The body of a group: definitions of contexts and commits, as bytes.
//!
//! ```text
//! body    = context*, commit*, zeros up to a multiple of 8
//! context = id u32, pairs u16, (name length u16, name, value length u16, value)*
//! commit  = context u32, operations u32, operation*
//! operation = table u32, value length u32, key length u16, kind u8, 0u8, key, value
//! ```
//!
//! Writing: one buffer, reused; values from [`BIG_VALUE`] on are not copied but handed to the disk
//! where they lie. Reading: iterators over a slice, each step checked against its end; nothing is
//! allocated, and no length is believed before it is compared with what is there.

use super::format::{ALIGN, GROUP_HEAD, MAX_GROUP, Malformed};
use crate::engine::{Change, Lsn, TableId};
use crate::{Error, ErrorKind, Result};

/// Values from this length on are written from where they lie.
pub(crate) const BIG_VALUE: usize = 16 << 10;

/// One operation of a commit. Table 0 is the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogOp<'a> {
    /// The table.
    pub(crate) table: TableId,
    /// The record's key, encoded.
    pub(crate) key: &'a [u8],
    /// What happens to it.
    pub(crate) change: Change<'a>,
}

/// What the log asks of a commit: whoever holds the write set need not copy it into another shape.
pub(crate) trait LogCommit {
    /// Number of its context, as given by [`super::Log::define_context`].
    fn context(&self) -> u32;
    /// Its operations, in the order in which they are to be applied.
    fn ops(&self) -> impl ExactSizeIterator<Item = LogOp<'_>>;
}

impl<C: LogCommit> LogCommit for &C {
    fn context(&self) -> u32 {
        C::context(self)
    }

    fn ops(&self) -> impl ExactSizeIterator<Item = LogOp<'_>> {
        C::ops(self)
    }
}

/// A context: who commits. Written once per segment, referred to by number.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Context {
    /// Names and values: process, pid, user, host, task. At most 64, each at most 64 KiB long.
    pub(crate) pairs: Vec<(String, String)>,
}

/// The most pairs in one context.
const MAX_PAIRS: usize = 64;

impl Context {
    /// The context under number `id` as bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] where it has too many or too long pairs.
    pub(crate) fn encode(&self, id: u32) -> Result<Vec<u8>> {
        if self.pairs.len() > MAX_PAIRS {
            return Err(Error::new(ErrorKind::Limit, "a context has more than 64 pairs"));
        }
        let mut bytes = id.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(self.pairs.len() as u16).to_le_bytes());
        for text in self.pairs.iter().flat_map(|(name, value)| [name, value]) {
            let length = u16::try_from(text.len()).map_err(|_| {
                Error::new(ErrorKind::Limit, "a text of a context is longer than 64 KiB")
            })?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Ok(bytes)
    }
}

/// Builds bodies, one after another, in one buffer.
#[derive(Default)]
pub(crate) struct Encoder {
    buffer: Vec<u8>,
}

/// A body under way: the small bytes in one buffer, and where big values stand between them.
pub(crate) struct Body<'e, 'a> {
    /// `prefix` bytes left for the caller, then all bytes but those of the big values.
    pub(crate) buffer: &'e mut Vec<u8>,
    /// Big values, each with its place in `buffer`, in order.
    pub(crate) big: Vec<(usize, &'a [u8])>,
    /// Length of the body with its big values and padding.
    pub(crate) len: usize,
    prefix: usize,
}

impl Encoder {
    /// Encodes `contexts` and `commits` behind `prefix` zero bytes for the caller to fill.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] where a key, a value or the group is too long. Nothing is written then.
    pub(crate) fn encode<'e, 'a, C: LogCommit>(
        &'e mut self,
        prefix: usize,
        contexts: &[&[u8]],
        commits: &'a [C],
    ) -> Result<Body<'e, 'a>> {
        let buffer = &mut self.buffer;
        buffer.clear();
        buffer.resize(prefix, 0);
        for context in contexts {
            buffer.extend_from_slice(context);
        }
        let mut big = Vec::new();
        let mut big_bytes = 0;
        for commit in commits {
            let ops = commit.ops();
            let count = u32::try_from(ops.len()).map_err(|_| too_large())?;
            buffer.extend_from_slice(&commit.context().to_le_bytes());
            buffer.extend_from_slice(&count.to_le_bytes());
            for op in ops {
                let value = encode_op(buffer, &op)?;
                if value.len() >= BIG_VALUE {
                    big.push((buffer.len(), value));
                    big_bytes += value.len();
                } else {
                    buffer.extend_from_slice(value);
                }
                if buffer.len() - prefix + big_bytes > MAX_GROUP - GROUP_HEAD - ALIGN {
                    return Err(too_large());
                }
            }
        }
        let len = (buffer.len() - prefix + big_bytes).next_multiple_of(ALIGN);
        buffer.resize(prefix + len - big_bytes, 0);
        Ok(Body { buffer, big, len, prefix })
    }
}

/// Appends all of `op` but its value, which is returned.
fn encode_op<'a>(buffer: &mut Vec<u8>, op: &LogOp<'a>) -> Result<&'a [u8]> {
    let (kind, value): (u8, &[u8]) = match op.change {
        Change::Put(value) => (1, value),
        Change::Delete => (2, &[]),
    };
    let key_len = u16::try_from(op.key.len())
        .map_err(|_| Error::new(ErrorKind::Limit, "a key is longer than 64 KiB"))?;
    let value_len = u32::try_from(value.len()).map_err(|_| too_large())?;
    let mut fixed = [0; 12];
    fixed[..4].copy_from_slice(&op.table.to_le_bytes());
    fixed[4..8].copy_from_slice(&value_len.to_le_bytes());
    fixed[8..10].copy_from_slice(&key_len.to_le_bytes());
    fixed[10] = kind;
    buffer.extend_from_slice(&fixed);
    buffer.extend_from_slice(op.key);
    Ok(value)
}

fn too_large() -> Error {
    Error::new(ErrorKind::Limit, "the commit is larger than 1 GiB")
        .hint("Split the transaction into smaller ones.")
}

impl<'a> Body<'_, 'a> {
    /// Checksum of the body, begun with `seed`.
    pub(crate) fn crc(&self, seed: u32) -> u32 {
        let (mut crc, mut at) = (seed, self.prefix);
        for &(place, value) in &self.big {
            crc = crc32c::crc32c_append(crc, &self.buffer[at..place]);
            crc = crc32c::crc32c_append(crc, value);
            at = place;
        }
        crc32c::crc32c_append(crc, &self.buffer[at..])
    }

    /// All bytes from place `from` of the buffer on, as pieces to be written one after another.
    pub(crate) fn parts(&self, from: usize) -> Vec<&[u8]> {
        let mut parts = Vec::with_capacity(self.big.len() * 2 + 1);
        let mut at = from;
        for &(place, value) in &self.big {
            parts.push(&self.buffer[at..place]);
            parts.push(value);
            at = place;
        }
        parts.push(&self.buffer[at..]);
        parts
    }
}

/// A cursor over a slice of which nothing is believed.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn context(&mut self) -> Result<(u32, Context), Malformed> {
        let id = self.u32()?;
        let count = usize::from(self.u16()?);
        if count > MAX_PAIRS {
            return Err(Malformed::Field);
        }
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((self.text()?, self.text()?));
        }
        Ok((id, Context { pairs }))
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let len = usize::from(self.u16()?);
        let text = std::str::from_utf8(self.bytes(len)?).map_err(|_| Malformed::Field)?;
        Ok(text.to_owned())
    }

    fn op(&mut self) -> Result<LogOp<'a>, Malformed> {
        let fixed: [u8; 12] = self.array()?;
        let [t0, t1, t2, t3, v0, v1, v2, v3, k0, k1, kind, zero] = fixed;
        let value_len = u32::from_le_bytes([v0, v1, v2, v3]) as usize;
        let key = self.bytes(u16::from_le_bytes([k0, k1]).into())?;
        let value = self.bytes(value_len)?;
        let change = match (kind, value_len, zero) {
            (1, _, 0) => Change::Put(value),
            (2, 0, 0) => Change::Delete,
            _ => return Err(Malformed::Field),
        };
        Ok(LogOp { table: u32::from_le_bytes([t0, t1, t2, t3]), key, change })
    }
}

/// The body of a group whose checksum was right, taken apart.
///
/// [`GroupBody::parse`] has walked all of it, so that a caller never acts on half of a group.
#[derive(Clone, Copy)]
pub(crate) struct GroupBody<'a> {
    contexts: &'a [u8],
    context_count: u16,
    commits: &'a [u8],
    commit_count: u32,
    first_lsn: Lsn,
}

impl<'a> GroupBody<'a> {
    /// Takes `body` apart, which must hold exactly the counts that its head states.
    pub(crate) fn parse(
        body: &'a [u8],
        context_count: u16,
        commit_count: u32,
        first_lsn: Lsn,
    ) -> Result<GroupBody<'a>, Malformed> {
        let mut cursor = Cursor(body);
        for _ in 0..context_count {
            cursor.context()?;
        }
        let commits = cursor.0;
        for _ in 0..commit_count {
            cursor.u32()?;
            for _ in 0..cursor.u32()? {
                cursor.op()?;
            }
        }
        if cursor.0.len() >= ALIGN || cursor.0.iter().any(|&byte| byte != 0) {
            return Err(Malformed::Length);
        }
        Ok(GroupBody { contexts: body, context_count, commits, commit_count, first_lsn })
    }

    /// The definitions of contexts at its start.
    pub(crate) fn contexts(&self) -> Result<Vec<(u32, Context)>, Malformed> {
        let mut cursor = Cursor(self.contexts);
        (0..self.context_count).map(|_| cursor.context()).collect()
    }

    /// Calls `visit` for each operation, with the LSN and the context of its commit.
    pub(crate) fn for_each<E: From<Malformed>>(
        &self,
        mut visit: impl FnMut(Lsn, u32, &LogOp<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = Cursor(self.commits);
        for lsn in (self.first_lsn..).take(self.commit_count as usize) {
            let context = cursor.u32()?;
            for _ in 0..cursor.u32()? {
                visit(lsn, context, &cursor.op()?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
