//! Jobs: a name for a sequence of commits that belong together.
//!
//! A method that commits several times and is caught by a backup in the middle waits half done.
//! Whoever looks at the waiting writes, to cancel one, must see that: so a job has a name, counts
//! its commits, and both stand beside each of its waiting writes.

use super::Store;
use super::submit::{Rejected, SubmitTicket};
use super::ticket::WriteTicket;
use super::transact::Terms;
use super::write::WriteHandle;
use crate::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name and count of a job, shared by its handles.
#[derive(Debug)]
pub(crate) struct Label {
    name: String,
    commits: AtomicU64,
}

impl Label {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn count_commit(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

/// A [`Store`] as one job of the application uses it: its waiting writes carry the job's name and
/// how many commits it has done.
#[derive(Clone, Debug)]
pub struct Job {
    store: Store,
    label: Arc<Label>,
}

impl Job {
    pub(crate) fn new(store: Store, name: String) -> Job {
        Job { store, label: Arc::new(Label { name, commits: AtomicU64::new(0) }) }
    }

    /// The name of the job.
    pub fn name(&self) -> &str {
        self.label.name()
    }

    fn terms(&self) -> Terms<'_> {
        Terms { job: Some(&self.label), waited_by: None }
    }

    /// How many commits the job has done.
    pub fn commits(&self) -> u64 {
        self.label.commits()
    }

    /// As [`Store::begin_write`].
    ///
    /// # Errors
    /// Those of [`Store::begin_write`].
    pub fn begin_write(&self) -> Result<WriteHandle> {
        self.store.begin_as(self.terms(), None)
    }

    /// As [`Store::request_write`].
    ///
    /// # Errors
    /// Those of [`Store::request_write`].
    pub fn request_write(&self) -> Result<WriteTicket> {
        self.store.request_as(self.terms(), None)
    }

    /// As [`Store::transact`].
    ///
    /// # Errors
    /// Those of [`Store::transact`].
    pub fn transact<T>(&self, work: impl FnMut(&WriteHandle) -> Result<T>) -> Result<T> {
        self.store.transact_as(Some(&self.label), work)
    }

    /// As [`Store::submit`].
    ///
    /// # Errors
    /// Those of [`Store::submit`].
    pub fn submit<F, T>(&self, work: F) -> Result<SubmitTicket<F, T>, Rejected<F>>
    where
        F: FnMut(&WriteHandle) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.store.submit_as(Some(self.label.clone()), work)
    }
}
