//! A damaged store is restored when it is opened, if the settings say so, and nothing is lost by it.

use super::*;

#[test]
fn a_damaged_store_is_restored_by_itself_and_the_damaged_one_is_kept() {
    let shop = shop(&AUTOMATIC);
    write_file(&shop.sim, Path::new("/note"), b"attached");
    shop.regime.backup().attachment("/note").run().unwrap();
    shop.put(2);
    shop.regime.backup().run().unwrap();
    shop.put(3);
    let was = all(shop.regime.store());
    let sim = shop.closed();
    ruin(&sim);
    let damaged = read_file(&sim, &Path::new(DIR).join("store.data"));
    let shop = Shop::open(sim);
    assert_eq!(all(shop.regime.store()), was, "with the logs behind the last backup");
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((info.status.code, info.commits_integrated), (0, 1));
    let aside = info.aside.unwrap();
    assert_eq!(read_file(&shop.sim, &aside.join("store.data")), damaged, "untouched");
    assert!(matches!(shop.heard()[..], [RegimeEvent::Restored { .. }]));
    assert!(shop.journal().contains("\tautomatic-restore\t"));
    shop.put(4);
    shop.regime.backup().run().unwrap();
    let shop = shop.again();
    assert_eq!(shop.regime.restore_info().unwrap().started, info.started, "it is remembered");
}

#[test]
fn a_damaged_archive_is_passed_over_and_only_data_comes_back() {
    let shop = shop(&AUTOMATIC);
    write_file(&shop.sim, Path::new("/note"), b"attached");
    shop.regime.backup().attachment("/note").run().unwrap();
    shop.put(2);
    let newest = shop.regime.backup().run().unwrap().archive;
    let sim = shop.closed();
    sim.corrupt(&newest, sim.metadata(&newest).unwrap().len / 2, 1).unwrap();
    ruin(&sim);
    let shop = Shop::open(sim);
    let first = Path::new(TO).join("shop[0001].tar.zst");
    assert_eq!(shop.regime.restore_info().unwrap().archive, Some(first));
    assert!(shop.sim.metadata(&Path::new(DIR).join("attachments")).is_err());
}

#[test]
fn without_the_setting_a_damaged_store_stays_as_it_is() {
    let shop = shop(&[]);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let error = builder(&sim).open().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{error:?}");
    assert!(sim.metadata(&Path::new(DIR).join("store.data")).is_ok());
}

#[test]
fn where_automatic_restart_is_off_the_restored_store_waits_for_a_second_opening() {
    let shop = shop(&with(&AUTOMATIC, &[("Advanced/AutomaticRestart", "False")]));
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let error = builder(&sim).open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let shop = Shop::open(sim);
    assert_eq!(shop.regime.restore_info().unwrap().status.code, 0);
    assert_eq!(all(shop.regime.store()).len(), 1);
}

#[test]
fn without_a_backup_nothing_of_a_damaged_store_is_moved() {
    let sim = shop(&AUTOMATIC).closed();
    ruin(&sim);
    let before = sim.list(Path::new("/")).unwrap();
    builder(&sim).open().unwrap_err();
    assert_eq!(sim.list(Path::new("/")).unwrap(), before);
}

/// Somebody restored an archive by hand, and called it as people do.
#[test]
fn an_automatic_restore_leaves_stores_beside_it_alone() {
    let shop = shop(&AUTOMATIC);
    let report = shop.regime.backup().run().unwrap();
    let archive = Archive::open_on(shop.sim.clone(), &report.archive).unwrap();
    for name in ["/shop.restored", "/shop.drill"] {
        archive.restore(name).run().unwrap();
    }
    shop.regime.drill().unwrap();
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    for name in ["/shop.restored", "/shop.drill"] {
        let beside = Store::builder(name).disk(shop.sim.clone()).open().unwrap();
        assert_eq!(all(&beside), all(shop.regime.store()));
    }
}

/// It is whole, and the version that wrote it opens it.
#[test]
fn a_data_file_of_another_version_is_no_damage() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    let sim = shop.closed();
    let path = Path::new(DIR).join("store.data");
    let mut bytes = read_file(&sim, &path);
    let page = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    for slot in [0, page] {
        let meta = &mut bytes[slot..slot + page];
        meta[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        let sum = crc32c::crc32c(&meta[..page - 4]);
        meta[page - 4..].copy_from_slice(&sum.to_le_bytes());
    }
    write_file(&sim, &path, &bytes);
    assert_eq!(builder(&sim).open().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(read_file(&sim, &path), bytes);
}

#[test]
fn an_automatic_restore_that_dies_at_any_call_is_ended_by_a_later_opening() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    let was = all(shop.regime.store());
    let sim = shop.closed();
    ruin(&sim);
    let whole = sim.image();
    let before = whole.calls();
    drop(builder(&whole).open().unwrap());
    let calls = whole.calls() - before;
    for call in (1..=calls).step_by(3) {
        let sim = sim.image();
        sim.crash_at(call);
        let _died = builder(&sim).open();
        let sim = sim.reboot(Survival::Random(call));
        let regime = builder(&sim).open().unwrap_or_else(|e| panic!("call {call}: {e}"));
        assert_eq!(all(regime.store()), was, "call {call}");
    }
}

#[test]
fn without_automatic_integration_the_restored_store_stays_at_its_archive_and_says_so() {
    let shop = shop(&with(&AUTOMATIC, &[("Advanced/AutomaticLogIntegration", "False")]));
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let sim = shop.closed();
    ruin(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().unwrap();
    assert_eq!((all(shop.regime.store()).len(), info.commits_integrated), (1, 0));
    assert!(info.status.text.contains("AutomaticLogIntegration"), "{}", info.status.text);
    assert!(shop.journal().contains("go on to LSN 2"), "{}", shop.journal());
}

#[test]
fn strict_integration_stops_at_a_damaged_log_with_a_true_prefix() {
    let shop = shop(&AUTOMATIC);
    shop.regime.backup().run().unwrap();
    shop.sim.create_dir(Path::new("/shipped")).unwrap();
    for key in 2..5 {
        shop.put(key);
        shop.regime.store().new_log_file("/shipped").unwrap();
    }
    let sim = shop.closed();
    let segments: Vec<PathBuf> = sim.list(&Path::new(DIR).join("log")).unwrap();
    let middle = Path::new(DIR).join("log").join(&segments[segments.len() - 3]);
    for offset in (128..sim.metadata(&middle).unwrap().len).step_by(16) {
        sim.corrupt(&middle, offset, 5).unwrap();
    }
    ruin(&sim);
    let shop = Shop::open(sim);
    let info = shop.regime.restore_info().unwrap();
    let found = all(shop.regime.store());
    assert_eq!(found.len() as u64, 1 + info.commits_integrated, "{info:?}");
    assert!(found.len() < 4 && info.status.code != 0, "{info:?}");
}
