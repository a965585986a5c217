//! The archives that a store is made of: an incremental one, what it goes on from, and so on down to
//! a full one.
//!
//! A chain is complete and checked, link by link, before anything is read for a restore: each parent
//! has the seal that its child wrote down, and store, timeline, commit and checkpoint of it. What the
//! pages of all of them come to is checked once more, page by page, when they are put together.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Archive;
use super::overlay::{Layer, Overlay, Piece, resolve};
use crate::archive::{ArchiveFile, Entry, PAGES, PAGES_INDEX, PageIndex, Progress};
use crate::destination::{Catalogue, Search, Wanted};
use crate::disk::atomic::parent;
use crate::engine::tree::{Checkpoint, open_read_only};
use crate::engine::{DATA_FILE, Lsn};
use crate::error::{Error, ErrorKind, Result, code};
use crate::store::{BackupHeader, BackupKind};

/// An archive of a chain.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChainLink {
    /// Where it lies.
    pub archive: PathBuf,
    /// Whether it is the full one.
    pub kind: BackupKind,
    /// The commit that it equals.
    pub lsn: Lsn,
    /// Its length in bytes.
    pub bytes: u64,
    /// Pages of the data file in it.
    pub pages: u64,
}

/// What the check of a chain has read.
#[non_exhaustive]
#[derive(Clone, Debug, serde::Serialize)]
pub struct ChainCheck {
    /// The archives, the newest first.
    pub links: Vec<ChainLink>,
    /// Pages that the newest checkpoint reaches, each read from where it lies.
    pub live_pages: u64,
    /// Records in them.
    pub records: u64,
}

/// An archive with its place in a chain.
pub(super) struct Link {
    pub(super) file: Arc<ArchiveFile>,
    header: BackupHeader,
    /// The pages that it holds; all of them in a full one.
    pub(super) index: PageIndex,
}

/// The archives of one store at one commit: the newest first, the full one last.
pub(super) struct Chain {
    links: Vec<Link>,
}

/// Where the links of a chain are looked for.
struct Parents<'a> {
    archive: &'a Archive,
    catalogues: Vec<Arc<Catalogue>>,
}

impl Parents<'_> {
    /// Opens the archive that has the seal: one of the paths that were given, or one in `folder` or
    /// where the chain begins. A link that was given from elsewhere may go on from one there.
    fn open(&mut self, wanted: Wanted<'_>, folder: &Path) -> Result<Arc<ArchiveFile>> {
        let mut why_not = None;
        for path in self.archive.given_parents() {
            match self.archive.open_beside(path) {
                Ok(file) if file.seal().to_string() == wanted.seal => return Ok(file),
                Ok(_) => {}
                Err(error) => why_not = why_not.or(Some(error)),
            }
        }
        let mut folders = vec![folder, parent(self.archive.path())];
        folders.dedup();
        for folder in &folders {
            match self.catalogue(folder)?.search(wanted) {
                Search::Found(_, Some(file)) => return Ok(self.archive.counted(file)),
                Search::Found(stored, None) => {
                    return stored.open().map(|file| self.archive.counted(file));
                }
                Search::Nothing(cause) => why_not = why_not.or(cause),
            }
        }
        Err(wanted.missing(folders[0], why_not))
    }

    fn catalogue(&mut self, folder: &Path) -> Result<&Catalogue> {
        let at = match self.catalogues.iter().position(|one| one.location() == folder) {
            Some(at) => at,
            None => {
                let (disk, keys) = (self.archive.disk(), self.archive.keys());
                self.catalogues.push(Arc::new(Catalogue::of_folder(disk, folder, keys)?));
                self.catalogues.len() - 1
            }
        };
        Ok(&self.catalogues[at])
    }
}

impl Link {
    fn new(file: Arc<ArchiveFile>, header: BackupHeader) -> Result<Link> {
        let index = match header.kind {
            BackupKind::Full => whole_index(&file, &header)?,
            BackupKind::Incremental => read_index(&file, &header)?,
        };
        Ok(Link { file, header, index })
    }

    /// The entry with the pages.
    pub(super) fn entry(&self) -> Result<&Entry> {
        let name = match self.header.kind {
            BackupKind::Full => DATA_FILE,
            BackupKind::Incremental => PAGES,
        };
        self.file.find(name).ok_or_else(|| lacks(&self.file, name))
    }

    pub(super) fn told(&self) -> ChainLink {
        ChainLink {
            archive: self.file.path().to_path_buf(),
            kind: self.header.kind,
            lsn: self.header.lsn,
            bytes: self.file.bytes(),
            pages: self.index.pages(),
        }
    }
}

fn lacks(file: &ArchiveFile, name: &str) -> Error {
    Error::corrupt(file.path(), format!("the archive lacks its entry \"{name}\""))
}

/// The index that a full archive would have.
fn whole_index(file: &ArchiveFile, header: &BackupHeader) -> Result<PageIndex> {
    let entry = file.find(DATA_FILE).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "the archive holds the structure only, and no records")
            .at(file.path())
    })?;
    let page_size = header.page_size;
    let page_count = entry.meta.size / u64::from(page_size.max(1));
    if page_count < 2 || !entry.meta.size.is_multiple_of(u64::from(page_size)) {
        return Err(Error::corrupt(file.path(), "its data file is not made of whole pages"));
    }
    let extents = vec![(0, page_count)];
    Ok(PageIndex { page_size, page_count, checkpoint: header.checkpoint, parent: 0, extents })
}

fn read_index(file: &ArchiveFile, header: &BackupHeader) -> Result<PageIndex> {
    let pages = file.find(PAGES).ok_or_else(|| lacks(file, PAGES))?.meta.size;
    let entry = file.find(PAGES_INDEX).ok_or_else(|| lacks(file, PAGES_INDEX))?;
    let bytes = file.read_entry(entry, PageIndex::most_bytes(pages))?;
    let index = PageIndex::decode(&bytes, file.path())?;
    let link = header.parent.as_ref().map(|parent| parent.checkpoint);
    if index.bytes() != pages
        || index.page_size != header.page_size
        || index.checkpoint != header.checkpoint
        || Some(index.parent) != link
    {
        return Err(Error::corrupt(file.path(), "its header and its index of pages disagree"));
    }
    Ok(index)
}

impl Chain {
    /// Finds all archives that `archive` takes: among the paths that it was given, and in the folders
    /// of those that go on from them.
    ///
    /// # Errors
    /// 2009: [`ErrorKind::NotFound`] names the link that is missing, [`ErrorKind::Foreign`] one that
    /// does not belong; damage (1411).
    pub(super) fn of(archive: &Archive) -> Result<Chain> {
        let mut parents = Parents { archive, catalogues: Vec::new() };
        parents.catalogues.extend(archive.catalogue().cloned());
        let mut links = vec![Link::new(archive.file().clone(), archive.header().clone())?];
        while let Some(link) = links.last()
            && link.header.kind == BackupKind::Incremental
        {
            let Some(wanted) = &link.header.parent else {
                return Err(Error::corrupt(link.file.path(), "it names no archive to go on from"));
            };
            // What a seal says is believed before all is read, so it may be made up: in a circle, too.
            if links.iter().any(|link| link.file.seal().to_string() == wanted.seal) {
                let why = "it goes on from itself, by way of others or not";
                let error = Error::new(ErrorKind::Foreign, why).with_code(code::PARENT);
                return Err(error.at(link.file.path()));
            }
            let file = parents.open(Wanted::new(wanted), parent(link.file.path()))?;
            let header = Archive::header_of(&file)?;
            link.header.check_follows(&header).map_err(|why| {
                Error::new(ErrorKind::Foreign, format!("it is no link of the chain: {why}"))
                    .with_code(code::PARENT)
                    .at(file.path())
            })?;
            links.push(Link::new(file, header)?);
        }
        Ok(Chain { links })
    }

    /// The links, the newest first.
    pub(super) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Whether it is one full archive.
    pub(super) fn is_single(&self) -> bool {
        self.links.len() == 1
    }

    fn newest(&self) -> &Link {
        &self.links[0]
    }

    pub(super) fn page_size(&self) -> u32 {
        self.newest().index.page_size
    }

    /// Pages of the data file that they make.
    pub(super) fn page_count(&self) -> u64 {
        self.newest().index.page_count
    }

    /// The checkpoint in them, read in place. `Corrupt` where it is not the one of the header.
    pub(super) fn checkpoint(&self) -> Result<Arc<Checkpoint>> {
        let path = self.newest().file.path();
        let layers = self.links.iter().map(|link| {
            let file = link.file.entry_file(link.entry()?)?;
            Ok(Layer { file, extents: &link.index.extents })
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let file = Overlay::new(self.page_size(), self.page_count(), &layers);
        let checkpoint = open_read_only(Arc::new(file), path.join(DATA_FILE))?;
        if checkpoint.lsn() != self.newest().header.lsn {
            return Err(Error::corrupt(path, "header and data file are of different commits"));
        }
        Ok(checkpoint)
    }

    /// Where each page comes from that is not dead: what is dead is zeros in a restored file, as it
    /// is in a full archive, and the free list says which it is.
    pub(super) fn pieces(&self) -> Result<Vec<Piece>> {
        let dead = self.checkpoint()?.dead_pages()?;
        let extents: Vec<&[(u64, u64)]> =
            self.links.iter().map(|link| &*link.index.extents).collect();
        Ok(resolve(&extents, dead, self.page_count()))
    }

    /// Reads every byte of every archive, then every page of the checkpoint that they make.
    pub(super) fn verify(
        &self,
        tell: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ChainCheck> {
        let total = self.links.iter().map(|link| link.file.bytes()).sum();
        let mut before = 0;
        for link in &self.links {
            link.file.verify(0, &mut |progress| {
                tell(Progress { done: before + progress.done, total })
            })?;
            before += link.file.bytes();
        }
        let path = self.newest().file.path();
        let report =
            self.checkpoint()?.verify_with(&mut |_, _| tell(Progress { done: total, total }))?;
        let report = report.into_result(path)?;
        Ok(ChainCheck {
            links: self.links.iter().map(Link::told).collect(),
            live_pages: report.live_pages,
            records: report.tables.iter().map(|(_, records)| records).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::archive::{ArchiveOptions, ArchiveWriter, EntryMeta};
    use crate::disk::{Disk, OpenMode, SimDisk};

    const SEAL: [u8; 32] = [0x11; 32];

    /// An incremental archive that says that it goes on from the one with the seal [`SEAL`].
    fn incremental(disk: &dyn Disk, path: &Path) {
        let extents = vec![(0, 2)];
        let index = PageIndex { page_size: 4096, page_count: 2, checkpoint: 1, parent: 1, extents };
        let line = json!({ "id": "1", "parent": "0", "fork": 0 });
        let header = json!({
            "program": "test", "number": 1, "set": "s", "store_id": "1", "timeline": line, "lsn": 1,
            "commit_time": 0, "started": 0, "access": "live", "structure": true, "data": true,
            "page_size": 4096, "kind": "incremental", "checkpoint": 1, "source_bytes": 0,
            "tables": [],
            "parent": {
                "seal": "11".repeat(32), "set": "s", "number": 1, "timeline": line, "lsn": 1,
                "checkpoint": 1,
            },
        });
        let results = json!({
            "status": "complete", "pin_micros": 0, "hold_micros": 0, "longest_wait_micros": 0,
            "went_live": false, "changed_while_read": [], "problems": [],
        });
        let options = ArchiveOptions::default();
        let mut writer = ArchiveWriter::create(disk, path, &options, header).unwrap();
        for (name, bytes) in [(PAGES, vec![0; 8192]), (PAGES_INDEX, index.encode())] {
            writer.begin_entry(EntryMeta::file(name, bytes.len() as u64, 0)).unwrap();
            writer.write(&bytes).unwrap();
            writer.end_entry().unwrap();
        }
        writer.finish(|_| Ok(results)).unwrap();
    }

    /// Writes [`SEAL`] over the digest in the seal of the archive.
    fn make_up_the_seal(disk: &dyn Disk, path: &Path) {
        let file = disk.open(path, OpenMode::Write).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let seal = bytes.windows(8).rposition(|eight| eight == b"SP\x01SEAL\n").unwrap();
        file.write_at(&SEAL, seal as u64 + 16).unwrap();
    }

    #[test]
    fn an_archive_that_goes_on_from_itself_is_refused_and_not_followed_for_ever() {
        let sim = SimDisk::new(1);
        let path = Path::new("/s[0001].inc.tar.zst");
        incremental(&*sim, path);
        let chain = |path| Archive::open_on(sim.clone(), path).unwrap().chain().unwrap_err();
        let missing = chain(path);
        assert_eq!((missing.kind(), missing.code()), (ErrorKind::NotFound, code::PARENT));
        make_up_the_seal(&*sim, path);
        let circle = chain(path);
        assert_eq!((circle.kind(), circle.code()), (ErrorKind::Foreign, code::PARENT));
        assert_eq!(circle.path(), Some(path));
    }
}
