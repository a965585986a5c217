//! Tables as the documents show them, and the medians that go into them.

/// A table in Markdown.
pub struct Table {
    title: String,
    notes: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, head: &[&str]) -> Table {
        let head = head.iter().map(|s| (*s).to_owned()).collect();
        Table { title: title.into(), notes: Vec::new(), rows: vec![head] }
    }

    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        eprintln!("  {}", cells.join(" | "));
        self.rows.push(cells);
    }

    /// A sentence below the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn print(&self) {
        println!("\n### {}\n", self.title);
        for (i, row) in self.rows.iter().enumerate() {
            println!("| {} |", row.join(" | "));
            if i == 0 {
                println!("|{}", "---|".repeat(row.len()));
            }
        }
        for note in &self.notes {
            println!("\n{note}");
        }
    }
}

/// What one thing measured, round by round.
#[derive(Clone, Default)]
pub struct Series(pub Vec<f64>);

impl Series {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        // Of an even number of values, the mean of the two in the middle.
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            sorted[middle - 1..=middle].iter().sum::<f64>() / 2.0
        }
    }

    /// Half of the range, in per cent of the median.
    fn spread(&self) -> f64 {
        let most = self.0.iter().copied().fold(f64::MIN, f64::max);
        let least = self.0.iter().copied().fold(f64::MAX, f64::min);
        (most - least) / 2.0 / self.median() * 100.0
    }

    /// The median of the ratios within each round.
    pub fn over(&self, other: &Series) -> Series {
        Series(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    pub fn show(&self, unit: fn(f64) -> String) -> String {
        format!("{} ±{:.0}%", unit(self.median()), self.spread())
    }
}

/// Measures `count` things by turns, `rounds` times: A B C A B C, not A A B B C C.
pub fn interleaved(
    rounds: usize,
    count: usize,
    mut measure: impl FnMut(usize) -> f64,
) -> Vec<Series> {
    let mut series = vec![Series::default(); count];
    for _ in 0..rounds {
        for (i, series) in series.iter_mut().enumerate() {
            series.0.push(measure(i));
        }
    }
    series
}

pub fn ratio(x: f64) -> String {
    format!("{x:.2} x")
}

pub fn per_second(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.2} M/s", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k/s", n / 1e3),
        n => format!("{n:.1} /s"),
    }
}

/// A time given in seconds.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s if s >= 1e-6 => format!("{:.1} us", s * 1e6),
        s => format!("{:.1} ns", s * 1e9),
    }
}

pub fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}
