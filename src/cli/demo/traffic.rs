//! The work that goes on while the demo makes its backups: threads that read, threads that write.
//!
//! A reader looks up airports. A writer lets an aircraft fly: one transaction that counts a
//! movement at two airports and adds a flight, and tells the [`History`] what it committed. Both
//! count what they did and how long it took. They go at a measured pace, so that the demo shows
//! waiting and not the speed of the disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use stillpoint::{Error, ErrorKind, Store, TableDef, TicketState};

use super::history::{Change, History};
use crate::cli::exit::Outcome;

/// The airports, as the import wrote them: the demo reads them through a type of its own.
pub(crate) const AIRPORTS: TableDef<str, Airport> = TableDef::new("airports");
/// The flights that the writers add.
pub(crate) const FLIGHTS: TableDef<u64, Flight> = TableDef::new("flights");

/// The rest that each thread takes between two steps.
const PACE: Duration = Duration::from_micros(500);

/// A record of the data set. The import kept every cell as text; `movements` is the writers' own.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Airport {
    icao: String,
    iata: String,
    name: String,
    city: String,
    subd: String,
    country: String,
    elevation: String,
    lat: String,
    lon: String,
    tz: String,
    lid: String,
    #[serde(default)]
    movements: u64,
}

/// An aircraft flew.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Flight {
    from: String,
    to: String,
    writer: u64,
}

/// What the threads did, counted as they do it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    reads: AtomicU64,
    longest_read: AtomicU64,
    writes: AtomicU64,
    waited: AtomicU64,
    longest_wait: AtomicU64,
}

/// A tally at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) reads: u64,
    pub(crate) longest_read: Duration,
    pub(crate) writes: u64,
    pub(crate) waited: u64,
    pub(crate) longest_wait: Duration,
}

impl Tally {
    fn read(&self, took: Duration) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.longest_read.fetch_max(took.as_nanos() as u64, Ordering::Relaxed);
    }

    fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    fn waited(&self, took: Duration) {
        self.waited.fetch_add(1, Ordering::Relaxed);
        self.longest_wait.fetch_max(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// What was done until now.
    pub(crate) fn look(&self) -> Done {
        let nanos = |cell: &AtomicU64| Duration::from_nanos(cell.load(Ordering::Relaxed));
        Done {
            reads: self.reads.load(Ordering::Relaxed),
            longest_read: nanos(&self.longest_read),
            writes: self.writes.load(Ordering::Relaxed),
            waited: self.waited.load(Ordering::Relaxed),
            longest_wait: nanos(&self.longest_wait),
        }
    }
}

/// What the threads share.
pub(crate) struct Ground {
    pub(crate) store: Store,
    /// The keys of all airports.
    pub(crate) airports: Vec<String>,
    pub(crate) history: Mutex<History>,
    flights: AtomicU64,
}

impl Ground {
    pub(crate) fn new(store: Store, airports: Vec<String>, history: History) -> Ground {
        Ground { store, airports, history: Mutex::new(history), flights: AtomicU64::new(1) }
    }

    /// One flight, as one transaction.
    pub(crate) fn fly(
        &self,
        writer: u64,
        random: &mut Random,
        tally: &Tally,
    ) -> stillpoint::Result<()> {
        let ticket = self.store.request_write()?;
        let waits = ticket.state() == TicketState::Waiting;
        let asked = Instant::now();
        let write = ticket.wait()?;
        if waits {
            tally.waited(asked.elapsed());
        }
        let from = random.pick(&self.airports);
        let to = random.pick(&self.airports);
        let number = self.flights.fetch_add(1, Ordering::Relaxed);
        let flight = Flight { from: from.clone(), to: to.clone(), writer };

        let mut changes = Vec::with_capacity(3);
        // Two flights between the same airports ask for them in the same order.
        for code in BTreeSet::from([from, to]) {
            let airports = write.table(AIRPORTS)?;
            let mut airport = airports.get_for_update(code.as_str())?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("the airport {code} is gone"))
            })?;
            airport.movements += 1;
            airports.put(code.as_str(), &airport)?;
            changes.push(Change::put(AIRPORTS.name(), code.clone(), json!(airport)));
        }
        write.table(FLIGHTS)?.put(&number, &flight)?;
        changes.push(Change::put(FLIGHTS.name(), number.to_string(), json!(flight)));

        let lsn = write.commit()?.lsn;
        self.history.lock().record(lsn, changes);
        tally.wrote();
        Ok(())
    }

    /// One look at an airport, on a handle of its own.
    fn look_up(&self, random: &mut Random, tally: &Tally) -> stillpoint::Result<()> {
        let began = Instant::now();
        let code = random.pick(&self.airports);
        let found = self.store.begin_read()?.table(AIRPORTS)?.get(code.as_str())?;
        tally.read(began.elapsed());
        match found {
            Some(airport) if airport.icao == *code => Ok(()),
            _ => Err(Error::new(ErrorKind::Corrupt, format!("{code} was not found as it is"))),
        }
    }
}

/// Threads at work. They end with [`Traffic::end`], or when this is dropped.
pub(crate) struct Traffic {
    pub(crate) tally: Arc<Tally>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<stillpoint::Result<()>>>,
}

impl Traffic {
    /// Two readers and two writers begin to work.
    pub(crate) fn begin(ground: &Arc<Ground>) -> Traffic {
        let (tally, over) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let work =
            |seed: u64, job: fn(&Ground, u64, &mut Random, &Tally) -> stillpoint::Result<()>| {
                let (ground, tally, over) = (ground.clone(), tally.clone(), over.clone());
                spawn(move || {
                    let mut random = Random::new(seed);
                    while !over.load(Ordering::Acquire) {
                        job(&ground, seed, &mut random, &tally)?;
                        sleep(PACE);
                    }
                    Ok(())
                })
            };
        let read: fn(&Ground, u64, &mut Random, &Tally) -> _ =
            |ground, _, random, tally| ground.look_up(random, tally);
        let threads =
            vec![work(1, read), work(2, read), work(3, Ground::fly), work(4, Ground::fly)];
        Traffic { tally, over, threads }
    }

    /// Fails if a thread gave up; the error that it met.
    pub(crate) fn check(&mut self) -> Outcome {
        match self.threads.iter().any(JoinHandle::is_finished) {
            true => self.end(),
            false => Ok(()),
        }
    }

    /// Ends the work; the first error that a thread met.
    pub(crate) fn end(&mut self) -> Outcome {
        self.over.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let ended = thread.join().map_err(|_| {
                Error::new(ErrorKind::OutcomeUnknown, "a thread of the demo panicked")
            })?;
            ended?;
        }
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Enough disorder for a demo, the same at each run (xorshift).
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each `seed` but 0.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        &from[(self.0 % from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::contents::contents;
    use super::super::history::{Comparison, State};
    use super::*;

    fn airport(icao: &str) -> Airport {
        let field = || String::new();
        Airport {
            icao: icao.to_owned(),
            iata: field(),
            name: field(),
            city: field(),
            subd: field(),
            country: field(),
            elevation: field(),
            lat: field(),
            lon: field(),
            tz: field(),
            lid: field(),
            movements: 0,
        }
    }

    /// A store with a few airports, so that the writers often meet at one.
    fn ground(folder: &std::path::Path) -> Arc<Ground> {
        let store = Store::create(folder.join("store")).unwrap();
        let write = store.begin_write().unwrap();
        let mut first = State::new();
        let codes = ["A", "B", "C"].map(str::to_owned);
        for code in &codes {
            write.table(AIRPORTS).unwrap().put(code.as_str(), &airport(code)).unwrap();
            first.insert((AIRPORTS.name().to_owned(), code.clone()), json!(airport(code)));
        }
        write.table(FLIGHTS).unwrap();
        let lsn = write.commit().unwrap().lsn;
        Arc::new(Ground::new(store, codes.to_vec(), History::begin(lsn, first)))
    }

    #[test]
    fn the_account_equals_the_store_after_any_traffic() {
        let folder = tempfile::tempdir().unwrap();
        let ground = ground(folder.path());
        let mut traffic = Traffic::begin(&ground);
        while traffic.tally.look().writes < 200 || traffic.tally.look().reads < 50 {
            assert!(traffic.check().is_ok(), "a thread gave up");
            sleep(Duration::from_millis(1));
        }
        assert!(traffic.end().is_ok());
        let history = ground.history.lock();
        let found = contents(&ground.store).ok().unwrap();
        let at = |lsn| Comparison::of(&history.at(lsn).unwrap(), &found);
        assert!(at(history.last()).is_equal());
        assert!(at(history.last()).same > 200);
        assert!(at(history.last() - 1).differences() >= 2, "another commit is told apart");
    }

    #[test]
    fn a_flight_that_waits_for_a_hold_is_counted_as_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let ground = ground(folder.path());
        let hold = ground.store.hold_writes(Duration::from_secs(60)).unwrap();
        let mut traffic = Traffic::begin(&ground);
        while ground.store.pending_writes().len() < 2 || traffic.tally.look().reads < 5 {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(traffic.tally.look().writes, 0);
        drop(hold);
        while traffic.tally.look().writes < 5 {
            sleep(Duration::from_millis(1));
        }
        assert!(traffic.end().is_ok());
        assert_eq!(traffic.tally.look().waited, 2);
    }
}
