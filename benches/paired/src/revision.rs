//! A revision of the store, and the workload that is built against it.

use crate::Unit;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Revision {
    pub name: String,
    workload: PathBuf,
}

impl Revision {
    /// A commit: its files are unpacked beside this program, once.
    pub fn of_git(name: &str) -> Result<Revision, String> {
        let commit = git(&["rev-parse", "--verify", &format!("{name}^{{commit}}")])?;
        let folder = folder()?.join(&commit);
        let files = folder.join("files");
        if !files.exists() {
            let partial = folder.join("partial");
            let _ = fs::remove_dir_all(&partial);
            make(&partial)?;
            let tar = partial.join("files.tar");
            git(&["archive", "--format=tar", &format!("--output={}", tar.display()), &commit])?;
            run(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(&partial))?;
            fs::rename(&partial, &files).map_err(|e| format!("{}: {e}", files.display()))?;
        }
        Revision::build(commit[..9].to_owned(), &files, &folder)
    }

    /// The files as they lie in the repository now.
    pub fn working_tree() -> Result<Revision, String> {
        let name =
            git(&["describe", "--always", "--abbrev=9", "--exclude=*", "--dirty=, changed"])?;
        Revision::build(name, &repository(), &folder()?.join("working-tree"))
    }

    fn build(name: String, files: &Path, folder: &Path) -> Result<Revision, String> {
        let workload = Path::new(env!("CARGO_MANIFEST_DIR")).join("workload");
        let manifest = include_str!("../workload.toml")
            .replace("{workload}", &workload.display().to_string())
            .replace("{revision}", &files.display().to_string());
        make(folder)?;
        write_if_other(&folder.join("Cargo.toml"), &manifest)?;
        // The versions of dependencies are those that the revision itself has.
        let locked = fs::read_to_string(files.join("Cargo.lock")).map_err(|e| e.to_string())?;
        fs::write(folder.join("Cargo.lock"), locked).map_err(|e| e.to_string())?;
        // One target folder, so that dependencies are compiled once for both.
        let target = folder.parent().expect("it was joined").join("target");
        eprintln!("building the workload against {name}");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--release", "--manifest-path"]);
        cargo.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&target);
        run(&mut cargo)?;
        let built = folder.join("workload");
        fs::copy(target.join("release/workload"), &built).map_err(|e| e.to_string())?;
        Ok(Revision { name, workload: built })
    }

    /// The names of the rows.
    pub fn rows(&self) -> Result<Vec<String>, String> {
        let out = run(Command::new(&self.workload).arg("list"))?;
        Ok(out.lines().map(str::to_owned).collect())
    }

    /// Runs a row once; returns its figures: what, unit, value.
    pub fn run(&self, row: &str, records: u64) -> Result<Vec<(String, Unit, f64)>, String> {
        let out = run(Command::new(&self.workload).args([row, &records.to_string()]))?;
        out.lines().map(|line| figure(line).ok_or(format!("{row} wrote {line}"))).collect()
    }
}

fn figure(line: &str) -> Option<(String, Unit, f64)> {
    let mut parts = line.split('\t');
    let (what, unit, value) = (parts.next()?, parts.next()?, parts.next()?);
    let unit = match unit {
        "per second" => Unit::PerSecond,
        "time" => Unit::Time,
        "bytes" => Unit::Bytes,
        "count" => Unit::Count,
        _ => return None,
    };
    Some((what.to_owned(), unit, value.parse().ok()?))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where revisions are unpacked and built: beside this program.
fn folder() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    Ok(program.with_file_name("paired-revisions"))
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

/// Leaves a file alone that is as it should be, so that cargo does not build anew.
fn write_if_other(path: &Path, text: &str) -> Result<(), String> {
    match fs::read_to_string(path) {
        Ok(there) if there == text => Ok(()),
        _ => fs::write(path, text).map_err(|e| format!("{}: {e}", path.display())),
    }
}

fn git(args: &[&str]) -> Result<String, String> {
    let out = run(Command::new("git").arg("-C").arg(repository()).args(args))?;
    Ok(out.trim().to_owned())
}

/// Runs a command; what it wrote to its standard output, or why it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let problem = String::from_utf8_lossy(&out.stderr);
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(format!("{command:?} failed with {}:\n{problem}", out.status)),
    }
}
