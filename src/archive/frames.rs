//! Reading the frames of an archive one by one, by their numbers: as they lie, and unpacked.
//!
//! Invariant: what is read and unpacked has the sizes that the seek table gives, or it is damage.

use super::frame::FrameDecoder;
use super::seal::FrameMap;
use crate::disk::File;
use crate::error::{Error, Result};
use std::path::Path;

/// Reads single frames.
pub(crate) struct FrameReader<'a> {
    file: &'a dyn File,
    pub(crate) path: &'a Path,
    pub(crate) map: &'a FrameMap,
    /// The same frames as parity repairs them.
    repaired: Option<&'a dyn File>,
    decoder: FrameDecoder,
    packed: Vec<u8>,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(file: &'a dyn File, path: &'a Path, map: &'a FrameMap) -> Result<Self> {
        let (decoder, repaired) = (new_decoder(path)?, None);
        Ok(FrameReader { file, path, map, repaired, decoder, packed: Vec::new() })
    }

    /// Reads of `repaired` what is damaged in its own file.
    pub(crate) fn or_repaired(self, repaired: Option<&'a dyn File>) -> Self {
        FrameReader { repaired, ..self }
    }

    /// Unpacks frame `number`, which there must be, into `out`.
    pub(crate) fn read(&mut self, number: usize, out: &mut Vec<u8>) -> Result<()> {
        let read = self.read_from(self.file, number, out);
        match (read, self.repaired) {
            (Err(error), Some(repaired)) => {
                self.read_from(repaired, number, out).map_err(|_| error)
            }
            (read, _) => read,
        }
    }

    fn read_from(&mut self, file: &dyn File, number: usize, out: &mut Vec<u8>) -> Result<()> {
        let content = read_packed(file, self.path, self.map, number, &mut self.packed)?;
        decode(&mut self.decoder, self.path, number, &self.packed, content, out)
    }

    /// How much content frame `number` has, where there is one.
    pub(crate) fn content(&self, number: usize) -> Option<u64> {
        self.map.get(number).map(|(_, size)| u64::from(size.content))
    }
}

pub(crate) fn new_decoder(path: &Path) -> Result<FrameDecoder> {
    FrameDecoder::new().map_err(|cause| Error::io("prepare to unpack", path, cause))
}

/// Reads frame `number` as it lies into `packed`, and says how much content it has.
pub(crate) fn read_packed(
    file: &dyn File,
    path: &Path,
    map: &FrameMap,
    number: usize,
    packed: &mut Vec<u8>,
) -> Result<usize> {
    let Some((at, size)) = map.get(number) else {
        return Err(Error::corrupt(path, format!("there is no frame {number}")));
    };
    let len = size.packed as usize;
    if packed.len() < len {
        packed.resize(len, 0);
    }
    packed.truncate(len);
    file.read_exact_at(packed, at).map_err(|cause| read_failed(path, cause))?;
    Ok(size.content as usize)
}

pub(crate) fn decode(
    decoder: &mut FrameDecoder,
    path: &Path,
    number: usize,
    packed: &[u8],
    content: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    decoder
        .decode(packed, content, out)
        .map_err(|why| Error::corrupt(path, format!("frame {number} is damaged: {why}")))
}

/// Damage that a layer below has met stays recognisable.
pub(crate) fn read_failed(path: &Path, cause: std::io::Error) -> Error {
    match cause.kind() {
        std::io::ErrorKind::InvalidData => {
            Error::corrupt(path, "what lies below its frames is damaged").because(cause)
        }
        _ => Error::io("read", path, cause),
    }
}
