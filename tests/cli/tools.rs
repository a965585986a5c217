//! Archives in the hands of other people's tools: `tar`, `zstd`, and `age` as its author ships it.
//!
//! What the page on the format promises is run as it stands there. Where a tool is not installed, a
//! test says so and passes; `.ci/run` installs them where it can.

use serde_json::json;

use super::{Ended, Shop, sample_csv};

/// Runs a script in the scratch folder; `None` where one of the tools is not installed.
fn script(shop: &Shop, tools: &[&str], text: &str) -> Option<Ended> {
    for tool in tools {
        let found = shop.shell(&format!("command -v {tool}"));
        if found.code != 0 {
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
    }
    Some(shop.shell(text))
}

fn done(ended: &Ended) {
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// The line of the page on the format that undoes all layers, for this archive and this key.
fn promised(from: &str, archives: &str, key: &str) -> String {
    let page = include_str!("../../docs/format/archive.md");
    let line = page.lines().find(|line| line.starts_with("cat 'inventory[")).expect("it is there");
    let line = line.replace("'inventory[0006-'", archives).replace("key.txt", key);
    format!("set -o pipefail; cd {from} && {line}")
}

/// A store with a table, and a key that `age-keygen` made: its public half, or `None` without `age`.
fn shop_with_a_key() -> Option<(Shop, String)> {
    let shop = Shop::new();
    shop.done(&["import", "s", "t", shop.file("in.csv", sample_csv(20_000)), "--key", "id"]);
    std::fs::create_dir(shop.path("b")).unwrap();
    let made = script(&shop, &["age", "age-keygen", "zstd"], "age-keygen -o key.txt");
    done(&made?);
    let public = shop.shell("age-keygen -y key.txt");
    done(&public);
    Some((shop, public.out.trim().to_owned()))
}

#[test]
fn age_and_tar_undo_every_layer_as_the_page_on_the_format_says() {
    let Some((shop, public)) = shop_with_a_key() else { return };
    let was = shop.done(&["export", "s", "t"]);
    let layers = ["--segment-size", "64K", "--redundancy", "low", "--recipient", &*public];
    shop.done(&["settings", "s", "set", "DestinationFolder", "b"]);
    let told = shop.json(&[&["backup", "s"], &layers[..]].concat());
    assert!(told["archive"].as_str().unwrap().ends_with("s[0001-0001].tar.zst.age"), "{told}");
    assert!(shop.path("b/s[0001-0002].tar.zst.age").exists(), "or nothing is joined");
    std::fs::create_dir(shop.path("by-hand")).unwrap();
    done(&shop.shell(&promised("by-hand", "../b/'s[0001-'", "../key.txt")));
    assert_eq!(shop.done(&["export", "by-hand", "t"]), was);

    // The wrong key opens nothing, or the right one proved nothing.
    done(&shop.shell("age-keygen -o other.txt && mkdir nothing"));
    assert_ne!(shop.shell(&promised("nothing", "../b/'s[0001-'", "../other.txt")).code, 0);

    // So is a log archive.
    shop.done(&["import", "s", "t", shop.file("more.csv", "id,name,zip\nz1,n,0\n"), "--key", "id"]);
    shop.json(&["backup", "s", "--recipient", &*public]);
    let log = shop.shell("age -d -i key.txt 'b/s[0001].log.zst.age' | tar --zstd -t");
    done(&log);
    assert!(log.out.lines().any(|name| name.ends_with(".log")), "{log:?}");
}

#[test]
fn what_age_encrypts_is_read_like_what_was_written_encrypted() {
    let Some((shop, public)) = shop_with_a_key() else { return };
    let was = shop.done(&["export", "s", "t"]);
    shop.done(&["backup", "s", "--to", "b"]);
    done(&shop.shell(&format!("age -r {public} -o 'b/s[0009].tar.zst.age' 'b/s[0001].tar.zst'")));
    let archive = "b/s[0009].tar.zst.age";
    assert_eq!(shop.fails(2, &["verify", archive])["code"], json!(2011));
    shop.done(&["verify", archive, "--identity", "key.txt"]);
    shop.done(&["restore", archive, "copy", "--identity", "key.txt"]);
    assert_eq!(shop.done(&["export", "copy", "t"]), was);
}

#[test]
fn age_opens_an_archive_by_its_passphrase() {
    let Some((shop, _)) = shop_with_a_key() else { return };
    shop.file("pass", "open sesame\n");
    shop.done(&["backup", "s", "--to", "b", "--passphrase-file", "pass"]);
    // It asks a terminal for the passphrase; `script` is one, where there are any.
    let terminal = |line: &str| format!("timeout 120 script -qec \"{line}\" /dev/null < pass");
    if shop.shell(&terminal("read word rest < /dev/tty && test -n \\$word")).code != 0 {
        eprintln!("skipped: there is no terminal");
        return;
    }
    done(&shop.shell(&terminal("age -d -o opened 'b/s[0001].tar.zst.age'")));
    std::fs::create_dir(shop.path("by-hand")).unwrap();
    done(&shop.shell("tar --zstd -xf opened -C by-hand"));
    assert_eq!(shop.done(&["export", "by-hand", "t"]), shop.done(&["export", "s", "t"]));
}
