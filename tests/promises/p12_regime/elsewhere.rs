//! A backup into another folder than that of the settings stands by itself: the regular destination
//! misses nothing because of it, and nothing is deleted where it goes.

use super::*;

const ELSEWHERE: &str = "/elsewhere";
const MANY: (&str, &str) = ("Advanced/SetNumber/Value", "9");

fn there(shop: &Shop) -> Vec<String> {
    let names = shop.sim.list(Path::new(ELSEWHERE)).unwrap();
    let names = names.into_iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".zst")).collect()
}

fn with_elsewhere(values: &[(&str, &str)]) -> Shop {
    let shop = shop(values);
    shop.sim.create_dir(Path::new(ELSEWHERE)).unwrap();
    shop
}

/// The kind of the archive at `path`, and the seal of the one that it goes on from.
fn parent_of(shop: &Shop, path: &Path) -> (BackupKind, Option<String>) {
    let archive = Archive::open_on(shop.sim.clone(), path).unwrap();
    let header = archive.header();
    (header.kind, header.parent.as_ref().map(|parent| parent.seal.clone()))
}

#[test]
fn a_copy_elsewhere_leaves_the_log_to_the_next_regular_backup() {
    let shop = with_elsewhere(&[MANY]);
    shop.regime.backup().run().unwrap();
    shop.put(2);
    let copy = shop.regime.backup().to(ELSEWHERE).run().unwrap();
    assert_eq!((copy.number, copy.log_archive.is_none()), (1, true), "numbered by the folder");
    assert_eq!(there(&shop), ["shop[0001].tar.zst"]);
    let then = all(shop.regime.store());
    shop.put(3);
    // Neither the reopening nor another copy takes what the regular destination still lacks.
    let shop = shop.again();
    shop.regime.backup().to(ELSEWHERE).run().unwrap();
    shop.put(4);
    let regular = shop.regime.backup().run().unwrap();
    assert_eq!(regular.number, 2);
    let log = regular.log_archive.unwrap();
    assert_eq!((log.path, log.after, log.last), ("/backups/shop[0001].log.zst".into(), 1, 4));
    let found = shop.regime.coverage().unwrap();
    assert_eq!((found.archives, found.log_archives, found.gaps.len()), (2, 1, 0));
    assert_eq!((found.oldest.unwrap().lsn, found.newest_archived.unwrap().lsn), (1, 4));
    let copy = Archive::open_on(shop.sim.clone(), copy.archive).unwrap();
    copy.restore("/restored").run().unwrap();
    assert_eq!(all(&Store::builder("/restored").disk(shop.sim.clone()).open().unwrap()), then);
}

#[test]
fn a_copy_elsewhere_is_in_the_history_of_its_folder_and_in_no_other() {
    let shop = with_elsewhere(&[MANY]);
    shop.regime.backup().run().unwrap();
    shop.regime.backup().to(ELSEWHERE).run().unwrap();
    shop.regime.backup().to(ELSEWHERE).run().unwrap();
    for (folder, numbers) in [(TO, vec![1]), (ELSEWHERE, vec![1, 2])] {
        let listed = History::list(&*shop.sim, Path::new(folder), "shop").unwrap();
        let found: Vec<u32> = listed.iter().filter_map(|o| o.backup_number).collect();
        assert_eq!(found, numbers, "{folder}");
        assert!(listed.iter().all(|o| !o.rebuilt), "{folder}");
    }
    assert_eq!(shop.journal().matches("a copy by itself").count(), 2);
    assert_eq!(shop.regime.last_backup().unwrap().number, Some(2));
}

#[test]
fn the_next_incremental_backup_goes_on_from_the_last_regular_one() {
    let shop = with_elsewhere(&[MANY, ("Stillpoint/FullEvery", "3")]);
    let full = shop.regime.backup().run().unwrap();
    shop.put(2);
    let refused = shop.regime.backup().to(ELSEWHERE).incremental(true).run().unwrap_err();
    assert_eq!(refused.code(), code::PARENT, "there is none in this folder");
    let copy = shop.regime.backup().to(ELSEWHERE).run().unwrap();
    assert_eq!(parent_of(&shop, &copy.archive), (BackupKind::Full, None));
    shop.put(3);
    let next = shop.regime.backup().to(ELSEWHERE).incremental(true).run().unwrap();
    let found = parent_of(&shop, &next.archive);
    assert_eq!(found, (BackupKind::Incremental, Some(copy.seal)), "the folder has its own chain");
    shop.put(4);
    let second = shop.regime.backup().run().unwrap();
    let found = parent_of(&shop, &second.archive);
    assert_eq!(found, (BackupKind::Incremental, Some(full.seal)));
    let asked = shop.regime.backup().incremental(true).run().unwrap();
    let found = parent_of(&shop, &asked.archive);
    assert_eq!(found, (BackupKind::Incremental, Some(second.seal)));
    for name in there(&shop) {
        shop.sim.remove_file(&Path::new(ELSEWHERE).join(name)).unwrap();
    }
    assert_eq!(shop.regime.drill().unwrap().records, 4, "without the copies");
}

#[test]
fn a_copy_elsewhere_deletes_nothing_there() {
    let one = ("Advanced/SetNumber/Value", "1");
    for before in ["False", "True"] {
        let shop = with_elsewhere(&[one, ("Advanced/EraseOldBackupBefore", before)]);
        shop.regime.backup().run().unwrap();
        for _ in 0..3 {
            shop.regime.backup().to(ELSEWHERE).run().unwrap();
        }
        assert_eq!((there(&shop).len(), shop.archives().len()), (3, 1));
        shop.regime.backup().run().unwrap();
        assert_eq!((there(&shop).len(), shop.archives().len()), (3, 1));
    }
}

#[test]
fn the_folder_of_the_settings_under_another_name_gets_a_regular_backup() {
    let shop = shop(&[("Advanced/SetNumber/Value", "1")]);
    shop.sim.symlink(Path::new(TO), Path::new("/link")).unwrap();
    shop.regime.backup().run().unwrap();
    for (key, name) in ["/link", "/shop/../backups", TO].into_iter().enumerate() {
        shop.put(key as u64 + 2);
        let report = shop.regime.backup().to(ELSEWHERE).to(name).run().unwrap();
        assert_eq!(report.log_archive.unwrap().last, key as u64 + 2, "{name}");
        assert_eq!(shop.archives().len(), 1, "{name}");
    }
    assert_eq!(shop.regime.coverage().unwrap().gaps.len(), 0);
}

#[test]
fn a_destination_that_is_named_through_a_link_is_known_again() {
    let linked = [
        ("General/DestinationFolder", "/link"),
        ("Advanced/BackupIfDataChange", "True"),
        ("Stillpoint/FullEvery", "3"),
        MANY,
    ];
    let sim = shop(&[]).closed();
    sim.symlink(Path::new(TO), Path::new("/link")).unwrap();
    write_settings(&sim, &with(&linked, &DAILY));
    let shop = Shop::open(sim);
    shop.regime.backup().run().unwrap();
    shop.at("2026-01-01T02:30:00Z");
    assert!(matches!(
        shop.heard()[..],
        [RegimeEvent::BackupDone { .. }, RegimeEvent::Postponed { .. }]
    ));
    shop.put(2);
    let report = shop.regime.backup().run().unwrap();
    assert_eq!(parent_of(&shop, &report.archive).0, BackupKind::Incremental);
}

#[test]
fn a_copy_elsewhere_does_not_take_the_place_of_a_second_attempt() {
    let shop = with_elsewhere(&with(&DAILY, &[RETRY, RETRY_LATER]));
    shop.writes_fail();
    shop.at("2026-01-01T02:30:00Z");
    let due = shop.regime.next_attempt().unwrap();
    let missing = shop.regime.backup().to("/missing").run().unwrap_err();
    assert_eq!(missing.code(), code::DESTINATION);
    shop.regime.backup().to(ELSEWHERE).run().unwrap();
    shop.sim.heal();
    assert!(shop.archives().is_empty());
    shop.go(due.checked_add(Duration::from_secs(1)).unwrap());
    assert_eq!(shop.archives().len(), 1, "the second attempt is made all the same");
    assert_eq!(shop.regime.next_attempt(), None);
    // Where nothing waits, a copy that failed is tried again as it was asked for.
    shop.regime.backup().to("/missing").run().unwrap_err();
    shop.sim.create_dir(Path::new("/missing")).unwrap();
    shop.put(2);
    shop.go(shop.regime.next_attempt().unwrap().checked_add(Duration::from_secs(1)).unwrap());
    assert_eq!(shop.archives().len(), 1);
    let listed = History::list(&*shop.sim, Path::new("/missing"), "shop").unwrap();
    assert_eq!(listed.last().unwrap().backup_number, Some(1));
    assert!(listed.iter().all(|o| o.log_path.is_none()));
}
