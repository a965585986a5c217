//! The workload that `paired` builds against two revisions: `workload ROW RECORDS` measures one row
//! once, in a fresh folder, and writes its figures, one a line: what, unit, value.
//!
//! It uses only what both revisions have. Work is counted, not timed, where a checkpoint may come in
//! between, so that both sides do the same.

#[path = "../../rivals/src/bench.rs"]
#[expect(dead_code, reason = "shared with the rivals, which need more of it")]
mod bench;
#[path = "../../rivals/src/data.rs"]
#[expect(dead_code, reason = "shared with the rivals, which need more of it")]
mod data;
mod peers;
mod rows;

use data::{Data, Packing};

/// The first argument of a process that writes and dies.
const DYING: &str = "--write-and-die";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["list"] => rows::ROWS.iter().for_each(|(name, _)| println!("{name}")),
        [DYING, records, dir] => rows::write_and_die(&data(records), dir.as_ref()),
        [name, records] => {
            let row = rows::ROWS.iter().find(|(row, _)| *row == name);
            let (_, row) = row.expect("one of the rows that `list` names");
            row(&data(records));
        }
        _ => panic!("workload ROW RECORDS, or workload list"),
    }
}

fn data(records: &str) -> Data {
    let records = records.parse().expect("a number of records");
    Data { records, value_len: 150, packing: Packing::Random }
}
