//! `stillpoint follow`: a mirror is kept up to date with a folder.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use stillpoint::{Error, FollowEvent, Follower};

use super::by_hand;
use super::exit::Outcome;
use super::keys::KeyArgs;
use super::show::Output;
use super::stop::Stop;
use super::{integrate, stores};

/// Keep a mirror up to date: integrate what comes into a folder, until Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The folder into which log segments and log archives of the source come.
    folder: PathBuf,
    /// The folder of the mirror: a store that was restored from an archive of the source.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// Integrate what is there, and end: with an error where something of it could not be.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks into the folder.
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    interval: u32,
    #[command(flatten)]
    keys: KeyArgs,
}

impl Follow {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        let store = stores::open_to_write(&self.store)?;
        let mut follower = Follower::new(store.clone(), &self.folder).keys(self.keys.keys()?);
        if self.once {
            let mut left = None;
            for event in follower.step()? {
                self.put_down(&event);
                tell(&event, output)?;
                if let FollowEvent::Waiting(error) | FollowEvent::Unreadable(error) = event {
                    left.get_or_insert(error);
                }
            }
            drop(follower);
            store.close()?;
            // Nobody looks again: what could not be taken is how it ended.
            return left.map_or(Ok(()), |error| Err(error.into()));
        }
        let interval = Duration::from_secs(self.interval.into());
        let mut told = Ok(());
        follower.run(
            interval,
            || !stop.pressed(),
            |event| {
                self.put_down(event);
                if told.is_ok() {
                    told = tell(event, output);
                }
            },
        )?;
        told?;
        drop(follower);
        store.close()?;
        Ok(())
    }

    /// Each integration stands in the books of the mirror; what is only waited for does not.
    fn put_down(&self, event: &FollowEvent) {
        if let FollowEvent::Integrated(report) = event {
            let act = by_hand::begin(&self.store);
            by_hand::tell(act.followed(&self.folder, report));
        }
    }
}

fn tell(event: &FollowEvent, output: Output) -> Outcome {
    match event {
        FollowEvent::Integrated(report) => {
            output.result(&named("integrated", integrate::object(report)), integrate::text(report))
        }
        FollowEvent::Waiting(gap) => output.result(
            &named("waiting", problem(gap)),
            format!("waiting for what is missing: {}", gap.message()),
        ),
        FollowEvent::Unreadable(error) => output.result(
            &named("unreadable", problem(error)),
            format!("cannot be read, perhaps yet: {}", error.summary()),
        ),
        FollowEvent::Hindered(error) => output.result(
            &named("hindered", problem(error)),
            format!("cannot go on yet: {}", error.summary()),
        ),
        _ => Ok(()),
    }
}

fn problem(error: &Error) -> Value {
    json!({ "code": error.code(), "message": error.summary() })
}

fn named(event: &str, mut object: Value) -> Value {
    object["event"] = event.into();
    object
}
