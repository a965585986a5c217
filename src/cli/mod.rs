//! The command line: one file per command.
//!
//! It uses the library's public API and nothing else (it is compiled as part of the binary, so it
//! could not do otherwise). A command opens what it needs, does one thing, prints a result to the
//! standard output, and returns; [`exit`] says how it ends. It keeps no state between runs.

mod backup;
mod by_hand;
mod compact;
mod coverage;
mod delete;
mod demo;
mod drill;
mod exit;
mod export;
mod extract;
mod follow;
mod get;
mod history;
mod import;
mod info;
mod integrate;
mod journal;
mod keys;
mod log;
mod output_file;
mod point;
mod put;
mod repair;
mod restore;
mod restore_info;
mod rollback;
mod rows;
mod scan;
mod schedule;
mod settings;
mod show;
mod size;
mod stop;
mod stores;
mod tables;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use exit::{Exit, Failure, Outcome};
use show::{Output, plain};
use stop::Stop;

/// An embedded record store whose live backup is consistent, bounded and proven.
#[derive(Debug, Parser)]
#[command(name = "stillpoint", version, after_help = exit::TABLE, propagate_version = true)]
struct Arguments {
    /// Print results and errors as JSON, for programs. No thermometer is drawn then.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Import),
    Export(export::Export),
    Get(get::Get),
    Put(put::Put),
    Delete(delete::Delete),
    Scan(scan::Scan),
    Tables(tables::Tables),
    Info(info::Info),
    Backup(backup::Backup),
    Coverage(coverage::Coverage),
    Drill(drill::Drill),
    Restore(restore::Restore),
    RestoreInfo(restore_info::RestoreInfo),
    Extract(extract::Extract),
    Rollback(rollback::Rollback),
    Integrate(integrate::Integrate),
    Follow(follow::Follow),
    Log(log::Log),
    Verify(verify::Verify),
    Compact(compact::Compact),
    Repair(repair::Repair),
    Schedule(schedule::Schedule),
    Settings(settings::Settings),
    Journal(journal::Journal),
    History(history::History),
    Demo(demo::Demo),
}

impl Command {
    fn run(&self, output: Output, stop: &Stop) -> Outcome {
        match self {
            Command::Import(command) => command.run(output, stop),
            Command::Export(command) => command.run(output, stop),
            Command::Get(command) => command.run(output),
            Command::Put(command) => command.run(output),
            Command::Delete(command) => command.run(output),
            Command::Scan(command) => command.run(output, stop),
            Command::Tables(command) => command.run(output),
            Command::Info(command) => command.run(output),
            Command::Backup(command) => command.run(output, stop),
            Command::Coverage(command) => command.run(output, stop),
            Command::Drill(command) => command.run(output, stop),
            Command::Restore(command) => command.run(output, stop),
            Command::RestoreInfo(command) => command.run(output),
            Command::Extract(command) => command.run(output, stop),
            Command::Rollback(command) => command.run(output, stop),
            Command::Integrate(command) => command.run(output, stop),
            Command::Follow(command) => command.run(output, stop),
            Command::Log(command) => command.run(output, stop),
            Command::Verify(command) => command.run(output, stop),
            Command::Compact(command) => command.run(output, stop),
            Command::Repair(command) => command.run(output, stop),
            Command::Schedule(command) => command.run(output),
            Command::Settings(command) => command.run(output),
            Command::Journal(command) => command.run(output, stop),
            Command::History(command) => command.run(output),
            Command::Demo(command) => command.run(output, stop),
        }
    }
}

/// A duration as JSON has it.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Runs the command that the arguments of this process name.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(wrong) => return misused(&wrong),
    };
    let output = Output { json: arguments.json };
    let ended = Stop::at_signals().and_then(|stop| arguments.command.run(output, &stop));
    match ended {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            failure.print(output.json);
            failure.exit().into()
        }
    }
}

/// Arguments that make no sense, or that ask for help. A program reads JSON also where they are wrong.
fn misused(wrong: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if !(json && wrong.use_stderr()) {
        let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        if wrong.use_stderr() && words.any(|word| plain::line(&word) != word) {
            eprint!("{}", plain::lines(&wrong.render().to_string()));
            return Exit::WrongUse.into();
        }
        wrong.exit();
    }
    let text = wrong.render().to_string();
    let message = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let failure = Failure::wrong_use(message, "stillpoint COMMAND --help tells what there is.");
    failure.print(true);
    failure.exit().into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use stillpoint::{Store, TableDef};

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_key_may_begin_with_a_minus() {
        let parsed = Arguments::try_parse_from(["stillpoint", "get", "d", "t", "-3"]);
        assert!(matches!(parsed.unwrap().command, Command::Get(_)));
        let scan = ["stillpoint", "scan", "d", "t", "--from", "-5", "--to", "-3", "--json"];
        assert!(Arguments::try_parse_from(scan).unwrap().json);
        let put = ["stillpoint", "put", "d", "t", "-3", "-1.5"];
        assert!(Arguments::try_parse_from(put).is_ok());
    }

    /// The button is pressed before they begin: they come to the first step that looks at it.
    #[test]
    fn commands_that_may_take_long_are_stopped_and_leave_nothing_half_done() {
        let scratch = tempfile::tempdir().unwrap();
        let place = |name: &str| scratch.path().join(name).display().to_string();
        let (dir, backups) = (place("s"), place("s backups"));
        let store = Store::create(&dir).unwrap();
        let numbers = TableDef::<u64, u64>::new("numbers");
        store.transact(|write| write.table(numbers)?.put(&1, &1)).unwrap();
        std::fs::create_dir(&backups).unwrap();
        let archive = store.backup(&backups).run().unwrap().archive.display().to_string();
        store.close().unwrap();
        drop(store);
        for words in [
            &["verify", &dir][..],
            &["verify", &archive],
            &["extract", &archive, &dir, "numbers", "--as", "again"],
            &["extract", &archive, &dir, "numbers", "1"],
            &["coverage", &dir],
            &["drill", &dir],
        ] {
            let parsed = Arguments::try_parse_from(["stillpoint"].iter().chain(words)).unwrap();
            let ended = parsed.command.run(Output { json: true }, &Stop::pressed_already());
            let exit = ended.expect_err("it is stopped").exit();
            assert_eq!(exit, Exit::Stopped, "{words:?}");
        }
        let store = Store::open(&dir).unwrap();
        assert_eq!(store.begin_read().unwrap().tables().unwrap().len(), 1);
        assert!(!scratch.path().join("s.stillpoint-drill").exists());
    }

    #[test]
    fn what_is_missing_or_unknown_is_refused() {
        for wrong in [
            &["stillpoint"][..],
            &["stillpoint", "import", "d", "t", "f.csv"],
            &["stillpoint", "backup"],
            &["stillpoint", "backup", "d", "--to", "b", "--access", "open"],
            &["stillpoint", "scan", "d", "t", "--limit", "many"],
        ] {
            assert!(Arguments::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
