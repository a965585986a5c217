//! Points in the history of a store, as they are typed.

use clap::Args;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use stillpoint::{Lsn, RestorePoint};

/// How far history is to be rolled forward. Nothing given: through the last commit there is.
#[derive(Debug, Default, Args)]
#[group(id = "point", multiple = false)]
pub(crate) struct Point {
    /// Through the commit with this LSN.
    #[arg(long, value_name = "LSN")]
    to_lsn: Option<Lsn>,
    /// Through the last commit that is not later than this: 2025-03-01T14:30:00Z, or local time
    /// without a zone.
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
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_microsecond());
    }
    let local: DateTime = text
        .parse()
        .map_err(|_| "a time is such as 2025-03-01T14:30:00Z, or local time without a zone")?;
    let zoned = local.to_zoned(TimeZone::system()).map_err(|error| error.to_string())?;
    Ok(zoned.timestamp().as_microsecond())
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
        assert_eq!(shown(1_500_000), "1970-01-01T00:00:01.500000Z");
        assert_eq!(super::micros(&shown(1_234_567)), Ok(1_234_567));
    }
}
