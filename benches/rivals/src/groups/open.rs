//! Opening a store: after it was closed, and after its process was killed.

use crate::bench::{Bench, scratch, timed};
use crate::data::{Data, Dice, Packing};
use crate::peers::{self, LMDB, PEERS};
use crate::table::{Series, Table, interleaved, ratio, time};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The first argument of a process that writes until it is killed.
pub const CHILD: &str = "--child-open";

/// Open and one read, of every store.
pub fn open(bench: &Bench) -> Vec<Table> {
    let (dir, data) = (scratch(), bench.data());
    drop(peers::loaded(dir.path(), &data));
    let mut table = peers::table(format!("Open and one read, {} records", data.records));
    let key = data.some_keys(1, 1);
    let open_and_read = |i: usize| {
        let (peer, seconds) = timed(|| {
            let peer = PEERS[i].1(dir.path());
            assert_eq!(peer.read_in_snapshot(&key), data.value_len, "the record is there");
            peer
        });
        drop(peer);
        seconds
    };
    let mut row = |what: &str, goal: &str, series: Vec<Series>| {
        let mut cells = vec![what.to_owned()];
        cells.extend(series.iter().map(|series| series.show(time)));
        cells.extend([series[0].over(&series[LMDB]).show(ratio), goal.to_owned()]);
        table.row(cells);
    };
    let series = interleaved(bench.rounds, PEERS.len(), open_and_read);
    row("after a clean close", "<= 3 x", series);
    for (mode, what) in
        [("relaxed", "kill -9 of a relaxed writer"), ("durable", "kill -9 of a durable writer")]
    {
        let series = interleaved(bench.few_rounds(), PEERS.len(), |i| {
            write_and_kill(dir.path(), PEERS[i].0, mode, bench);
            open_and_read(i)
        });
        row(what, "-", series);
    }
    table.note("Ratio: to LMDB, of times. Killed after 1 s of commits of one record (relaxed) or one synced record (durable), so with what a second leaves in the log.");
    vec![table]
}

/// Runs this program as a writer, lets it write for a second, kills it.
fn write_and_kill(dir: &Path, peer: &str, mode: &str, bench: &Bench) {
    let records = bench.records.to_string();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([CHILD, peer, mode, &records])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("its output is piped"));
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "writing\n", "the writer has begun");
    std::thread::sleep(Duration::from_secs(1));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The writer: `peer mode records dir`. Never returns by itself.
pub fn child(args: &[String]) {
    let [peer, mode, records, dir] = args else { panic!("{CHILD} has four arguments") };
    let records = records.parse().expect("a number of records");
    let data = Data { records, value_len: 150, packing: Packing::Random };
    let (_, open) = PEERS.iter().find(|(name, _)| name == peer).expect("one of the peers");
    let peer = open(Path::new(dir));
    let mut dice = Dice::new(u64::from(std::process::id()));
    println!("writing");
    loop {
        peer.commit(&data.some_records(1, &mut dice), mode == "durable");
    }
}
