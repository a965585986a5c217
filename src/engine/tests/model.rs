//! Any history of commits, checkpoints, openings and crashes, against a model of what was committed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Commit { changes: Vec<(u8, Option<u16>)>, durable: bool },
    Checkpoint,
    Reopen,
    Crash { survival: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (any::<u8>(), prop::option::weighted(0.8, 0..2000u16));
    let step = prop_oneof![
        12 => (prop::collection::vec(change, 1..12), any::<bool>())
            .prop_map(|(changes, durable)| Step::Commit { changes, durable }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
        2 => any::<u64>().prop_map(|survival| Step::Crash { survival }),
    ];
    prop::collection::vec(step, 1..60)
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// History as the model knows it: what the table held after each commit, and what is surely there.
struct History {
    states: Vec<(Lsn, Model)>,
    durable: Lsn,
}

impl History {
    fn last(&self) -> &Model {
        &self.states.last().unwrap().1
    }

    /// After a crash the store must be at one of the commits, not before the last durable one. What
    /// was found is not made durable by having been found: the next crash may take it.
    fn settle_on(&mut self, lsn: Lsn, found: &Model) {
        assert!(lsn >= self.durable, "commit {} was durable, found {lsn}", self.durable);
        let at = self.states.iter().position(|(l, _)| *l == lsn).expect("a commit that was made");
        assert_eq!(&self.states[at].1, found, "the store at commit {lsn}");
        self.states.truncate(at + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_history_with_crashes_ends_at_one_of_its_commits(steps in steps(), seed in any::<u64>()) {
        let mut sim = SimDisk::new(seed);
        let mut engine = create(&sim);
        let items = define(&engine, "items");
        let mut history = History { states: vec![(1, Model::new())], durable: 1 };
        for step in steps {
            match step {
                Step::Commit { changes, durable } => {
                    let mut next = history.last().clone();
                    let changes: BTreeMap<u8, Option<u16>> = changes.into_iter().collect();
                    let mut batch = Batch::default();
                    for (key, value) in changes {
                        let value = value.map(|len| vec![key ^ len as u8; usize::from(len)]);
                        match &value {
                            Some(value) => next.insert(vec![key], value.clone()),
                            None => next.remove(&vec![key]),
                        };
                        batch.push(items, Box::new([key]), value.map(Into::into));
                    }
                    let durability =
                        if durable { Durability::Immediate } else { Durability::Eventual };
                    let lsn = engine.commit(batch, durability).unwrap().lsn;
                    history.states.push((lsn, next));
                    if durable {
                        history.durable = lsn;
                    }
                }
                Step::Checkpoint => {
                    history.durable = engine.checkpoint().unwrap();
                }
                Step::Reopen => {
                    engine.close().unwrap();
                    engine = open(&sim).unwrap();
                    history.durable = history.states.last().unwrap().0;
                }
                Step::Crash { survival } => {
                    sim.crash_now();
                    drop(engine);
                    let survival = match survival % 4 {
                        0 => Survival::Nothing,
                        1 => Survival::Everything,
                        _ => Survival::Random(survival),
                    };
                    sim = sim.reboot(survival);
                    engine = open(&sim).unwrap();
                    let found = contents(&engine.snapshot().unwrap(), items);
                    history.settle_on(engine.visible_lsn(), &found);
                }
            }
            prop_assert_eq!(&contents(&engine.snapshot().unwrap(), items), history.last());
        }
    }
}
