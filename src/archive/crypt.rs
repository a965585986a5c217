//! Encryption in the age format, by the age crate: a stream of chunks of 64 KiB, each of which can be
//! opened by itself, so that an encrypted archive is read in place like any other.
//!
//! Invariants: the header of an encrypted file is read within [`MAX_HEADER`] bytes, and a passphrase
//! costs at most 2^[`MAX_WORK_FACTOR`] steps to try, whatever the file asks for; the key of the file
//! is unwrapped once for each handle (again only after damage was met); that the end is the end is
//! checked when the file is opened, before its length is believed.

use super::keys::{self, AGE_MAGIC, Keys, key_error};
use crate::disk::File;
use crate::error::{Error, ErrorKind, Result};
use age::secrecy::SecretString;
use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient, scrypt, x25519};
use parking_lot::Mutex;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a passphrase costs to try: 2^18 steps and 256 MiB, about a second; as `age` does it.
const WORK_FACTOR: u8 = 18;
/// The most that is spent on a file that asks for more: 1 GiB.
const MAX_WORK_FACTOR: u8 = 20;
/// The longest header of an encrypted file: some hundred recipients.
const MAX_HEADER: usize = 64 << 10;

/// Why a text is not taken for a key.
#[derive(Debug)]
pub(super) enum Refused {
    Malformed,
    #[expect(dead_code, reason = "that is what a program without encryption says")]
    Absent,
}

/// A key that may open archives.
#[derive(Clone)]
pub(super) enum Key {
    Passphrase(SecretString),
    Identity(x25519::Identity),
}

impl Key {
    pub(super) fn passphrase(passphrase: String) -> Key {
        Key::Passphrase(SecretString::from(passphrase))
    }

    pub(super) fn identity(line: &str) -> Result<Key, Refused> {
        line.parse().map(Key::Identity).map_err(|_| Refused::Malformed)
    }

    fn age(&self) -> Box<dyn Identity> {
        match self {
            Key::Identity(identity) => Box::new(identity.clone()),
            Key::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MAX_WORK_FACTOR);
                Box::new(identity)
            }
        }
    }
}

/// Who an archive is encrypted for.
#[derive(Clone)]
pub(super) enum Sealing {
    Passphrase { passphrase: SecretString, work_factor: u8 },
    PublicKeys(Vec<x25519::Recipient>),
}

impl Sealing {
    pub(super) fn passphrase(passphrase: String) -> Result<Sealing, Refused> {
        Ok(Sealing::Passphrase {
            passphrase: SecretString::from(passphrase),
            work_factor: WORK_FACTOR,
        })
    }

    pub(super) fn public_keys(keys: &[&str]) -> Result<Sealing, (usize, Refused)> {
        let parse = |(number, key): (usize, &&str)| {
            key.trim().parse().map_err(|_| (number, Refused::Malformed))
        };
        keys.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Sealing::PublicKeys)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        match self {
            Sealing::Passphrase { passphrase, .. } => vec![Key::Passphrase(passphrase.clone())],
            Sealing::PublicKeys(_) => Vec::new(),
        }
    }

    /// Draws the key of a file and wraps it for each of them, which for a passphrase takes about a
    /// second. Public keys alone would not let the writer read back what it wrote: so one more is made
    /// up for the purpose, and forgotten with what is returned. A passphrase stands alone in the
    /// format, and is returned itself.
    pub(super) fn ready(&self) -> Result<Ready> {
        let (encryptor, own) = match self {
            Sealing::Passphrase { passphrase, work_factor } => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(*work_factor);
                let all = std::iter::once(&recipient as &dyn Recipient);
                (Encryptor::with_recipients(all), Key::Passphrase(passphrase.clone()))
            }
            Sealing::PublicKeys(keys) => {
                let own = x25519::Identity::generate();
                let own_public = own.to_public();
                let all = keys.iter().chain([&own_public]).map(|key| key as &dyn Recipient);
                (Encryptor::with_recipients(all), Key::Identity(own))
            }
        };
        let encryptor = encryptor.map_err(|cause| begin_failed(io::Error::other(cause)))?;
        Ok(Ready { encryptor, own })
    }

    /// The same, where a passphrase costs next to nothing to try.
    #[cfg(test)]
    pub(super) fn at_no_cost(mut self) -> Sealing {
        if let Sealing::Passphrase { work_factor, .. } = &mut self {
            *work_factor = 1;
        }
        self
    }
}

fn begin_failed(cause: io::Error) -> Error {
    key_error(ErrorKind::Io, "cannot begin the encryption").because(cause)
}

/// The encryption of one file, ready to begin.
pub(super) struct Ready {
    encryptor: Encryptor,
    own: Key,
}

/// Encrypts what is written to it.
pub(super) struct Encrypted<W: Write>(StreamWriter<W>);

impl<W: Write> Encrypted<W> {
    /// Begins the stream in `out`, and gives the keys by which the writer can read it back.
    pub(super) fn begin(ready: Ready, out: W) -> Result<(Encrypted<W>, Keys)> {
        let begun = ready.encryptor.wrap_output(out).map_err(begin_failed)?;
        Ok((Encrypted(begun), Keys(vec![ready.own])))
    }

    /// Ends the stream.
    pub(super) fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for Encrypted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The content of the encrypted `raw`, as a file.
///
/// # Errors
/// 2011 when none of `keys` opens it; [`ErrorKind::Corrupt`] when its header or its end is damaged.
pub(super) fn decrypt(raw: Arc<dyn File>, keys: &Keys, path: &Path) -> Result<Arc<dyn File>> {
    check_header(&*raw, path)?;
    let mut tried = Err(keys::no_key(path, keys));
    for key in &keys.0 {
        tried = Stream::open(raw.clone(), key, path);
        match &tried {
            Err(error) if error.code() == crate::error::code::KEY => {}
            _ => break,
        }
    }
    let mut stream = tried.map_err(|error| match keys.0.len() > 1 {
        // The last of several keys is not the one that matters.
        true if error.code() == crate::error::code::KEY => keys::no_key(path, keys),
        _ => error,
    })?;
    let len = stream.reader.seek(SeekFrom::End(0)).map_err(|cause| match cause.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Error::corrupt(path, "its encrypted end is damaged: it was cut, or never finished")
        }
        _ => Error::io("read the end of", path, cause),
    })?;
    let key = stream.key.clone();
    let path = path.to_path_buf();
    Ok(Arc::new(Decrypted { raw, key, path, len, stream: Mutex::new(Some(stream)) }))
}

/// Demands that the header ends where it is still reasonable.
fn check_header(raw: &dyn File, path: &Path) -> Result<()> {
    let failed = |cause| Error::io("read", path, cause);
    let len = raw.len().map_err(failed)?.min(MAX_HEADER as u64) as usize;
    let mut head = vec![0; len];
    raw.read_exact_at(&mut head, 0).map_err(failed)?;
    let ends = head.windows(5).any(|five| five == b"\n--- ");
    match head.starts_with(AGE_MAGIC) && ends {
        true => Ok(()),
        false => Err(Error::corrupt(path, "the header of its encryption is damaged")),
    }
}

struct Stream {
    reader: StreamReader<BufReader<Cursor>>,
    key: Key,
}

impl Stream {
    fn open(raw: Arc<dyn File>, key: &Key, path: &Path) -> Result<Stream> {
        let input = BufReader::new(Cursor { file: raw, at: 0 });
        let opened = Decryptor::new_buffered(input)
            .and_then(|file| file.decrypt(std::iter::once(&*key.age())));
        match opened {
            Ok(reader) => Ok(Stream { reader, key: key.clone() }),
            Err(DecryptError::Io(cause)) => Err(Error::io("read", path, cause)),
            Err(DecryptError::ExcessiveWork { required, .. }) => {
                let message = format!(
                    "to try a passphrase on it takes 2^{required} steps, more than the \
                     2^{MAX_WORK_FACTOR} that are spent"
                );
                Err(key_error(ErrorKind::Limit, message).at(path))
            }
            Err(
                DecryptError::InvalidHeader
                | DecryptError::InvalidMac
                | DecryptError::UnknownFormat,
            ) => Err(Error::corrupt(path, "the header of its encryption is damaged")),
            Err(_) => Err(keys::no_key(path, &Keys(vec![key.clone()]))),
        }
    }
}

/// An encrypted file, readable at any place.
struct Decrypted {
    raw: Arc<dyn File>,
    key: Key,
    path: PathBuf,
    len: u64,
    /// `None` after an error, which leaves a stream in an unknown state: the next read opens it anew.
    stream: Mutex<Option<Stream>>,
}

impl File for Decrypted {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.len || buffer.is_empty() {
            return Ok(0);
        }
        let count = (self.len - offset).min(buffer.len() as u64) as usize;
        let mut slot = self.stream.lock();
        let mut stream = match slot.take() {
            Some(stream) => stream,
            None => Stream::open(self.raw.clone(), &self.key, &self.path)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        };
        stream.reader.seek(SeekFrom::Start(offset))?;
        stream.reader.read_exact(&mut buffer[..count])?;
        *slot = Some(stream);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn drop_cache(&self, offset: u64, len: u64) {
        // The chunks lie a little further on in the file below; the difference is not worth a sum.
        self.raw.drop_cache(offset, len);
    }
}

/// A [`File`] as the standard library's traits want it.
struct Cursor {
    file: Arc<dyn File>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.len()?.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
