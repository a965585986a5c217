//! The tar headers of an archive: POSIX ustar, with PAX records where ustar does not suffice.
//!
//! There is exactly one encoding of each [`EntryMeta`]. [`decode`] reads the fields and then demands
//! that encoding them again gives the same bytes: so no byte of a header is without a meaning, and
//! whatever tar allows and this format does not (hard links, devices, sparse files, other
//! extensions) is refused without a rule of its own.

use super::entry::{EntryKind, EntryMeta, EntryPath, MAX_PATH};

/// The unit of tar: headers are that long, content is padded to it.
pub(crate) const BLOCK: usize = 512;
/// What ends the stream: two empty blocks.
pub(crate) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// The longest encoding: PAX block, records (two paths and small ones), header.
pub(crate) const MAX_HEADER: usize = 2 * BLOCK + 2 * MAX_PATH + 2 * BLOCK;

/// The largest number in the eleven octal digits of size and time.
const MAX_OCTAL: u64 = 0o777_7777_7777;
const MICROS: i64 = 1_000_000;

const FILE: u8 = b'0';
const SYMLINK: u8 = b'2';
const DIR: u8 = b'5';
const PAX: u8 = b'x';
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// How many zeros follow content of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize
}

/// The header of `meta`, which has passed its check.
pub(crate) fn encode(meta: &EntryMeta) -> Vec<u8> {
    let mut path = meta.path.as_bytes().to_vec();
    let (flag, target) = match &meta.kind {
        EntryKind::File => (FILE, &[][..]),
        EntryKind::Dir => {
            path.push(b'/');
            (DIR, &[][..])
        }
        EntryKind::Symlink(target) => (SYMLINK, target.as_bytes()),
    };
    let records = pax_records(meta, &path, target);
    let mut out = Vec::with_capacity(BLOCK);
    if !records.is_empty() {
        let fields = Fields { name: PAX_NAME, flag: PAX, target: &[], mode: 0o644, mtime: 0 };
        fields.append(records.len() as u64, &mut out);
        out.extend_from_slice(&records);
        out.resize(out.len() + padding(records.len() as u64), 0);
    }
    let mtime = meta.mtime.div_euclid(MICROS).clamp(0, MAX_OCTAL as i64) as u64;
    let fields = Fields { name: &path, flag, target, mode: meta.mode, mtime };
    fields.append(if meta.size > MAX_OCTAL { 0 } else { meta.size }, &mut out);
    out
}

/// What ustar cannot say, as PAX records in a fixed order; empty where it can say all.
fn pax_records(meta: &EntryMeta, path: &[u8], target: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    if path.len() > NAME.len {
        pax_record("path", path, &mut records);
    }
    if target.len() > LINK.len {
        pax_record("linkpath", target, &mut records);
    }
    if meta.size > MAX_OCTAL {
        pax_record("size", meta.size.to_string().as_bytes(), &mut records);
    }
    let seconds = meta.mtime.div_euclid(MICROS);
    if meta.mtime % MICROS != 0 || !(0..=MAX_OCTAL as i64).contains(&seconds) {
        let sign = if meta.mtime < 0 { "-" } else { "" };
        let whole = meta.mtime.unsigned_abs();
        let text = format!("{sign}{}.{:06}", whole / MICROS as u64, whole % MICROS as u64);
        pax_record("mtime", text.as_bytes(), &mut records);
    }
    records
}

/// Appends `"<length> <key>=<value>\n"`, where the length counts its own digits.
fn pax_record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() > len {
        len += 1;
    }
    out.extend_from_slice(format!("{len} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A field of the ustar header.
#[derive(Clone, Copy)]
struct Field {
    at: usize,
    len: usize,
}

const NAME: Field = Field { at: 0, len: 100 };
const MODE: Field = Field { at: 100, len: 8 };
const UID: Field = Field { at: 108, len: 8 };
const GID: Field = Field { at: 116, len: 8 };
const SIZE: Field = Field { at: 124, len: 12 };
const MTIME: Field = Field { at: 136, len: 12 };
const CHECKSUM: Field = Field { at: 148, len: 8 };
const FLAG: usize = 156;
const LINK: Field = Field { at: 157, len: 100 };
const USTAR: Field = Field { at: 257, len: 8 };

impl Field {
    fn of(self, block: &[u8; BLOCK]) -> &[u8] {
        &block[self.at..self.at + self.len]
    }

    /// The bytes before the first zero.
    fn text(self, block: &[u8; BLOCK]) -> &[u8] {
        self.of(block).split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn octal(self, block: &[u8; BLOCK]) -> Result<u64, String> {
        let digits = self.text(block);
        let value = digits.iter().try_fold(0u64, |value, digit| match digit {
            b'0'..=b'7' => value.checked_mul(8).map(|value| value + u64::from(digit - b'0')),
            _ => None,
        });
        value.ok_or_else(|| "a number in a tar header is not octal".to_string())
    }

    fn put(self, block: &mut [u8; BLOCK], bytes: &[u8]) {
        let len = bytes.len().min(self.len);
        block[self.at..self.at + len].copy_from_slice(&bytes[..len]);
    }

    /// Digits to the end of the field but one, then a zero.
    fn put_octal(self, block: &mut [u8; BLOCK], value: u64) {
        self.put(block, format!("{value:0width$o}", width = self.len - 1).as_bytes());
    }
}

struct Fields<'a> {
    name: &'a [u8],
    flag: u8,
    target: &'a [u8],
    mode: u32,
    mtime: u64,
}

impl Fields<'_> {
    fn append(&self, size: u64, out: &mut Vec<u8>) {
        let mut block = [0; BLOCK];
        NAME.put(&mut block, self.name);
        MODE.put_octal(&mut block, u64::from(self.mode));
        UID.put_octal(&mut block, 0);
        GID.put_octal(&mut block, 0);
        SIZE.put_octal(&mut block, size);
        MTIME.put_octal(&mut block, self.mtime);
        block[FLAG] = self.flag;
        LINK.put(&mut block, self.target);
        USTAR.put(&mut block, b"ustar\x0000");
        CHECKSUM.put(&mut block, b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        CHECKSUM.put(&mut block, format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&block);
    }
}

/// Reads the header that `bytes` consist of.
///
/// # Errors
/// Says why they are not the encoding of an entry that may stand in an archive.
pub(crate) fn decode(bytes: &[u8]) -> Result<EntryMeta, String> {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let (Some(header), [], true) = (blocks.last(), rest, bytes.len() <= MAX_HEADER) else {
        return Err(format!("a tar header is {} bytes long", bytes.len()));
    };
    let mut meta = EntryMeta {
        path: EntryPath::new(NAME.text(header)),
        kind: match header[FLAG] {
            FILE => EntryKind::File,
            DIR => EntryKind::Dir,
            SYMLINK => EntryKind::Symlink(EntryPath::new(LINK.text(header))),
            other => return Err(format!("a tar entry has the type {:?}", char::from(other))),
        },
        size: SIZE.octal(header)?,
        mode: MODE.octal(header)? as u32,
        mtime: (MTIME.octal(header)? as i64).saturating_mul(MICROS),
    };
    if let [pax, records @ .., _] = blocks {
        let records = records.as_flattened();
        let len = usize::try_from(SIZE.octal(pax)?).unwrap_or(usize::MAX);
        let Some(records) = records.get(..len) else {
            return Err("the PAX records are longer than their header".to_string());
        };
        apply_records(records, &mut meta)?;
    }
    if meta.kind == EntryKind::Dir {
        let path = meta.path.as_bytes();
        meta.path = EntryPath::new(path.strip_suffix(b"/").unwrap_or(path));
    }
    meta.check()?;
    if encode(&meta) != bytes {
        return Err(format!("the tar header of {:?} is not in the archive's own form", meta.path));
    }
    Ok(meta)
}

fn apply_records(mut records: &[u8], meta: &mut EntryMeta) -> Result<(), String> {
    while !records.is_empty() {
        let (key, value, rest) =
            split_record(records).ok_or_else(|| "a PAX record is malformed".to_string())?;
        records = rest;
        match (key, &mut meta.kind) {
            (b"path", _) => meta.path = EntryPath::new(value),
            (b"linkpath", EntryKind::Symlink(target)) => *target = EntryPath::new(value),
            (b"size", _) => meta.size = number(value)?,
            (b"mtime", _) => meta.mtime = time(value)?,
            _ => return Err(format!("a PAX record is \"{}\"", String::from_utf8_lossy(key))),
        }
    }
    Ok(())
}

fn split_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = records.iter().position(|byte| *byte == b' ')?;
    let len: usize = std::str::from_utf8(&records[..digits]).ok()?.parse().ok()?;
    let record = records.get(digits + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[len..]))
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, String> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        format!("\"{}\" in a PAX record is no number", String::from_utf8_lossy(text))
    })
}

/// Seconds with six digits after the point, as microseconds.
fn time(text: &[u8]) -> Result<i64, String> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'.').collect();
    number(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metas() -> impl Strategy<Value = EntryMeta> {
        let part = proptest::collection::vec(
            any::<u8>().prop_filter("no separator", |byte| !matches!(byte, 0 | b'/')),
            1..130,
        );
        let path = proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join(&b'/'));
        let kind = (0..3u8, path.clone());
        let size = prop_oneof![0..2000u64, Just(MAX_OCTAL), Just(MAX_OCTAL + 1), Just(u64::MAX)];
        let mtime = prop_oneof![any::<i64>(), 0..MICROS, (0..5000i64).prop_map(|s| s * MICROS)];
        (path, kind, size, 0..=0o7777u32, mtime).prop_map(|(path, kind, size, mode, mtime)| {
            let (kind, size) = match kind {
                (0, _) => (EntryKind::Dir, 0),
                (1, target) => (EntryKind::Symlink(EntryPath::new(target)), 0),
                _ => (EntryKind::File, size),
            };
            EntryMeta { path: EntryPath::new(path), kind, size, mode, mtime }
        })
    }

    proptest! {
        #[test]
        fn every_entry_has_one_header_that_reads_back(meta in metas()) {
            prop_assume!(meta.check().is_ok());
            let bytes = encode(&meta);
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            prop_assert!(bytes.len() <= MAX_HEADER);
            prop_assert_eq!(decode(&bytes), Ok(meta));
        }

        #[test]
        fn a_flipped_bit_in_a_header_never_goes_unseen(meta in metas(), bit in any::<usize>()) {
            prop_assume!(meta.check().is_ok());
            let mut bytes = encode(&meta);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = decode(&bytes);
            prop_assert!(read.is_err() || read != Ok(meta), "bit {bit} is without a meaning");
        }

        #[test]
        fn random_blocks_are_refused(blocks in 0..20usize, seed in any::<u64>()) {
            let bytes: Vec<u8> = (0..(blocks * BLOCK) as u64)
                .map(|i| (seed ^ i).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()[7])
                .collect();
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn hard_links_and_devices_are_refused() {
        let good = encode(&EntryMeta::file("a", 0, 0));
        for flag in [b'1', b'3', b'4', b'6', b'7', b'L', b'K', b'g', b'S', 0] {
            let mut bytes = good.clone();
            bytes[FLAG] = flag;
            assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused_wherever_it_stands() {
        for path in ["../a", "/a", &format!("{}/../../../a", "x".repeat(120))] {
            assert!(decode(&encode(&EntryMeta::file(path, 0, 0))).is_err(), "{path}");
        }
    }
}
