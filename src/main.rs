//! The binary `stillpoint`: parse, call, print. Everything it does goes through the public API.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
