//! What happens to destinations and to the histories in them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stillpoint::disk::Disk;
use stillpoint::regime::HISTORY_FILE;

use super::life::{DESTINATIONS, Life};
use crate::scene::{read_file, write_file};

impl Life {
    fn history(&self) -> PathBuf {
        Path::new(self.rules.to).join(HISTORY_FILE)
    }

    fn put_history(&self, bytes: &[u8]) {
        write_file(&self.sim, &self.history(), bytes);
    }

    pub(super) fn destination_changes(&mut self) {
        let other = DESTINATIONS.iter().find(|one| **one != self.rules.to).unwrap();
        self.rules.to = other;
        self.tell(format!("turned to {other}"));
        self.write_settings();
        // What the account says from now on is said of this one.
        self.own.clear();
        self.unbroken_from = None;
        self.older_history = None;
        self.close();
        self.open();
        self.settle();
    }

    pub(super) fn history_is_lost(&mut self) {
        self.tell("the history is lost");
        let _not_there = self.sim.remove_file(&self.history());
        self.sim.sync_dir(Path::new(self.rules.to)).unwrap();
        self.tampered = true;
    }

    /// A copy of the history is made, or one that was made is put back.
    pub(super) fn history_is_old(&mut self) {
        if self.sim.metadata(&self.history()).is_err() {
            return;
        }
        match self.older_history.take() {
            None => self.older_history = Some(read_file(&self.sim, &self.history())),
            Some(older) => {
                self.tell("an older copy of the history is put back");
                self.put_history(&older);
                self.tampered = true;
            }
        }
    }

    pub(super) fn history_is_edited(&mut self) {
        if self.sim.metadata(&self.history()).is_err() {
            return;
        }
        let mut history: Value =
            serde_json::from_slice(&read_file(&self.sim, &self.history())).unwrap();
        let Some(list) = history["shop"].as_array_mut().filter(|list| !list.is_empty()) else {
            return;
        };
        let at = self.random.below(list.len() as u64) as usize;
        let other = list[self.random.below(list.len() as u64) as usize].clone();
        let what = self.random.below(10);
        match what {
            0 => list[at]["storeId"] = json!("00000000000000000000000000000001"),
            1 => list[at]["lsn"] = json!(self.random.below(60)),
            2 => list[at]["backupNumber"] = json!(self.random.below(9)),
            3 => list[at]["timeline"] = other["timeline"].clone(),
            4 => list[at]["parent"] = other["seal"].clone(),
            5 => list[at]["seal"] = other["seal"].clone(),
            6 => list[at]["backupPath"] = other["backupPath"].clone(),
            7 => list.push(other),
            8 => drop(list.remove(at)),
            _ => list[at]["deleting"] = json!(true),
        }
        self.put_history(history.to_string().as_bytes());
        self.tell(format!("entry {at} of the history is edited: {what}"));
        self.tampered = true;
    }

    /// Everything is moved out of the destination, the history too.
    pub(super) fn destination_is_emptied(&mut self) {
        self.tell("the destination is emptied");
        let folder = Path::new(self.rules.to);
        for name in self.sim.list(folder).unwrap() {
            let ours = name.to_string_lossy();
            if ours.starts_with("shop[") || ours.starts_with("backupHistory") {
                self.sim.remove_file(&folder.join(&name)).unwrap();
            }
        }
        self.sim.sync_dir(folder).unwrap();
        self.robbed = true;
        self.robberies += 1;
        self.unbroken_from = None;
        self.absorb();
    }
}
