//! Incremental backups: what a chain of archives restores to, what it costs, and what is refused.

use std::path::Path;
use std::sync::Arc;

use stillpoint::disk::SimDisk;
use stillpoint::{Archive, BackupKind, BackupReport, Mode, Store};

use crate::scene::{Scene, TO, all, open, put, read_file, records};

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
            let table = write.table(crate::scene::ITEMS).unwrap();
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
