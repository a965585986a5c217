//! Copying attachments into the archive.
//!
//! What goes wrong with one of them makes the backup partial and nothing else: a file that vanishes is
//! left out, one that cannot be read to its end is filled with zeros, one that changes meanwhile is
//! told; where a link has taken its place, the link is saved, and told as a change. Only what goes
//! wrong with the archive ends the backup.

use crate::archive::EntryMeta;
use crate::disk::{EntryKind, OpenMode};
use crate::error::{Error, ErrorKind, Result};
use crate::store::ATTACHMENTS;

use super::attachments::Attachment;
use super::copier::{Copier, Step};
use super::run::failed;

/// Bytes of an attachment that are read at once.
const PIECE: usize = 256 << 10;

impl Copier {
    /// Copies the attachments that belong to the participant `owner`, or to none.
    pub(super) fn copy_attachments(
        &mut self,
        owner: Option<usize>,
        step: &mut Step<'_>,
    ) -> Result<()> {
        let all = std::mem::take(&mut self.attachments.found);
        let (due, later) = all.into_iter().partition(|one| one.owner == owner);
        self.attachments.found = later;
        self.copy_all(due, step)
    }

    fn copy_all(&mut self, due: Vec<Attachment>, step: &mut Step<'_>) -> Result<()> {
        if !due.is_empty() && !std::mem::replace(&mut self.attachments_begun, true) {
            self.writer.begin_entry(EntryMeta::dir(ATTACHMENTS, self.time)).map_err(failed)?;
            self.writer.end_entry().map_err(failed)?;
        }
        for attachment in due {
            match attachment.found.kind {
                EntryKind::Dir => {
                    let meta = EntryMeta::dir(attachment.name.clone(), 0);
                    if self.begin_attachment(&attachment, meta)? {
                        self.writer.end_entry().map_err(failed)?;
                    }
                }
                EntryKind::Symlink => {
                    self.copy_link(&attachment)?;
                }
                EntryKind::File | EntryKind::Other => self.copy_file(&attachment, step)?,
            }
            self.sources.insert(attachment.name, attachment.source);
        }
        Ok(())
    }

    /// Begins an entry with the mode and the time that were found. False where such an entry may not
    /// stand in an archive: that is a problem of the attachment.
    fn begin_attachment(&mut self, attachment: &Attachment, mut meta: EntryMeta) -> Result<bool> {
        meta.mtime = attachment.found.modified;
        if attachment.found.kind != EntryKind::Symlink {
            meta.mode = attachment.found.mode & 0o7777;
        }
        match self.writer.begin_entry(meta) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let why = std::io::Error::other(error.message().to_owned());
                self.attachments.missing(&attachment.source, why);
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// False where there is no link, or none that may stand in an archive: a problem that was told.
    fn copy_link(&mut self, attachment: &Attachment) -> Result<bool> {
        let target = match self.disk.read_link(&attachment.source) {
            Ok(target) => target,
            Err(e) => {
                self.attachments.missing(&attachment.source, e);
                return Ok(false);
            }
        };
        let meta = EntryMeta::symlink(attachment.name.clone(), target.as_path(), 0);
        let begun = self.begin_attachment(attachment, meta)?;
        if begun {
            self.writer.end_entry().map_err(failed)?;
        }
        Ok(begun)
    }

    /// What there is in the place of a file that could not be opened because of `cause`.
    fn copy_successor(&mut self, mut attachment: Attachment, cause: std::io::Error) -> Result<()> {
        match self.disk.metadata(&attachment.source) {
            Ok(found) if found.kind == EntryKind::Symlink => {
                attachment.found = found;
                if self.copy_link(&attachment)? {
                    self.changed.insert(attachment.name);
                }
            }
            _ => self.attachments.missing(&attachment.source, cause),
        }
        Ok(())
    }

    /// The size at opening is a promise: a file that shrinks is filled with zeros, one that grows is
    /// cut, and either way the manifest says that it changed.
    fn copy_file(&mut self, attachment: &Attachment, step: &mut Step<'_>) -> Result<()> {
        let source = &attachment.source;
        let opened = self.disk.open(&attachment.real, OpenMode::ReadNoLink).and_then(|file| {
            let len = file.len()?;
            Ok((file, len))
        });
        let (file, len) = match opened {
            Ok(opened) => opened,
            Err(e) => return self.copy_successor(attachment.clone(), e),
        };
        if !self.begin_attachment(attachment, EntryMeta::file(attachment.name.clone(), len, 0))? {
            return Ok(());
        }
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < len {
            let want = usize::try_from(len - at).map_or(PIECE, |left| left.min(PIECE));
            match file.read_at(&mut piece[..want], at) {
                Ok(0) => break,
                Ok(read) => {
                    self.writer.write(&piece[..read]).map_err(failed)?;
                    at += read as u64;
                    self.moved(read as u64, step)?;
                }
                Err(e) => {
                    let message = format!("an attachment can be read up to byte {at} only");
                    let error = Error::new(ErrorKind::Io, message).at(source).because(e);
                    self.attachments.problem(error);
                    self.writer.pad_entry().map_err(failed)?;
                    return self.writer.end_entry().map_err(failed);
                }
            }
        }
        self.writer.pad_entry().map_err(failed)?;
        self.writer.end_entry().map_err(failed)?;
        let same = self.disk.metadata(source).is_ok_and(|after| {
            after.len == len && after.modified == attachment.found.modified && at == len
        });
        if !same {
            self.changed.insert(attachment.name.clone());
        }
        Ok(())
    }
}
