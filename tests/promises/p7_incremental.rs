//! Incremental backups: what a chain of archives restores to, and what it costs.

mod histories;
mod refused;

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
    assert!(error.summary().contains("[2011]"), "{error:?}");
}
