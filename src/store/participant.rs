//! Other things of the application that must stand at the same instant as the store: what they do
//! when a backup comes.
//!
//! Here are the words, and the list of those that every backup of a store calls. When they are called,
//! with which limits, and what becomes of a backup that one of them fails is written in `backup/`.
//!
//! Invariant: a participant takes part in one backup at a time. It is called by one thread at a time,
//! never under a lock of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Inner, Store};
use crate::engine::{Lsn, Timeline};
use crate::{Error, ErrorKind, Result, code};

/// What a participant answers: nothing, or why it cannot.
pub type Participation = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Something of the application's own (a database of another kind, a folder) that is held still
/// around the instant of a backup.
///
/// A backup calls `prepare` of all, in the order of their registration, before it holds anybody;
/// `freeze` of all, in the same order, right before the instant; `thaw` in the opposite order, as
/// soon as the [terms](Participant::terms) allow. The rules, whatever happens (an error, a panic, a
/// limit, Stop):
/// - each `freeze` that was called is followed by exactly one `thaw`, also one that failed;
/// - each `prepare` that was called is followed by exactly one `abort` if the backup fails, after the
///   thaw; if the backup succeeds, by none.
///
/// # Locks
/// The calls come on a thread that the participant has to itself for the length of the backup, outside
/// all internal locks. An operation on the store (or, in a group, on any store of the group) that
/// would wait for the backup is refused at once: code 2005.
///
/// A call that does not return cannot be ended from outside. At its limit the backup goes on without
/// the answer, or fails; the thread is left to end, and makes the calls that are due when it does.
pub trait Participant: Send {
    /// What it asks for. Called once, when it is registered, on the thread that does that.
    fn terms(&self) -> ParticipantTerms {
        ParticipantTerms::default()
    }

    /// A backup with this number is about to hold the store: do beforehand what takes long.
    ///
    /// # Errors
    /// Whatever makes the backup impossible: it fails with code 2012.
    fn prepare(&mut self, _number: u32) -> Participation {
        Ok(())
    }

    /// Stand still: nothing may change from the return of this until `thaw`.
    ///
    /// # Errors
    /// Whatever makes that impossible: the backup fails with code 2012, and `thaw` is called all the
    /// same.
    fn freeze(&mut self) -> Participation;

    /// Go on.
    ///
    /// # Errors
    /// The backup goes on, and its report has the error.
    fn thaw(&mut self) -> Participation;

    /// The backup failed: undo what `prepare` did.
    fn abort(&mut self) {}

    /// The store has been brought to another commit, while it was closed or by logs of another store: by a
    /// restore, a rollback, an automatic restore or an integration. Bring what you hold in line with that
    /// commit; a file of your own that was saved as an attachment is not brought back by itself.
    ///
    /// Called when the participant is registered, once for each such change, on the thread that registers
    /// it and before it takes part in anything; a participant with a name that the store does not know
    /// yet is told of the last change, too. By default nothing is done.
    ///
    /// # Errors
    /// Whatever makes that impossible: the registration fails with code 2012, and the next one calls
    /// this again.
    fn restored(&mut self, _to: &RestoredCommit) -> Participation {
        Ok(())
    }
}

/// The commit that a store was brought to.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RestoredCommit {
    /// The commit.
    pub lsn: Lsn,
    /// Its timeline. The next commit of the store's own begins a new one.
    pub timeline: Timeline,
}

/// Until when a participant stays frozen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum HoldUntil {
    /// Until the commit is pinned: for what takes a snapshot of its own in `freeze`.
    #[default]
    Pin,
    /// Until its own files are copied into the archive. They are copied before everything else.
    Copied,
}

/// How long a backup waits for each call of a participant, and how long it may be frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParticipantLimits {
    /// For `prepare`: a minute by default. Past it the backup fails.
    pub prepare: Duration,
    /// For `freeze`: 10 seconds by default. Past it the backup fails.
    pub freeze: Duration,
    /// For `thaw`: 10 seconds by default. Past it the backup goes on, and says so.
    pub thaw: Duration,
    /// For `abort`: 10 seconds by default. Past it nobody waits for it any more.
    pub abort: Duration,
    /// How long it may stay frozen: a minute by default. Past it it is thawed, whatever the backup is
    /// doing: before the instant that fails the backup, afterwards it makes it partial.
    pub frozen: Duration,
}

impl Default for ParticipantLimits {
    fn default() -> ParticipantLimits {
        let (long, short) = (Duration::from_secs(60), Duration::from_secs(10));
        ParticipantLimits { prepare: long, freeze: short, thaw: short, abort: short, frozen: long }
    }
}

/// What a participant asks of the backups that it takes part in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParticipantTerms {
    /// Until when it stays frozen.
    pub hold: HoldUntil,
    /// How long its calls may take.
    pub limits: ParticipantLimits,
    /// Its own files and folders: attachments of every backup that it takes part in.
    pub files: Vec<PathBuf>,
}

/// A participant under its name, with its terms.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) name: Arc<str>,
    pub(crate) terms: Arc<ParticipantTerms>,
    pub(crate) participant: Arc<Mutex<Box<dyn Participant>>>,
}

impl Registered {
    pub(crate) fn new(name: impl Into<String>, participant: impl Participant + 'static) -> Self {
        let terms = Arc::new(participant.terms());
        let participant: Arc<Mutex<Box<dyn Participant>>> =
            Arc::new(Mutex::new(Box::new(participant)));
        Registered { name: name.into().into(), terms, participant }
    }
}

/// Those that every backup of a store calls, in the order of their registration.
#[derive(Default)]
pub(crate) struct Participants(Mutex<Vec<Registered>>);

impl Participants {
    pub(crate) fn all(&self) -> Vec<Registered> {
        self.0.lock().clone()
    }

    /// Sees that no participant has this name.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where one has.
    fn check_name(&self, name: &str) -> Result<()> {
        match self.0.lock().iter().any(|other| *other.name == *name) {
            true => Err(taken(name)),
            false => Ok(()),
        }
    }

    /// Puts `registered` behind the others.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where one has its name.
    fn register(&self, registered: Registered) -> Result<()> {
        let mut all = self.0.lock();
        if all.iter().any(|other| other.name == registered.name) {
            return Err(taken(&registered.name));
        }
        all.push(registered);
        Ok(())
    }
}

fn taken(name: &str) -> Error {
    Error::new(ErrorKind::Exists, format!("there is a participant called \"{name}\""))
}

/// Most names of participants that a store remembers having notified.
const MOST_NOTIFIED: usize = 1000;

impl Inner {
    /// Registers a participant, which first hears of the commit that the store was brought to.
    pub(crate) fn register_participant(&self, registered: Registered) -> Result<()> {
        self.participants.check_name(&registered.name)?;
        let state = self.backup_state();
        let notified = |name: &String| **name == *registered.name;
        if let Some(to) = state.restored_to
            && !state.notified.iter().any(notified)
        {
            let to = RestoredCommit { lsn: to.lsn, timeline: to.timeline.into() };
            let answer = registered.participant.lock().restored(&to);
            answer.map_err(|cause| {
                let what = format!(
                    "the participant \"{}\" cannot follow the store, which was brought to LSN {}",
                    registered.name, to.lsn
                );
                Error::new(ErrorKind::Refused, what)
                    .with_code(code::PARTICIPANT)
                    .because(std::io::Error::other(cause))
            })?;
            // Where this cannot be written it is told again, which changes nothing for it.
            let _again = self.update_backup_state(|state| {
                state.notified.push(registered.name.to_string());
                let surplus = state.notified.len().saturating_sub(MOST_NOTIFIED);
                state.notified.drain(..surplus);
            });
        }
        self.participants.register(registered)
    }
}

impl Store {
    /// Lets `participant` take part in every backup of this store from the next one on, after those
    /// that are registered already and before those of the backup itself
    /// ([`BackupBuilder::participant`](crate::BackupBuilder::participant)).
    ///
    /// The registration ends with [`unregister_participant`](Store::unregister_participant), or with
    /// the last clone of the store: a participant that owns a clone keeps the store open until it is
    /// unregistered.
    ///
    /// Where the store was brought to another commit since a participant of this name was registered
    /// last, [`restored`](Participant::restored) is called first.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] where one of this name is registered; [`ErrorKind::Refused`] (2012) where
    /// it cannot follow the store.
    pub fn register_participant(
        &self,
        name: impl Into<String>,
        participant: impl Participant + 'static,
    ) -> Result<()> {
        self.inner().register_participant(Registered::new(name, participant))
    }

    /// Ends the registration of the participant `name`; `false` where there is none. A backup that
    /// runs calls it to its end. Never waits.
    pub fn unregister_participant(&self, name: &str) -> bool {
        let mut all = self.inner().participants.0.lock();
        let found = all.iter().position(|one| &*one.name == name).map(|at| all.remove(at));
        drop(all);
        // Dropped here: foreign code runs under no lock.
        found.is_some()
    }
}
