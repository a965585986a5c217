//! The keeper of the log: prepares the next segment ahead of its use, and syncs `Eventual` commits
//! within their bound.
//!
//! It works beside the commit line, not in it: a slow sync here delays nobody who did not ask for
//! one. A full disk is no failure, nor are file handles that are short: it tries again at its next turn,
//! and the commit that finds no segment meanwhile is refused by itself.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::log::passes;
use super::log_guard::unavailable;

pub(super) fn run(core: &Arc<Core>) {
    loop {
        let patience = core.options.eventual_sync.max(Duration::from_millis(1));
        {
            let mut state = core.keeper.lock();
            if !state.stop && !state.poked {
                core.keeper_wake.wait_for(&mut state, patience);
            }
            if state.stop {
                return;
            }
            state.poked = false;
        }
        turn(core);
    }
}

/// Does what the keeper has to do now. Returns whether that was anything.
pub(super) fn turn(core: &Core) -> bool {
    if core.latched().is_some() {
        return false;
    }
    let before = (core.upkeep.durable_lsn(), core.upkeep.is_prepared());
    // A failed sync latches the store by itself; whoever commits next is told.
    let _latched = core.sync_log_through(core.views.visible());
    match core.upkeep.prepare() {
        Err(error) if !passes(&error) => core.latch(unavailable(error)),
        _ => {}
    }
    (core.upkeep.durable_lsn(), core.upkeep.is_prepared()) != before
}
