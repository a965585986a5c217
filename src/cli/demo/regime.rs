//! `stillpoint demo --regime`: from settings to a restore at any point, on the real data set.
//!
//! A settings file names destination, schedule and retention; backups go by it. Between them flights
//! are committed, and once somebody deletes what should have stayed. What each kind of restore
//! brings back is compared, record by record, with the demo's own account of that commit
//! ([`History`](super::history::History)); so is what comes out of an encrypted archive, and of one
//! that was damaged and repaired. A comparison that fails makes the command fail.

mod acts;
mod proof;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use stillpoint::regime::Regime;
use stillpoint::{Error, ErrorKind, Store};

use super::act::Scene;
use super::narrator::Narrator;
use super::place::Place;
use super::set_the_scene;
use super::traffic::{Ground, Random, Tally};
use crate::cli::exit::Outcome;
use crate::cli::show::{Output, human};
use crate::cli::stop::Stop;
use proof::Proof;

/// The settings, as another program might have written them.
const SETTINGS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Preferences4D xmlns="http://www.4d.com/namespace/reserved/2004/backup">
  <Backup>
    <Settings>
      <Advanced>
        <SetNumber><Enable>True</Enable><Value>3</Value></SetNumber>
        <CompressionRate>Fast</CompressionRate>
        <CheckArchiveFileDuringBackup>True</CheckArchiveFileDuringBackup>
      </Advanced>
      <General>
        <DestinationFolder>./backups</DestinationFolder>
        <IncludeDataFile>True</IncludeDataFile>
        <IncludeStructureFile>True</IncludeStructureFile>
      </General>
      <Scheduler>
        <Frequency>Daily</Frequency>
        <Daily><Every>1</Every><Hour>0000-00-00T02:30:00</Hour></Daily>
      </Scheduler>
    </Settings>
  </Backup>
</Preferences4D>
"#;

/// What the acts share.
struct Story<'a> {
    regime: Regime,
    ground: Ground,
    place: &'a Place,
    narrator: Narrator,
    stop: &'a Stop,
    random: Random,
    /// Numbers of the acts, counted as they begin.
    act: u32,
    proofs: Vec<Proof>,
}

/// Tells the story, proves every restore, and fails if one is not what it must be.
pub(super) fn run(output: Output, keep: Option<&PathBuf>, stop: &Stop) -> Outcome {
    let began = Instant::now();
    let narrator = Narrator { silent: output.json };
    let place = Place::new(keep.map(PathBuf::as_path))?;
    narrator.say(&format!("Working in {}", place.folder().display()));
    let scene = set_the_scene(&place, narrator, stop)?;
    let mut story = Story::begin(scene)?;
    story.settings()?;
    story.backups_and_logs()?;
    story.accident()?;
    story.incremental()?;
    story.damage()?;
    story.encryption()?;
    story.records()?;
    story.regime.close()?;
    if let Some(folder) = keep {
        narrator.say(&format!("Everything stays in {}.\n", folder.display()));
    }
    let right = story.proofs.iter().filter(|proof| proof.is_right()).count();
    let object = json!({
        "proofs": story.proofs.iter().map(Proof::as_json).collect::<Vec<_>>(),
        "right": right == story.proofs.len(),
        "seconds": began.elapsed().as_secs_f64(),
    });
    let text = format!(
        "{}\n{right} of {} restores equal the store at the commit that was asked for.\nDone in {}.\n",
        proof::as_table(&story.proofs),
        story.proofs.len(),
        human::duration(began.elapsed()),
    );
    output.result(&object, text)?;
    if right == story.proofs.len() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::BackupFailed, "a promise was not kept: see the table")
        .hint("Run it again with --keep DIR and look at what is there.")
        .into())
}

impl<'a> Story<'a> {
    /// Closes the store that the scene was set in and opens it with its regime.
    fn begin(scene: Scene<'a>) -> Outcome<Story<'a>> {
        let Scene { ground, place, narrator, stop } = scene;
        let ground = Arc::into_inner(ground).ok_or_else(|| {
            Error::new(ErrorKind::InUse, "somebody works on the demo's store already")
        })?;
        let (dir, airports) = (ground.store.path().to_path_buf(), ground.airports);
        ground.store.close()?;
        drop(ground.store);
        let folder = dir.join("Settings");
        let file = folder.join("Backup.4DSettings");
        std::fs::create_dir(&folder)
            .and_then(|()| std::fs::write(&file, SETTINGS))
            .map_err(|cause| Error::io("write the settings", &file, cause))?;
        let regime = Regime::builder(Store::builder(&dir)).without_thread().open()?;
        let history = ground.history.into_inner();
        let ground = Ground::new(regime.store().clone(), airports, history);
        let (random, proofs) = (Random::new(7), Vec::new());
        Ok(Story { regime, ground, place, narrator, stop, random, act: 1, proofs })
    }

    /// Says the headline of the next act.
    fn headline(&mut self, text: &str) -> Outcome {
        self.stop.check("The demo's folder is removed.")?;
        self.act += 1;
        self.narrator.say(&format!("\n{}  {text}", self.act));
        Ok(())
    }

    fn say(&self, text: &str) {
        self.narrator.say(&format!("     {text}"));
    }

    /// So many flights, each a transaction.
    fn fly(&mut self, flights: u32) -> Outcome {
        let tally = Tally::default();
        for _ in 0..flights {
            self.ground.fly(1, &mut self.random, &tally)?;
        }
        Ok(())
    }
}
