//! Telling the application, and the lock manager, how far a backup is.
//!
//! The application's hook is called outside all locks but the teller's own, some times a second.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::builder::{BackupBuilder, ProgressHook};
use super::handle::{Shared, stopped};
use crate::error::Result;
use crate::lock::BackupProgressInfo;

/// How often the application hears of progress at most.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Tells the application and the lock manager how far the backup is.
pub(super) struct Teller<'r> {
    shared: &'r Arc<Shared>,
    /// The hook, and when it was called last.
    hook: Mutex<(Option<ProgressHook>, Duration)>,
}

impl<'r> Teller<'r> {
    pub(super) fn new(shared: &'r Arc<Shared>, hook: Option<ProgressHook>) -> Teller<'r> {
        Teller { shared, hook: Mutex::new((hook, Duration::ZERO)) }
    }

    pub(super) fn tell(&self, backup: &BackupBuilder, always: bool) -> Result<()> {
        let now = self.shared.now();
        let mut hook = self.hook.lock();
        if !always && now.saturating_sub(hook.1) < TELL_EVERY {
            return Ok(());
        }
        hook.1 = now;
        let progress = self.shared.progress();
        // Nobody waits for a backup that has no number yet.
        if let Some(number) = progress.number {
            backup.inner.locks.set_progress(BackupProgressInfo {
                number,
                per_cent: progress.per_cent() as f32,
                remaining: progress.time_left,
            });
        }
        let Some(hook) = &mut hook.0 else { return Ok(()) };
        let _scope = backup.inner.locks.callback_scope();
        match hook(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(stopped()),
        }
    }
}
