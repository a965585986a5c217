//! What a manager and a write are told when they are made.

use super::access::StoreMode;
use super::granule::Granule;
use super::owner::Purpose;
use super::table::Age;
use super::waited::WaitedBy;
use std::sync::Arc;
use std::time::Duration;

/// How a manager behaves.
#[derive(Clone)]
pub struct LockOptions {
    /// How the store is opened.
    pub mode: StoreMode,
    /// How many writes may wait at once.
    pub queue_limit: usize,
    /// How long an owner waits for a table, a name or a record.
    pub record_timeout: Duration,
    /// How long a read operation waits while a hold has the data exclusively; `None`: to its end.
    pub read_timeout: Option<Duration>,
    /// How long [`LockManager::hold_writes`](super::LockManager::hold_writes) waits for open handles.
    pub transaction_timeout: Duration,
    /// The seed of the hashes of records; random, so that nobody can choose keys that collide.
    pub seed: u64,
    /// The clock: time since any fixed moment, never going back. It is asked under the manager's
    /// mutex, so it must not use the manager.
    pub clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// What a granule is called in errors and reports. It is asked under the manager's mutex, so it
    /// must not use the manager.
    pub names: Arc<dyn Fn(&Granule) -> String + Send + Sync>,
}

impl LockOptions {
    /// The defaults, with this clock: a server store, 10,000 waiting writes, ten seconds for a
    /// record, a minute for open handles.
    pub fn new(clock: Arc<dyn Fn() -> Duration + Send + Sync>) -> LockOptions {
        LockOptions {
            mode: StoreMode::Server,
            queue_limit: 10_000,
            record_timeout: Duration::from_secs(10),
            read_timeout: None,
            transaction_timeout: Duration::from_secs(60),
            seed: 0,
            clock,
            names: Arc::new(ToString::to_string),
        }
    }
}

/// What a write asks for.
#[derive(Clone, Debug, Default)]
pub struct WriteRequest {
    /// What it comes for.
    pub purpose: Purpose,
    /// The job that it belongs to, for those who watch the queue.
    pub job: Option<String>,
    /// How many commits that job has done.
    pub commits_done: u64,
    /// How long it may wait in the queue, whoever watches it.
    pub timeout: Option<Duration>,
    /// The age of an earlier try of the same work.
    pub age: Option<Age>,
    /// Who waits for the end of what is written.
    pub waited_by: Option<WaitedBy>,
}
