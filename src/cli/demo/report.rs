//! What the demo saw, as a table that a person understands and as an object for a program.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::history::Comparison;
use crate::cli::micros;
use crate::cli::show::human;
use crate::cli::show::table::{Align, Table};

/// What happened during one backup.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// The access that others had.
    pub(crate) access: &'static str,
    /// Reads finished while pages were copied, and the longest of all during the backup.
    pub(crate) reads: u64,
    pub(crate) longest_read: Duration,
    /// Writes committed while pages were copied.
    pub(crate) writes: u64,
    /// Writes that waited for the backup, and the longest such wait.
    pub(crate) waited: u64,
    pub(crate) longest_wait: Duration,
    /// The code that the cancelled write was given; `None` where no write had to wait.
    pub(crate) cancelled: Option<i32>,
    /// How long the commit line stood still for the pin.
    pub(crate) pin: Duration,
    /// How long the backup took, from the call to the sealed archive.
    pub(crate) took: Duration,
    /// The archive, and its size.
    pub(crate) archive: PathBuf,
    pub(crate) archive_bytes: u64,
    /// The commit that was saved, and the last that was acknowledged before the backup was asked
    /// for.
    pub(crate) lsn: u64,
    pub(crate) acknowledged: u64,
    /// The restored copy against the demo's own account at that LSN, and at the one before.
    pub(crate) restored: Comparison,
    pub(crate) one_before: Comparison,
}

impl Act {
    /// Whether the promises were kept: the copy is the store at one commit, not an older one than
    /// was acknowledged, and the comparison could have told another commit from it.
    pub(crate) fn is_right(&self) -> bool {
        let waits_as_it_should = (self.access == "live") == self.cancelled.is_none();
        self.restored.is_equal()
            && !self.one_before.is_equal()
            && self.lsn >= self.acknowledged
            && waits_as_it_should
    }

    fn as_json(&self) -> Value {
        json!({
            "access": self.access,
            "reads": self.reads,
            "longest_read_us": micros(self.longest_read),
            "writes": self.writes,
            "writes_waited": self.waited,
            "longest_wait_us": micros(self.longest_wait),
            "cancelled_code": self.cancelled,
            "pin_us": micros(self.pin),
            "took_us": micros(self.took),
            "archive": self.archive.display().to_string(),
            "archive_bytes": self.archive_bytes,
            "lsn": self.lsn,
            "acknowledged_before": self.acknowledged,
            "restored": {
                "same": self.restored.same,
                "different": self.restored.different,
                "missing": self.restored.missing,
                "unexpected": self.restored.unexpected,
            },
            "differences_from_the_commit_before": self.one_before.differences(),
            "right": self.is_right(),
        })
    }
}

/// The acts side by side, one fact a line.
pub(crate) fn as_table(acts: &[Act]) -> String {
    let heads = acts.iter().map(|act| (act.access, Align::Right));
    let mut table = Table::new([("During the backup", Align::Left)].into_iter().chain(heads));
    let mut fact = |name: &str, cell: &dyn Fn(&Act) -> String| {
        table.row([name.to_owned()].into_iter().chain(acts.iter().map(cell)));
    };
    fact("reads that went on", &|act| human::count(act.reads));
    fact("longest read", &|act| human::duration(act.longest_read));
    fact("writes that went on", &|act| human::count(act.writes));
    fact("writes that waited", &|act| human::count(act.waited));
    fact("longest wait of a write", &|act| match act.waited {
        0 => "none".to_owned(),
        _ => human::duration(act.longest_wait),
    });
    fact("one waiting write, cancelled", &|act| match act.cancelled {
        None => "none waits".to_owned(),
        Some(code) => format!("code {code}"),
    });
    fact("the instant: commit line held", &|act| human::duration(act.pin));
    fact("backup took (slowed down)", &|act| human::duration(act.took));
    fact("archive", &|act| human::bytes(act.archive_bytes));
    fact("saved: the store at LSN", &|act| human::count(act.lsn));
    fact("restored records that are the same", &|act| {
        let all = act.restored.same + act.restored.different + act.restored.missing;
        format!("{} of {}", human::count(act.restored.same), human::count(all))
    });
    fact("other, missing, too many", &|act| human::count(act.restored.differences()));
    fact("told apart from the LSN before by", &|act| {
        human::counted(act.one_before.differences(), "record")
    });
    table.render()
}

/// The acts for a program.
pub(crate) fn as_json(acts: &[Act]) -> Value {
    acts.iter().map(Act::as_json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act() -> Act {
        Act {
            access: "read-only",
            reads: 12_345,
            longest_read: Duration::from_micros(180),
            writes: 0,
            waited: 3,
            longest_wait: Duration::from_millis(1_980),
            cancelled: Some(-9976),
            pin: Duration::from_micros(4),
            took: Duration::from_secs(2),
            archive: PathBuf::from("a[0001].tar.zst"),
            archive_bytes: 1 << 20,
            lsn: 4_711,
            acknowledged: 4_711,
            restored: Comparison { same: 28_298, ..Comparison::default() },
            one_before: Comparison { different: 2, ..Comparison::default() },
        }
    }

    #[test]
    fn an_act_is_right_only_if_every_promise_was_kept() {
        assert!(act().is_right());
        assert!(!Act { lsn: 4_710, ..act() }.is_right());
        assert!(!Act { cancelled: None, ..act() }.is_right());
        assert!(!Act { one_before: act().restored, ..act() }.is_right());
        assert!(!Act { restored: act().one_before, ..act() }.is_right());
        assert!(Act { access: "live", cancelled: None, ..act() }.is_right());
    }

    #[test]
    fn the_table_has_a_column_for_each_access() {
        let live = Act { access: "live", cancelled: None, waited: 0, ..act() };
        let text = as_table(&[act(), live]);
        let heads: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(heads[3..], ["read-only", "live"]);
        let cancelled = text.lines().find(|line| line.starts_with("one waiting write")).unwrap();
        assert!(cancelled.contains("code -9976") && cancelled.ends_with("none waits"), "{text}");
        assert!(text.contains("28,298 of 28,298"), "{text}");
        assert_eq!(as_json(&[act()])[0]["right"], true);
    }
}
