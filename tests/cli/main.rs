//! The command line as a person or a script meets it: the built binary, real files, exit codes.

mod backups;
mod corners;
mod demo;
mod exits;
mod guide;
mod interrupted;
mod journals;
mod layers;
mod logs;
mod outputs;
mod owners;
mod places;
mod points;
mod read_only;
mod records;
mod regime;
mod relative;
mod replaced;
mod rescue;
mod rows;
mod rows_exact;
mod safe_text;
mod settings;
mod stopping;
mod time_points;
mod tools;
mod wrong;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A scratch folder and the binary that works in it.
struct Shop {
    folder: TempDir,
}

/// How a command ended and what it printed.
#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Shop {
    fn new() -> Shop {
        Shop { folder: tempfile::tempdir().expect("a scratch folder can be made") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and gives its name.
    fn file<'a>(&self, name: &'a str, text: impl AsRef<[u8]>) -> &'a str {
        std::fs::write(self.path(name), text).expect("the scratch folder takes files");
        name
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stillpoint"));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().expect("the binary runs");
        Ended::of(output)
    }

    /// Runs a line of the shell in the scratch folder.
    fn shell(&self, line: &str) -> Ended {
        let mut shell = Command::new("bash");
        let output = shell.args(["-c", line]).current_dir(self.folder.path()).output();
        Ended::of(output.expect("the shell runs"))
    }

    /// Runs a command that must succeed, and gives what it printed.
    fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    /// Runs a command with `--json` that must succeed, and gives the object it printed.
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    /// Runs a command with `--json` that must fail with `code`, and gives the error it printed.
    fn fails(&self, code: i32, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "", "a failed command prints no result");
        let object: Value = serde_json::from_str(&ended.err)
            .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", ended.err));
        object["error"].clone()
    }

    /// The names in a folder of the scratch folder.
    fn names(&self, folder: &str) -> Vec<String> {
        names_in(&self.path(folder))
    }
}

impl Ended {
    fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("what is printed is UTF-8"),
            err: String::from_utf8(output.stderr).expect("what is printed is UTF-8"),
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A CSV of `rows` rows with text keys `k00000`..., in falling order of the keys.
fn sample_csv(rows: usize) -> String {
    let mut text = "id,name,zip\n".to_owned();
    for row in (0..rows).rev() {
        text.push_str(&format!("k{row:05},\"name, \"\"{row}\"\"\",{:05}\n", row * 7));
    }
    text
}
