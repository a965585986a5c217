//! Wrong use and bad input: a clear error, the right exit code, nothing changed.

use super::Shop;

#[test]
fn arguments_that_make_no_sense_are_wrong_use() {
    let shop = Shop::new();
    for arguments in [&["fly"][..], &["get", "s"], &["import", "s", "t", "f.csv"], &[]] {
        assert_eq!(shop.run(arguments).code, 2, "{arguments:?}");
    }
    let error = shop.fails(2, &["get", "s"]);
    assert!(error["message"].as_str().unwrap().contains("<TABLE>"), "{error}");
    assert_eq!(shop.run(&["get", "--help", "--json"]).code, 0);
    assert_eq!(shop.run(&["--help"]).code, 0);
    assert!(shop.done(&["--help"]).contains("75  not now"));
}

#[test]
fn a_store_that_is_not_there_is_not_made() {
    let shop = Shop::new();
    for arguments in [
        &["get", "none", "t", "k"][..],
        &["put", "none", "t", "k", "1"],
        &["delete", "none", "t", "k"],
        &["scan", "none", "t"],
        &["tables", "none"],
        &["info", "none"],
        &["export", "none", "t"],
        &["verify", "none"],
        &["restore", "none", "copy"],
        &["backup", "none", "--to", "b"],
    ] {
        let error = shop.fails(4, arguments);
        assert!(error["hint"].is_string() && error["path"].is_string(), "{arguments:?}: {error}");
        assert_eq!(shop.names("."), Vec::<String>::new(), "{arguments:?}");
    }
}

#[test]
fn a_folder_or_file_that_is_no_store_is_told_so_and_left_alone() {
    let shop = Shop::new();
    std::fs::create_dir(shop.path("photos")).unwrap();
    shop.file("photos/a.jpg", "not a store");
    shop.file("text", "not a store");
    for place in ["photos", "text"] {
        let ended = shop.run(&["tables", place]);
        assert_ne!(ended.code, 0);
        assert!(ended.err.starts_with("error: "), "{}", ended.err);
        assert!(ended.err.contains("\nhint: "), "{}", ended.err);
    }
    let rows = shop.file("rows.csv", "id\n1\n");
    assert_ne!(shop.run(&["import", "photos", "t", rows, "--key", "id"]).code, 0);
    assert_eq!(shop.names("photos"), ["a.jpg"]);
}

#[test]
fn a_table_that_is_not_there_is_told_by_every_command() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id\n1\n"), "--key", "id"]);
    for command in ["get", "delete", "scan", "export"] {
        let key = ["1"];
        let key: &[&str] = if matches!(command, "get" | "delete") { &key } else { &[] };
        let error = shop.fails(4, &[&[command, "s", "u"], key].concat());
        assert!(error["message"].as_str().unwrap().contains("\"u\""), "{error}");
    }
    shop.fails(4, &["put", "s", "u", "1", "{}"]);
    shop.fails(2, &["get", "s", "t", "one"]);
    shop.fails(2, &["put", "s", "t", "1", "{"]);
}

#[test]
fn a_store_that_is_open_elsewhere_is_told_with_who_has_it() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id\n1\n"), "--key", "id"]);
    let open = stillpoint::Store::open(shop.path("s")).unwrap();
    let error = shop.fails(75, &["get", "s", "t", "1"]);
    let holder = format!("process {}", std::process::id());
    assert!(error["message"].as_str().unwrap().contains(&holder), "{error}");
    assert_eq!(error["retryable"], true);
    open.close().unwrap();
    shop.done(&["get", "s", "t", "1"]);
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_utf_8_is_as_good_as_any() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let shop = Shop::new();
    let file = shop.file("a.csv", "id\n1\n");
    let folder = OsStr::from_bytes(b"st\xffre");
    let run = |arguments: &[&OsStr]| {
        let output = shop.command(&[]).args(arguments).output().unwrap();
        super::Ended::of(output)
    };
    let word = OsStr::new;
    let import = [word("import"), folder, word("t"), word(file), word("--key"), word("id")];
    assert_eq!(run(&import).code, 0);
    let got = run(&[word("get"), folder, word("t"), word("1")]);
    assert_eq!((got.code, got.out.trim()), (0, r#"{"id":"1"}"#));
    assert_eq!(run(&[word("get"), folder, word("t"), word("2")]).code, 4);
}

#[test]
fn a_destination_that_cannot_be_used_is_told_as_such_and_nothing_is_left_in_the_store() {
    let shop = Shop::new();
    let file = shop.file("a.csv", "id\n1\n");
    shop.done(&["import", "s", "t", file, "--key", "id"]);
    for (to, said) in [
        ("none", "cannot use the destination"),
        (file, "the destination is not a folder"),
        ("s", "the destination lies within the store"),
        ("s/log", "the destination lies within the store"),
    ] {
        let error = shop.fails(1, &["backup", "s", "--to", to]);
        assert_eq!((&error["code"], &error["message"]), (&1407.into(), &said.into()), "{error}");
        assert!(error["path"].as_str().unwrap().ends_with(to), "{error}");
    }
    for folder in ["s", "s/log"] {
        let names = shop.names(folder);
        assert!(!names.iter().any(|name| name.contains("backupHistory")), "{names:?}");
    }
    shop.done(&["verify", "s"]);
}

#[test]
fn a_folder_is_no_archive_and_a_log_that_is_missing_is_told_as_a_log() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id\n1\n"), "--key", "id"]);
    shop.done(&["backup", "s"]);
    let error = shop.fails(2, &["restore", "s backups", "copy"]);
    assert!(error["message"].as_str().unwrap().contains("this is a folder"), "{error}");
    let archive = "s backups/s[0001].tar.zst";
    let error = shop.fails(4, &["restore", archive, "copy", "--log", "none"]);
    assert_eq!(
        (&error["code"], &error["hint"]),
        (&1412.into(), &"Check the path of the log.".into())
    );
    let error = shop.run(&["restore", archive, "copy", "--to-time", "yesterday"]).err;
    assert!(error.contains("2025-03-01T14:30:00Z"), "{error}");
    assert!(!shop.path("copy").exists());
}

#[test]
fn a_restore_leaves_folders_alone_that_somebody_made_beside_its_target() {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("a.csv", "id\n1\n"), "--key", "id"]);
    shop.done(&["backup", "s"]);
    std::fs::create_dir(shop.path("copy.restoring")).unwrap();
    shop.file("copy.restoring/mine", "mine");
    shop.done(&["restore", "s backups/s[0001].tar.zst", "copy"]);
    assert_eq!(shop.names("copy.restoring"), ["mine"]);
    assert_eq!(shop.names("."), ["a.csv", "copy", "copy.restoring", "s", "s backups"]);
}
