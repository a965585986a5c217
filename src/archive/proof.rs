//! Whether what parity makes of a damaged archive is that archive.
//!
//! A parity file beside an archive may be forged, may be that of an older archive with the same name,
//! or of another one altogether, and can still turn one whole archive into another. So what is
//! damaged has a say: a frame of it that passes its own checksum, at the place that a seek table gives
//! it, is what was written there, and so is a seal. What parity makes must contain all of these.

use super::crypt;
use super::frame::{self, FrameDecoder, MAX_CONTENT};
use super::frames::new_decoder;
use super::keys::{AGE_MAGIC, Keys};
use super::parity::{Guard, Proof};
use super::parts::{Files, Joined, is_damage};
use super::reader::{ArchiveFile, Below, read_end};
use super::seal::FrameMap;
use crate::disk::{Disk, File};
use crate::error::{Error, Result};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// So many bytes of two seals are equal where one is the other, damaged.
const SAME_SEAL: usize = 16;
/// How much is compared at once.
const PIECE: usize = 64 << 10;
/// Frames that are compared when an archive is opened. A repair compares all.
pub(crate) const AT_OPENING: usize = 256;

const FOREIGN: &str = "the parity is not that of the archive beside it, or was changed";
const WAY_OUT: &str = "Nothing was changed. Move the parity file away, and use another copy of it, \
    or of the archive.";

/// The proof by the seal of an archive.
pub(crate) struct BySeal<'p> {
    pub(crate) disk: &'p dyn Disk,
    pub(crate) keys: &'p Keys,
    /// For errors.
    pub(crate) parity: &'p Path,
}

impl Proof for BySeal<'_> {
    fn before(&self, files: &Files, repaired: Guard) -> Result<()> {
        let path = files.first();
        // Fails without the key, and where what would result has no end of an archive.
        let repaired = frames_of(Arc::new(repaired), self.keys, &path)
            .and_then(|frames| read_end(&*frames, &path));
        repaired.map_err(|error| self.refused(error))?;
        let plain = Joined::strict(self.disk, files).and_then(|archive| {
            let archive = Some(Arc::new(archive));
            let below = Below { archive, ..Below::default() };
            ArchiveFile::open_below(below, &path, self.keys)?.verify(0, &mut go_on)
        });
        match plain {
            Ok(_) => Err(foreign(self.parity, "the archive is whole")),
            Err(error) if is_damage(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn after(&self, (files, damaged): (&Files, Arc<Joined>), repaired: &Files) -> Result<()> {
        let path = files.first();
        let joined = Arc::new(Joined::strict(self.disk, repaired)?);
        let archive = Some(joined.clone());
        let below = Below { archive, ..Below::default() };
        let archive = ArchiveFile::open_below(below, &path, self.keys)
            .and_then(|archive| archive.verify(0, &mut go_on).map(|_| archive))
            .map_err(|error| self.refused(error))?;
        // With the lengths that it has, unless segments are missing.
        let damaged = Joined::strict(self.disk, files).map_or(damaged, Arc::new);
        belongs((damaged, joined), &archive, self.keys, usize::MAX)
            .map_err(|why| foreign(self.parity, why))
    }
}

impl BySeal<'_> {
    fn refused(&self, error: Error) -> Error {
        match is_damage(&error) {
            true => foreign(self.parity, "what it makes is no whole archive").because(error),
            false => error,
        }
    }
}

fn go_on<P>(_: P) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The error of parity that is not believed.
pub(crate) fn foreign(parity: &Path, why: &str) -> Error {
    Error::corrupt(parity, format!("{FOREIGN}: {why}")).hint(WAY_OUT)
}

/// The bytes of the frames in `raw`, decrypted where they are encrypted.
pub(crate) fn frames_of(raw: Arc<dyn File>, keys: &Keys, path: &Path) -> Result<Arc<dyn File>> {
    match is_encrypted(&*raw, path)? {
        true => crypt::decrypt(raw, keys, path),
        false => Ok(raw),
    }
}

pub(crate) fn is_encrypted(raw: &dyn File, path: &Path) -> Result<bool> {
    let mut magic = [0; AGE_MAGIC.len()];
    let len = raw.len().map_err(|cause| Error::io("measure", path, cause))?;
    if len < magic.len() as u64 {
        return Ok(false);
    }
    let read = raw.read_exact_at(&mut magic, 0);
    read.map_err(|cause| super::frames::read_failed(path, cause))?;
    Ok(magic == AGE_MAGIC)
}

/// Fails, with the reason, where the damaged archive proves that `made` is another one. `raw` are the
/// bytes of both, `most` is how many frames are compared by each seek table.
pub(crate) fn belongs(
    raw: (Arc<dyn File>, Arc<dyn File>),
    made: &ArchiveFile,
    keys: &Keys,
    most: usize,
) -> std::result::Result<(), &'static str> {
    let path = &made.path;
    let old = frames_of(raw.0.clone(), keys, path);
    let Ok(mut compare) = Compare::new(path, most) else { return Ok(()) };
    if let Ok(old) = &old {
        compare.by_map(&**old, &made.map, &*made.file)?;
        if let Ok((_, map, seal)) = read_end(&**old, path) {
            compare.by_map(&**old, &map, &*made.file)?;
            let equal = seal.0.iter().zip(made.seal.0).filter(|(a, b)| **a == *b).count();
            return match equal >= SAME_SEAL {
                true => Ok(()),
                false => Err("the archive has another seal"),
            };
        }
    }
    // Its end is lost. Where most of it is as the parity has it, nothing more is asked.
    if most != usize::MAX || most_agrees(&*raw.0, &*raw.1) {
        return Ok(());
    }
    match old {
        Ok(old) => compare.anywhere(&*old, &*made.file),
        Err(_) => Err("less than half of the archive is as the parity has it"),
    }
}

/// Compares frames of what is damaged with what was made of it.
struct Compare {
    decoder: FrameDecoder,
    most: usize,
    old: Vec<u8>,
    new: Vec<u8>,
    content: Vec<u8>,
}

const DIFFERS: &str = "it would replace parts of the archive that are whole";

impl Compare {
    fn new(path: &Path, most: usize) -> Result<Compare> {
        let decoder = new_decoder(path)?;
        Ok(Compare { decoder, most, old: Vec::new(), new: Vec::new(), content: Vec::new() })
    }

    fn by_map(
        &mut self,
        old: &dyn File,
        map: &FrameMap,
        new: &dyn File,
    ) -> std::result::Result<(), &'static str> {
        for (at, size) in (0..map.len().min(self.most)).filter_map(|number| map.get(number)) {
            self.old.resize(size.packed as usize, 0);
            if old.read_exact_at(&mut self.old, at).is_ok() {
                self.frame(at, size.content as usize, new)?;
            }
        }
        Ok(())
    }

    /// The frame in `self.old`, which lies at `at`.
    fn frame(
        &mut self,
        at: u64,
        content: usize,
        new: &dyn File,
    ) -> std::result::Result<(), &'static str> {
        self.new.resize(self.old.len(), 0);
        let read = new.read_exact_at(&mut self.new, at).is_ok();
        if read && self.new == self.old {
            return Ok(());
        }
        match self.decoder.decode(&self.old, content, &mut self.content) {
            Ok(()) => Err(DIFFERS),
            Err(_) => Ok(()),
        }
    }

    /// Looks for frames wherever they begin.
    fn anywhere(
        &mut self,
        old: &dyn File,
        new: &dyn File,
    ) -> std::result::Result<(), &'static str> {
        let len = old.len().unwrap_or_default();
        let mut piece = vec![0; PIECE + frame::MAGIC.len() - 1];
        for at in (0..len).step_by(PIECE) {
            let count = (len - at).min(piece.len() as u64) as usize;
            if old.read_exact_at(&mut piece[..count], at).is_err() {
                continue;
            }
            let begins = piece[..count].windows(4).enumerate().filter(|(_, w)| *w == frame::MAGIC);
            for begin in begins.map(|(within, _)| at + within as u64) {
                self.old.resize((len - begin).min(frame::bound(MAX_CONTENT) as u64) as usize, 0);
                if old.read_exact_at(&mut self.old, begin).is_err() {
                    continue;
                }
                if let Some((packed, content)) = frame::sizes(&self.old) {
                    self.old.truncate(packed);
                    self.frame(begin, content, new)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether at least half of the bytes are equal.
fn most_agrees(old: &dyn File, new: &dyn File) -> bool {
    let len = |file: &dyn File| file.len().unwrap_or_default();
    let of = len(old).min(len(new));
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    let mut equal = 0;
    for at in (0..of).step_by(PIECE) {
        let count = (of - at).min(PIECE as u64) as usize;
        let (a, b) = (&mut a[..count], &mut b[..count]);
        if old.read_exact_at(a, at).is_ok() && new.read_exact_at(b, at).is_ok() {
            equal += a.iter().zip(&*b).filter(|(a, b)| a == b).count() as u64;
        }
    }
    equal * 2 >= of.max(1)
}
