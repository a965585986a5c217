//! P7, many histories: copies of one store are restored, rolled back, fed with each other's logs and
//! written to, and every question about two histories is answered as a tree of commits says.
//!
//! The tree is the tests' own: a commit has a parent, and knows no timeline. Each commit puts a value
//! that no other has, so what a store holds, and what a log has in it, says which commits those are.
//!
//! `STILLPOINT_LIVES` says how many lives are led, `STILLPOINT_SEED` which comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint::disk::{Disk, SimDisk};
use stillpoint::regime::Regime;
use stillpoint::{
    Archive, IntegrateOptions, LogFile, Lsn, RestorePoint, Rollback, Store, StoreBuilder, code,
};

use crate::scene::{ITEMS, TO, all, write_file};
use crate::support::random::Random;
use crate::support::settings::settings;

const STEPS: usize = 30;
const COPIES: u64 = 4;

/// A commit of the tree; the first is the empty store.
struct Node {
    parent: Option<usize>,
    lsn: Lsn,
}

struct Lives {
    seed: u64,
    random: Random,
    sim: Arc<SimDisk>,
    nodes: Vec<Node>,
    /// The last commit of each copy, by its number.
    heads: BTreeMap<u64, usize>,
    archives: BTreeMap<PathBuf, usize>,
    made: u64,
    tale: Vec<String>,
}

impl Drop for Lives {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("STILLPOINT_LIVES=1 STILLPOINT_SEED={}", self.seed);
            self.tale.iter().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// All copies have one name, so that their archives are of one set.
fn dir(copy: u64) -> PathBuf {
    PathBuf::from(format!("/{copy}/shop"))
}

impl Lives {
    fn begin(seed: u64) -> Lives {
        let mut random = Random::new(seed);
        let sim = SimDisk::new(random.next());
        sim.create_dir(Path::new(TO)).unwrap();
        let (nodes, heads) = (vec![Node { parent: None, lsn: 0 }], BTreeMap::from([(1, 0)]));
        let (archives, tale) = (BTreeMap::new(), Vec::new());
        let lives = Lives { seed, random, sim, nodes, heads, archives, made: 1, tale };
        lives.sim.create_dir(Path::new("/1")).unwrap();
        lives.builder(1).create().unwrap().close().unwrap();
        lives.settle(1);
        lives
    }

    fn builder(&self, copy: u64) -> StoreBuilder {
        Store::builder(dir(copy))
            .disk(self.sim.clone())
            .segment_size(16 << 10)
            .memory_budget(24 << 10)
    }

    fn open(&self, copy: u64) -> Store {
        self.builder(copy).open().unwrap_or_else(|e| panic!("copy {copy}: {e:?}"))
    }

    /// Gives a copy its settings.
    fn settle(&self, copy: u64) {
        let folder = dir(copy).join("Settings");
        let _there = self.sim.create_dir(&folder);
        write_file(&self.sim, &folder.join("Backup.4DSettings"), settings(&[]).as_bytes());
    }

    fn path(&self, node: usize) -> Vec<usize> {
        std::iter::successors(Some(node), |node| self.nodes[*node].parent).collect()
    }

    /// The last commit that led to both.
    fn common(&self, one: usize, other: usize) -> usize {
        let path: BTreeSet<usize> = self.path(one).into_iter().collect();
        self.path(other).into_iter().find(|node| path.contains(node)).unwrap()
    }

    fn any(&mut self) -> u64 {
        let at = self.random.below(self.heads.len() as u64) as usize;
        *self.heads.keys().nth(at).unwrap()
    }

    fn tell(&mut self, what: String) {
        self.tale.push(what);
    }

    fn step(&mut self) {
        match self.random.below(12) {
            0..4 => self.commits(),
            4..6 => self.is_backed_up(),
            6..8 => self.is_restored(),
            8..10 => self.is_rolled_back(),
            _ => {
                let (to, from) = (self.any(), self.any());
                self.integrates(to, from);
            }
        }
    }

    fn commits(&mut self) {
        let (copy, many) = (self.any(), 1 + self.random.below(4));
        self.tell(format!("copy {copy}: {many} commits"));
        let store = self.open(copy);
        for _ in 0..many {
            let head = self.heads[&copy];
            let (node, lsn) = (self.nodes.len(), self.nodes[head].lsn + 1);
            let write = store.begin_write().unwrap();
            write.table(ITEMS).unwrap().put(&lsn, &node.to_string()).unwrap();
            assert_eq!(write.commit().unwrap().lsn, lsn);
            self.nodes.push(Node { parent: Some(head), lsn });
            self.heads.insert(copy, node);
            if self.random.below(3) == 0 {
                store.checkpoint().unwrap();
            }
        }
        store.close().unwrap();
    }

    fn is_backed_up(&mut self) {
        let copy = self.any();
        let store = self.open(copy);
        let made = store.backup(TO).run().unwrap();
        store.close().unwrap();
        self.tell(format!("copy {copy} is backed up: {}", made.archive.display()));
        self.archives.insert(made.archive, self.heads[&copy]);
    }

    /// An archive becomes a new copy, perhaps with the log archives that lead on from it.
    fn is_restored(&mut self) {
        if self.archives.is_empty() {
            return;
        }
        let at = self.random.below(self.archives.len() as u64) as usize;
        let (path, node) = self.archives.iter().nth(at).map(|(p, n)| (p.clone(), *n)).unwrap();
        self.made += 1;
        let copy = self.made;
        self.tell(format!("copy {copy} out of {}", path.display()));
        self.sim.create_dir(Path::new(&format!("/{copy}"))).unwrap();
        let archive = Archive::open_on(self.sim.clone(), &path).unwrap();
        archive.restore(dir(copy)).run().unwrap();
        self.settle(copy);
        self.heads.insert(copy, node);
        if self.heads.len() as u64 > COPIES {
            let oldest = *self.heads.keys().next().unwrap();
            self.heads.remove(&oldest);
        }
    }

    /// To a commit of its history that its own coverage says can be had.
    fn is_rolled_back(&mut self) {
        let copy = self.any();
        let head = self.heads[&copy];
        if self.nodes[head].lsn < 2 {
            return;
        }
        let regime = self.regime(copy);
        let coverage = regime.coverage().unwrap();
        regime.close().unwrap();
        drop(regime);
        let lsn = 1 + self.random.below(self.nodes[head].lsn - 1);
        let lost = coverage.gaps.iter().any(|gap| gap.after < lsn && lsn < gap.before);
        let covered = !lost
            && coverage.oldest.is_some_and(|oldest| oldest.lsn <= lsn)
            && coverage.newest.is_some_and(|newest| lsn <= newest.lsn);
        let back = Rollback::new(dir(copy), RestorePoint::Lsn(lsn)).archives(TO);
        let back = back.disk(self.sim.clone()).run();
        self.tell(format!("copy {copy} back to {lsn}, covered {covered}: {:?}", back.is_ok()));
        match back {
            Ok(_) => {
                let node = self.path(head).into_iter().find(|node| self.nodes[*node].lsn == lsn);
                self.heads.insert(copy, node.unwrap());
            }
            Err(error) => assert!(!covered, "{error:?}"),
        }
    }

    fn regime(&self, copy: u64) -> Regime {
        Regime::builder(self.builder(copy)).without_thread().open().unwrap()
    }

    /// What the log of a copy has in it.
    fn logged(&self, copy: u64) -> Vec<usize> {
        let mut nodes = Vec::new();
        let Ok(log) = LogFile::open_on(self.sim.clone(), dir(copy).join("log")) else {
            return nodes;
        };
        let read = log.commits(|commit| {
            let values = commit.operations.iter().filter_map(|op| op.value.clone());
            nodes.extend(values.map(|value| number_in(&value)));
            Ok(ControlFlow::Continue(()))
        });
        assert!(read.is_ok() || nodes.is_empty(), "{read:?}");
        nodes
    }

    /// May that log be integrated, and what comes of it.
    fn integrates(&mut self, to: u64, from: u64) {
        let (ours, theirs, logged) = (self.heads[&to], self.heads[&from], self.logged(from));
        self.tell(format!("copy {to} at {ours} takes the log of copy {from}: {logged:?}"));
        let Some(&last) = logged.last() else { return };
        assert_eq!(last, theirs, "its log leads to its last commit");
        let held: BTreeSet<usize> = self.path(ours).into_iter().collect();
        let common = self.common(ours, theirs);
        let first_new = logged.iter().find(|node| !held.contains(node)).copied();
        let store = self.open(to);
        let result = store.integrate(&[dir(from).join("log")], IntegrateOptions::default());
        let parting = self.nodes[common].lsn;
        match first_new {
            Some(new) if common != ours => {
                let error = result.unwrap_err();
                assert_eq!(error.code(), code::FOREIGN_LOG, "{new}: {error:?}");
                let told = format!("part after LSN {parting} ");
                assert!(format!("{error} ").contains(&told), "{told}: {error}");
            }
            Some(new) if self.nodes[new].parent != Some(ours) => {
                assert_eq!(result.unwrap_err().code(), code::LOG_GAP);
            }
            Some(_) => {
                assert_eq!(result.unwrap().lsn, self.nodes[theirs].lsn);
                self.heads.insert(to, theirs);
            }
            None => assert_eq!(result.unwrap().commits, 0),
        }
        store.close().unwrap();
    }

    /// Each copy holds what led to its last commit, and counts the archives that did.
    fn ask(&mut self) {
        let copies: Vec<u64> = self.heads.keys().copied().collect();
        for &copy in &copies {
            let path = self.path(self.heads[&copy]);
            let regime = self.regime(copy);
            let expected: Vec<(u64, String)> = path
                .iter()
                .rev()
                .filter(|node| self.nodes[**node].lsn > 0)
                .map(|node| (self.nodes[*node].lsn, node.to_string()))
                .collect();
            let store = regime.store();
            let found = if store.lsn() == 0 { Vec::new() } else { all(store) };
            assert_eq!(found, expected, "copy {copy}");
            let coverage = regime.coverage().unwrap();
            let on_way = self.archives.values().filter(|node| path.contains(node));
            let on_way: Vec<Lsn> = on_way.map(|node| self.nodes[*node].lsn).collect();
            let told = (coverage.archives, coverage.left_branches);
            assert_eq!(told, (on_way.len(), self.archives.len() - on_way.len()), "copy {copy}");
            let oldest = coverage.oldest.map(|point| point.lsn);
            assert_eq!(oldest, on_way.into_iter().min(), "copy {copy}");
            regime.close().unwrap();
            drop(regime);
        }
        let pairs = copies.iter().flat_map(|to| copies.iter().map(move |from| (*to, *from)));
        for (to, from) in pairs.collect::<Vec<_>>() {
            // Each pair as they are now.
            let (sim, heads) = (self.sim.clone(), self.heads.clone());
            self.sim = sim.image();
            self.integrates(to, from);
            (self.sim, self.heads) = (sim, heads);
        }
    }
}

/// The number that a stored value ends with: it is text, whatever stands before it.
fn number_in(value: &[u8]) -> usize {
    let digits = value.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    std::str::from_utf8(&value[digits..]).unwrap().parse().unwrap()
}

#[test]
fn every_question_about_two_histories_is_answered_as_the_tree_of_commits_says() {
    let asked = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse().ok());
    let first: u64 = asked("STILLPOINT_SEED").unwrap_or(1);
    for life in 0..asked("STILLPOINT_LIVES").unwrap_or(15) {
        let mut lives = Lives::begin(first.wrapping_add(life));
        for step in 0..STEPS {
            lives.step();
            if step % 6 == 5 {
                lives.ask();
            }
        }
    }
}
