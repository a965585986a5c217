//! The way through an archive when it is opened: header, tar headers, manifest.
//!
//! It reads the frames of tar headers, of the header and of the manifest, and steps over all others by
//! arithmetic, demanding that their sizes are those that the entry calls for. What comes out at the
//! end was found to agree: frames, tar headers, manifest.

use super::digest::Digest;
use super::entry::{
    EntryKind, EntryMeta, FORMAT, HEADER_NAME, Header, JSON_VALUES_OF_ENTRY, MANIFEST_NAME,
    MAX_JSON, MAX_JSON_VALUES, Manifest, PathSet,
};
use super::frames::FrameReader;
use super::reader::Entry;
use super::{tar, writer};
use crate::error::{Error, ErrorKind, Result};
use crate::json_budget::Budget;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Values that a very small archive may have in its header.
const FREE_VALUES: u64 = 256 << 10;

/// What every header has, whatever its format.
#[derive(Deserialize)]
struct Format {
    format: Option<u64>,
}

/// What an archive says of itself.
pub(crate) struct Contents {
    pub(crate) header: Header,
    pub(crate) manifest: Manifest,
    pub(crate) entries: Vec<Entry>,
}

/// The way from the first tar header to the last.
pub(crate) struct Walk<'a> {
    frames: FrameReader<'a>,
    /// The frame that comes next.
    next: usize,
    header: Option<Header>,
    metas: Vec<(EntryMeta, usize)>,
    paths: PathSet,
    /// Bytes of all paths so far.
    names: u64,
    buffer: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(frames: FrameReader<'a>) -> Walk<'a> {
        Walk {
            frames,
            next: 0,
            header: None,
            metas: Vec::new(),
            paths: PathSet::default(),
            names: 0,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) -> Result<Contents> {
        let mut padding = 0;
        let (manifest, digest) = loop {
            let meta = self.tar_header(padding)?;
            padding = tar::padding(meta.size);
            self.metas.push((meta.clone(), self.next));
            match &self.header {
                None => self.header = Some(self.read_header(&meta)?),
                Some(_) if meta.path.as_bytes() == MANIFEST_NAME.as_bytes() => {
                    let entries = self.metas.len() as u64 * JSON_VALUES_OF_ENTRY;
                    let budget = self.budget() + entries + 2 * self.names;
                    let (json, digest) = self.read_json(&meta, budget)?;
                    break (self.parse::<Manifest>(&meta, &json)?, digest);
                }
                Some(header) => {
                    let frame_bytes = header.frame_bytes;
                    self.next = self.check_frames(&meta, self.next, frame_bytes)?;
                }
            }
        };
        self.tar_end(padding)?;
        self.check_manifest(manifest, digest)
    }

    /// Reads the frame with the padding of the entry before and the header of the next.
    fn tar_header(&mut self, padding: usize) -> Result<EntryMeta> {
        let number = self.next;
        let len = self.frames.content(number);
        if len.is_none_or(|len| len > (tar::BLOCK + tar::MAX_HEADER) as u64) {
            return Err(self.corrupt(format!("frame {number} should be a tar header")));
        }
        self.frames.read(number, &mut self.buffer)?;
        self.next += 1;
        let header = skip_zeros(&self.buffer, padding)
            .ok_or_else(|| self.corrupt("the padding of an entry is not zero"))?;
        let meta = tar::decode(header).map_err(|why| self.corrupt(why))?;
        self.paths.insert(&meta).map_err(|why| self.corrupt(why))?;
        self.names += meta.path.as_bytes().len() as u64;
        if let EntryKind::Symlink(target) = &meta.kind {
            self.names += target.as_bytes().len() as u64;
        }
        match self.names > MAX_JSON {
            true => Err(self.corrupt("its names are longer than any manifest")),
            false => Ok(meta),
        }
    }

    fn tar_end(&mut self, padding: usize) -> Result<()> {
        if self.frames.content(self.next) != Some((padding + tar::END.len()) as u64) {
            return Err(self.corrupt("the tar stream does not end after the manifest"));
        }
        self.frames.read(self.next, &mut self.buffer)?;
        self.next += 1;
        let ends = skip_zeros(&self.buffer, padding) == Some(&tar::END);
        match ends && self.next == self.frames.map.len() {
            true => Ok(()),
            false => Err(self.corrupt("the tar stream does not end after the manifest")),
        }
    }

    fn read_header(&mut self, meta: &EntryMeta) -> Result<Header> {
        let first = self.next;
        if meta.path.as_bytes() != HEADER_NAME.as_bytes() {
            return Err(self.corrupt(format!("the first entry is {:?}", meta.path)));
        }
        let (json, _) = self.read_json(meta, self.budget())?;
        // Another format may have another header: its number comes first.
        let Format { format } = self.parse(meta, &json)?;
        if format != Some(u64::from(FORMAT)) {
            let shown = format.map_or("unknown".to_string(), |format| format.to_string());
            let message = format!("the format of the archive is {shown}, not {FORMAT}");
            return Err(Error::new(ErrorKind::Unsupported, message).at(self.frames.path));
        }
        let header: Header = self.parse(meta, &json)?;
        writer::check_frame_bytes(header.frame_bytes).map_err(|why| self.corrupt(why))?;
        self.check_frames(meta, first, header.frame_bytes)?;
        Ok(header)
    }

    /// Values that header and manifest may have, beside what they say of entries: as many as there are
    /// bytes in the archive, so that a small one cannot unpack to much, and some for a very small one.
    fn budget(&self) -> u64 {
        (FREE_VALUES + self.frames.map.end()).min(MAX_JSON_VALUES)
    }

    /// Reads the text of the entry that the next frames hold, whatever their sizes, and its digest. It
    /// may have `values` values.
    fn read_json(&mut self, meta: &EntryMeta, values: u64) -> Result<(Vec<u8>, Digest)> {
        if meta.kind != EntryKind::File || meta.size > MAX_JSON {
            return Err(self.corrupt(format!("{:?} has {} bytes", meta.path, meta.size)));
        }
        let mut json = Vec::new();
        let mut budget = Budget::new(values);
        while (json.len() as u64) < meta.size {
            self.frames.read(self.next, &mut self.buffer)?;
            self.next += 1;
            budget.take(&self.buffer).map_err(|cause| {
                self.corrupt(format!("{:?} is malformed", meta.path)).because(cause)
            })?;
            json.extend_from_slice(&self.buffer);
        }
        if json.len() as u64 != meta.size {
            return Err(self.corrupt(format!("the frames of {:?} do not fit it", meta.path)));
        }
        let digest = Digest::of(&json);
        Ok((json, digest))
    }

    fn parse<T: DeserializeOwned>(&self, meta: &EntryMeta, json: &[u8]) -> Result<T> {
        serde_json::from_slice(json)
            .map_err(|cause| self.corrupt(format!("{:?} is malformed", meta.path)).because(cause))
    }

    /// Demands that the frames from `first` on are those of an entry; gives the one after them.
    fn check_frames(&self, meta: &EntryMeta, first: usize, frame_bytes: u32) -> Result<usize> {
        let grid = u64::from(frame_bytes);
        let mut left = meta.size;
        let mut number = first;
        while left > 0 {
            let content = left.min(grid);
            if self.frames.content(number) != Some(content) {
                return Err(self.corrupt(format!("frame {number} does not fit {:?}", meta.path)));
            }
            left -= content;
            number += 1;
        }
        Ok(number)
    }

    fn check_manifest(mut self, manifest: Manifest, digest: Digest) -> Result<Contents> {
        let (Some(header), Some((own, own_frame))) = (self.header.take(), self.metas.pop()) else {
            return Err(self.corrupt("it has no header"));
        };
        self.check_frames(&own, own_frame, header.frame_bytes)?;
        if manifest.format != FORMAT || manifest.entries.len() != self.metas.len() {
            return Err(self.corrupt("the manifest does not list what is in the archive"));
        }
        let empty = Digest::of(&[]);
        let mut entries = Vec::with_capacity(self.metas.len() + 1);
        for ((meta, first_frame), listed) in self.metas.drain(..).zip(&manifest.entries) {
            if meta != listed.meta || (meta.size == 0 && listed.blake3 != empty) {
                let message = format!("the manifest does not list {:?} as it is", meta.path);
                return Err(Error::corrupt(self.frames.path, message));
            }
            entries.push(Entry { meta, blake3: listed.blake3, first_frame });
        }
        entries.push(Entry { meta: own, blake3: digest, first_frame: own_frame });
        Ok(Contents { header, manifest, entries })
    }

    fn corrupt(&self, message: impl Into<String>) -> Error {
        Error::corrupt(self.frames.path, message)
    }
}

/// What follows the `count` zeros that `bytes` begin with.
fn skip_zeros(bytes: &[u8], count: usize) -> Option<&[u8]> {
    let (zeros, rest) = bytes.split_at_checked(count)?;
    zeros.iter().all(|byte| *byte == 0).then_some(rest)
}
