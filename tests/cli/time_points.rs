//! Restores to a time: what the dry run says is what happens, and logs that end before it say so.

use serde_json::json;

use super::Shop;

/// A store with a backup of LSN 2 in `b`, and one commit a time after that, with their times.
fn shop() -> (Shop, Vec<(u64, String)>) {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", "id,x\n1,a\n"), "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    shop.done(&["settings", "s", "set", "DestinationFolder", "b"]);
    shop.done(&["backup", "s"]);
    for value in 0..4 {
        std::thread::sleep(std::time::Duration::from_millis(3));
        shop.done(&["put", "s", "t", "1", &value.to_string()]);
    }
    let exported = shop.done(&["log", "s", "export"]);
    let exported: Vec<serde_json::Value> = serde_json::from_str(&exported).unwrap();
    let commit = |object: &serde_json::Value| {
        let lsn = object["operationNumber"].as_u64().unwrap();
        (lsn, object["timeStamp"].as_str().unwrap().to_owned())
    };
    let commits = exported.iter().map(commit).collect();
    (shop, commits)
}

const ARCHIVE: &str = "b/s[0001].tar.zst";

fn restore(shop: &Shop, copy: &str, more: &[&str]) -> serde_json::Value {
    shop.json(&[&["restore", ARCHIVE, copy, "--logs-in", "s/log"], more].concat())
}

#[test]
fn the_dry_run_says_where_a_restore_to_a_time_ends() {
    let (shop, commits) = shop();
    for (at, (lsn, time)) in commits.iter().filter(|commit| commit.0 > 2).enumerate() {
        let planned = restore(&shop, "dry", &["--to-time", time, "--dry-run"]);
        assert_eq!(planned["lsn"], json!(lsn), "{planned}");
        let last = planned["logs"].as_array().unwrap().last().unwrap()["last"].clone();
        assert_eq!(last, json!(lsn), "{planned}");
        let copy = format!("copy-{at}");
        let done = restore(&shop, &copy, &["--to-time", time]);
        assert_eq!((&done["lsn"], &done["reaches_point"]), (&planned["lsn"], &json!(true)));
    }
    assert!(!shop.path("dry").exists());
}

#[test]
fn logs_that_end_before_the_time_are_told_of() {
    let (shop, commits) = shop();
    let newest = commits.last().unwrap().0;
    let far = ["--to-time", "2999-01-01T00:00:00Z"];
    for more in [&far[..], &[far[0], far[1], "--dry-run"]] {
        let done = restore(&shop, "copy", more);
        assert_eq!((&done["lsn"], &done["reaches_point"]), (&json!(newest), &json!(false)));
        let _again = std::fs::remove_dir_all(shop.path("copy"));
        let arguments = [&["restore", ARCHIVE, "copy", "--logs-in", "s/log"], more].concat();
        let text = shop.done(&arguments);
        assert!(text.contains(&format!("end before the point, with LSN {newest}")), "{text}");
        let _again = std::fs::remove_dir_all(shop.path("copy"));
    }
    // Without any log too; but not where the archive itself is of that time.
    let text = shop.done(&["restore", ARCHIVE, "copy", far[0], far[1]]);
    assert!(text.contains("end before the point"), "{text}");
    let all = shop.done(&["restore", ARCHIVE, "all", "--logs-in", "s/log"]);
    assert!(!all.contains("end before the point"), "{all}");
}

#[test]
fn every_command_that_goes_to_a_point_tells_of_logs_that_end_before_it() {
    let (shop, commits) = shop();
    let newest = commits.last().unwrap();
    shop.done(&["restore", ARCHIVE, "mirror"]);
    let integrate = |more: &[&str]| {
        let _again = std::fs::remove_dir_all(shop.path("copy"));
        shop.shell("cp -r mirror copy");
        let arguments = [&["integrate", "copy", "s/log"], more].concat();
        (shop.json(&arguments), shop.done(&arguments))
    };
    let far = "2999-01-01T00:00:00Z";
    for more in [&["--to-time", far][..], &["--to-time", far, "--auto-repair"]] {
        let (told, _) = integrate(more);
        assert_eq!((&told["lsn"], &told["reaches_point"]), (&json!(newest.0), &json!(false)));
        let text = integrate(more).1;
        assert!(text.contains("end before the point"), "{more:?}: {text}");
        let journal = shop.done(&["journal", "copy"]);
        assert!(journal.contains("end before the point"), "{more:?}: {journal}");
    }
    let beyond = (newest.0 + 1).to_string();
    let (told, _) = integrate(&["--to-lsn", &beyond, "--auto-repair"]);
    assert_eq!(told["reaches_point"], json!(false));
    let refused = |arguments: &[&str]| {
        shop.fails(2, &[arguments, &["--to-lsn", &beyond]].concat())["code"].clone()
    };
    assert_eq!(refused(&["integrate", "copy", "s/log"]), json!(2010));
    assert_eq!(refused(&["rollback", "s", "--archives", "b"]), json!(2111));
    for reached in [&["--to-time", &newest.1][..], &["--to-lsn", &newest.0.to_string()], &[]] {
        let (told, text) = integrate(reached);
        assert_eq!((&told["lsn"], &told["reaches_point"]), (&json!(newest.0), &json!(true)));
        assert!(!text.contains("end before"), "{text}");
    }
    let journal = |store: &str| shop.done(&["journal", store]);
    assert!(!journal("copy").contains("end before the point"), "{}", journal("copy"));
    let nothing = shop.fails(2, &["rollback", "s", "--archives", "b", "--to-time", far]);
    assert_eq!(nothing["code"], json!(2111), "nothing lies between the store and the point");
}

#[test]
fn a_dry_run_finds_damage_in_the_archive_and_in_the_logs() {
    let (shop, _) = shop();
    let damaged = |from: &str, to: &str| {
        let mut bytes = std::fs::read(shop.path(from)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(shop.path(to), bytes).unwrap();
    };
    std::fs::create_dir(shop.path("bad")).unwrap();
    damaged(ARCHIVE, "bad/s[0001].tar.zst");
    shop.fails(3, &["restore", "bad/s[0001].tar.zst", "copy", "--dry-run"]);
    shop.fails(3, &["restore", "bad/s[0001].tar.zst", "copy"]);
    shop.done(&["backup", "s"]);
    damaged("b/s[0001].log.zst", "bad/s[0001].log.zst");
    for more in [&["--dry-run"][..], &[]] {
        let restore = ["restore", ARCHIVE, "copy", "--log", "bad/s[0001].log.zst"];
        shop.fails(3, &[&restore[..], more].concat());
    }
    assert!(!shop.path("copy").exists());
}

#[test]
fn a_time_in_a_named_zone_is_taken_in_that_zone() {
    let (shop, _) = shop();
    let plan = |time: &str| {
        let arguments = ["restore", ARCHIVE, "copy", "--dry-run", "--to-time", time];
        shop.run(&arguments)
    };
    // The hour that comes twice in New York is a guess.
    let ended = plan("2925-11-04T01:30:00[America/New_York]");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(plan("2925-11-04T01:30:00-05:00[America/New_York]").code, 0);
    assert_eq!(plan("2925-07-01T12:00:00[Nowhere/Else]").code, 2);
    assert_eq!(plan("2925-07-01T12:00:00[Asia/Tokyo]").code, 0);
}
