//! Typed iteration, over a snapshot or over what a write handle sees.

use super::chunks::Chunks;
use super::describe::of_record;
use super::key::{self, AsKey, Key};
use super::span::{Limits, Span, value_of};
use super::value::{Guard, Value};
use crate::engine::MergeCursor;
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
    ) -> Result<(K::Owned, V::View<'a>)> {
        match key::decode::<K>(key) {
            Ok(key) => Ok((key, V::view(value()?)?)),
            Err(error) => Err(error.with_kind(ErrorKind::Unreadable)),
        }
    }

    fn of_cursor(cursor: &MergeCursor<'a>) -> Result<(K::Owned, V::View<'a>)> {
        let key = cursor.key().expect("a walk gives only cursors that stand on a record");
        Self::item(key, || value_of(cursor))
    }

    #[inline]
    fn step(&mut self, forward: bool) -> Option<Result<(K::Owned, V::View<'a>)>> {
        let item = match &mut self.source {
            Source::Span(span) => {
                let cursor = if forward { span.forward() } else { span.backward() };
                cursor.and_then(|cursor| cursor.map(Self::of_cursor).transpose())
            }
            Source::Chunks(chunks) => {
                let record = if forward { chunks.forward() } else { chunks.backward() };
                record.and_then(|record| {
                    let Some((key, value)) = record else { return Ok(None) };
                    let item = Self::item(&key, || Ok(value));
                    item.map(Some).map_err(|error| of_record(error, chunks.info(), &key))
                })
            }
            Source::Ended => Ok(None),
        };
        match item {
            Ok(item) => item.map(Ok),
            Err(error) => Some(Err(self.failed(error, forward))),
        }
    }

    /// The error of a step. The walk ends with it, unless the record alone is at fault.
    #[cold]
    fn failed(&mut self, error: Error, forward: bool) -> Error {
        if error.kind() != ErrorKind::Unreadable {
            self.source = Source::Ended;
            return error;
        }
        match &self.source {
            Source::Span(span) => of_record(error, span.info(), span.key(forward).unwrap_or(&[])),
            // Named where its key was at hand.
            Source::Chunks(_) | Source::Ended => error,
        }
    }
}

impl<'a, K: Key + ?Sized, V: Value + ?Sized> Iterator for Range<'a, K, V> {
    type Item = Result<(K::Owned, V::View<'a>)>;

    #[inline]
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
