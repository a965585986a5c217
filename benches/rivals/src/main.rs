//! Stillpoint and its rivals side by side in one run, as Markdown tables.
//!
//! `cargo run --release --manifest-path benches/rivals/Cargo.toml -- [GROUP...] [--records N]
//! [--rounds N] [--quick]`: without groups, all of them. The tables go to the standard output, what
//! is going on to the standard error. Everything is measured by turns, so that what the machine does
//! meanwhile hits all alike; figures are medians with half their range.

mod bench;
mod data;
mod engine;
mod groups;
mod peers;
mod table;

use bench::Bench;
use groups::GROUPS;
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(groups::OPEN_CHILD) => return groups::open_child(&args[1..]),
        Some(groups::LARGE_CHILD) => return groups::large_child(&args[1..]),
        _ => {}
    }
    let (bench, chosen) = match options(&args) {
        Ok(options) => options,
        Err(problem) => {
            let names: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
            eprintln!("{problem}");
            eprintln!("groups: {}", names.join(" "));
            eprintln!("options: --records N, --rounds N, --quick");
            std::process::exit(2);
        }
    };
    describe(&bench);
    for (name, group) in GROUPS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            eprintln!("{name}");
            group(&bench).iter().for_each(table::Table::print);
        }
    }
}

fn options(args: &[String]) -> Result<(Bench, Vec<String>), String> {
    let mut chosen = Vec::new();
    let (mut records, mut rounds, mut quick) = (None, None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || {
            let number = args.next().and_then(|text| text.parse::<u64>().ok());
            number.filter(|n| *n > 0).ok_or(format!("{arg} needs a number"))
        };
        match arg.as_str() {
            "--quick" => quick = true,
            "--records" => records = Some(number()?),
            "--rounds" => rounds = Some(number()? as usize),
            name if GROUPS.iter().any(|(group, _)| *group == name) => chosen.push(name.to_owned()),
            other => return Err(format!("there is no {other}")),
        }
    }
    let bench = Bench {
        records: records.unwrap_or(if quick { 50_000 } else { 1_000_000 }),
        rounds: rounds.unwrap_or(if quick { 1 } else { 5 }),
        phase: Duration::from_millis(if quick { 200 } else { 1000 }),
        quick,
    };
    Ok((bench, chosen))
}

fn describe(bench: &Bench) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    println!(
        "{} records (keys of 16 to 24 bytes in random order, values of 150 bytes), {} rounds, {} cores, load average {load} at the start.",
        bench.records,
        bench.rounds,
        bench::cores()
    );
}
