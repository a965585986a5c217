//! The demo, as a newcomer runs it.

use serde_json::{Value, json};

use super::{Ended, Shop};

/// What a demo tells that ends well and leaves nothing behind.
fn told(words: &[&str]) -> Value {
    let shop = Shop::new();
    std::fs::create_dir(shop.path("tmp")).unwrap();
    let mut command = shop.command(words);
    let output = command.env("TMPDIR", shop.path("tmp")).output().expect("the binary runs");
    let ended = Ended::of(output);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(shop.names("tmp"), Vec::<String>::new());
    serde_json::from_str(&ended.out).unwrap()
}

#[test]
fn the_demo_proves_every_backup_and_leaves_nothing_behind() {
    let told = told(&["demo", "--json"]);
    assert_eq!(told["records"], json!(28_298));
    let acts = told["backups"].as_array().unwrap();
    let accesses: Vec<_> = acts.iter().map(|act| act["access"].as_str().unwrap()).collect();
    assert_eq!(accesses, ["frozen", "read-only", "live"]);
    for act in acts {
        assert_eq!(act["right"], json!(true), "{act}");
        assert!(act["restored"]["same"].as_u64().unwrap() >= 28_298, "{act}");
    }
    let code = |act: usize| acts[act]["cancelled_code"].as_i64();
    assert_eq!((code(0), code(1), code(2)), (Some(-9976), Some(-9976), None));
    assert!(acts[1]["reads"].as_u64().unwrap() > 0, "reads go on while writes wait");
    assert!(acts[2]["writes"].as_u64().unwrap() > 0, "writes go on during a live backup");
    assert_eq!(acts[0]["writes"], json!(0));
    assert_eq!(acts[1]["writes"], json!(0));
}

#[test]
fn the_story_of_the_regime_proves_every_restore_and_leaves_nothing_behind() {
    let told = told(&["demo", "--regime", "--json"]);
    let proofs = told["proofs"].as_array().unwrap();
    assert_eq!(proofs.len(), 7);
    for proof in proofs {
        assert_eq!(proof["right"], json!(true), "{proof}");
        assert!(proof["same"].as_u64().unwrap() > 28_000, "{proof}");
    }
}
