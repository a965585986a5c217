//! The whole: random lives of a store under its regime, in simulated disk and time.
//!
//! A life is a sequence of acts that a seed decides: commits, backups, days that pass, crashes, damage,
//! disks that fail, people who roll back, take archives away, change the destination, or edit, lose and
//! put back histories. `life` leads it and keeps the model, the
//! store's content after each commit of its present history; `acts` are the things that happen, `histories` those that happen to
//! histories and destinations, `load` backups under load and rebuilt stores; `promises` holds what the regime says of itself against that model.
//!
//! The ordinary run leads the same few lives each time, so that what fails is the fault of the change at hand.
//! To look for more, `STILLPOINT_LIVES` says how many and `STILLPOINT_SEED` which one comes first: a life
//! that fails prints its own seed and what happened in it.

mod acts;
mod histories;
mod life;
mod load;
mod promises;
mod shelf;

use std::rc::Rc;

use life::Life;
use load::Covered;

/// Acts in one life.
const ACTS: usize = 30;

fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_happens_what_is_said_to_be_covered_can_be_restored() {
    let first = asked("STILLPOINT_SEED").unwrap_or(1);
    for life in 0..asked("STILLPOINT_LIVES").unwrap_or(30) {
        let mut life = Life::begin(first.wrapping_add(life));
        for act in 0..ACTS {
            let before = Covered::of(&life, &life.regime().coverage().unwrap());
            let (way, robbed, to) = (life.way.clone(), life.robberies, life.rules.to);
            life.act();
            let coverage = life.keeps_its_word(act % 3 == 0);
            // The account speaks of one destination.
            if life.robberies == robbed && life.rules.to == to {
                let now = Covered::of(&life, &coverage);
                let there = |lsn| life.way.get(&lsn).zip(way.get(&lsn));
                let same = |lsn| there(lsn).is_some_and(|(now, then)| Rc::ptr_eq(now, then));
                before.lasts(&life, same, &now);
            }
        }
        life.keeps_its_word(true);
    }
}
