//! Startup hook, preflight, deletion: nothing is deleted for a backup that is refused or cannot be made.

use super::*;

const ERASE_FIRST: [(&str, &str); 3] = [
    ("Advanced/EraseOldBackupBefore", "True"),
    ("Advanced/SetNumber/Enable", "True"),
    ("Advanced/SetNumber/Value", "2"),
];

/// A shop with two archives, the first of which the next backup may delete before it begins.
fn saved(values: &[(&str, &str)]) -> (Shop, Vec<PathBuf>) {
    let shop = shop(&with(&ERASE_FIRST, values));
    let many = |key| (key, format!("{key:0>1000}"));
    shop.regime
        .store()
        .transact(|write| {
            (10..200).map(many).try_for_each(|(k, v)| write.table(ITEMS)?.put(&k, &v))
        })
        .unwrap();
    for key in 2..4 {
        shop.regime.backup().run().unwrap();
        shop.put(key);
    }
    let archives = shop.archives();
    assert_eq!(archives.len(), 2);
    (shop, archives)
}

#[test]
fn a_backup_that_its_startup_hook_refuses_deletes_nothing() {
    for code in [-3, 0] {
        let (shop, archives) = saved(&[]);
        let sim = shop.closed();
        let shop = Shop::open_with(sim, |builder| builder.on_startup(move |_| Err(code)));
        let error = shop.regime.backup().run().unwrap_err();
        assert_ne!(error.code(), 0);
        assert_eq!(shop.archives(), archives);
        assert_eq!(shop.told(), [error.code()]);
        assert_eq!(shop.status(), error.code());
    }
}

#[test]
fn a_backup_that_fails_in_its_preflight_deletes_nothing() {
    let (shop, archives) = saved(&[]);
    shop.sim.fail(FaultPlan::always(Call::Write, ".probe", Fault::FULL));
    let error = shop.regime.backup().run().unwrap_err();
    assert_eq!(error.code(), code::DESTINATION, "{error}");
    assert_eq!(shop.archives(), archives);
    shop.sim.heal();
    shop.regime.backup().run().unwrap();
    assert_ne!(shop.archives(), archives);
}

#[test]
fn the_startup_hook_is_asked_where_the_destination_is_missing() {
    let sim = shop(&[("General/DestinationFolder", "/mount")]).closed();
    let disk = sim.clone();
    let mounts = Arc::new(AtomicBool::new(false));
    let mount = mounts.clone();
    let shop = Shop::open_with(sim, |builder| {
        builder.on_startup(move |start| {
            if mount.load(Ordering::SeqCst) {
                disk.create_dir(&start.destination).unwrap();
            }
            Ok(())
        })
    });
    assert_eq!(shop.regime.backup().run().unwrap_err().code(), code::DESTINATION);
    mounts.store(true, Ordering::SeqCst);
    let report = shop.regime.backup().run().unwrap();
    assert!(report.archive.starts_with("/mount"), "{report:?}");
    assert_eq!(shop.told(), [code::DESTINATION, 0]);
}

/// What is deleted first makes room for what comes.
#[test]
fn the_preflight_counts_what_the_deletion_will_free() {
    let (shop, _) = saved(&[("Advanced/CompressionRate", "None")]);
    let bytes = shop.sim.metadata(&Path::new(TO).join("shop[0001].tar.zst")).unwrap().len;
    shop.sim.set_capacity(1 << 30);
    let used = (1 << 30) - shop.sim.free_space(Path::new(TO)).unwrap();
    shop.sim.set_capacity(used + bytes / 2);
    let made = shop.regime.backup().run();
    // What follows the preflight may need more: the log archive, the history.
    let passed = made.as_ref().map_or_else(|error| error.code() != code::DESTINATION, |_| true);
    assert!(passed && !shop.archives().contains(&"shop[0001].tar.zst".into()), "{made:?}");
}

#[test]
fn a_second_attempt_that_fails_in_its_preflight_has_its_line() {
    let shop = shop(&with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.sim.remove_dir(Path::new(TO)).unwrap();
    shop.at("2026-01-01T02:30:00Z");
    shop.after(Duration::from_secs(301));
    assert_eq!(shop.told(), [code::DESTINATION; 2]);
    let journal = shop.journal();
    assert_eq!(journal.matches("\tretry\t").count(), 1, "{journal}");
}
