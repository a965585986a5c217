//! Which commits the store's own log gives back: for the account of what is covered.
//!
//! Every byte of the closed segments is read, so no commit counts that is damaged there. What is behind
//! the damage cannot be reached through it. The segment that is written to needs no check: the process
//! has written it itself.

use super::core::Core;
use super::coverage::Piece;
use crate::disk::Disk;
use crate::engine::{ClosedSegment, Lsn};
use crate::error::{Error, ErrorKind, Result};
use crate::restore::damaged_log;

/// What the log holds.
pub(super) struct OwnLog {
    pub(super) pieces: Vec<Piece>,
    /// Segments that cannot be read, or not whole.
    pub(super) damage: Vec<Error>,
}

impl Core {
    /// The store's own log: what is closed, and what is still written to. What is not kept is there until
    /// the next checkpoint, and counts for nothing. `go_on` is asked before each segment is read.
    pub(super) fn own_log(
        &self,
        newest: Lsn,
        go_on: &mut dyn FnMut() -> Result<()>,
    ) -> Result<OwnLog> {
        let engine = &self.store.inner().engine;
        let mut own = OwnLog { pieces: Vec::new(), damage: Vec::new() };
        let Some(kept) = engine.log_kept_from() else { return Ok(own) };
        // None is removed while it is read.
        let _hold = engine.hold_log();
        // Asked before the segments, so that one that is closed meanwhile is not left out.
        let position = engine.position();
        // What is written to begins behind what is closed, also where that is gone already, and behind
        // what is not kept, where nothing was closed since.
        let after = engine.log_closed_through();
        let closed = match engine.closed_segments() {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                own.damage.push(damaged_log(error));
                behind_the_damage(engine.sound_segments()?)
            }
            closed => closed?,
        };
        for segment in closed.iter().filter(|segment| segment.last > kept) {
            go_on()?;
            own.add(segment, &**engine.disk())?;
        }
        let after = after.max(position.timeline.fork).max(kept);
        if position.lsn > after {
            let last_time = (newest == position.lsn).then_some(position.time);
            let (timeline, last) = (position.timeline, position.lsn);
            own.pieces.push(Piece { timeline, after, last, last_time });
        }
        Ok(own)
    }
}

/// Where the header of a segment is damaged, the chain is readable from the next one on only: a backup
/// that accepts the damage saves what lies before it, and no restore finds it in the folder.
fn behind_the_damage(mut sound: Vec<ClosedSegment>) -> Vec<ClosedSegment> {
    let follows = |pair: &[ClosedSegment]| pair[0].last == pair[1].after;
    let first = sound.windows(2).rposition(|pair| !follows(pair)).map_or(0, |at| at + 1);
    sound.split_off(first)
}

impl OwnLog {
    fn add(&mut self, segment: &ClosedSegment, disk: &dyn Disk) -> Result<()> {
        let last = match segment.measure(disk) {
            Ok(_) => segment.last,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.damage.push(damaged_log(error));
                segment.readable(disk).map_or(segment.after, |readable| readable.last)
            }
            Err(error) => return Err(error),
        };
        if last > segment.after {
            let (timeline, after) = (segment.timeline, segment.after);
            self.pieces.push(Piece { timeline, after, last, last_time: None });
        }
        Ok(())
    }
}
