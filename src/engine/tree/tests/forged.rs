//! Data files that somebody forged: fields of any value under checksums that are right.
//!
//! Checksums show what rotted. Whoever writes a file on purpose makes them right, so they prove
//! nothing about lengths, page numbers, levels and counts. Each forgery here is one field set to a
//! number that a careless reader stumbles over; all checksums on the way up to the metas are made anew.
//! Whatever comes of it (mostly an error, sometimes a file that is sound), nothing panics, and
//! nothing is allocated after a claimed size.

use super::super::page::Node;
use super::super::pointer::{Pointer, ROOT_LEN, TableRoot};
use super::*;
use crate::disk::{OpenMode, SimDisk};
use crate::error::ErrorKind;

const PAGE: usize = 4096;

/// Three levels, big values, a free list, two tables, and one that was dropped.
fn file() -> Vec<u8> {
    let disk = SimDisk::new(7);
    create(&*disk, PAGE);
    let (file, mut newest) = open(&*disk);
    for lsn in 1..4u64 {
        let mut batch = Batch::default();
        for table in 1..4 {
            batch.define(table, b"a definition");
        }
        if lsn == 3 {
            batch.drop_table(3);
        }
        for n in 0..700u64 {
            let key = format!("a key that is long enough for many pages {:06}", n * lsn);
            batch.put(1, key.as_bytes(), &[lsn as u8; 60]);
            batch.put(3, &n.to_be_bytes(), b"dropped");
        }
        for n in 0..4u8 {
            batch.put(2, &[n], &vec![n; 3_000 + 40_000 * usize::from(n)]);
        }
        newest = file.checkpoint(&newest, &mut batch.source(), params(lsn)).expect("write");
    }
    assert!(newest.table(1).expect("there").level >= 1);
    let file = disk.open(Path::new(PATH), OpenMode::Read).expect("open");
    let mut bytes = vec![0; newest.meta().page_count as usize * PAGE];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn u64_in(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("within"))
}

/// Makes the checksums right of all that can be reached from the metas.
fn reseal(bytes: &mut [u8]) {
    for slot in 0..2 {
        let meta = slot * PAGE;
        let root = TableRoot::decode(bytes[meta + 104..].first_chunk().expect("within"));
        if let Some(crc) = reseal_tree(bytes, &root.root, root.level, true, 0) {
            bytes[meta + 112..meta + 116].copy_from_slice(&crc.to_le_bytes());
        }
        let list = u64_in(bytes, meta + 144);
        if let Some(crc) = reseal_list(bytes, list, 0) {
            bytes[meta + 152..meta + 156].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[meta..meta + PAGE - 4]);
        bytes[meta + PAGE - 4..meta + PAGE].copy_from_slice(&crc.to_le_bytes());
    }
}

fn place(bytes: &[u8], page: u64) -> Option<usize> {
    let at = usize::try_from(page).ok()?.checked_mul(PAGE)?;
    (page >= 2 && at.checked_add(PAGE)? <= bytes.len()).then_some(at)
}

fn reseal_list(bytes: &mut [u8], page: u64, depth: usize) -> Option<u32> {
    let at = place(bytes, page).filter(|_| depth < 20)?;
    if let Some(crc) = reseal_list(bytes, u64_in(bytes, at + 8), depth + 1) {
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    }
    Some(crc32c::crc32c(&bytes[at..at + PAGE]))
}

/// The checksum of the page at `pointer`, once those below it are right.
fn reseal_tree(
    bytes: &mut [u8],
    pointer: &Pointer,
    level: u8,
    catalogue: bool,
    depth: usize,
) -> Option<u32> {
    let at = place(bytes, pointer.page).filter(|_| depth < 6)?;
    let page = bytes[at..at + PAGE].to_vec();
    let node = Node::new(&page, level);
    for index in 0..node.map_or(0, |node| node.count()) {
        let node = node.expect("it has entries");
        let (below, level, catalogue, patch) = if level > 0 {
            let Some(child) = node.child(index) else { continue };
            (child, level - 1, catalogue, node.child_place(index) + 8)
        } else {
            let Some(cell) = node.place(index).filter(|_| catalogue) else { continue };
            let value = &page[usize::from(cell.value)..usize::from(cell.end)];
            let Some(root) = value.first_chunk::<ROOT_LEN>().map(TableRoot::decode) else {
                continue;
            };
            (root.root, root.level, false, usize::from(cell.value) + 8)
        };
        let crc = reseal_tree(bytes, &below, level, catalogue, depth + 1);
        if let (Some(crc), true) = (crc, patch + 4 <= PAGE) {
            bytes[at + patch..at + patch + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }
    Some(crc32c::crc32c(&bytes[at..at + PAGE]))
}

/// Numbers from a seed (splitmix).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % sides as u64) as usize
    }
}

/// Sets one field somewhere in the file: in the head of a page more often than behind it.
fn forge(bytes: &mut [u8], dice: &mut Dice) {
    let page = dice.roll(bytes.len() / PAGE) * PAGE;
    let within = match dice.roll(4) {
        0 => dice.roll(PAGE - 12),
        1 => dice.roll(16),
        _ => dice.roll(200),
    };
    let number: u64 = match dice.roll(8) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX - 1,
        3 => 1 << 63,
        4 => dice.roll(PAGE) as u64,
        5 => 1 << dice.roll(64),
        6 => (bytes.len() / PAGE) as u64 - dice.roll(3) as u64,
        _ => u64::from(bytes[page + within]) ^ (1 << dice.roll(8)),
    };
    let len = [1, 2, 4, 8][dice.roll(4)];
    bytes[page + within..][..len].copy_from_slice(&number.to_le_bytes()[..len]);
}

/// Does with the file what a store does.
fn use_it(disk: &SimDisk) -> Result<()> {
    let _report = verify_data_file(disk, Path::new(PATH));
    let (file, newest) = DataFile::open(disk, Path::new(PATH))?;
    let _read = read_all(&newest);
    if let Ok(plan) = newest.copy_plan() {
        let mut page = vec![0; PAGE];
        for number in 0..plan.page_count() {
            let _copied = plan.read(number, &mut page);
        }
    }
    let mut batch = Batch::default();
    for n in (0..2100u64).step_by(13) {
        let key = format!("a key that is long enough for many pages {n:06}");
        match n % 3 {
            0 => batch.delete(1, key.as_bytes()),
            _ => batch.put(1, key.as_bytes(), b"new"),
        }
    }
    batch.put(2, &[2], b"small now");
    batch.drop_table(2);
    batch.define(9, b"one more");
    batch.put(9, b"key", &[9; 9000]);
    let lsn = newest.lsn() + 1;
    let next = file.checkpoint(&newest, &mut batch.source(), params(lsn))?;
    drop(newest);
    if let Some(moved) = file.tidy(&next, 110)? {
        let _read = read_all(&moved);
        let _report = moved.verify();
    }
    Ok(())
}

#[test]
fn no_field_of_a_forged_data_file_makes_anything_panic() {
    let original = file();
    let (mut refused, mut passed) = (0, 0);
    for seed in 0..1000 {
        let mut dice = Dice(seed);
        let mut bytes = original.clone();
        for _ in 0..=dice.roll(2) {
            forge(&mut bytes, &mut dice);
        }
        reseal(&mut bytes);
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new(PATH), OpenMode::CreateNew).expect("create");
        file.write_at(&bytes, 0).expect("write");
        drop(file);
        eprintln!("seed {seed}");
        match use_it(&disk) {
            Ok(()) => passed += 1,
            Err(error) => {
                let kind = error.kind();
                let judged = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Limit];
                assert!(judged.contains(&kind), "seed {seed}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 100 && passed > 100, "{refused} refused, {passed} passed");
}

#[test]
fn the_checksums_of_a_forged_file_are_right() {
    let mut bytes = file();
    let original = bytes.clone();
    bytes[3 * PAGE + 2000] ^= 1;
    reseal(&mut bytes);
    bytes[3 * PAGE + 2000] ^= 1;
    reseal(&mut bytes);
    assert!(bytes == original, "the seals are those that the writer made");
}
