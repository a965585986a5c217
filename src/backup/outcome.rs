//! Where the thread of a backup leaves its result, for those who wait for it.

use parking_lot::{Condvar, Mutex};

use super::report::BackupReport;
use crate::error::Result;

/// A result that comes once and can be read any number of times.
#[derive(Default)]
pub(crate) struct Outcome {
    result: Mutex<Option<Result<BackupReport>>>,
    there: Condvar,
}

impl Outcome {
    pub(crate) fn tell(&self, result: Result<BackupReport>) {
        *self.result.lock() = Some(result);
        self.there.notify_all();
    }

    pub(crate) fn is_there(&self) -> bool {
        self.result.lock().is_some()
    }

    pub(crate) fn wait(&self) -> Result<BackupReport> {
        let mut result = self.result.lock();
        loop {
            if let Some(result) = &*result {
                return result.clone();
            }
            self.there.wait(&mut result);
        }
    }
}
