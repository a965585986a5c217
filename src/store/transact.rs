//! Transactions that run again by themselves when a deadlock chose them.
//!
//! Invariants: only a deadlock is answered with another try, never an error of the application's
//! own; each try keeps the age of the first, so it becomes the oldest in time and is chosen no
//! more; the number of tries is bounded; nothing is held while it pauses between two.

use super::Store;
use super::job::Label;
use super::write::WriteHandle;
use crate::lock::{Age, WaitedBy};
use crate::{ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

/// What the handles of a transaction are asked for with, beside its age.
#[derive(Clone, Copy, Default)]
pub(crate) struct Terms<'t> {
    /// The job whose commits are counted.
    pub(crate) job: Option<&'t Arc<Label>>,
    /// Who waits for the transaction, where that is another thread.
    pub(crate) waited_by: Option<&'t WaitedBy>,
}

/// How often a transaction is tried.
const TRIES: u32 = 100;

impl Store {
    /// Runs `work` as a transaction: begins a write handle, runs it, commits. When the handle was
    /// chosen to break a deadlock it runs again, so `work` must be able to run more than once.
    ///
    /// ```
    /// # fn main() -> stillpoint::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let store = stillpoint::Store::create(folder.path().join("bank"))?;
    /// use stillpoint::TableDef;
    ///
    /// const ACCOUNTS: TableDef<str, i64> = TableDef::new("accounts");
    ///
    /// let balance = store.transact(|write| {
    ///     let accounts = write.table(ACCOUNTS)?;
    ///     let balance = accounts.get_for_update("ann")?.unwrap_or(0) + 10;
    ///     accounts.put("ann", &balance)?;
    ///     Ok(balance)
    /// })?;
    /// assert_eq!(balance, 10);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// What `work` returns, at once and without a commit; those of [`Store::begin_write`] and
    /// [`WriteHandle::commit`]; [`ErrorKind::Deadlock`] after 100 tries.
    pub fn transact<T>(&self, work: impl FnMut(&WriteHandle) -> Result<T>) -> Result<T> {
        self.transact_as(None, work)
    }

    pub(crate) fn transact_as<T>(
        &self,
        job: Option<&Arc<Label>>,
        work: impl FnMut(&WriteHandle) -> Result<T>,
    ) -> Result<T> {
        let terms = Terms { job, waited_by: None };
        let first = self.begin_as(terms, None)?;
        self.run(first, terms, work, &mut || {})
    }

    /// Runs `work`, its first try with `handle`. Calls `in_line` when the transaction has its place in
    /// the commit line, if it comes to that.
    pub(crate) fn run<T>(
        &self,
        mut handle: WriteHandle,
        terms: Terms<'_>,
        mut work: impl FnMut(&WriteHandle) -> Result<T>,
        in_line: &mut dyn FnMut(),
    ) -> Result<T> {
        for tried in 1.. {
            let age: Age = handle.age();
            let result = work(&handle);
            let was_victim = handle.is_victim();
            let error = match result {
                Ok(value) => match handle.commit_telling(in_line) {
                    Ok(_) => return Ok(value),
                    Err(error) if error.kind() == ErrorKind::Deadlock => error,
                    Err(error) => return Err(error),
                },
                Err(error) if was_victim => {
                    drop(handle);
                    error
                }
                Err(error) => return Err(error),
            };
            if tried == TRIES {
                return Err(error);
            }
            std::thread::sleep(pause(tried));
            handle = self.begin_as(terms, Some(age))?;
        }
        unreachable!("the loop ends by returning");
    }
}

/// How long to pause after so many tries: nothing at first, for the others have what they need once
/// the victim has let go; later up to 5 ms.
fn pause(tried: u32) -> Duration {
    match tried {
        0 | 1 => Duration::ZERO,
        tried => Duration::from_micros(20u64 << tried.min(8)),
    }
}
