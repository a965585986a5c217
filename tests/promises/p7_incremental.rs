//! Incremental backups: what a chain of archives restores to, what it costs, and what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use stillpoint::disk::atomic::remove_tree;
use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk};
use stillpoint::{
    Archive, BackupBuilder, BackupKind, BackupReport, Contents, Error, ErrorKind, Mode, Store,
};

use crate::scene::{ITEMS, Scene, TO, all, files, open, put, read_file, records, write_file};

fn archive(sim: &Arc<SimDisk>, path: &Path) -> Archive {
    Archive::open_on(sim.clone(), path).unwrap()
}

/// Restores, and gives what is in the store; the store has been verified.
fn restored(sim: &Arc<SimDisk>, path: &Path, dir: &str) -> Vec<(u64, String)> {
    let report = archive(sim, path).restore(dir).run().unwrap();
    let store = open(sim, dir).unwrap();
    assert_eq!(store.lsn(), report.lsn);
    store.verify().unwrap();
    let found = all(&store);
    store.close().unwrap();
    found
}

fn full(store: &Store) -> BackupReport {
    store.backup(TO).run().unwrap()
}

fn incremental(store: &Store) -> BackupReport {
    store.backup(TO).incremental().run().unwrap()
}

#[test]
fn each_archive_of_a_chain_restores_to_its_own_commit() {
    let scene = Scene::new(Mode::Server, 3000);
    let mut made = vec![(full(&scene.store), all(&scene.store))];
    for round in 0..4u64 {
        for key in (round..3000).step_by(500) {
            put(&scene.store, key, &format!("round {round}")).unwrap();
        }
        put(&scene.store, 9000 + round, &"big ".repeat(60_000)).unwrap();
        made.push((incremental(&scene.store), all(&scene.store)));
    }
    for (at, (report, expected)) in made.iter().enumerate() {
        let archive = scene.archive(&report.archive);
        assert_eq!(
            archive.header().kind,
            if at == 0 { BackupKind::Full } else { BackupKind::Incremental }
        );
        assert_eq!(archive.chain().unwrap().len(), at + 1);
        archive.verify_chain().unwrap();
        assert_eq!(&records(&archive.read().unwrap()), expected, "in place, {at}");
        assert_eq!(&restored(&scene.sim, &report.archive, &format!("/copy-{at}")), expected);
    }
    assert!(made[1].0.archive.to_string_lossy().ends_with("inventory[0002].inc.tar.zst"));
}

#[test]
fn a_chain_makes_the_very_data_file_that_a_full_archive_holds() {
    let scene = Scene::new(Mode::Server, 4000);
    full(&scene.store);
    // Free pages in plenty, a file that grows and is cut.
    for round in 0..3 {
        let write = scene.store.begin_write().unwrap();
        for key in 0..4000u64 {
            let table = write.table(ITEMS).unwrap();
            match (key + round) % 3 {
                0 => table.delete(&key).unwrap(),
                _ => table.put(&key, &format!("item {key} of round {round}")).unwrap(),
            }
        }
        write.commit().unwrap();
        scene.store.checkpoint().unwrap();
        let chained = incremental(&scene.store);
        let whole = full(&scene.store);
        assert_eq!(chained.lsn, whole.lsn);
        let (one, two) = (format!("/chained-{round}"), format!("/whole-{round}"));
        scene.archive(&chained.archive).restore(&one).run().unwrap();
        scene.archive(&whole.archive).restore(&two).run().unwrap();
        let file = |dir: &str| read_file(&scene.sim, &Path::new(dir).join("store.data"));
        let (one, two) = (file(&one), file(&two));
        assert_eq!(one.len(), two.len());
        // The two checkpoints may differ in number, and so in their metas.
        if chained.checkpoint == whole.checkpoint {
            assert!(one == two, "round {round}");
        }
    }
}

fn refused(error: &Error, kind: ErrorKind) {
    assert_eq!((error.kind(), error.code()), (kind, 2009), "{error}");
    assert!(error.advice().is_some(), "{error}");
}

/// Tries an incremental backup that must be refused with nothing touched.
#[track_caller]
fn refuses(scene: &Scene, backup: BackupBuilder, kind: ErrorKind) -> Error {
    let state = || read_file(&scene.sim, Path::new("/inventory/store.data"));
    let before = (files(&scene.sim, TO), state());
    let error = backup.run().unwrap_err();
    refused(&error, kind);
    assert!((files(&scene.sim, TO), state()) == before);
    put(&scene.store, 1, "nobody waits").unwrap();
    error
}

fn pages_read_for(records: u64, changed: &[u64]) -> (BackupReport, BackupReport) {
    let scene = Scene::new(Mode::Server, records);
    let whole = full(&scene.store);
    let write = scene.store.begin_write().unwrap();
    for key in changed {
        write.table(ITEMS).unwrap().put(key, &"changed".to_owned()).unwrap();
    }
    write.commit().unwrap();
    (whole, incremental(&scene.store))
}

#[test]
fn an_incremental_backup_reads_what_changed_and_not_the_store() {
    let changed = [3, 2_000, 4_000, 6_000, 9_000];
    let (small, of_small) = pages_read_for(10_000, &changed);
    let (large, of_large) = pages_read_for(80_000, &changed);
    assert!(large.pages_copied > 6 * small.pages_copied);
    for report in [&of_small, &of_large] {
        // A leaf for each record, the inner pages above, the catalogue, the free list, the metas.
        let most = changed.len() as u64 * 3 + 8;
        assert!(report.pages_copied <= most, "{} pages", report.pages_copied);
        assert!(report.pages_read <= 2 * most, "{} pages", report.pages_read);
    }
    assert!(of_large.pages_read <= of_small.pages_read + changed.len() as u64);
    assert!(of_large.archive_bytes < large.archive_bytes / 10);
    assert_eq!(of_large.parent.unwrap().seal, large.seal);
}

#[test]
fn a_big_value_that_did_not_change_is_not_copied_again() {
    let scene = Scene::new(Mode::Server, 10);
    let big = "big ".repeat(500_000);
    put(&scene.store, 100, &big).unwrap();
    full(&scene.store);
    // In the same leaf as the reference to it.
    put(&scene.store, 101, "small").unwrap();
    let report = incremental(&scene.store);
    assert!(report.pages_copied < 20 && report.pages_read < 40, "{report:?}");
    let found = restored(&scene.sim, &report.archive, "/copy");
    assert_eq!((&found[10].1, &*found[11].1), (&big, "small"));
}

#[test]
fn where_nothing_changed_there_is_next_to_nothing_in_the_archive() {
    let scene = Scene::new(Mode::Server, 1000);
    full(&scene.store);
    let report = incremental(&scene.store);
    assert!(report.pages_copied <= 4, "{}", report.pages_copied);
    assert_eq!(restored(&scene.sim, &report.archive, "/copy"), all(&scene.store));
}

#[test]
fn without_a_parent_an_incremental_backup_is_refused() {
    let scene = Scene::new(Mode::Server, 10);
    refuses(&scene, scene.store.backup(TO).incremental(), ErrorKind::NotFound);
    let structure = Contents { structure: true, data: false };
    scene.store.backup(TO).contents(structure).run().unwrap();
    refuses(&scene, scene.store.backup(TO).incremental(), ErrorKind::NotFound);
    let gone = scene.store.backup(TO).incremental_from("/backups/gone.tar.zst");
    refuses(&scene, gone, ErrorKind::NotFound);
    let error = scene.store.backup(TO).contents(structure).incremental().run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn a_parent_that_is_gone_or_was_replaced_is_refused_or_passed_over_and_told() {
    let scene = Scene::new(Mode::Server, 100);
    let first = full(&scene.store);
    let mut made = Vec::new();
    for round in 0..2 {
        put(&scene.store, round, "more").unwrap();
        made.push(incremental(&scene.store));
    }
    let aside = PathBuf::from("/aside");
    scene.sim.rename(&made[1].archive, &aside).unwrap();
    let by_name = scene.store.backup(TO).incremental_from(&made[1].archive);
    refuses(&scene, by_name, ErrorKind::NotFound);
    let next = incremental(&scene.store);
    assert_eq!(next.parent.as_ref().unwrap().number, made[0].number);
    assert_eq!((next.passed_over.len(), next.passed_over[0].code()), (1, 2009));
    assert_eq!(restored(&scene.sim, &next.archive, "/copy"), all(&scene.store));
    // Moved, it can still be named.
    let moved = scene.store.backup(TO).incremental_from(&aside);
    refuses(&scene, moved, ErrorKind::NotFound);
    scene.sim.rename(&aside, &made[1].archive).unwrap();
    let named = scene.store.backup(TO).incremental_from(&made[1].archive).run().unwrap();
    assert_eq!(named.parent.unwrap().seal, made[1].seal);

    // Another archive takes the place of the full one: nothing goes on from any of them.
    scene.sim.rename(&first.archive, &aside).unwrap();
    scene.sim.rename(&made[0].archive, &first.archive).unwrap();
    let swapped = scene.store.backup(TO).incremental();
    let error = refuses(&scene, swapped, ErrorKind::NotFound);
    assert!(std::error::Error::source(&error).is_some(), "{error}");
}

#[test]
fn an_archive_of_another_store_or_of_another_history_is_refused_as_parent() {
    let scene = Scene::new(Mode::Server, 100);
    let saved = full(&scene.store);
    let other = Store::builder("/other").disk(scene.sim.clone()).create().unwrap();
    put(&other, 1, "other").unwrap();
    let foreign = other.backup(TO).run().unwrap();
    let backup = scene.store.backup(TO).incremental_from(&foreign.archive);
    refuses(&scene, backup, ErrorKind::Foreign);

    // A twin has the same identity, the same past, and its pages elsewhere.
    scene.archive(&saved.archive).restore("/twin").run().unwrap();
    let twin = open(&scene.sim, "/twin").unwrap();
    put(&twin, 1, "of the twin").unwrap();
    let divergent = twin.backup(TO).name("twin").run().unwrap();
    assert_eq!(divergent.store_id, saved.store_id);
    let backup = scene.store.backup(TO).incremental_from(&divergent.archive);
    refuses(&scene, backup, ErrorKind::Foreign);
    // Both go on from what they have in common, and each archive restores to its own store.
    put(&scene.store, 2, "of the first").unwrap();
    let ours = scene.store.backup(TO).incremental_from(&saved.archive).run().unwrap();
    let theirs = twin.backup(TO).name("twin").incremental_from(&saved.archive).run().unwrap();
    assert_eq!(restored(&scene.sim, &ours.archive, "/ours"), all(&scene.store));
    assert_eq!(restored(&scene.sim, &theirs.archive, "/theirs"), all(&twin));
}

#[test]
fn a_data_file_that_was_put_back_is_no_continuation_of_later_archives() {
    let scene = Scene::new(Mode::Server, 500);
    full(&scene.store);
    put(&scene.store, 1, "between").unwrap();
    scene.store.close().unwrap();
    let data = Path::new("/inventory/store.data");
    let earlier = read_file(&scene.sim, data);
    let store = open(&scene.sim, "/inventory").unwrap();
    for key in 0..100 {
        put(&store, key, "later").unwrap();
    }
    let late = incremental(&store);
    store.close().unwrap();
    // The file as it was, with the whole log: no commit is lost, but other pages get these numbers.
    write_file(&scene.sim, data, &earlier);
    let store = open(&scene.sim, "/inventory").unwrap();
    for key in 200..400 {
        put(&store, key, "otherwise").unwrap();
        if key % 50 == 0 {
            store.checkpoint().unwrap();
        }
    }
    let error = store.backup(TO).incremental_from(&late.archive).run().unwrap_err();
    refused(&error, ErrorKind::Foreign);
    let next = incremental(&store);
    assert_eq!(next.parent.as_ref().unwrap().number, 1);
    assert_eq!(restored(&scene.sim, &next.archive, "/copy"), all(&store));
}

#[test]
fn a_chain_with_a_missing_or_swapped_link_restores_to_nothing_and_says_which() {
    let scene = Scene::new(Mode::Server, 100);
    let mut made = vec![full(&scene.store)];
    for round in 0..2 {
        put(&scene.store, round, "more").unwrap();
        made.push(incremental(&scene.store));
    }
    let last = scene.archive(&made[2].archive);
    let aside = PathBuf::from("/aside[0001].tar.zst");
    for (link, name) in [(0, "inventory[0001]"), (1, "inventory[0002]")] {
        scene.sim.rename(&made[link].archive, &aside).unwrap();
        last.verify().unwrap();
        for error in [
            last.restore("/copy").run().unwrap_err(),
            last.restore("/copy").plan().unwrap_err(),
            last.read().unwrap_err(),
            last.verify_chain().unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, 2009), "{error}");
            assert!(error.message().contains(name), "{error}");
        }
        assert!(scene.sim.metadata(Path::new("/copy")).is_err());
        let told = scene.archive(&made[2].archive).with_parent(&aside);
        assert_eq!(told.chain().unwrap().len(), 3);
        told.verify_chain().unwrap();
        scene.sim.rename(&aside, &made[link].archive).unwrap();
    }
    // A name means nothing: the seal does.
    let renamed = PathBuf::from(TO).join("something else[0077].tar.zst");
    scene.sim.rename(&made[0].archive, &renamed).unwrap();
    assert_eq!(restored(&scene.sim, &made[2].archive, "/copy"), all(&scene.store));
    scene.sim.rename(&made[1].archive, &made[0].archive).unwrap();
    assert_eq!(restored(&scene.sim, &made[2].archive, "/again"), all(&scene.store));
}

#[test]
fn damage_in_any_archive_of_a_chain_is_found() {
    let scene = Scene::new(Mode::Server, 2000);
    let first = full(&scene.store);
    put(&scene.store, 7, "more").unwrap();
    let second = incremental(&scene.store);
    let archive = scene.archive(&second.archive);
    for path in [&first.archive, &second.archive] {
        let bytes = read_file(&scene.sim, path).len() as u64;
        for part in 1..12 {
            let place = bytes * part / 12;
            scene.sim.corrupt(path, place, 2).unwrap();
            let error = archive.verify_chain().unwrap_err();
            assert_eq!((error.kind(), error.code()), (ErrorKind::Corrupt, 1411), "{error}");
            // What the restore does not need may be damaged; what it gives is right.
            match archive.restore("/copy").run() {
                Ok(_) => {
                    let copy = open(&scene.sim, "/copy").unwrap();
                    copy.verify().unwrap();
                    assert!(all(&copy) == all(&scene.store));
                    copy.close().unwrap();
                    remove_tree(&*scene.sim, Path::new("/copy")).unwrap();
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(scene.sim.metadata(Path::new("/copy")).is_err());
                }
            }
            scene.sim.corrupt(path, place, 2).unwrap();
        }
    }
}

#[test]
fn an_incremental_backup_that_fails_leaves_the_chain_as_it_was() {
    let scene = Scene::new(Mode::Server, 500);
    full(&scene.store);
    for call in [Call::Create, Call::Write, Call::Sync, Call::Rename] {
        put(&scene.store, 3, &format!("{call:?}")).unwrap();
        scene.sim.fail(FaultPlan::once(call, TO, Fault::IO));
        scene.store.backup(TO).incremental().log_archive(false).run().unwrap_err();
        scene.sim.heal();
        let next = incremental(&scene.store);
        assert_eq!(restored(&scene.sim, &next.archive, &format!("/{call:?}")), all(&scene.store));
    }
}

#[cfg(feature = "encryption")]
#[test]
fn a_chain_may_be_in_segments_encrypted_and_with_parity_each_as_it_likes() {
    use stillpoint::{Compression, Keys, Level, Recipients};
    let scene = Scene::new(Mode::Server, 3000);
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let who = || Recipients::public_keys([&*public]).unwrap();
    let saved = scene.store.backup(TO).segment_size(64 << 10).redundancy(Level::Low);
    saved.compression(Compression::None).encrypt(who()).run().unwrap();
    put(&scene.store, 3, "of the second").unwrap();
    // Whoever has the public key alone cannot look into the parent, and goes by its name.
    let second = scene.store.backup(TO).encrypt(who()).incremental().run().unwrap();
    put(&scene.store, 4, &"of the third".repeat(9000)).unwrap();
    let secret = identity.to_string();
    let keys =
        Keys::none().with_identities(age::secrecy::ExposeSecret::expose_secret(&secret)).unwrap();
    let third = scene.store.backup(TO).incremental().keys(keys.clone()).segment_size(64 << 10);
    let third = third.run().unwrap();
    assert_eq!(third.parent.unwrap().seal, second.seal);
    assert!(third.passed_over.is_empty());
    let open_it = |keys: &Keys| Archive::open_on_with(scene.sim.clone(), &third.archive, keys);
    let archive = open_it(&keys).unwrap();
    archive.verify_chain().unwrap();
    archive.restore("/copy").run().unwrap();
    assert!(all(&open(&scene.sim, "/copy").unwrap()) == all(&scene.store));
    // The third can be opened by anybody, and restored only by who has the keys of the others.
    let error = open_it(&Keys::none()).unwrap().restore("/no").run().unwrap_err();
    assert_eq!(error.code(), 2009, "{error}");
    assert!(error.to_string().contains("[2011]"), "{error}");
}

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
        archive(&self.sim, &path).restore(&self.dir).delta(delta).run().unwrap();
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
