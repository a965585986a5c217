//! Reading an archive through its parity: every block is tried when it is first read, and made from
//! the others of its stripe where it is damaged. Nothing on the disk is changed.
//!
//! Where the damage is more than the stripe can bear, what lies there is handed on as it is: the seal,
//! the checksums of the frames and the encryption have the last word, so parity that is damaged itself
//! or belongs to another archive makes nothing worse.

use super::count::RepairCount;
use super::file::{Parity, Table, beyond};
use super::geometry::{Geometry, Stripe};
use super::stripe::{Examined, read_block};
use crate::archive::digest::Digest;
use crate::archive::parts::Joined;
use crate::disk::File;
use crate::error::{Error, Result};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;

/// Mended blocks that are kept: 64 MiB.
const KEPT_BLOCKS: usize = 1024;
/// Tables that are kept: 2 MiB.
const KEPT_TABLES: usize = 400;

/// An archive behind its parity.
pub(crate) struct Guard {
    archive: Arc<Joined>,
    pub(crate) parity: Parity,
    state: Mutex<State>,
    repairs: Arc<RepairCount>,
}

#[derive(Default)]
struct State {
    /// One bit for each block of the archive as it is: set when it was found right.
    right: Bits,
    /// The same: set when it was repaired.
    repaired: Bits,
    tables: HashMap<u64, Option<Table>>,
    mended: VecDeque<(u64, Vec<u8>)>,
    /// Stripes that cannot be repaired.
    lost: HashSet<u64>,
    /// The first damaged block that was met, and why it could not be repaired, if so.
    first_mended: Option<u64>,
    first_lost: Option<Error>,
}

impl Guard {
    pub(crate) fn new(archive: Arc<Joined>, parity: Parity) -> Guard {
        let repairs = RepairCount::new(archive.path_at(0));
        Guard { archive, parity, state: Mutex::new(State::default()), repairs }
    }

    /// Counts what is repaired in memory.
    pub(crate) fn repairs(&self) -> Arc<RepairCount> {
        self.repairs.clone()
    }

    fn geometry(&self) -> &Geometry {
        &self.parity.header.geometry
    }

    /// Fails if any damage was met so far.
    pub(crate) fn check_met(&self) -> Result<()> {
        let state = self.state.lock();
        if let Some(error) = &state.first_lost {
            return Err(error.clone());
        }
        match state.first_mended {
            None => Ok(()),
            Some(block) => {
                let at = block * u64::from(self.geometry().block_bytes);
                let message = format!("it is damaged at byte {at} of the whole, or near it");
                Err(Error::corrupt(self.archive.path_at(at), message)
                    .hint("Its parity can repair it: `stillpoint verify --repair`."))
            }
        }
    }

    /// Reads the parity file and fails if any of it is damaged.
    pub(crate) fn check_parity(&self, mut go_on: impl FnMut() -> Result<()>) -> Result<()> {
        let geometry = self.geometry();
        let worn = || {
            self.parity
                .damaged("the parity is damaged; the archive is whole")
                .hint("`stillpoint verify --repair` makes it anew.")
        };
        if self.parity.worn {
            return Err(worn());
        }
        let mut block = vec![0; geometry.block_bytes as usize];
        for number in 0..geometry.stripes() {
            let stripe = geometry.stripe(number);
            let Some((table, true)) = self.parity.table(&stripe) else { return Err(worn()) };
            for (index, digest) in table.digests[stripe.data..].iter().enumerate() {
                let read = self.parity.read_block(&stripe, index, &mut block);
                if !read || Digest::of(&block).0 != *digest {
                    return Err(worn());
                }
            }
            go_on()?;
        }
        Ok(())
    }

    /// Reads from `offset` on, at most to the end of the block.
    fn read_in_block(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let grid = u64::from(self.geometry().block_bytes);
        let (number, within) = (offset / grid, (offset % grid) as usize);
        let mut state = self.state.lock();
        if state.right.is_set(number) {
            drop(state);
            if self.archive.read_or_zeros(buffer, offset) {
                return Ok(());
            }
            state = self.state.lock();
        }
        let mut block = vec![0; grid as usize];
        let read = read_block(&self.archive, self.geometry(), number, &mut block);
        let (stripe, index) = self.geometry().place(number);
        let table = state.table(&self.parity, &stripe);
        if table.is_some_and(|table| table.digests[index] == Digest::of(&block).0) {
            state.right.set(number);
            buffer.copy_from_slice(&block[within..within + buffer.len()]);
            return Ok(());
        }
        state.first_mended.get_or_insert(number);
        if let Some(mended) = self.mend(&mut state, stripe, number) {
            buffer.copy_from_slice(&mended[within..within + buffer.len()]);
            if state.repaired.set(number) {
                self.repairs.add();
            }
            return Ok(());
        }
        drop(state);
        match read {
            true => buffer.copy_from_slice(&block[within..within + buffer.len()]),
            false => return self.archive.read_exact_at(buffer, offset),
        }
        Ok(())
    }

    /// Block `number` as it was; `None` where its stripe cannot be repaired.
    fn mend<'s>(&self, state: &'s mut State, stripe: Stripe, number: u64) -> Option<&'s [u8]> {
        let kept = |state: &State| state.mended.iter().position(|(other, _)| *other == number);
        if kept(state).is_none() {
            if state.lost.contains(&stripe.number) {
                return None;
            }
            match self.mend_stripe(stripe) {
                Ok(mended) => {
                    state.mended.extend(mended);
                    let surplus = state.mended.len().saturating_sub(KEPT_BLOCKS);
                    state.mended.drain(..surplus);
                }
                Err(error) => {
                    state.lost.insert(stripe.number);
                    state.first_lost.get_or_insert(error);
                }
            }
        }
        let at = kept(state)?;
        Some(&state.mended[at].1)
    }

    fn mend_stripe(&self, stripe: Stripe) -> Result<Vec<(u64, Vec<u8>)>> {
        let at = stripe.block(0) * u64::from(self.geometry().block_bytes);
        let Some(examined) = Examined::read(&self.archive, &self.parity, stripe) else {
            return Err(self
                .parity
                .damaged(format!("both tables of stripe {} are damaged", stripe.number)));
        };
        match examined.is_bearable() {
            true => examined.mend(self.geometry()),
            false => Err(beyond(self.archive.path_at(at), examined.bad(), &stripe)),
        }
    }
}

/// A set of blocks. Grows with what was read, never with what a header claims.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn is_set(&self, block: u64) -> bool {
        self.0.get((block / 64) as usize).is_some_and(|bits| bits >> (block % 64) & 1 == 1)
    }

    /// Returns whether it was not there.
    fn set(&mut self, block: u64) -> bool {
        let word = (block / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let before = self.0[word];
        self.0[word] |= 1 << (block % 64);
        self.0[word] != before
    }
}

impl State {
    fn table(&mut self, parity: &Parity, stripe: &Stripe) -> Option<&Table> {
        if self.tables.len() >= KEPT_TABLES && !self.tables.contains_key(&stripe.number) {
            self.tables.clear();
        }
        let read = || parity.table(stripe).map(|(table, _)| table);
        self.tables.entry(stripe.number).or_insert_with(read).as_ref()
    }
}

impl File for Guard {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let geometry = self.geometry();
        let grid = u64::from(geometry.block_bytes);
        let mut done = 0;
        while done < buffer.len() && offset + (done as u64) < geometry.total {
            let at = offset + done as u64;
            let room = (grid - at % grid).min(geometry.total - at);
            let count = room.min((buffer.len() - done) as u64) as usize;
            self.read_in_block(&mut buffer[done..done + count], at)?;
            done += count;
        }
        Ok(done)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.geometry().total)
    }

    fn drop_cache(&self, offset: u64, len: u64) {
        self.archive.drop_cache(offset, len);
    }
}
