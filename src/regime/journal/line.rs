//! A line of the journal as text, and back.
//!
//! Escapes keep one item on one line whatever a path or a message holds: `\t`, `\n`, `\r`, `\\`, and
//! `\u{1b}` for other control characters. Nothing else is changed. Reading is lenient where a person
//! may have edited: what is no line of a journal is given as it is.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::item::{About, JournalEvent, JournalItem, Origin};

/// The names of the columns.
pub(super) const COLUMNS: [&str; 13] = [
    "time",
    "event",
    "origin",
    "number",
    "item",
    "path",
    "bytes",
    "contents",
    "started",
    "scheduled",
    "ended",
    "status",
    "message",
];

/// A line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// When it was written, in microseconds since the Unix epoch.
    pub time: i64,
    /// What it says.
    pub item: JournalItem,
}

/// `item` as a line with its end, written at `time`.
pub(super) fn format(item: &JournalItem, time: i64, zone: &TimeZone) -> String {
    let local = |time: Option<i64>| time.map_or(String::new(), |time| local_time(time, zone));
    let path = item.path.as_ref().map(|path| path.to_string_lossy()).unwrap_or_default();
    let number = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
    let fields: [Cow<'_, str>; 13] = [
        local(Some(time)).into(),
        item.event.name().into(),
        item.origin.map_or("", Origin::name).into(),
        number(item.number.map(u64::from)).into(),
        escape(item.about.name()),
        escape(&path).into_owned().into(),
        number(item.bytes).into(),
        escape(&item.contents),
        local(item.started).into(),
        local(item.scheduled).into(),
        local(item.ended).into(),
        item.code.to_string().into(),
        escape(&item.message),
    ];
    let mut line = fields.join("\t");
    line.push('\n');
    line
}

/// What a brief journal says of `item`.
pub(super) fn brief(item: &JournalItem) -> JournalItem {
    match item.code {
        0 => JournalItem {
            event: item.event,
            about: item.about.clone(),
            origin: item.origin,
            number: item.number,
            started: item.started,
            message: item.message.clone(),
            ..JournalItem::new(item.event, About::Note)
        },
        _ => item.clone(),
    }
}

/// Reads a line without its end; `None` for what is none.
pub(super) fn parse(line: &str) -> Option<JournalRecord> {
    let fields: Vec<&str> = line.split('\t').collect();
    let fields: [&str; 13] = fields.try_into().ok()?;
    let time = |text: &str| -> Option<Option<i64>> {
        match text {
            "" => Some(None),
            text => text.parse::<Timestamp>().ok().map(|time| Some(time.as_microsecond())),
        }
    };
    fn number<N: std::str::FromStr>(text: &str) -> Option<Option<N>> {
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    }
    let origin = match fields[2] {
        "" => None,
        name => Some(Origin::from_name(name)?),
    };
    let path = Some(unescape(fields[5])).filter(|path| !path.is_empty()).map(PathBuf::from);
    Some(JournalRecord {
        time: time(fields[0])??,
        item: JournalItem {
            event: JournalEvent::from_name(fields[1])?,
            about: About::from_name(&unescape(fields[4])),
            origin,
            number: number(fields[3])?,
            path,
            bytes: number(fields[6])?,
            contents: unescape(fields[7]),
            started: time(fields[8])?,
            scheduled: time(fields[9])?,
            ended: time(fields[10])?,
            code: fields[11].parse().ok()?,
            message: unescape(fields[12]),
        },
    })
}

/// Local time with its offset, to the millisecond.
fn local_time(micros: i64, zone: &TimeZone) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
        // A clock beyond the calendar: what it said, which is no time of day.
        Err(_) => format!("{micros} us"),
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c.is_control() || c == '\\') {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_control() => {
                let _infallible = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped.into()
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (c, used) = match after.chars().next() {
            Some('t') => ('\t', 1),
            Some('n') => ('\n', 1),
            Some('r') => ('\r', 1),
            Some('u') => code_point(after).unwrap_or(('\\', 0)),
            Some('\\') => ('\\', 1),
            _ => ('\\', 0),
        };
        plain.push(c);
        rest = &after[used..];
    }
    plain.push_str(rest);
    plain
}

/// Reads `u{1b}`, and says how many bytes that is.
fn code_point(text: &str) -> Option<(char, usize)> {
    let digits = text.strip_prefix("u{")?;
    let end = digits.find('}')?;
    let c = char::from_u32(u32::from_str_radix(&digits[..end], 16).ok()?)?;
    Some((c, 2 + end + 1))
}
