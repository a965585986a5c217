//! How values are written in the file, and what is allowed for them.
//!
//! Words are taken in any case and written in the one that is listed. A time of day and a length of
//! time look the same, `0000-00-00T21:00:00`: the date is no date, and the time alone (`21:00:00`,
//! `21:00`) is taken as well.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::types::{Frequency, Strictness};
use crate::archive::{Compression, Level, Recipients, check_set_name};
use crate::engine::LogCapPolicy;
use crate::error::ErrorKind;
use crate::lock::{Access, AtLimit};

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `True` or `False`.
    Bool,
    /// A whole number.
    Number { least: u64, most: u64 },
    /// A time of day.
    Clock,
    /// A length of time.
    Span,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A path, or nothing.
    Path,
    /// Paths, one an item.
    Paths,
    /// The name of a set of archives, or nothing.
    Name,
    /// A time zone, or nothing.
    Zone,
    /// Public keys in one value, or nothing.
    PublicKeys,
}

/// The longest path that is taken, in bytes.
const MAX_PATH: usize = 4096;

impl Kind {
    /// What the type is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Bool => "boolean",
            Kind::Number { .. } => "number",
            Kind::Clock => "time of day",
            Kind::Span => "length of time",
            Kind::Word(_) => "word",
            Kind::Path => "path",
            Kind::Paths => "list of paths",
            Kind::Name => "name",
            Kind::Zone => "time zone",
            Kind::PublicKeys => "public keys",
        }
    }

    /// What is allowed, for a person.
    pub(super) fn allowed(self) -> String {
        match self {
            Kind::Bool => "True or False".to_owned(),
            Kind::Number { least, most } => format!("a whole number from {least} to {most}"),
            Kind::Clock => "a time of day such as 0000-00-00T21:30:00 or 21:30".to_owned(),
            Kind::Span => {
                "hours, minutes and seconds such as 0000-00-00T00:05:00 or 00:05".to_owned()
            }
            Kind::Word(words) => one_of(words),
            Kind::Path | Kind::Paths => {
                format!("a path of at most {MAX_PATH} bytes without control characters")
            }
            Kind::Name => {
                "a name without / \\ : and control characters that begins with neither a \
                           dash nor a dot"
                    .to_owned()
            }
            Kind::Zone => "an IANA time zone such as Europe/Berlin".to_owned(),
            Kind::PublicKeys => {
                "public keys of age (age1...), with spaces between them, and no private key"
                    .to_owned()
            }
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A field of the settings.
pub(super) trait Field {
    /// As it stands in the file.
    fn text(&self) -> String;

    /// Takes `text`, which has no white space around it; false where it is not allowed.
    fn take(&mut self, text: &str, kind: Kind) -> bool;

    /// As a person sees it.
    fn shown(&self) -> String {
        self.text()
    }

    /// The items of a list; of anything else itself.
    fn items(&self) -> Vec<String> {
        vec![self.shown()]
    }
}

impl Field for bool {
    fn text(&self) -> String {
        if *self { "True" } else { "False" }.to_owned()
    }

    fn take(&mut self, text: &str, _: Kind) -> bool {
        *self = text.eq_ignore_ascii_case("true");
        *self || text.eq_ignore_ascii_case("false")
    }
}

impl Field for u64 {
    fn text(&self) -> String {
        self.to_string()
    }

    fn take(&mut self, text: &str, kind: Kind) -> bool {
        let Kind::Number { least, most } = kind else { return false };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|n| digits && (least..=most).contains(n));
        number.map(|number| *self = number).is_some()
    }
}

impl Field for u32 {
    fn text(&self) -> String {
        self.to_string()
    }

    fn take(&mut self, text: &str, kind: Kind) -> bool {
        let mut number = 0u64;
        let taken = number.take(text, kind);
        u32::try_from(number).map(|number| *self = number).is_ok() && taken
    }
}

impl Field for Time {
    fn text(&self) -> String {
        let [hour, minute, second] =
            [self.hour(), self.minute(), self.second()].map(|part| part.unsigned_abs().into());
        written(hour, minute, second)
    }

    fn take(&mut self, text: &str, _: Kind) -> bool {
        let Some((hour, minute, second)) = hours_minutes_seconds(text) else { return false };
        let hour = i8::try_from(hour);
        let time = hour.ok().and_then(|hour| Time::new(hour, minute, second, 0).ok());
        time.map(|time| *self = time).is_some()
    }
}

impl Field for Duration {
    fn text(&self) -> String {
        let seconds = self.as_secs();
        written(seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    fn take(&mut self, text: &str, _: Kind) -> bool {
        let Some((hours, minutes, seconds)) = hours_minutes_seconds(text) else { return false };
        let total = u64::from(hours) * 3600
            + u64::from(minutes.unsigned_abs()) * 60
            + u64::from(seconds.unsigned_abs());
        *self = Duration::from_secs(total);
        true
    }
}

fn written(hours: u64, minutes: u64, seconds: u64) -> String {
    format!("0000-00-00T{hours:02}:{minutes:02}:{seconds:02}")
}

/// `[date T] HH:MM[:SS]`, minutes and seconds below 60. A date that is none is wrong; one that is
/// one says nothing.
fn hours_minutes_seconds(text: &str) -> Option<(u8, i8, i8)> {
    let time = match text.split_once(['T', 't']) {
        None => text,
        Some((date, time)) => {
            let real = || date.parse::<Date>().is_ok() && date.len() == 10;
            (date.is_empty() || date == "0000-00-00" || real()).then_some(time)?
        }
    };
    let two = |text: &str| match text.as_bytes() {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some((a - b'0') * 10 + (b - b'0')),
        _ => None,
    };
    let sixty = |text: &str| two(text).filter(|n| *n < 60).and_then(|n| i8::try_from(n).ok());
    let mut parts = time.split(':');
    let (hour, minute) = (two(parts.next()?)?, sixty(parts.next()?)?);
    let second = parts.next().map_or(Some(0), sixty)?;
    parts.next().is_none().then_some((hour, minute, second))
}

/// Whether a path can be one at all.
fn possible(path: &str) -> bool {
    path.len() <= MAX_PATH && !path.chars().any(char::is_control)
}

impl Field for Option<PathBuf> {
    fn text(&self) -> String {
        self.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn take(&mut self, text: &str, _: Kind) -> bool {
        *self = (!text.is_empty()).then(|| PathBuf::from(text));
        possible(text)
    }
}

impl Field for Vec<PathBuf> {
    fn text(&self) -> String {
        self.items().join("\n")
    }

    /// Takes one item more.
    fn take(&mut self, text: &str, _: Kind) -> bool {
        self.push(PathBuf::from(text));
        possible(text) && !text.is_empty()
    }

    fn items(&self) -> Vec<String> {
        self.iter().map(|path| path.display().to_string()).collect()
    }
}

/// Public keys, which are no secret; a private one is refused.
impl Field for Vec<String> {
    fn text(&self) -> String {
        self.join(" ")
    }

    fn take(&mut self, text: &str, _: Kind) -> bool {
        *self = text.split_whitespace().map(str::to_owned).collect();
        let keys = self.iter().map(String::as_str);
        match Recipients::public_keys(keys) {
            Ok(_) => true,
            // A program without encryption cannot judge them, and its backups refuse them.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.iter().all(|key| key.starts_with("age1"))
            }
            Err(_) => self.is_empty(),
        }
    }
}

impl Field for Option<String> {
    fn text(&self) -> String {
        self.clone().unwrap_or_default()
    }

    fn take(&mut self, text: &str, kind: Kind) -> bool {
        *self = (!text.is_empty()).then(|| text.to_owned());
        text.is_empty()
            || match kind {
                Kind::Zone => TimeZone::get(text).is_ok(),
                _ => check_set_name(text).is_ok(),
            }
    }
}

/// Fields that are one of some words. Where two words mean the same, the first one is written.
macro_rules! words {
    ($($type:ty: $constant:ident = [$($word:literal => $value:expr),+ $(,)?];)+) => { $(
        pub(super) const $constant: Kind = Kind::Word(&[$($word),+]);

        impl Field for $type {
            fn text(&self) -> String {
                let words: &[(&str, $type)] = &[$(($word, $value)),+];
                let found = words.iter().find(|(_, value)| value == self);
                found.map(|(word, _)| *word).unwrap_or_default().to_owned()
            }

            fn take(&mut self, text: &str, _: Kind) -> bool {
                let words: &[(&str, $type)] = &[$(($word, $value)),+];
                let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
                found.map(|(_, value)| *self = *value).is_some()
            }

            fn shown(&self) -> String {
                let words: &[(&str, $type)] = &[$(($word, $value)),+];
                let found = words.iter().find(|(word, value)| value == self && !word.is_empty());
                found.map(|(word, _)| *word).unwrap_or_default().to_owned()
            }
        }
    )+ };
}

words! {
    Frequency: FREQUENCY = [
        "" => Frequency::Never, "Never" => Frequency::Never, "Hourly" => Frequency::Hourly,
        "Daily" => Frequency::Daily, "Weekly" => Frequency::Weekly, "Monthly" => Frequency::Monthly,
    ];
    Compression: COMPRESSION = [
        "None" => Compression::None, "Fast" => Compression::Fast, "Compact" => Compression::Compact,
    ];
    Level: LEVEL = [
        "None" => Level::None, "Low" => Level::Low, "Medium" => Level::Medium, "High" => Level::High,
    ];
    Strictness: STRICTNESS = [
        "strict" => Strictness::Strict, "auto-repair" => Strictness::AutoRepair,
        "auto repair" => Strictness::AutoRepair, "autorepair" => Strictness::AutoRepair,
    ];
    Option<Access>: ACCESS = [
        "Auto" => None, "Frozen" => Some(Access::Frozen), "ReadOnly" => Some(Access::ReadOnly),
        "Live" => Some(Access::Live),
    ];
    AtLimit: AT_LIMIT = ["ContinueLive" => AtLimit::ContinueLive, "Abort" => AtLimit::Abort];
    LogCapPolicy: LOG_POLICY = [
        "Refuse" => LogCapPolicy::Refuse, "DropOldest" => LogCapPolicy::DropOldest,
    ];
}
