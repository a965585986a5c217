//! `stillpoint journal`: what was done to a store by backup and restore.
//!
//! It reads files alone: the store may be open elsewhere, damaged, or gone but for them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::{Span, Timestamp, Zoned};
use serde_json::{Value, json};
use stillpoint::disk::RealDisk;
use stillpoint::regime::{JournalEvent, JournalLine, JournalReader, JournalRecord, Origin};

use super::exit::Outcome;
use super::point::moment;
use super::show::{Output, human, plain};
use super::stop::Stop;
use super::stores;

/// How long to wait before looking for more.
const WAIT: Duration = Duration::from_millis(200);

/// Show the backup journal of a store.
#[derive(Debug, Args)]
pub(crate) struct Journal {
    /// The folder of the store.
    dir: PathBuf,
    /// Show this event only: backup, restore, missed, deletion...
    #[arg(long, value_parser = event)]
    event: Option<JournalEvent>,
    /// Show what was written since a time: 2026-11-21, 2026-11-21T05:00, with an offset, or a span
    /// back from now: 36h, 2d.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// Show errors only.
    #[arg(long)]
    errors: bool,
    /// Show the last lines only.
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Wait for more, until Ctrl-C.
    #[arg(long)]
    follow: bool,
}

fn event(name: &str) -> Result<JournalEvent, String> {
    JournalEvent::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = JournalEvent::ALL.into_iter().map(JournalEvent::name).collect();
        format!("it is one of {}", names.join(", "))
    })
}

/// A time, or a span back from now.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    let Ok(span) = text.parse::<Span>() else { return moment(text) };
    let then = Zoned::now().checked_sub(span.abs()).map_err(|e| e.to_string())?;
    Ok(then.timestamp())
}

impl Journal {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        stores::require(&self.dir)?;
        let mut reader = JournalReader::open(RealDisk::new(), &self.dir);
        let mut last: VecDeque<JournalLine> = VecDeque::new();
        loop {
            stop.check("The journal is as it was.")?;
            let lines = reader.next_lines()?;
            if lines.is_empty() {
                break;
            }
            let wanted = lines.into_iter().filter(|line| self.wants(line));
            match self.tail {
                None => show(output, wanted)?,
                Some(tail) => {
                    last.extend(wanted);
                    last.drain(..last.len().saturating_sub(tail));
                }
            }
        }
        show(output, last)?;
        // Ctrl-C is how following ends.
        while self.follow && !stop.pressed() {
            let lines = reader.next_lines()?;
            if lines.is_empty() {
                std::thread::sleep(WAIT);
            }
            show(output, lines.into_iter().filter(|line| self.wants(line)))?;
        }
        Ok(())
    }

    /// A line that cannot be read is shown unless there is something to choose by.
    fn wants(&self, line: &JournalLine) -> bool {
        let Some(record) = &line.record else {
            return self.event.is_none() && self.since.is_none() && !self.errors;
        };
        self.event.is_none_or(|event| event == record.item.event)
            && self.since.is_none_or(|since| since.as_microsecond() <= record.time)
            && (!self.errors || record.item.code != 0)
    }
}

fn show(output: Output, lines: impl IntoIterator<Item = JournalLine>) -> Outcome {
    let mut out = output.stream();
    for line in lines {
        match output.json {
            true => out.line(&as_json(&line).to_string())?,
            false => out.line(&as_text(&line))?,
        }
    }
    out.end()
}

fn as_json(line: &JournalLine) -> Value {
    let Some(JournalRecord { time, item }) = &line.record else {
        return json!({"unreadable": line.text});
    };
    json!({
        "time": time,
        "event": item.event.name(),
        "origin": item.origin.map(Origin::name),
        "number": item.number,
        "item": item.about.name(),
        "path": item.path.as_ref().map(|path| path.display().to_string()),
        "bytes": item.bytes,
        "contents": item.contents,
        "started": item.started,
        "scheduled": item.scheduled,
        "ended": item.ended,
        "status": item.code,
        "message": item.message,
    })
}

fn as_text(line: &JournalLine) -> String {
    let Some(JournalRecord { time, item }) = &line.record else {
        // The columns of a line that cannot be read.
        return line.text.trim_end().replace('\t', "  ");
    };
    let number = item.number.map_or(String::new(), |number| number.to_string());
    let mut text = format!(
        "{}  {:<17}  {number:>4}  {:<10}",
        human::time(*time),
        item.event.name(),
        item.about.name()
    );
    let mut say = |part: &str| {
        if !part.is_empty() {
            text.push_str("  ");
            text.push_str(part);
        }
    };
    say(item.origin.map_or("", Origin::name));
    say(&item.path.as_ref().map_or(String::new(), |path| plain::path(path)));
    say(&item.bytes.map_or(String::new(), human::bytes));
    say(&item.contents);
    say(&item.message);
    if item.code != 0 && !item.message.contains(&format!("[{}]", item.code)) {
        say(&format!("[{}]", item.code));
    }
    // One line for each item, whatever its message says.
    text.trim_end().replace(['\n', '\r', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_a_date_a_time_or_a_span_back() {
        assert_eq!(since("2026-11-21T05:00:00Z").unwrap().as_second(), 1_795_237_200);
        assert!(since("2026-11-21").is_ok() && since("2026-11-21T05:00").is_ok());
        let hours = since("36h").unwrap();
        let ago = Timestamp::now().duration_since(hours).as_hours();
        assert!((35..=36).contains(&ago), "{ago}");
        assert!(since("2d").is_ok());
        assert!(since("yesterday evening").is_err());
    }
}
