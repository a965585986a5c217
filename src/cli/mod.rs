//! The command line: one file per command.
//!
//! It uses the library's public API and nothing else (it is compiled as part of the binary, so it
//! could not do otherwise). A command opens what it needs, does one thing, prints a result to the
//! standard output, and returns; [`exit`] says how it ends. It keeps no state between runs.

mod exit;
mod rows;
mod show;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use show::Output;

/// An embedded record store whose live backup is consistent, bounded and proven.
#[derive(Debug, Parser)]
#[command(name = "stillpoint", version, after_long_help = exit::TABLE, propagate_version = true)]
struct Arguments {
    /// Print results and errors as JSON, for programs. No thermometer is drawn then.
    #[arg(long, global = true)]
    json: bool,
}

/// Runs the command that the arguments of this process name.
pub(crate) fn main() -> ExitCode {
    let output = Output { json: Arguments::parse().json };
    match output.result(&serde_json::json!({}), "") {
        Ok(()) => exit::Exit::Done.into(),
        Err(failure) => {
            failure.print(output.json);
            failure.exit().into()
        }
    }
}
