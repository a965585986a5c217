//! Points in the history of a store, as they are typed.

use clap::Args;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Disambiguation, TimeZone};
use stillpoint::{Lsn, RestorePoint};

/// How far history is to be rolled forward. Nothing given: through the last commit there is.
#[derive(Debug, Default, Args)]
#[group(id = "point", multiple = false)]
pub(crate) struct Point {
    /// Through the commit with this LSN.
    #[arg(long, value_name = "LSN")]
    to_lsn: Option<Lsn>,
    /// Through the last commit that is not later than this: 2025-03-01T14:30:00Z,
    /// 2025-03-01T09:30:00[America/New_York], or local time without a zone.
    #[arg(long, value_name = "TIME", value_parser = micros)]
    to_time: Option<i64>,
    /// Through the commit before this one, which was a mistake.
    #[arg(long, value_name = "LSN")]
    before: Option<Lsn>,
}

impl Point {
    /// The point; `Newest` where none was given.
    pub(crate) fn get(&self) -> RestorePoint {
        match (self.to_lsn, self.to_time, self.before) {
            (Some(lsn), _, _) => RestorePoint::Lsn(lsn),
            (_, Some(time), _) => RestorePoint::Time(time),
            (_, _, Some(lsn)) => RestorePoint::Before(lsn),
            (None, None, None) => RestorePoint::Newest,
        }
    }
}

/// A time as microseconds since the Unix epoch.
fn micros(text: &str) -> Result<i64, String> {
    moment(text).map(|time| time.as_microsecond())
}

/// The moment that is typed: with an offset, with the name of a time zone in brackets, or as local
/// time. One that a change of the clock lets come twice, or leaves out, is refused.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    const ONCE: DateTimeParser = DateTimeParser::new().disambiguation(Disambiguation::Reject);
    let told = |error: jiff::Error| {
        format!("{error}; an offset says which moment is meant, as in 2025-03-01T15:30:00+01:00")
    };
    if text.contains('[') {
        return ONCE.parse_zoned(text).map(|zoned| zoned.timestamp()).map_err(told);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local: DateTime = text
        .parse()
        .map_err(|_| "a time is such as 2025-03-01T14:30:00Z, or local time without a zone")?;
    TimeZone::system()
        .into_ambiguous_zoned(local)
        .unambiguous()
        .map(|at| at.timestamp())
        .map_err(told)
}

/// A time as people read it: UTC, and all of it, so that typed as a point it means the same commit.
pub(crate) fn shown(micros: i64) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => micros.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_a_zone_or_as_local_time() {
        assert_eq!(micros("1970-01-01T00:00:01.5Z"), Ok(1_500_000));
        assert_eq!(micros("1970-01-01T01:00:00+01:00"), Ok(0));
        assert!(micros("1970-01-02 00:00:00").is_ok());
        for wrong in ["", "yesterday", "2025-13-01T00:00:00Z", "2025-02-30"] {
            assert!(micros(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_zone_in_brackets_counts_and_what_it_leaves_open_is_refused() {
        for (text, same) in [
            ("2025-07-01T12:00:00[America/New_York]", "2025-07-01T16:00:00Z"),
            ("2025-11-02T03:30:00[America/New_York]", "2025-11-02T08:30:00Z"),
            ("2025-11-02T01:30:00-04:00[America/New_York]", "2025-11-02T05:30:00Z"),
            ("2025-11-02T01:30:00-05:00[America/New_York]", "2025-11-02T06:30:00Z"),
            ("2025-07-01T12:00:00[UTC]", "2025-07-01T12:00:00Z"),
        ] {
            assert_eq!(micros(text), micros(same), "{text}");
        }
        for open in [
            "2025-11-02T01:30:00[America/New_York]",
            "2025-03-09T02:30:00[America/New_York]",
            "2025-07-01T12:00:00-05:00[America/New_York]",
            "2025-07-01T12:00:00[Nowhere/Else]",
            "2025-07-01T12:00:00[",
        ] {
            let told = micros(open).unwrap_err();
            assert!(told.contains("offset"), "{open}: {told}");
        }
    }

    #[test]
    fn the_time_that_is_shown_is_the_time_that_is_typed() {
        assert_eq!(shown(1_500_000), "1970-01-01T00:00:01.500000Z");
        assert_eq!(super::micros(&shown(1_234_567)), Ok(1_234_567));
    }
}
