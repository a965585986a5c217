//! Paired figures of two revisions of the store.
//!
//! `cargo run --release --manifest-path benches/paired/Cargo.toml -- BEFORE [AFTER] [--rows A,B]
//! [--rounds N] [--records N]`: builds one workload against both revisions (names that git knows;
//! AFTER is the working tree unless it is given), runs each row by turns (A B, B A, A B, ...), each
//! time in a process of its own, and prints a table in Markdown. A figure is the median with half
//! the range; the ratio is the median of the ratios within the rounds, with an interval that holds
//! it in 95 of 100 runs, whatever the distribution.

mod revision;
#[path = "../../rivals/src/table.rs"]
#[expect(dead_code, reason = "shared with the rivals, which need more of it")]
mod table;

use revision::Revision;
use table::{Series, Table, megabytes, per_second, ratio, time};

const USAGE: &str = "paired BEFORE [AFTER] [--rows A,B,...] [--rounds N] [--records N]
BEFORE, AFTER: revisions that git knows; without AFTER, the working tree
--rows: those alone; `--rows list` shows their names
--rounds: how often each side runs; 6 by default, the fewest that give an interval of 95 %
--records: 1000000 by default; the names of rows say how many times as many they have";

struct Options {
    revisions: Vec<String>,
    rows: Vec<String>,
    rounds: usize,
    records: u64,
}

fn main() {
    let result = options().and_then(|options| compare(&options));
    if let Err(problem) = result {
        eprintln!("{problem}");
        std::process::exit(1);
    }
}

fn options() -> Result<Options, String> {
    let mut options =
        Options { revisions: Vec::new(), rows: Vec::new(), rounds: 6, records: 1_000_000 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n{USAGE}"));
        let number = |text: String| match text.parse::<u64>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{text} is no number above 0\n{USAGE}")),
        };
        match arg.as_str() {
            "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
            "--rounds" => options.rounds = number(value()?)? as usize,
            "--records" => options.records = number(value()?)?,
            _ if arg.starts_with('-') => return Err(format!("there is no option {arg}\n{USAGE}")),
            _ => options.revisions.push(arg),
        }
    }
    match options.revisions.len() {
        1 | 2 => Ok(options),
        _ => Err(USAGE.to_owned()),
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let before = Revision::of_git(&options.revisions[0])?;
    let after = match options.revisions.get(1) {
        Some(revision) => Revision::of_git(revision)?,
        None => Revision::working_tree()?,
    };
    let names = after.rows()?;
    if options.rows == ["list"] {
        println!("{}", names.join("\n"));
        return Ok(());
    }
    if let Some(unknown) = options.rows.iter().find(|row| !names.contains(row)) {
        return Err(format!("there is no row {unknown}; the rows: {}", names.join(" ")));
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut table = Table::new(
        format!("{} against {}", after.name, before.name),
        &["", "before", "after", "after / before", "95 %", ""],
    );
    for row in if options.rows.is_empty() { &names } else { &options.rows } {
        for figure in measure(row, [&before, &after], options)? {
            table.row(figure.cells());
        }
    }
    table.note(format!(
        "{} rounds by turns, a process for each; {} records; {} cores, load average {} at the start. \
         A cell: the median and half the range.",
        options.rounds,
        options.records,
        std::thread::available_parallelism().map_or(1, |n| n.get()),
        load.split(' ').next().unwrap_or("?"),
    ));
    table.print();
    Ok(())
}

/// Runs a row by turns and returns its figures, each with what both sides measured.
fn measure(row: &str, sides: [&Revision; 2], options: &Options) -> Result<Vec<Figure>, String> {
    let mut figures: Vec<Figure> = Vec::new();
    for round in 0..options.rounds {
        eprintln!("{row}, round {} of {}", round + 1, options.rounds);
        for side in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            for (what, unit, value) in sides[side].run(row, options.records)? {
                if !figures.iter().any(|figure| figure.what == what) {
                    let sides = Default::default();
                    figures.push(Figure { what: what.clone(), unit, sides });
                }
                let figure = figures.iter_mut().find(|figure| figure.what == what);
                figure.expect("it was just put there").sides[side].0.push(value);
            }
        }
    }
    Ok(figures)
}

/// What kind of number a figure is.
#[derive(Clone, Copy)]
pub enum Unit {
    PerSecond,
    Time,
    Bytes,
    Count,
}

struct Figure {
    what: String,
    unit: Unit,
    /// Before and after.
    sides: [Series; 2],
}

impl Figure {
    fn cells(&self) -> [String; 6] {
        let show = match self.unit {
            Unit::PerSecond => per_second,
            Unit::Time => time,
            Unit::Bytes => megabytes,
            Unit::Count => |count: f64| format!("{count:.0}"),
        };
        let [before, after] = &self.sides;
        let shown = |side: &Series| match side.median() {
            // A spread in per cent of nothing is no number.
            0.0 => show(0.0),
            _ => side.show(show),
        };
        let mut cells = [self.what.clone(), shown(before), shown(after)].to_vec();
        let mut ratios = after.over(before).0;
        ratios.sort_by(f64::total_cmp);
        if ratios.iter().all(|ratio| ratio.is_finite()) {
            cells.push(ratio(Series(ratios.clone()).median()));
            let interval = interval(&ratios);
            cells.push(interval.map_or("-".into(), |(low, high)| format!("{low:.2} to {high:.2}")));
            cells.push(interval.map_or("", |interval| self.verdict(interval)).to_owned());
        }
        cells.resize(6, "-".to_owned());
        cells.try_into().expect("there are six")
    }

    fn verdict(&self, (low, high): (f64, f64)) -> &'static str {
        let more = match self.unit {
            Unit::PerSecond => ["better", "worse"],
            Unit::Time | Unit::Bytes => ["worse", "better"],
            Unit::Count => return "",
        };
        match () {
            () if low > 1.0 => more[0],
            () if high < 1.0 => more[1],
            () => "no difference shown",
        }
    }
}

/// Bounds of the median that hold with at least 95 %: the k-th ratio from below and from above, where
/// fewer than k of n throws of a coin are heads in at most 2.5 of 100 cases. `None` where there are
/// too few ratios for that.
fn interval(sorted: &[f64]) -> Option<(f64, f64)> {
    let n = sorted.len();
    let (mut k, mut term) = (0, 0.5f64.powi(n as i32));
    let mut tail = term;
    while tail <= 0.025 {
        k += 1;
        term *= (n + 1 - k) as f64 / k as f64;
        tail += term;
    }
    (k > 0).then(|| (sorted[k - 1], sorted[n - k]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        let sorted: Vec<f64> = (1..=20).map(f64::from).collect();
        // Tables of the binomial distribution: n = 5 has none, 6 its ends, 9 the second, 20 the sixth.
        assert_eq!(super::interval(&sorted[..5]), None);
        assert_eq!(super::interval(&sorted[..6]), Some((1.0, 6.0)));
        assert_eq!(super::interval(&sorted[..9]), Some((2.0, 8.0)));
        assert_eq!(super::interval(&sorted), Some((6.0, 15.0)));
    }
}
