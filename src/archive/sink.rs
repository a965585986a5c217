//! Where the frames of an archive go: into a stream that is sealed at its end, and encrypted on its
//! way to the files where that is wanted.
//!
//! Invariant: every byte goes through [`FrameSink::append`], which hashes it for the seal before it is
//! encrypted: the seal is inside.

use super::crypt::Encrypted;
use super::digest::Digest;
use super::keys::{Keys, Recipients};
use super::layers::WrittenFile;
use super::output::Output;
use super::seal::{self, FrameSize};
use crate::error::{Error, ErrorKind, Result};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is known of the archive once it is sealed and durable.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) seal: Digest,
    pub(crate) files: Vec<WrittenFile>,
    /// What reads it back.
    pub(crate) keys: Keys,
}

/// The stream that an archive is written to.
pub(crate) struct FrameSink {
    stream: Stream,
    /// The first file, for errors.
    path: PathBuf,
    at: u64,
    hasher: blake3::Hasher,
    frames: Vec<FrameSize>,
    keys: Keys,
}

enum Stream {
    Plain(Box<Output>),
    Encrypted(Box<Encrypted<Output>>),
}

impl FrameSink {
    /// Writes to `output`, encrypted for `recipients` where there are any.
    pub(crate) fn new(output: Output, recipients: Option<&Recipients>) -> Result<FrameSink> {
        let path = output.path().to_path_buf();
        let (stream, keys) = match recipients {
            None => (Stream::Plain(Box::new(output)), Keys::none()),
            Some(recipients) => {
                let (encrypted, keys) = Encrypted::begin(recipients.take()?, output)?;
                (Stream::Encrypted(Box::new(encrypted)), keys)
            }
        };
        let hasher = blake3::Hasher::new();
        Ok(FrameSink { stream, path, at: 0, hasher, frames: Vec::new(), keys })
    }

    /// Writes one frame with `content` bytes of content, which consists of `parts`.
    pub(crate) fn frame(&mut self, parts: &[&[u8]], content: usize) -> Result<()> {
        if self.frames.len() >= seal::MAX_FRAMES {
            let message = format!("an archive has at most {} frames", seal::MAX_FRAMES);
            return Err(Error::new(ErrorKind::Limit, message).at(&self.path));
        }
        let packed = self.append(parts)?;
        self.frames.push(FrameSize { packed: packed as u32, content: content as u32 });
        Ok(())
    }

    /// Writes the seal and the seek table, and makes all of it durable.
    pub(crate) fn finish(mut self) -> Result<Sealed> {
        let head = seal::seal_head(self.at);
        self.append(&[&head])?;
        let seal = Digest(*self.hasher.finalize().as_bytes());
        let table = seal::encode_table(&self.frames);
        self.append(&[&seal.0, &table])?;
        let output = match self.stream {
            Stream::Plain(output) => *output,
            Stream::Encrypted(encrypted) => {
                encrypted.finish().map_err(|cause| unwrap(cause, &self.path))?
            }
        };
        Ok(Sealed { seal, files: output.finish()?, keys: self.keys })
    }

    fn append(&mut self, parts: &[&[u8]]) -> Result<u64> {
        match &mut self.stream {
            Stream::Plain(output) => output.append(parts)?,
            Stream::Encrypted(encrypted) => parts
                .iter()
                .try_for_each(|part| encrypted.write_all(part))
                .map_err(|cause| unwrap(cause, &self.path))?,
        }
        let mut len = 0;
        for part in parts {
            self.hasher.update(part);
            len += part.len() as u64;
        }
        self.at += len;
        Ok(len)
    }
}

/// The error of the files below the encryption, or that of the encryption itself.
fn unwrap(cause: io::Error, path: &Path) -> Error {
    match cause.downcast::<Error>() {
        Ok(error) => error,
        Err(cause) => Error::io("encrypt", path, cause),
    }
}
