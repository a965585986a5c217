//! What can stand on a line of the journal.

use std::path::PathBuf;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JournalEvent {
    /// A backup.
    Backup,
    /// A restore that somebody asked for.
    Restore,
    /// A restore at the opening of a damaged store.
    AutomaticRestore,
    /// Logs were integrated.
    Integration,
    /// A scheduled backup had nothing to save, and was put off to the next date.
    Postponed,
    /// The application refused a backup.
    Refused,
    /// A scheduled backup was due while another was running.
    Skipped,
    /// A scheduled backup was due while the store was not open.
    Missed,
    /// A backup that failed is tried again.
    Retry,
    /// Backups fail, and somebody should look at it.
    Alert,
    /// Automatic backups were suspended, or go on.
    Suspended,
    /// A restore drill.
    Drill,
    /// Settings were changed, or cannot be used.
    Settings,
    /// An old archive was deleted.
    Deletion,
    /// An archive or a store was repaired.
    Repair,
    /// A store was compacted.
    Compaction,
    /// The history of backups was set aside, or made anew from the archives.
    History,
    /// Something about the log of the store.
    Log,
    /// Lines of this journal could not be written.
    Journal,
}

impl JournalEvent {
    /// All of them.
    pub const ALL: [JournalEvent; 19] = [
        JournalEvent::Backup,
        JournalEvent::Restore,
        JournalEvent::AutomaticRestore,
        JournalEvent::Integration,
        JournalEvent::Postponed,
        JournalEvent::Refused,
        JournalEvent::Skipped,
        JournalEvent::Missed,
        JournalEvent::Retry,
        JournalEvent::Alert,
        JournalEvent::Suspended,
        JournalEvent::Drill,
        JournalEvent::Settings,
        JournalEvent::Deletion,
        JournalEvent::Repair,
        JournalEvent::Compaction,
        JournalEvent::History,
        JournalEvent::Log,
        JournalEvent::Journal,
    ];

    /// Its name in the journal.
    pub fn name(self) -> &'static str {
        match self {
            JournalEvent::Backup => "backup",
            JournalEvent::Restore => "restore",
            JournalEvent::AutomaticRestore => "automatic-restore",
            JournalEvent::Integration => "integration",
            JournalEvent::Postponed => "postponed",
            JournalEvent::Refused => "refused",
            JournalEvent::Skipped => "skipped",
            JournalEvent::Missed => "missed",
            JournalEvent::Retry => "retry",
            JournalEvent::Alert => "alert",
            JournalEvent::Suspended => "suspended",
            JournalEvent::Drill => "drill",
            JournalEvent::Settings => "settings",
            JournalEvent::Deletion => "deletion",
            JournalEvent::Repair => "repair",
            JournalEvent::Compaction => "compaction",
            JournalEvent::History => "history",
            JournalEvent::Log => "log",
            JournalEvent::Journal => "journal",
        }
    }

    /// The event with this name.
    pub fn from_name(name: &str) -> Option<JournalEvent> {
        JournalEvent::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// Who began an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A person.
    Manual,
    /// The schedule.
    Scheduled,
    /// The application, by a call.
    Command,
    /// The library itself, at the opening of a store.
    Automatic,
}

impl Origin {
    /// All of them.
    pub const ALL: [Origin; 4] =
        [Origin::Manual, Origin::Scheduled, Origin::Command, Origin::Automatic];

    /// Its name in journal and history.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Manual => "manual",
            Origin::Scheduled => "scheduled",
            Origin::Command => "command",
            Origin::Automatic => "automatic",
        }
    }

    /// The origin with this name.
    pub fn from_name(name: &str) -> Option<Origin> {
        Origin::ALL.into_iter().find(|origin| origin.name() == name)
    }
}

/// Which part of an operation a line is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum About {
    /// Its start.
    Start,
    /// Its end.
    End,
    /// All of it: something that takes no time.
    #[default]
    Note,
    /// An archive that was written, read or deleted.
    Archive,
    /// A thing in an archive, with its kind: `data`, `structure`, `settings`, `attachment`...
    Item(String),
}

impl About {
    /// Its name in the journal.
    pub fn name(&self) -> &str {
        match self {
            About::Start => "start",
            About::End => "end",
            About::Note => "note",
            About::Archive => "archive",
            About::Item(kind) => kind,
        }
    }

    pub(super) fn from_name(name: &str) -> About {
        let all = [About::Start, About::End, About::Note, About::Archive];
        let known = all.into_iter().find(|about| about.name() == name);
        known.unwrap_or_else(|| About::Item(name.to_owned()))
    }
}

/// One line of the journal, but for the time at which it is written. All times are in microseconds
/// since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalItem {
    /// What happened.
    pub event: JournalEvent,
    /// Which part of it the line is about.
    pub about: About,
    /// Who began it.
    pub origin: Option<Origin>,
    /// Number of the backup.
    pub number: Option<u32>,
    /// The archive, folder or file.
    pub path: Option<PathBuf>,
    /// Its size in bytes.
    pub bytes: Option<u64>,
    /// What is in an archive: `data structure attachments`...
    pub contents: String,
    /// When the operation began.
    pub started: Option<i64>,
    /// When it was due by the schedule.
    pub scheduled: Option<i64>,
    /// When it ended.
    pub ended: Option<i64>,
    /// 0, or the number of the error.
    pub code: i32,
    /// What there is to say, or the error in full.
    pub message: String,
}

impl JournalItem {
    /// A line about `about` of `event`; the rest is empty.
    pub fn new(event: JournalEvent, about: About) -> JournalItem {
        JournalItem {
            event,
            about,
            origin: None,
            number: None,
            path: None,
            bytes: None,
            contents: String::new(),
            started: None,
            scheduled: None,
            ended: None,
            code: 0,
            message: String::new(),
        }
    }

    /// A note of `event` that says `message`.
    pub fn note(event: JournalEvent, message: impl Into<String>) -> JournalItem {
        JournalItem { message: message.into(), ..JournalItem::new(event, About::Note) }
    }

    /// The same line with an error: its number, its path unless there is one, and all that it says.
    pub fn with_error(mut self, error: &crate::error::Error) -> JournalItem {
        self.code = error.code();
        self.message = error.report();
        self.path = self.path.or_else(|| error.path().map(Into::into));
        self
    }

    /// Whether a brief journal has it: starts, notes and errors. What nobody asked for is always told.
    pub(super) fn is_main(&self) -> bool {
        self.code != 0
            || self.event == JournalEvent::AutomaticRestore
            || matches!(self.about, About::Start | About::Note)
    }
}
