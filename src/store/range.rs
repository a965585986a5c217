//! Typed iteration, over a snapshot or over what a write handle sees.

use super::chunks::Chunks;
use super::describe::of_record;
use super::key::{self, AsKey, Key};
use super::span::{Limits, Span, value_of};
use super::value::{Guard, Value};
use crate::engine::{MergeCursor, TableInfo};
use crate::{Error, ErrorKind, Result};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// An iterator over records, from both ends. A record that is not of the types of the table gives an
/// error ([`ErrorKind::Unreadable`]) that names it, and the iterator goes on after it; at any other error
/// it ends.
pub struct Range<'a, K: ?Sized, V: ?Sized> {
    source: Source<'a>,
    types: PhantomData<fn(&K, &V)>,
}

enum Source<'a> {
    /// Record by record from a snapshot that somebody else keeps.
    Span(Box<Span<'a>>),
    /// In portions, which the iterator owns, from a write handle.
    Chunks(Box<Chunks<'a>>),
    /// An error was given out.
    Ended,
}

/// Why a record could not be given out; with its key where that is the record's own fault.
struct Failed {
    error: Error,
    key: Option<Box<[u8]>>,
}

impl Failed {
    fn told(self, info: Option<&TableInfo>) -> Error {
        match self.key {
            Some(key) => of_record(self.error, info, &key),
            None => self.error,
        }
    }
}

impl<'a, K: Key + ?Sized, V: Value + ?Sized> Range<'a, K, V> {
    pub(crate) fn over(span: Span<'a>) -> Range<'a, K, V> {
        Range { source: Source::Span(Box::new(span)), types: PhantomData }
    }

    pub(crate) fn in_chunks(chunks: Chunks<'a>) -> Range<'a, K, V> {
        Range { source: Source::Chunks(Box::new(chunks)), types: PhantomData }
    }

    fn item(
        key: &[u8],
        value: impl FnOnce() -> Result<Guard<'a>>,
    ) -> Result<(K::Owned, V::View<'a>), Failed> {
        let value = value().map_err(|error| Failed { error, key: None })?;
        let decoded = key::decode::<K>(key).map_err(|error| error.with_kind(ErrorKind::Unreadable));
        decoded
            .and_then(|key| Ok((key, V::view(value)?)))
            .map_err(|error| Failed { error, key: Some(key.into()) })
    }

    fn of_cursor(cursor: &MergeCursor<'a>) -> Result<(K::Owned, V::View<'a>), Failed> {
        let key = cursor.key().expect("a walk gives only cursors that stand on a record");
        Self::item(key, || value_of(cursor))
    }

    fn step(&mut self, forward: bool) -> Option<Result<(K::Owned, V::View<'a>)>> {
        let item = match &mut self.source {
            Source::Span(span) => {
                let cursor = if forward { span.forward() } else { span.backward() };
                let item = cursor.map(|cursor| cursor.map(Self::of_cursor).transpose());
                item.and_then(|item| item.map_err(|failed| failed.told(span.info())))
            }
            Source::Chunks(chunks) => {
                let record = if forward { chunks.forward() } else { chunks.backward() };
                let item = record.map(|record| {
                    record.map(|(key, value)| Self::item(&key, || Ok(value))).transpose()
                });
                item.and_then(|item| item.map_err(|failed| failed.told(chunks.info())))
            }
            Source::Ended => Ok(None),
        };
        if item.as_ref().is_err_and(|error| error.kind() != ErrorKind::Unreadable) {
            self.source = Source::Ended;
        }
        item.transpose()
    }
}

impl<'a, K: Key + ?Sized, V: Value + ?Sized> Iterator for Range<'a, K, V> {
    type Item = Result<(K::Owned, V::View<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(true)
    }
}

impl<K: Key + ?Sized, V: Value + ?Sized> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(false)
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for Range<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range").finish_non_exhaustive()
    }
}

/// The bounds of `range` as encoded keys.
pub(crate) fn limits_of<K: ?Sized, Q: AsKey<K>>(range: &impl RangeBounds<Q>) -> Limits {
    let encode = |bound: Bound<&Q>| bound.map(|key| key::encode::<K>(key).to_vec());
    Limits { low: encode(range.start_bound()), high: encode(range.end_bound()) }
}
