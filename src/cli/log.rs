//! `stillpoint log`: the log of a store, or a log archive, is looked into.
//!
//! It takes no lock and changes nothing, so the store may be in use. What is committed meanwhile is
//! left out.

mod base;
mod select;
mod show;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stillpoint::disk::RealDisk;
use stillpoint::{Error, ErrorKind, LogCommit, LogFile, LogOperation, LogSegment};

use select::Select;

use super::exit::{Failure, Outcome};
use super::keys::KeyArgs;
use super::output_file;
use super::point::shown;
use super::show::table::{Align, Table};
use super::show::{Output, human};
use super::stop::Stop;
use super::{size, stores};

/// Look into the log of a store, or into a log archive.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The folder of the store, which may be in use; or a log archive, a segment, a folder of them.
    #[arg(value_name = "DIR")]
    place: PathBuf,
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the segments, with the commits and times that they hold.
    List,
    /// Show what was done, one operation a line: commit, time, record created, modified or deleted,
    /// value, user.
    Show {
        #[command(flatten)]
        select: Select,
        /// The archive that the log follows, where it does not lie where it belongs: it says which
        /// records were there.
        #[arg(long, value_name = "ARCHIVE")]
        base: Option<PathBuf>,
    },
    /// Write operations as JSON: an array with an object a line.
    Export(Export),
    /// Read and check every byte, and that the segments follow each other.
    Check,
    /// End the segment of a store and leave copies of what is new in a folder, for a mirror.
    Ship {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Export {
    /// The folder to write `JournalExport.json` into, which is made where it is missing; if not given,
    /// the standard output.
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// The archive that the log follows, where it does not lie where it belongs: it says which records
    /// were there.
    #[arg(long, value_name = "ARCHIVE")]
    base: Option<PathBuf>,
    #[command(flatten)]
    select: Select,
    /// The size after which another file is begun, in bytes or with K, M, G or T; 0 for no limit.
    #[arg(long, value_name = "SIZE", default_value = "10M", value_parser = size::parse)]
    #[arg(requires = "output")]
    max_bytes: u64,
}

impl Log {
    pub(crate) fn run(&self, output: Output, stop: &Stop) -> Outcome {
        match &self.what {
            What::List => list(&self.open()?.segments(), output),
            What::Check => check(&self.open()?, output),
            What::Show { select, base } => {
                let log = self.open_telling(base.as_deref())?;
                let mut out = output.stream();
                each(&log, select, stop, |commit, operation, object| match output.json {
                    true => out.line(&object.to_string()),
                    false => out.line(&show::line(commit, operation)),
                })?;
                out.end()
            }
            What::Export(export) => {
                export.run(&self.open_telling(export.base.as_deref())?, output, stop)
            }
            What::Ship { folder } => {
                output_file::refuse_in_store(&folder.join("segment"))?;
                ship(&self.place, folder, output)
            }
        }
    }

    /// The log, telling creation from modification, with the names of tables that are known.
    fn open_telling(&self, base: Option<&Path>) -> Outcome<LogFile> {
        let log = self.open()?;
        let base = base::of(&log, &self.place, base, &self.keys.keys()?)?;
        Ok(log.telling_creation(base)?)
    }

    fn open(&self) -> Outcome<LogFile> {
        if stores::is_store(&self.place) {
            return Ok(LogFile::of_store(RealDisk::new(), &self.place)?);
        }
        let log = LogFile::open_with(&self.place, &self.keys.keys()?)?;
        if log.segments().is_empty() {
            let message = "there is neither a store nor a log in the folder";
            let error = Error::new(ErrorKind::NotFound, message).at(&self.place);
            let hint = "Name the folder of a store, a log archive, or a folder of log files.";
            return Err(error.hint(hint).into());
        }
        Ok(log)
    }
}

fn list(segments: &[LogSegment], output: Output) -> Outcome {
    let objects: Vec<Value> = segments
        .iter()
        .map(|segment| {
            json!({
                "path": segment.path.display().to_string(),
                "number": segment.number,
                "timeline": format!("{:032x}", segment.timeline.id),
                "after": segment.after,
                "last": segment.last,
                "after_time": shown(segment.after_time),
                "last_time": shown(segment.last_time),
                "bytes": segment.bytes,
                "closed": segment.closed,
                "archived": segment.archived,
            })
        })
        .collect();
    let mut table = Table::new([
        ("Segment", Align::Left),
        ("After LSN", Align::Right),
        ("Last LSN", Align::Right),
        ("Last commit", Align::Left),
        ("Bytes", Align::Right),
        ("Timeline", Align::Left),
        ("", Align::Left),
    ]);
    for segment in segments {
        let timeline = format!("{:032x}", segment.timeline.id);
        table.row([
            name(&segment.path),
            human::count(segment.after),
            human::count(segment.last),
            shown(segment.last_time),
            human::bytes(segment.bytes),
            timeline[..8].to_owned(),
            if segment.closed { String::new() } else { "in use".to_owned() },
        ]);
    }
    output.result(&json!({ "segments": objects }), table.render())
}

/// The name of a segment; within an archive, behind that of the archive.
fn name(path: &Path) -> String {
    let own = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let above = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy());
    match above.filter(|above| above.contains(".log.zst")) {
        Some(archive) => format!("{archive}/{own}"),
        None => own,
    }
}

fn check(log: &LogFile, output: Output) -> Outcome {
    let check = log.check()?;
    let object = json!({
        "segments": check.segments,
        "commits": check.commits,
        "operations": check.operations,
        "bytes": check.bytes,
        "after": check.after,
        "last": check.last,
    });
    let text = format!(
        "sound: {} with {} ({}), LSN {} to {}",
        human::counted(check.segments, "segment"),
        human::counted(check.commits, "commit"),
        human::counted(check.operations, "operation"),
        human::count(check.after + 1),
        human::count(check.last),
    );
    output.result(&object, text)
}

fn ship(store: &Path, folder: &Path, output: Output) -> Outcome {
    let store = stores::open(store)?;
    let shipped = store.new_log_file(folder)?;
    store.close()?;
    let name = shipped.as_ref().map(|path| path.display().to_string());
    let text = match &name {
        Some(name) => format!("shipped {name}"),
        None => "nothing was committed since the last one".to_owned(),
    };
    output.result(&json!({ "file": name }), text)
}

impl Export {
    fn run(&self, log: &LogFile, output: Output, stop: &Stop) -> Outcome {
        let Some(folder) = &self.output else {
            let mut array = Array::begin(std::io::stdout().lock()).map_err(Failure::output)?;
            each(log, &self.select, stop, |_, _, object| {
                array.add(object).map_err(Failure::output)
            })?;
            return array.end().map_err(Failure::output).map(drop);
        };
        output_file::refuse_in_store(&folder.join("export"))?;
        let mut files = Files { folder, open: None, paths: Vec::new() };
        let made = make_folder(folder)?;
        let exported =
            each(log, &self.select, stop, |_, _, object| files.add(object, self.max_bytes));
        let exported = exported.and_then(|operations| files.end().map(|()| operations));
        if exported.is_err() {
            files.take_back();
            // The innermost first; one that somebody else uses by now stays.
            for folder in made.iter().rev() {
                let _in_use = std::fs::remove_dir(folder);
            }
        }
        let operations = exported?;
        let names: Vec<String> =
            files.paths.iter().map(|path| path.display().to_string()).collect();
        output.result(
            &json!({ "operations": operations, "files": &names }),
            format!("exported {} to {}", human::counted(operations, "operation"), names.join(", ")),
        )
    }
}

/// Makes the folder with those above it, and tells which of them were missing, the outermost first.
fn make_folder(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let missing = folder
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && std::fs::metadata(above).is_err());
    let mut missing: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
    missing.reverse();
    std::fs::create_dir_all(folder)
        .map_err(|cause| Error::io("create the folder of the export", folder, cause))?;
    Ok(missing)
}

/// Gives each operation that `select` wants to `take`, and tells how many there are.
fn each(
    log: &LogFile,
    select: &Select,
    stop: &Stop,
    mut take: impl FnMut(&LogCommit, &LogOperation, &Value) -> Outcome,
) -> Outcome<u64> {
    let mut operations = 0;
    let mut failed = Ok(());
    log.commits(|commit| {
        if select.is_past(&commit) {
            return Ok(ControlFlow::Break(()));
        }
        if !select.wants_commit(&commit) {
            return Ok(stop.flow());
        }
        for (operation, object) in commit.operations.iter().zip(commit.to_json()) {
            failed = select.wants(operation).and_then(|wanted| {
                operations += u64::from(wanted);
                if wanted { take(&commit, operation, &object) } else { Ok(()) }
            });
            if failed.is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(stop.flow())
    })?;
    failed?;
    stop.check("The log was not written to its end.")?;
    Ok(operations)
}

/// A JSON array with an element a line.
struct Array<W: Write> {
    out: BufWriter<W>,
    bytes: u64,
    empty: bool,
}

impl<W: Write> Array<W> {
    fn begin(out: W) -> std::io::Result<Array<W>> {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        out.write_all(b"[")?;
        Ok(Array { out, bytes: 1, empty: true })
    }

    fn add(&mut self, object: &Value) -> std::io::Result<()> {
        let line = object.to_string();
        let comma = if self.empty { "\n" } else { ",\n" };
        self.empty = false;
        self.bytes += (comma.len() + line.len()) as u64;
        self.out.write_all(comma.as_bytes())?;
        self.out.write_all(line.as_bytes())
    }

    fn end(mut self) -> std::io::Result<W> {
        self.out.write_all(b"\n]\n")?;
        self.out.into_inner().map_err(std::io::IntoInnerError::into_error)
    }
}

/// Files of an export, each of a bounded length.
struct Files<'f> {
    folder: &'f Path,
    open: Option<Array<File>>,
    /// Those that were made so far.
    paths: Vec<PathBuf>,
}

impl Files<'_> {
    fn add(&mut self, object: &Value, max_bytes: u64) -> Outcome {
        if self.open.as_ref().is_some_and(|open| max_bytes > 0 && open.bytes >= max_bytes) {
            self.end()?;
        }
        let (number, folder) = (self.paths.len(), self.folder);
        let failed = |cause| Failure::from(Error::io("write the export", folder, cause));
        let array = match &mut self.open {
            Some(array) => array,
            None => {
                let name = match number {
                    0 => "JournalExport.json".to_owned(),
                    _ => format!("JournalExport-{}.json", number + 1),
                };
                let path = folder.join(&name);
                let file = File::create_new(&path).map_err(|cause| {
                    let advice = "Name a folder that has no such file.";
                    Error::io("create the export", &path, cause).hint(advice)
                })?;
                self.paths.push(path);
                self.open.insert(Array::begin(file).map_err(failed)?)
            }
        };
        array.add(object).map_err(failed)
    }

    /// Removes what an export that failed has made.
    fn take_back(&mut self) {
        self.open = None;
        for path in &self.paths {
            let _left_over = std::fs::remove_file(path);
        }
    }

    fn end(&mut self) -> Outcome {
        let Some(array) = self.open.take() else { return Ok(()) };
        let ended = array.end().and_then(|file| file.sync_all());
        ended.map_err(|cause| Error::io("write the export", self.folder, cause).into())
    }
}
