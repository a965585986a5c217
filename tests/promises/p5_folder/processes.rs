//! The same with two real processes on a real file system, both of which are killed.
//!
//! The test starts its own binary again as each of them; `child_that_commits` is what runs there, and does
//! nothing in an ordinary run of the tests.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use stillpoint::{Archive, Store, TableDef, code, verify_store};

const HOME: &str = "STILLPOINT_TEST_FOLDER";
const NAME: &str = "STILLPOINT_TEST_NAME";
const TABLE: TableDef<u64, String> = TableDef::new("numbers");

fn open(dir: &Path) -> Store {
    Store::builder(dir).memory_budget(48 << 10).segment_size(64 << 10).open().unwrap()
}

/// Commits until a commit is refused, says of each what became of it, and then waits to be killed.
#[test]
fn child_that_commits() {
    let Some(dir) = std::env::var_os(HOME) else { return };
    let name = std::env::var(NAME).unwrap();
    let store = open(Path::new(&dir));
    let mut out = std::io::stdout();
    for number in 1_000.. {
        let value = format!("{name} {}", "x".repeat((number % 700) as usize));
        let done = store.transact(|write| write.table(TABLE)?.put(&number, &value));
        match done {
            Ok(_) => writeln!(out, "\nacknowledged {number}").unwrap(),
            Err(error) => {
                writeln!(out, "\nrefused {}", error.code()).unwrap();
                break;
            }
        }
        out.flush().unwrap();
    }
    out.flush().unwrap();
    // What it would do in the background it does meanwhile.
    loop {
        std::thread::park();
    }
}

struct Committer {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    last: u64,
}

impl Committer {
    fn start(dir: &Path, name: &str) -> Committer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "p5_folder::processes::child_that_commits"])
            .args(["--nocapture", "--test-threads=1"])
            .env(HOME, dir)
            .env(NAME, name)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Committer { child, out, last: 0 }
    }

    /// The next thing that it says: a commit that it acknowledged, or the code of its refusal.
    fn hear(&mut self) -> Result<u64, i32> {
        loop {
            let line = self.out.next().expect("the child ended by itself").unwrap();
            match line.split_once(' ') {
                Some(("acknowledged", number)) => {
                    self.last = number.parse().unwrap();
                    return Ok(self.last);
                }
                Some(("refused", code)) => return Err(code.parse().unwrap()),
                _ => {}
            }
        }
    }

    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for line in self.out.map_while(Result::ok) {
            // A line that the kill cut short was not said.
            if let Some(number) = line.strip_prefix("acknowledged ") {
                self.last = self.last.max(number.parse().unwrap_or(0));
            }
        }
        self.last
    }
}

/// What `name` acknowledged through `last` is in the store at `dir`.
fn holds(dir: &Path, name: &str, last: u64) {
    verify_store(dir).unwrap();
    let store = open(dir);
    let read = store.begin_read().unwrap();
    let table = read.table(TABLE).unwrap();
    for number in 1_000..=last {
        let value = table.get(&number).unwrap();
        let value = value.unwrap_or_else(|| panic!("{number} of {last} is lost in {dir:?}"));
        assert!(value.starts_with(name), "{number}: {value}");
    }
}

#[test]
fn two_processes_in_folders_that_were_swapped_lose_nothing_that_they_acknowledged() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { scratch.path().join(name) };
    let (s, old) = (path("s"), path("old"));
    let store = Store::create(&s).unwrap();
    store.transact(|write| write.table(TABLE)?.put(&1, &"both".to_owned())).unwrap();
    std::fs::create_dir(path("backups")).unwrap();
    let archive = store.backup(path("backups")).run().unwrap().archive;
    store.close().unwrap();

    let mut first = Committer::start(&s, "first");
    for _ in 0..200 {
        first.hear().expect("nothing has happened yet");
    }
    std::fs::rename(&s, &old).unwrap();
    Archive::open(&archive).unwrap().restore(&s).run().unwrap();
    let mut second = Committer::start(&s, "second");
    for _ in 0..200 {
        second.hear().expect("it has the store alone");
    }
    let refused = loop {
        if let Err(code) = first.hear() {
            break code;
        }
    };
    assert_eq!(refused, code::STORE_MOVED);
    for _ in 0..50 {
        second.hear().expect("the first one does not touch it");
    }
    let (first, second) = (first.kill(), second.kill());
    assert!(first >= 1_199 && second >= 1_249);
    holds(&old, "first", first);
    holds(&s, "second", second);
}
