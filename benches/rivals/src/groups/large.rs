//! Ten million records of 100 bytes: load, open, backup, restore, in little memory.
//!
//! Each act runs in a process of its own, which samples its anonymous resident memory all the time.

use crate::bench::{Bench, peak_memory, scratch, timed};
use crate::data::{Data, Packing};
use crate::peers::{self, Peer, RECORDS, Stillpoint};
use crate::table::{Table, megabytes, per_second, time};
use std::path::Path;
use std::process::Command;
use stillpoint::{Access, Archive, Compression};

/// The first argument of a process that does one act.
pub const CHILD: &str = "--child-large";

/// Key and value: 20 bytes of key in the mean.
const VALUE: usize = 80;

/// The acts, in order, each on what the one before left.
pub fn ten_million(bench: &Bench) -> Vec<Table> {
    let dir = scratch();
    let records = if bench.quick { 200_000 } else { 10_000_000 };
    let mut table = Table::new(
        format!("{records} records of 100 bytes"),
        &["", "time", "", "peak anonymous memory", "goal"],
    );
    for act in ["load", "open", "read", "pin", "backup", "verify", "restore", "open restored"] {
        let out = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, act, &records.to_string()])
            .arg(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{act}: {}", String::from_utf8_lossy(&out.stderr));
        let cells: Vec<&str> = said.trim().split('\t').collect();
        table.row([act, cells[0], cells[1], cells[2], "< 2 GiB"].map(str::to_owned));
    }
    table.note("Keys of 16 to 24 bytes in random order, values of 80 that do not pack; a process for each act. Backup: Live, None. Memory: RssAnon of the process, sampled every 5 ms.");
    vec![table]
}

/// One act: `act records dir`. Prints its time, a remark, and its peak of memory.
pub fn child(args: &[String]) {
    let [act, records, dir] = args else { panic!("{CHILD} has three arguments") };
    let records = records.parse().expect("a number of records");
    let data = Data { records, value_len: VALUE, packing: Packing::Random };
    let ((seconds, remark), peak) = peak_memory(|| perform(act, &data, Path::new(dir)));
    println!("{}\t{remark}\t{}", time(seconds), megabytes(peak as f64));
}

fn perform(act: &str, data: &Data, dir: &Path) -> (f64, String) {
    let archives = dir.join("archives");
    let restored = dir.join("restored");
    match act {
        "load" => {
            let stillpoint = Stillpoint::open(dir);
            let ((), seconds) = timed(|| peers::load(&stillpoint, data, 0));
            let ((), more) = timed(|| stillpoint.settle());
            let rate = per_second(data.records as f64 / seconds);
            (seconds, format!("{rate}; merged {} later", time(more)))
        }
        "open" => {
            let (stillpoint, seconds) = timed(|| Stillpoint::open(dir));
            (seconds, counted(&stillpoint))
        }
        "read" => {
            let (stillpoint, keys) = (Stillpoint::open(dir), data.some_keys(1_000_000, 1));
            let (found, seconds) = timed(|| stillpoint.read_in_snapshot(&keys));
            assert_eq!(found, keys.len() * VALUE, "every key is there");
            (seconds, format!("{} by one thread", per_second(keys.len() as f64 / seconds)))
        }
        "pin" => {
            let stillpoint = Stillpoint::open(dir);
            let one = [data.record(0, 1)];
            let pins = (0..3).map(|_| {
                stillpoint.commit(&one, false);
                let to = scratch();
                let backup = stillpoint.store.backup(to.path()).access(Access::Live);
                let backup = backup.compression(Compression::None).verify(false);
                backup.run().unwrap().pin.as_secs_f64()
            });
            (pins.fold(0.0, f64::max), "the longest pin of 3 Live backups".to_owned())
        }
        "backup" => {
            let stillpoint = Stillpoint::open(dir);
            std::fs::create_dir_all(&archives).unwrap();
            let (_, seconds) = timed(|| stillpoint.backup(&archives));
            (seconds, format!("verified; {}/s of archive", rate_of(&archive(&archives), seconds)))
        }
        "verify" => {
            let archive = archive(&archives);
            let (_, seconds) = timed(|| archive.verify().unwrap());
            (seconds, format!("{}/s", rate_of(&archive, seconds)))
        }
        "restore" => {
            let archive = archive(&archives);
            let (_, seconds) = timed(|| archive.restore(&restored).run().unwrap());
            (seconds, format!("{}/s", rate_of(&archive, seconds)))
        }
        "open restored" => {
            std::fs::rename(&restored, dir.join("other")).unwrap();
            let (store, seconds) = timed(|| stillpoint::Store::open(dir.join("other")).unwrap());
            let len = store.begin_read().unwrap().table(RECORDS).unwrap().len().unwrap();
            assert_eq!(len, data.records, "the restored store has every record");
            (seconds, format!("{len} records"))
        }
        other => panic!("no act {other}"),
    }
}

fn counted(stillpoint: &Stillpoint) -> String {
    let read = stillpoint.store.begin_read().unwrap();
    format!("{} records", read.table(RECORDS).unwrap().len().unwrap())
}

fn archive(folder: &Path) -> Archive {
    let entry = std::fs::read_dir(folder).unwrap().next().expect("there is an archive");
    Archive::open(entry.unwrap().path()).unwrap()
}

fn rate_of(archive: &Archive, seconds: f64) -> String {
    megabytes(archive.bytes() as f64 / seconds)
}
