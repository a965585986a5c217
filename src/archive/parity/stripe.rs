//! One stripe in memory: its blocks are read, tried, and made from each other.

use super::file::{Parity, Table};
use super::geometry::{Geometry, Stripe};
use crate::archive::digest::Digest;
use crate::archive::parts::Joined;
use crate::error::{Error, ErrorKind, Result};
use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

/// Reads block `number` of the archive, with zeros after its end; `false` where any of it cannot be
/// read.
pub(crate) fn read_block(
    archive: &Joined,
    geometry: &Geometry,
    number: u64,
    block: &mut [u8],
) -> bool {
    let at = number * u64::from(geometry.block_bytes);
    let len = (geometry.total - at).min(block.len() as u64) as usize;
    block[len..].fill(0);
    archive.read_or_zeros(&mut block[..len], at)
}

/// Makes the parity of stripes.
pub(crate) struct Weaver {
    encoder: Option<(ReedSolomonEncoder, (usize, usize))>,
    block_bytes: usize,
}

impl Weaver {
    pub(crate) fn new(geometry: &Geometry) -> Weaver {
        Weaver { encoder: None, block_bytes: geometry.block_bytes as usize }
    }

    /// Reads the data blocks of `stripe` by `read`, hands each parity block to `write`, and gives the
    /// table.
    pub(crate) fn weave(
        &mut self,
        stripe: &Stripe,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<()>,
        mut write: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<Table> {
        let shape = (stripe.data, stripe.parity);
        let encoder = match &mut self.encoder {
            Some((encoder, known)) if *known == shape => encoder,
            slot => {
                let made = ReedSolomonEncoder::new(shape.0, shape.1, self.block_bytes);
                &mut slot.insert((made.map_err(arithmetic)?, shape)).0
            }
        };
        let mut block = vec![0; self.block_bytes];
        let mut digests = Vec::with_capacity(shape.0 + shape.1);
        for index in 0..stripe.data {
            read(stripe.block(index), &mut block)?;
            digests.push(Digest::of(&block).0);
            encoder.add_original_shard(&block).map_err(arithmetic)?;
        }
        let made = encoder.encode().map_err(arithmetic)?;
        for (index, parity) in made.recovery_iter().enumerate() {
            digests.push(Digest::of(parity).0);
            write(index, parity)?;
        }
        Ok(Table { digests })
    }
}

/// What is known of a stripe once all its blocks were read and tried.
pub(crate) struct Examined {
    pub(crate) stripe: Stripe,
    table: Table,
    /// Data blocks first, then parity blocks; `None` where a block is damaged.
    blocks: Vec<Option<Vec<u8>>>,
    /// Whether both copies of the table are whole.
    pub(crate) tables_whole: bool,
}

impl Examined {
    /// Reads and tries all blocks of `stripe`; `None` where both copies of its table are damaged.
    pub(crate) fn read(archive: &Joined, parity: &Parity, stripe: Stripe) -> Option<Examined> {
        let (table, tables_whole) = parity.table(&stripe)?;
        let geometry = &parity.header.geometry;
        let mut blocks = Vec::with_capacity(table.digests.len());
        let mut block = vec![0; geometry.block_bytes as usize];
        for (index, digest) in table.digests.iter().enumerate() {
            let read = match index.checked_sub(stripe.data) {
                None => read_block(archive, geometry, stripe.block(index), &mut block),
                Some(index) => parity.read_block(&stripe, index, &mut block),
            };
            // What could be read in part may still be right: zeros stand for the rest.
            let right = (read || index < stripe.data) && Digest::of(&block).0 == *digest;
            blocks.push(right.then(|| block.clone()));
        }
        Some(Examined { stripe, table, blocks, tables_whole })
    }

    /// The digests of the data blocks, one after another.
    pub(crate) fn data_digests(&self) -> Vec<u8> {
        self.table.digests[..self.stripe.data].concat()
    }

    /// Which data blocks are damaged.
    pub(crate) fn bad_data(&self) -> impl Iterator<Item = usize> + '_ {
        let data = &self.blocks[..self.stripe.data];
        data.iter().enumerate().filter(|(_, block)| block.is_none()).map(|(index, _)| index)
    }

    /// How many parity blocks are damaged.
    pub(crate) fn bad_parity(&self) -> usize {
        self.blocks[self.stripe.data..].iter().filter(|block| block.is_none()).count()
    }

    /// How many blocks are damaged in all.
    pub(crate) fn bad(&self) -> usize {
        self.bad_data().count() + self.bad_parity()
    }

    /// Whether the damage can be repaired.
    pub(crate) fn is_bearable(&self) -> bool {
        self.bad() <= self.stripe.parity
    }

    /// The damaged data blocks as they were, by number in the archive. Each has its digest.
    pub(crate) fn mend(&self, geometry: &Geometry) -> Result<Vec<(u64, Vec<u8>)>> {
        let bad: Vec<usize> = self.bad_data().collect();
        if bad.is_empty() {
            return Ok(Vec::new());
        }
        let (data, parity) = (self.stripe.data, self.stripe.parity);
        let mut decoder = ReedSolomonDecoder::new(data, parity, geometry.block_bytes as usize)
            .map_err(arithmetic)?;
        for (index, block) in self.blocks.iter().enumerate() {
            let Some(block) = block else { continue };
            match index.checked_sub(data) {
                None => decoder.add_original_shard(index, block),
                Some(index) => decoder.add_recovery_shard(index, block),
            }
            .map_err(arithmetic)?;
        }
        let made = decoder.decode().map_err(arithmetic)?;
        let mut mended = Vec::with_capacity(bad.len());
        for index in bad {
            let block = made.restored_original(index).unwrap_or_default();
            if Digest::of(block).0 != self.table.digests[index] {
                let message = "a block that was made from the parity is not the one that was lost";
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            mended.push((self.stripe.block(index), block.to_vec()));
        }
        Ok(mended)
    }
}

/// The library of the arithmetic refuses shapes that a checked geometry never has.
fn arithmetic(cause: reed_solomon_simd::Error) -> Error {
    Error::new(ErrorKind::Invalid, "the arithmetic of the parity failed").because(cause)
}
