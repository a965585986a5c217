//! What a crash leaves.
//!
//! A killed process leaves everything, synced or not, and what was not synced is *still* not synced:
//! a power cut afterwards may take it. A power cut leaves what was synced, and of the rest whatever
//! the medium happened to hold.

use std::collections::BTreeMap;

use super::content::Content;
use super::medium::{Medium, Node};
use super::names::{Ino, Names};
use super::random::Random;

/// How much of what was not synced survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// A power cut that took everything that was not synced: content, lengths and names.
    Nothing,
    /// The end of the process alone: everything stays, synced or not as it was.
    Everything,
    /// A power cut in the middle of writing back. The seed decides for each sector of 512 bytes which
    /// of its versions since the last sync survives, for each file which of its lengths, and for each
    /// change of names whether it happened.
    Random(u64),
}

impl Medium {
    /// What is found after a crash.
    pub(super) fn after_crash(&self, survival: Survival) -> Medium {
        match survival {
            Survival::Nothing => {
                self.keep(self.names.after_crash(|| false), |_, content| content.synced_only())
            }
            Survival::Everything => self.keep(self.names.clone(), |_, content| content.copy()),
            Survival::Random(seed) => {
                let mut random = Random::new(seed);
                let likely = [1, 4, 7][random.below(3) as usize];
                let names = self.names.after_crash(|| random.below(8) < likely);
                // Each file has numbers of its own, so that one does not depend on another.
                self.keep(names, |ino, content| {
                    content.partly_synced(&mut Random::new(random.next() ^ ino))
                })
            }
        }
    }

    fn keep(&self, names: Names, mut content: impl FnMut(Ino, &Content) -> Content) -> Medium {
        let mut nodes = BTreeMap::new();
        for (&ino, node) in &self.nodes {
            if !names.knows(ino) {
                continue;
            }
            let kept = match node {
                Node::File(file) => Node::File(content(ino, file)),
                Node::Dir { modified, access } => {
                    Node::Dir { modified: *modified, access: *access }
                }
                Node::Symlink(target) => Node::Symlink(target.clone()),
            };
            nodes.insert(ino, kept);
        }
        Medium { names, nodes, next_ino: self.next_ino }
    }
}
