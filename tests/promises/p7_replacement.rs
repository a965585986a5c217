//! A store that is replaced is there afterwards, whole: the old one or the new one, wherever its folder
//! lies, whatever fails and wherever it crashes.
//!
//! Each test plays a rollback, an automatic restore and a delta restore in folders that cannot be
//! renamed: a mount point, folders of an overlay's lower layer, a log that is a mount point or at the
//! end of a link, and a folder whose parent cannot be written.

mod mounts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::regime::Regime;
use stillpoint::{Archive, ErrorKind, Mode, RestorePoint, Result, Rollback, Store};

use crate::scene::{STORE, Scene, TO, all, files, open, put, spoil, write_file};
use crate::support::settings::settings;

/// Where the folder of a store lies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ground {
    Plain,
    MountPoint,
    LowerLayer,
    LogMountPoint,
    LogLink,
    ParentDenied,
}

const GROUNDS: [Ground; 6] = [
    Ground::Plain,
    Ground::MountPoint,
    Ground::LowerLayer,
    Ground::LogMountPoint,
    Ground::LogLink,
    Ground::ParentDenied,
];

/// What replaces the store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Rollback,
    Automatic,
    Delta,
}

const ACTS: [Act; 3] = [Act::Rollback, Act::Automatic, Act::Delta];

type Records = Vec<(u64, String)>;

/// A disk with a closed store on this ground, what it holds, and what the act makes of it.
fn ground(ground: Ground, act: Act) -> (Arc<SimDisk>, Records, Records) {
    let scene = match ground {
        Ground::LogLink => Scene::with(20, |builder| builder.log_folder("/fast/log")),
        _ => Scene::new(Mode::Server, 20),
    };
    let folder = Path::new(STORE).join("Settings");
    scene.sim.create_dir(&folder).unwrap();
    let automatic = settings(&[("Advanced/AutomaticRestore", "True")]);
    write_file(&scene.sim, &folder.join("Backup.4DSettings"), automatic.as_bytes());
    // Older archives are looked for in the destination of the settings.
    scene.store.backup(TO).run().unwrap();
    put(&scene.store, 3, "after the backup").unwrap();
    let then = all(&scene.store);
    if act == Act::Rollback {
        put(&scene.store, 4, "a mistake").unwrap();
    }
    let old = all(&scene.store);
    scene.store.close().unwrap();
    let sim = scene.sim.reboot(Survival::Everything);
    let log = Path::new(STORE).join("log");
    match ground {
        Ground::Plain | Ground::LogLink => {}
        Ground::MountPoint => sim.mount_point(STORE).unwrap(),
        Ground::LowerLayer => sim.lower_layer(STORE).unwrap(),
        Ground::LogMountPoint => sim.mount_point(log).unwrap(),
        Ground::ParentDenied => sim.deny_names("/").unwrap(),
    }
    if act == Act::Automatic {
        spoil(&sim, &Path::new(STORE).join("store.data"));
    }
    let new = match act {
        Act::Delta => (0..20).map(|key| (key, format!("item {key}"))).collect(),
        Act::Rollback | Act::Automatic => then,
    };
    (sim, old, new)
}

fn regime(sim: &Arc<SimDisk>) -> Result<Regime> {
    let store = Store::builder(STORE).disk(sim.clone()).segment_size(1 << 20);
    Regime::builder(store).without_thread().open()
}

/// Does it; gives where the old store is.
fn perform(sim: &Arc<SimDisk>, act: Act) -> Result<PathBuf> {
    match act {
        Act::Rollback => {
            let rollback = Rollback::new(STORE, RestorePoint::Lsn(2)).archives(TO);
            rollback.disk(sim.clone()).run().map(|report| report.old)
        }
        Act::Automatic => {
            let regime = regime(sim)?;
            let info = regime.restore_info().expect("it was damaged");
            regime.close()?;
            Ok(info.aside.expect("it was replaced"))
        }
        Act::Delta => {
            let archive = Archive::open_on(sim.clone(), "/backups/inventory[0001].tar.zst")?;
            archive.restore(STORE).delta(true).discard_newer(true).run()?;
            Ok(Path::new(STORE).join("set-aside/before-restore"))
        }
    }
}

/// The records of the store that opens there.
fn holds(sim: &Arc<SimDisk>, dir: &Path) -> Result<Records> {
    let store = open(sim, dir.to_str().unwrap())?;
    let found = all(&store);
    store.verify()?;
    store.close()?;
    Ok(found)
}

fn cases() -> impl Iterator<Item = (Ground, Act)> {
    GROUNDS.into_iter().flat_map(|ground| ACTS.map(|act| (ground, act)))
}

#[test]
fn a_store_is_replaced_also_where_its_folder_or_its_log_cannot_be_renamed() {
    for (place, act) in cases() {
        let (sim, old, new) = ground(place, act);
        let aside = perform(&sim, act).unwrap_or_else(|e| panic!("{place:?}, {act:?}: {e}"));
        assert_eq!(holds(&sim, Path::new(STORE)).unwrap(), new, "{place:?}, {act:?}");
        let within = aside.starts_with(STORE);
        let stays = act == Act::Delta || matches!(place, Ground::MountPoint | Ground::ParentDenied);
        assert_eq!(within, stays, "{place:?}, {act:?}: {}", aside.display());
        assert!(sim.metadata(&Path::new(STORE).join("replacement")).is_err());
        if act == Act::Rollback {
            // The old store is whole, log and all.
            assert_eq!(holds(&sim, &aside).unwrap(), old, "{place:?}");
        }
        if matches!(place, Ground::LogMountPoint | Ground::LogLink) {
            let log = sim.canonical(&Path::new(STORE).join("log")).unwrap();
            let expected = if place == Ground::LogLink { "/fast/log" } else { "/inventory/log" };
            assert_eq!(log, Path::new(expected), "{act:?}: the log keeps its place");
        }
        // A second one finds its way as well, and takes nothing of the first away.
        let store = open(&sim, STORE).unwrap();
        store.backup(TO).run().unwrap();
        put(&store, 9, "more").unwrap();
        let lsn = store.lsn();
        store.close().unwrap();
        let rollback = Rollback::new(STORE, RestorePoint::Before(lsn)).archives(TO);
        let second = rollback.disk(sim.clone()).run().unwrap().old;
        assert_ne!(second, aside);
        assert!(sim.metadata(&aside).is_ok(), "{place:?}, {act:?}");
        assert_eq!(holds(&sim, Path::new(STORE)).unwrap(), new);
    }
}

/// One crash at each call, and what the disk makes of it; then the store is opened as anybody would.
#[test]
fn after_a_crash_at_any_call_a_plain_opening_finds_the_old_store_or_the_new_one() {
    for (place, act) in cases() {
        let (start, old, new) = ground(place, act);
        let whole = start.image();
        perform(&whole, act).unwrap();
        let calls = whole.calls();
        let mut seen = [0; 2];
        // Before the moves, which stand at the end, nothing of the store changes.
        let building = (1..calls.saturating_sub(110)).step_by(17);
        for call in building.chain(calls.saturating_sub(110)..=calls + 5) {
            let sim = start.image();
            sim.crash_at(call);
            let ended = perform(&sim, act).is_ok();
            let survivals = [Survival::Nothing, Survival::Everything, Survival::Random(call)];
            let sim = sim.reboot(survivals[call as usize % 3]);
            let context = format!("{place:?}, {act:?}, call {call}");
            match holds(&sim, Path::new(STORE)) {
                Ok(found) => {
                    assert!(found == new || (found == old && !ended), "{context}: {ended}");
                    seen[usize::from(found == new)] += 1;
                }
                Err(error) if act == Act::Delta => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{context}: {error}");
                    assert!(error.advice().is_some_and(|advice| advice.contains("again")));
                }
                Err(error) => {
                    let damaged =
                        matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported);
                    assert!(act == Act::Automatic && damaged && !ended, "{context}: {error}");
                }
            }
            if act == Act::Delta {
                perform(&sim, act).unwrap_or_else(|e| panic!("{context}: {e}"));
                assert_eq!(holds(&sim, Path::new(STORE)).unwrap(), new, "{context}");
            }
        }
        assert!(seen[1] > 0 && (seen[0] > 0 || act == Act::Automatic), "{place:?}, {act:?}");
    }
}

/// A second crash, in the middle of the opening that ends what the first one left.
#[test]
fn a_crash_within_the_opening_after_a_crash_loses_nothing_either() {
    for place in GROUNDS {
        let (start, old, new) = ground(place, Act::Rollback);
        let whole = start.image();
        perform(&whole, Act::Rollback).unwrap();
        let calls = whole.calls();
        // The moves stand at the end.
        for call in (calls.saturating_sub(60)..=calls).step_by(2) {
            for again in (1..60).step_by(7) {
                let sim = start.image();
                sim.crash_at(call);
                let _crashed = perform(&sim, Act::Rollback);
                let sim = sim.reboot(Survival::Random(call));
                sim.crash_at(again);
                let _crashed = holds(&sim, Path::new(STORE));
                let sim = sim.reboot(Survival::Random(again));
                let found = holds(&sim, Path::new(STORE))
                    .unwrap_or_else(|e| panic!("{place:?}, calls {call} and {again}: {e}"));
                assert!(found == old || found == new, "{place:?}, calls {call} and {again}");
            }
        }
    }
}

#[test]
fn a_replacement_that_fails_at_any_call_leaves_the_old_store_unless_it_reports_success() {
    for (place, act) in cases().filter(|(_, act)| *act == Act::Rollback) {
        let (start, old, new) = ground(place, act);
        let before = files(&start, STORE).into_keys().collect::<Vec<_>>();
        let whole = start.image();
        perform(&whole, act).unwrap();
        for call in whole.calls().saturating_sub(130)..5000 {
            let sim = start.image();
            let any = FaultPlan::once(stillpoint::disk::Call::Sync, "", Fault::IO);
            sim.fail(any.any_call().skip(call));
            let ended = perform(&sim, act).is_ok();
            let through = sim.has_faults();
            sim.heal();
            let found = holds(&sim, Path::new(STORE));
            let found = found.unwrap_or_else(|e| panic!("{place:?}, call {call}: {e}"));
            assert_eq!(found, if ended { new.clone() } else { old.clone() }, "{place:?}, {call}");
            if !ended {
                let mut after = files(&sim, STORE).into_keys().collect::<Vec<_>>();
                after.retain(|path| !path.ends_with("lock") && !path.starts_with("/inventory/log"));
                let mut before = before.clone();
                before
                    .retain(|path| !path.ends_with("lock") && !path.starts_with("/inventory/log"));
                assert_eq!(after, before, "{place:?}, call {call}: nothing else stays");
            }
            if through {
                break;
            }
        }
    }
}
