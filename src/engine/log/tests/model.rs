//! Random histories with crashes, against a list of what was appended.

use proptest::prelude::*;

use super::*;
use crate::disk::{Call, Fault, FaultPlan, Survival};

const SEGMENT: u64 = 4096;

#[derive(Clone, Debug)]
enum Step {
    /// One group of that many commits, with values of that length.
    Append(usize, usize),
    Sync,
    Roll,
    Prepare,
    /// A checkpoint of everything; then what both of the last two do not need is removed.
    Checkpoint,
    /// A sync that fails; the store is then opened again in the same machine.
    FailedSync,
    Close,
    /// The machine stops after that many calls of the disk, at the latest now.
    CrashIn(u64),
    Crash(Survival),
}

fn survival() -> impl Strategy<Value = Survival> {
    prop_oneof![
        Just(Survival::Nothing),
        Just(Survival::Everything),
        any::<u64>().prop_map(Survival::Random),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![12 => 0..200usize, 2 => 500..2500usize, 1 => 16_000..17_000usize];
    prop_oneof![
        16 => (1..4usize, bytes).prop_map(|(count, bytes)| Step::Append(count, bytes)),
        4 => Just(Step::Sync),
        2 => Just(Step::Roll),
        2 => Just(Step::Prepare),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::FailedSync),
        1 => Just(Step::Close),
        2 => (1..12u64).prop_map(Step::CrashIn),
        2 => survival().prop_map(Step::Crash),
    ]
}

struct Model {
    disk: Arc<SimDisk>,
    log: Option<Log>,
    base: RecoveryBase,
    /// Of what is appended now.
    ancestry: Ancestry,
    older_checkpoint: Lsn,
    /// What was appended, in this history.
    marks: Vec<u64>,
    /// Where groups end.
    ends: Vec<usize>,
    /// This many are durable, in the log or in the tree.
    durable: usize,
    /// No more than this many can be: a close may fail after its first sync.
    durable_at_most: usize,
    next_mark: u64,
}

impl Model {
    fn new() -> Model {
        let disk = new_disk(1);
        Model {
            log: Some(fresh(&disk, SEGMENT)),
            disk,
            base: base(),
            ancestry: first(),
            older_checkpoint: 0,
            marks: Vec::new(),
            ends: vec![0],
            durable: 0,
            durable_at_most: 0,
            next_mark: 1,
        }
    }

    fn step(&mut self, step: &Step) {
        let disk = self.disk.clone();
        let Some(log) = self.log.as_mut() else { unreachable!("a crash reopens at once") };
        match step {
            Step::Append(count, bytes) => {
                let commits: Vec<_> = (0..*count as u64)
                    .map(|nth| Marked {
                        mark: self.next_mark + nth,
                        bytes: *bytes,
                        context: (nth % 2) as u32,
                    })
                    .collect();
                self.next_mark += commits.len() as u64;
                let before = self.marks.len() as u64;
                let appended = append(log, &commits);
                self.marks.extend(commits.iter().map(|commit| commit.mark));
                self.ends.push(self.marks.len());
                match appended {
                    Ok(done) => assert_eq!(done.first_lsn, before + 1),
                    Err(_) => self.crash(Survival::Random(self.next_mark)),
                }
            }
            Step::Sync => match log.sync() {
                Ok(lsn) => {
                    // What the tree alone has does not become durable in the log.
                    let durable = lsn.max(self.base.checkpoint_lsn);
                    assert_eq!(durable as usize, self.marks.len());
                    self.durable = self.marks.len();
                }
                Err(_) => self.crash(Survival::Nothing),
            },
            Step::Roll if log.roll().is_err() => self.crash(Survival::Everything),
            Step::Prepare if log.upkeep().prepare().is_err() => self.crash(Survival::Everything),
            Step::Roll | Step::Prepare => {}
            Step::Checkpoint => self.checkpoint(),
            Step::FailedSync => {
                disk.fail(FaultPlan::once(Call::Sync, "log/", Fault::IO));
                let clean = log.sync().is_ok();
                disk.heal();
                if !clean {
                    assert_eq!(refused(append(log, &[mark(0)])), ErrorKind::ReadOnly);
                }
                self.crash(Survival::Everything);
            }
            Step::Close => {
                self.durable_at_most = self.marks.len();
                match self.log.take().expect("open").close(0) {
                    Ok(()) => {
                        self.durable = self.marks.len();
                        self.crash(Survival::Nothing);
                    }
                    Err(_) => self.crash(Survival::Everything),
                }
            }
            Step::CrashIn(calls) => disk.crash_at(disk.calls() + calls),
            Step::Crash(survival) => self.crash(*survival),
        }
    }

    fn checkpoint(&mut self) {
        if self.disk.crashed() {
            return;
        }
        let Some(log) = self.log.as_mut() else { return };
        // As an engine does: the log first, then the data file.
        if log.sync().is_err() {
            return self.crash(Survival::Random(self.next_mark));
        }
        self.older_checkpoint = self.base.checkpoint_lsn;
        self.base.checkpoint_lsn = self.marks.len() as u64;
        self.base.durable_hint = log.durable_lsn();
        self.base.ancestry = self.ancestry.clone();
        self.durable = self.marks.len();
        if log.upkeep().remove_before(self.older_checkpoint).is_err() {
            self.crash(Survival::Random(self.next_mark));
        }
    }

    /// Crashes, recovers, and compares.
    fn crash(&mut self, survival: Survival) {
        self.log = None;
        self.disk = self.disk.reboot(survival);
        for call in [Call::Write, Call::Create, Call::Sync, Call::SyncDir, Call::Remove] {
            self.disk.fail(FaultPlan::always(call, "", Fault::IO));
        }
        let (recovered, found) =
            recover_marks(&*self.disk, self.base.clone()).expect("a crash is no damage");
        let (again, _) =
            recover_marks(&*self.disk, self.base.clone()).expect("nor is a second look");
        self.disk.heal();
        assert_eq!(recovered.last_lsn, again.last_lsn);

        let tree = self.base.checkpoint_lsn as usize;
        let mut now = self.marks[..tree].to_vec();
        now.extend(found.iter().map(|(_, _, mark)| *mark));
        assert!(self.marks.starts_with(&now), "{:?} is no prefix of {:?}", now, self.marks);
        assert!(now.len() >= self.durable, "{} of {} durable", now.len(), self.durable);
        assert!(self.ends.contains(&now.len()), "half of a group was found");
        let at_most = self.durable_at_most.max(self.durable);
        assert!(recovered.durable_lsn as usize <= at_most, "more durable than was synced");
        self.durable_at_most = at_most.min(now.len());
        self.ends.retain(|&end| end <= now.len());
        self.marks = now;

        let mut params = after(&self.disk, &recovered, SEGMENT);
        if recovered.tail_cut.is_some() {
            params.ancestry = child_of(&self.disk, &recovered);
        }
        self.ancestry = params.ancestry.clone();
        self.log = Some(start(&self.disk, params));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_recovered_is_a_prefix_with_all_that_was_durable(
        steps in proptest::collection::vec(step(), 1..60),
        last in survival(),
    ) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.crash(last);
        // And it goes on: what is appended now follows, and nothing else comes back.
        model.step(&Step::Append(2, 10));
        model.step(&Step::Sync);
        model.crash(Survival::Nothing);
        prop_assert_eq!(model.marks.len(), model.durable);
    }
}

/// A fixed script, stopped at every single call of the disk, in every way.
#[test]
fn a_crash_at_every_call_of_the_disk_loses_nothing_durable() {
    let script = [
        Step::Append(1, 100),
        Step::Sync,
        Step::Prepare,
        Step::Append(3, 1200),
        Step::Append(1, 1200),
        Step::Roll,
        Step::Append(2, 50),
        Step::Sync,
        Step::Append(1, 9000),
        Step::Checkpoint,
        Step::Append(1, 10),
        Step::Append(1, 10),
        Step::Close,
        Step::Append(1, 10),
        Step::Sync,
    ];
    for survival in (0..6).map(Survival::Random).chain([Survival::Nothing, Survival::Everything]) {
        for call in 1.. {
            let mut model = Model::new();
            model.disk.crash_at(model.disk.calls() + call);
            let first = model.disk.clone();
            for step in &script {
                model.step(step);
            }
            let reached = first.crashed() && first.crash_site().is_some();
            model.crash(survival);
            model.step(&Step::Append(1, 10));
            model.step(&Step::Sync);
            model.crash(Survival::Nothing);
            assert_eq!(model.marks.len(), model.durable);
            if !reached {
                break;
            }
        }
    }
}
