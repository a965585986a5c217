//! Chains out of random histories: every archive restores to its commit.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put {
        from: u64,
        many: u64,
        big: bool,
    },
    Delete {
        from: u64,
        many: u64,
    },
    Checkpoint,
    Full,
    Incremental,
    Reopen,
    /// Restores the newest archive, and goes on with the restored store.
    Restore {
        delta: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0..600u64, 1..80u64, prop::bool::weighted(0.1));
    let step = prop_oneof![
        6 => put.prop_map(|(from, many, big)| Step::Put { from, many, big }),
        3 => (0..600u64, 1..300u64).prop_map(|(from, many)| Step::Delete { from, many }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Full),
        5 => Just(Step::Incremental),
        1 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(|delta| Step::Restore { delta }),
    ];
    prop::collection::vec(step, 1..40)
}

struct Machine {
    sim: Arc<SimDisk>,
    dir: String,
    store: Store,
    model: BTreeMap<u64, String>,
    made: Vec<(PathBuf, BTreeMap<u64, String>)>,
    round: u64,
}

impl Machine {
    fn run(&mut self, step: &Step) {
        self.round += 1;
        match step {
            Step::Put { from, many, big } => {
                let value = format!("round {} ", self.round).repeat(if *big { 3000 } else { 3 });
                self.change(*from, *many, Some(value));
            }
            Step::Delete { from, many } => self.change(*from, *many, None),
            Step::Checkpoint => drop(self.store.checkpoint().unwrap()),
            Step::Full => self.back_up(false),
            Step::Incremental => self.back_up(!self.made.is_empty()),
            Step::Reopen => {
                self.store.close().unwrap();
                self.store = open(&self.sim, &self.dir).unwrap();
            }
            Step::Restore { delta } => self.restore(*delta),
        }
    }

    fn change(&mut self, from: u64, many: u64, value: Option<String>) {
        let write = self.store.begin_write().unwrap();
        for key in from..from + many {
            let table = write.table(ITEMS).unwrap();
            match &value {
                Some(value) => table.put(&key, value).unwrap(),
                None => table.delete(&key).unwrap(),
            }
            match value.clone() {
                Some(value) => drop(self.model.insert(key, value)),
                None => drop(self.model.remove(&key)),
            }
        }
        write.commit().unwrap();
    }

    fn back_up(&mut self, incremental: bool) {
        let backup = self.store.backup(TO).name("set").workers(1);
        let backup = if incremental { backup.incremental() } else { backup };
        let report = backup.run().unwrap();
        assert!(report.passed_over.is_empty() && report.parent.is_some() == incremental);
        self.made.push((report.archive, self.model.clone()));
    }

    fn restore(&mut self, delta: bool) {
        let Some((path, model)) = self.made.last().cloned() else { return };
        self.store.close().unwrap();
        if !delta {
            self.dir = format!("/restored-{}", self.round);
        }
        archive(&self.sim, &path)
            .restore(&self.dir)
            .delta(delta)
            .discard_newer(delta)
            .run()
            .unwrap();
        self.model = model;
        self.store = open(&self.sim, &self.dir).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_archive_of_any_history_restores_to_its_commit(steps in steps(), seed in any::<u64>()) {
        let sim = SimDisk::new(seed);
        sim.create_dir(Path::new(TO)).unwrap();
        let builder = Store::builder("/inventory").disk(sim.clone()).segment_size(1 << 20);
        let (dir, store) = ("/inventory".to_owned(), builder.create().unwrap());
        let model = BTreeMap::new();
        let mut machine = Machine { sim, dir, store, model, made: Vec::new(), round: 0 };
        for step in &steps {
            machine.run(step);
        }
        for (at, (path, model)) in machine.made.iter().enumerate() {
            let archive = archive(&machine.sim, path);
            archive.verify_chain().unwrap();
            let expected: Vec<(u64, String)> = model.clone().into_iter().collect();
            prop_assert!(records(&archive.read().unwrap()) == expected);
            let dir = format!("/check-{at}");
            prop_assert!(restored(&machine.sim, path, &dir) == expected);
        }
    }
}
