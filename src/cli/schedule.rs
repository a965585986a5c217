//! `stillpoint schedule`: when automatic backups of a store are due.
//!
//! It reads the settings alone. Whether anybody makes those backups depends on a process that has the
//! store open with its regime.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint::disk::RealDisk;
use stillpoint::regime::{self, Outline, next_after};

use super::exit::Outcome;
use super::show::Output;
use super::stores;

/// Tell when automatic backups of a store are due.
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    /// The folder of the store.
    dir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the next ones, in the time zone of the schedule.
    Next {
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
    },
}

impl Schedule {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        stores::require(&self.dir)?;
        let outline = Outline::of(&*RealDisk::new(), &self.dir)?;
        let What::Next { count } = self.what;
        let mut slots = Vec::new();
        let mut after = Timestamp::now();
        for _ in 0..count {
            let Some(slot) = next_after(&outline.schedule, None, after, &outline.zone) else {
                break;
            };
            slots.push(slot.to_zoned(outline.zone.clone()));
            after = slot;
        }
        let next: Vec<Value> = slots
            .iter()
            .map(|slot| {
                let local = slot.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
                json!({"time": slot.timestamp().as_microsecond(), "local": local})
            })
            .collect();
        let text = match slots.is_empty() {
            true => match outline.schedule {
                regime::Schedule::Weekly { .. } => {
                    "no backup is due by itself: the schedule is \
                     weekly and has no day (Scheduler/Weekly/Monday/Save and so on)"
                }
                _ => "no backup is due by itself: the schedule says never",
            }
            .to_owned(),
            false => slots
                .iter()
                .map(|slot| slot.strftime("%a %Y-%m-%d %H:%M:%S %:z\n").to_string())
                .collect(),
        };
        let zone = outline.zone.iana_name();
        output.result(&json!({"zone": zone, "next": next}), text)
    }
}
