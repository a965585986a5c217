//! `stillpoint demo`: the main job, on real data, with the proof.
//!
//! A real data set is imported; readers and writers work on it; a backup is made in each of the
//! three accesses; each archive is restored and compared, record by record, with the demo's own
//! account of what was committed ([`history`]); one is opened with plain tar. What it says is what
//! happened: every figure is measured in the run, and a promise that was not kept makes the command
//! fail.
//!
//! It works in a folder of its own, which it removes. `--regime` tells another story
//! ([`regime`]) in the same way.

mod act;
mod contents;
mod history;
mod narrator;
mod place;
mod plain_tar;
mod regime;
mod report;
mod traffic;

use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{Error, ErrorKind, Store};

use super::backup::AccessName;
use super::exit::Outcome;
use super::import::Import;
use super::rows::{Format, read_from};
use super::show::{Output, human};
use super::stop::Stop;
use act::Scene;
use contents::contents;
use history::{Comparison, History, State};
use narrator::Narrator;
use place::Place;
use plain_tar::Unpacked;
use report::Act;
use traffic::{AIRPORTS, FLIGHTS, Ground};

/// The airports of the world, packed; see `data/airports/README.md`.
const DATA: &[u8] = include_bytes!("../../../data/airports/airports.csv.zst");
/// The column that is the key.
const KEY: &str = "icao";

/// See the main job done on real data: backups under traffic, restored and proven.
///
/// Imports 28,298 airports, lets threads read and write, makes a backup in each access, restores
/// each, and compares every record with what was committed. Takes less than a minute; needs no
/// network.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Work in this new folder and leave it there, to look at.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Walk from a settings file to a restore at any point instead: backups, logs, an accident,
    /// incremental, damaged and encrypted archives.
    #[arg(long)]
    regime: bool,
}

impl Demo {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        if self.regime {
            return regime::run(output, self.keep.as_ref(), stop);
        }
        let began = Instant::now();
        let narrator = Narrator { silent: output.json };
        let place = Place::new(self.keep.as_deref())?;
        narrator.say(&format!("Working in {}", place.folder().display()));
        let scene = set_the_scene(&place, narrator, stop)?;
        narrator.say("   Two threads read, two threads write: each flight is one transaction\n");
        let mut acts = Vec::new();
        for (at, access) in ACCESSES.into_iter().enumerate() {
            narrator.say(&format!("{}  {}", at + 2, headline(access)));
            acts.push(scene.perform(access)?);
        }
        let tar = scene.open_with_tar(&acts)?;
        if let Some(folder) = &self.keep {
            narrator.say(&format!("Everything stays in {}.\n", folder.display()));
        }
        let took = began.elapsed();
        output.result(&as_json(&scene, &acts, &tar, took), as_text(&acts, &tar, took))?;
        verdict(&acts, &tar)
    }
}

const ACCESSES: [AccessName; 3] = [AccessName::Frozen, AccessName::ReadOnly, AccessName::Live];

fn headline(access: AccessName) -> &'static str {
    match access {
        AccessName::Frozen => "A backup with access frozen: reads and writes wait",
        AccessName::ReadOnly => "A backup with access read-only: reads go on, writes wait",
        AccessName::Live => "A backup with access live: nobody waits",
    }
}

/// Imports the data and compares what the store contains with the file.
fn set_the_scene<'a>(place: &'a Place, narrator: Narrator, stop: &'a Stop) -> Outcome<Scene<'a>> {
    let (folder, file) = (place.path("store"), place.path("airports.csv.zst"));
    for new in ["backups"].map(|name| place.path(name)) {
        std::fs::create_dir(&new).map_err(|cause| Error::io("create the folder", &new, cause))?;
    }
    std::fs::write(&file, DATA).map_err(|cause| Error::io("write the file", &file, cause))?;
    let began = Instant::now();
    let imported = Import::of(&folder, AIRPORTS.name(), &file, KEY).perform(true, stop)?;
    let took = began.elapsed();

    let first = state_of_data()?;
    let store = Store::open(&folder)?;
    let compared = Comparison::of(&first, &contents(&store)?);
    if !compared.is_equal() {
        let message = format!("{} are not as in the file", compared.differences());
        return Err(Error::new(ErrorKind::Corrupt, message).at(&folder).into());
    }
    narrator.say(&format!(
        "1  Imported {} of the world in {}; every one is as in the file",
        human::counted(imported.rows, "airport"),
        human::duration(took),
    ));
    let write = store.begin_write()?;
    write.table(FLIGHTS)?;
    let lsn = write.commit()?.lsn;
    let airports = first.keys().map(|at| at.1.clone()).collect();
    let ground = Ground::new(store, airports, History::begin(lsn, first));
    Ok(Scene { ground: Arc::new(ground), place, narrator, stop })
}

/// What the store must contain after the import, read from the file and from nothing else.
fn state_of_data() -> Outcome<State> {
    let name = Path::new("airports.csv");
    let unpacked = zstd::Decoder::new(Cursor::new(DATA))
        .map_err(|cause| Error::io("unpack the data", name, cause))?;
    let mut state = State::new();
    for row in read_from(Box::new(BufReader::new(unpacked)), name, Format::Csv)? {
        let fields = row?.fields;
        let key = fields.get(KEY).and_then(Value::as_str).unwrap_or_default().to_owned();
        state.insert((AIRPORTS.name().to_owned(), key), Value::Object(fields));
    }
    Ok(state)
}

/// An archive opened without this program.
struct Tar {
    unpacked: Unpacked,
    compared: Option<Comparison>,
}

impl Scene<'_> {
    /// Unpacks the last archive with plain tar, opens what comes out as a store, and compares.
    fn open_with_tar(&self, acts: &[Act]) -> Outcome<Tar> {
        let Some(act) = acts.last() else {
            return Ok(Tar { unpacked: Unpacked::NoTool("no archive".to_owned()), compared: None });
        };
        let folder = self.place.path("by-tar");
        self.narrator.say(&format!("{}  An archive without this program", ACCESSES.len() + 2));
        self.narrator.say(&format!("     tar --zstd -xf '{}'", act.archive.display()));
        let unpacked = plain_tar::unpack(&act.archive, &folder)?;
        let compared = match &unpacked {
            Unpacked::Whole => Some(self.compare(act.lsn, &contents(&Store::open(&folder)?)?)?),
            Unpacked::NoTool(_) => None,
        };
        self.narrator.say(&format!("     {}\n", told_of_tar(&unpacked, compared)));
        Ok(Tar { unpacked, compared })
    }
}

fn told_of_tar(unpacked: &Unpacked, compared: Option<Comparison>) -> String {
    match (unpacked, compared) {
        (Unpacked::Whole, Some(compared)) if compared.is_equal() => {
            format!(
                "opens as a store; {} compared, all the same",
                human::counted(compared.same, "record")
            )
        }
        (Unpacked::Whole, _) => "what came out is NOT the store that was saved".to_owned(),
        (Unpacked::NoTool(said), _) => format!("skipped, this machine cannot: {said}"),
    }
}

fn as_text(acts: &[Act], tar: &Tar, took: Duration) -> String {
    let mut text = report::as_table(acts);
    let right = acts.iter().filter(|act| act.is_right()).count();
    text.push_str(&format!(
        "\n{right} of {} archives equal the store at exactly one commit, and not an older one than \
         was acknowledged before.\nPlain tar: {}.\nDone in {}.\n",
        acts.len(),
        told_of_tar(&tar.unpacked, tar.compared),
        human::duration(took),
    ));
    text
}

fn as_json(scene: &Scene<'_>, acts: &[Act], tar: &Tar, took: Duration) -> Value {
    json!({
        "records": scene.ground.airports.len(),
        "backups": report::as_json(acts),
        "tar": {
            "unpacked": tar.unpacked == Unpacked::Whole,
            "equal": tar.compared.map(|compared| compared.is_equal()),
        },
        "seconds": took.as_secs_f64(),
    })
}

/// Fails if a promise was not kept.
fn verdict(acts: &[Act], tar: &Tar) -> Outcome {
    let tar_is_right = tar.compared.is_none_or(|compared| compared.is_equal());
    if acts.iter().all(Act::is_right) && tar_is_right {
        return Ok(());
    }
    Err(Error::new(ErrorKind::BackupFailed, "a promise was not kept: see the table")
        .hint("Run it again with --keep DIR and look at what is there.")
        .into())
}
