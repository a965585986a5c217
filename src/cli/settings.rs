//! `stillpoint settings`: how backups go, shown and changed.
//!
//! It takes no lock, so the store may be in use; whoever has it open notices the change.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stillpoint::disk::RealDisk;
use stillpoint::regime::{SettingKey, SettingsFile};
use stillpoint::{Error, ErrorKind, code};

use super::exit::Outcome;
use super::show::table::{Align, Table};
use super::show::{Output, human, plain};
use super::stores;

/// Show, check or change how backups go.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The folder of the store, which may be in use.
    #[arg(value_name = "DIR")]
    store: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show every key with its value and where that comes from.
    Show,
    /// Print the value of a key.
    Get {
        /// The path of the key below `Settings`, or its end where that is unique.
        key: String,
    },
    /// Set a key; the file is made where there is none.
    Set {
        /// The path of the key below `Settings`, or its end where that is unique.
        key: String,
        /// The value; a list takes any number of them. After `--` it may begin with a dash.
        #[arg(value_name = "VALUE", allow_negative_numbers = true)]
        values: Vec<String>,
    },
    /// Tell everything that is wrong in a file.
    Check {
        /// The file; if not given, the one that is in force.
        file: Option<PathBuf>,
    },
    /// Make a copy of a file the settings of this store, after a check.
    Import {
        /// The file.
        file: PathBuf,
    },
}

impl Settings {
    pub(crate) fn run(&self, output: Output) -> Outcome {
        stores::require(&self.store)?;
        match &self.what {
            What::Show => show(&self.open()?, output),
            What::Get { key } => get(&self.open()?, SettingKey::find(key)?, output),
            What::Set { key, values } => {
                let key = SettingKey::find(key)?;
                let mut file = self.open()?;
                file.set(&*RealDisk::new(), key, values)?;
                told(&file, &format!("{} is set", key.path()), output)
            }
            What::Check { file: None } => check(&self.open()?, output),
            What::Check { file: Some(path) } => {
                check(&SettingsFile::read(&*RealDisk::new(), path)?, output)
            }
            What::Import { file } => {
                let file = SettingsFile::import(&*RealDisk::new(), &self.store, file)?;
                told(&file, "the settings are taken over", output)
            }
        }
    }

    fn open(&self) -> Outcome<SettingsFile> {
        Ok(SettingsFile::open(&*RealDisk::new(), &self.store)?)
    }
}

/// What a program reads of the value of `key`.
fn value(key: &SettingKey, values: &[String]) -> Value {
    match key.is_list() {
        true => json!(values),
        false => json!(values.concat()),
    }
}

fn show(file: &SettingsFile, output: Output) -> Outcome {
    let settings = file.settings()?;
    let mut object = serde_json::Map::new();
    let mut table = Table::new(["key", "value", "from"].map(|name| (name, Align::Left)));
    for key in SettingKey::all() {
        let values = key.values(&settings);
        object.insert(key.path().to_owned(), value(key, &values));
        let from = match file.line_of(key) {
            Some(line) => format!("line {line}"),
            None => "default".to_owned(),
        };
        table.row([key.path(), &values.join(", "), &from]);
    }
    let path = plain::path(file.path());
    let text = match file.is_there() {
        true => format!("{path}\n\n{}", table.render()),
        false => format!("There is no settings file; all is by default.\n\n{}", table.render()),
    };
    let path = file.is_there().then(|| file.path().display().to_string());
    output.result(&json!({"path": path, "settings": object}), text)
}

fn get(file: &SettingsFile, key: &SettingKey, output: Output) -> Outcome {
    let values = key.values(&file.settings()?);
    let object = json!({
        "key": key.path(),
        "value": value(key, &values),
        "default": value(key, &key.default_values()),
        "line": file.line_of(key),
    });
    output.result(&object, values.join("\n"))
}

fn check(file: &SettingsFile, output: Output) -> Outcome {
    let problems = file.problems();
    if !problems.is_empty() {
        return Err(refused(file.path(), problems.iter().map(ToString::to_string)).into());
    }
    let done = match file.unknown().len() as u64 {
        0 => "nothing is wrong".to_owned(),
        count => format!("no wrong value, {}", human::counted(count, "unknown key")),
    };
    told(file, &done, output)
}

fn refused(path: &Path, problems: impl Iterator<Item = String>) -> Error {
    let problems: Vec<String> = problems.collect();
    let count = human::counted(problems.len() as u64, "wrong value");
    Error::new(ErrorKind::Invalid, format!("{count}: {}", problems.join("; ")))
        .with_code(code::SETTINGS)
        .at(path)
}

/// The end of a command that went well, with what else is to be said of the file.
fn told(file: &SettingsFile, done: &str, output: Output) -> Outcome {
    let path = plain::path(file.path());
    let problems: Vec<String> = file.problems().iter().map(ToString::to_string).collect();
    let unknown = file.unknown();
    let mut text = format!("{path}: {done}");
    for problem in &problems {
        text.push_str(&format!("\nstill wrong: {problem}"));
    }
    for (key, line) in &unknown {
        text.push_str(&format!("\nunknown, kept and without effect: {key} in line {line}"));
    }
    let unknown: Vec<&String> = unknown.iter().map(|(key, _)| key).collect();
    let path = file.is_there().then(|| file.path().display().to_string());
    output.result(&json!({"path": path, "problems": problems, "unknown": unknown}), text)
}
