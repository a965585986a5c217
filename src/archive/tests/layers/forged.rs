//! Parity that is not that of the archive beside it: forged, of an older archive, of another one. It
//! changes no file, and what is read through it is the archive's own.

use super::*;
use crate::archive::parity::{Geometry, write_parity};
use crate::archive::parts::{Files, Joined};

const PARITY: &str = "/a[0001].parity";
/// What a header vouches for itself over, and where its copies may begin.
const PAGE: usize = 4096;

/// The parity, sound in itself, of anything that is called an archive.
fn parity_over(bytes: &[u8], layers: &Layers) -> Vec<u8> {
    let disk: Arc<dyn Disk> = SimDisk::new(9);
    let segment = layers.segment_bytes.unwrap_or(0);
    let each = if segment == 0 { bytes.len() } else { segment as usize };
    for (index, piece) in bytes.chunks(each).enumerate() {
        let path = match segment {
            0 => PathBuf::from("/a[0001].tar.zst"),
            _ => PathBuf::from(format!("/a[0001-{:04}].tar.zst", index + 1)),
        };
        let file = disk.open(&path, OpenMode::CreateNew).expect("creates");
        file.write_at(piece, 0).expect("writes");
    }
    let first = place().path(&Layers { recipients: None, ..layers.clone() });
    let files = Files::find(&*disk, &first).expect("is found");
    let joined = Joined::strict(&*disk, &files).expect("joins");
    let geometry = Geometry::of(bytes.len() as u64, layers.redundancy, layers.interlacing);
    let shape = (geometry.expect("has parity"), segment);
    write_parity(&*disk, &joined, shape, Path::new(PARITY), &mut go_on).expect("writes");
    bytes_of(&*disk, PARITY)
}

/// The same entries, of which one has another content: what an older backup would have.
fn other_entries() -> Vec<(EntryMeta, Vec<u8>)> {
    let mut other = entries();
    other.last_mut().expect("some").1 = noise(300_000, 4);
    other
}

fn write_file(disk: &dyn Disk, path: &str, bytes: &[u8]) {
    let _gone = disk.remove_file(Path::new(path));
    let file = disk.open(Path::new(path), OpenMode::CreateNew).expect("creates");
    file.write_at(bytes, 0).expect("writes");
}

fn everything(disk: &dyn Disk) -> Vec<(PathBuf, Vec<u8>)> {
    let names = disk.list(Path::new("/")).expect("lists").into_iter();
    names.map(|name| (name.clone(), bytes_of(disk, &format!("/{}", name.display())))).collect()
}

fn joined(disk: &dyn Disk, finished: &Finished) -> Vec<u8> {
    let files = finished.files.iter().filter(|file| file.path != Path::new(PARITY));
    files.flat_map(|file| bytes_of(disk, &file.path.to_string_lossy())).collect()
}

/// Parity files that all are sound in themselves.
fn forgeries(layers: &Layers) -> Vec<(&'static str, Vec<u8>)> {
    let (disk, _, finished) = named(layers.clone());
    let own = joined(&*disk, &finished);
    let disk: Arc<dyn Disk> = SimDisk::new(5);
    let older = write_entries(&disk, layers.clone(), other_entries());
    name_files(&*disk, &place(), &older.files).expect("gives names");
    let mut longer = own.clone();
    longer.extend_from_slice(&noise(70_000, 8));
    let mut flipped = own.clone();
    flipped[own.len() / 2] ^= 1;
    let other_shape = Layers { redundancy: Level::Low, interlacing: Level::None, ..layers.clone() };
    let mut shorter_blocks = parity_over(&own, layers);
    forge(&mut shorter_blocks, |header| header[12..16].copy_from_slice(&32_768u32.to_le_bytes()));
    let mut set = parity_over(&own, layers);
    forge(&mut set, |header| header[40] ^= 1);
    vec![
        ("one byte", parity_over(&own[..1], layers)),
        ("a beginning", parity_over(&own[..own.len() / 2], layers)),
        ("all but the end", parity_over(&own[..own.len() - 1], layers)),
        ("more", parity_over(&longer, layers)),
        ("zeros", parity_over(&vec![0; own.len()], layers)),
        ("noise", parity_over(&noise(own.len(), 5), layers)),
        ("another byte", parity_over(&flipped, layers)),
        ("an older archive", bytes_of(&*disk, PARITY)),
        ("an older archive, woven otherwise", parity_over(&joined(&*disk, &older), &other_shape)),
        ("blocks of another size", shorter_blocks),
        ("another set", set),
    ]
}

/// Changes all copies of the header, which then vouch for themselves again.
fn forge(parity: &mut [u8], change: impl Fn(&mut [u8])) {
    for page in parity.chunks_exact_mut(PAGE).filter(|page| page.starts_with(b"SPPARITY")) {
        change(page);
        let (hashed, digest) = page.split_at_mut(PAGE - 32);
        digest.copy_from_slice(blake3::hash(hashed).as_bytes());
    }
}

fn shapes() -> [Layers; 2] {
    [redundant(Layers::default()), redundant(in_segments())]
}

#[test]
fn forged_or_foreign_parity_changes_no_file_of_a_whole_archive_nor_what_is_read() {
    for layers in shapes() {
        for (what, parity) in forgeries(&layers) {
            let (disk, path, _) = named(layers.clone());
            write_file(&*disk, PARITY, &parity);
            let before = everything(&*disk);
            let archive = ArchiveFile::open(&*disk, &path, &Keys::none());
            assert_content(&archive.unwrap_or_else(|e| panic!("{what}: {e}")));
            let error = repair(&*disk, &path, &mut go_on).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            assert!(everything(&*disk) == before, "{what}");
        }
    }
}

#[test]
fn forged_or_foreign_parity_changes_no_file_of_a_damaged_archive() {
    for layers in shapes() {
        for (what, parity) in forgeries(&layers) {
            let (_, path, finished) = named(layers.clone());
            let last = finished.files.last().expect("some");
            // In the content, in the manifest, in the seek table; the end cut off.
            for damage in [500, last.bytes - 800, last.bytes - 5, u64::MAX] {
                let (disk, _, _) = named(layers.clone());
                match damage {
                    u64::MAX => {
                        let file = disk.open(&last.path, OpenMode::Write).expect("opens");
                        file.set_len(last.bytes - 100).expect("cuts");
                    }
                    at => flip(&*disk, &last.path, at),
                }
                write_file(&*disk, PARITY, &parity);
                let before = everything(&*disk);
                let repaired = repair(&*disk, &path, &mut go_on);
                let error = repaired.expect_err(&format!("{what}, {damage}"));
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}, {damage}: {error}");
                assert!(everything(&*disk) == before, "{what}, {damage}");
            }
        }
    }
}

#[test]
fn a_damaged_archive_is_never_read_as_the_older_one_that_a_foreign_parity_makes_of_it() {
    // All of it is one block, so that the parity is a copy of the older archive.
    let small = |seed| vec![file("x", noise(900, seed))];
    let layers = redundant(Layers::default());
    let written = |seed| {
        let disk: Arc<dyn Disk> = SimDisk::new(5);
        let finished = write_entries(&disk, layers.clone(), small(seed));
        name_files(&*disk, &place(), &finished.files).expect("gives names");
        disk
    };
    let older = bytes_of(&*written(1), PARITY);
    let path = place().path(&layers);
    let len = bytes_of(&*written(2), &path.to_string_lossy()).len() as u64;
    for at in (0..len).step_by(7) {
        let disk = written(2);
        flip(&*disk, &path, at);
        write_file(&*disk, PARITY, &older);
        let before = everything(&*disk);
        if let Ok(archive) = ArchiveFile::open(&*disk, &path, &Keys::none()) {
            let entry = archive.find("x").expect("is there");
            let read = archive.read_entry(entry, 1000);
            assert!(read.is_err() || read.is_ok_and(|read| read == noise(900, 2)), "byte {at}");
        }
        assert!(repair(&*disk, &path, &mut go_on).is_err(), "byte {at}");
        assert!(everything(&*disk) == before, "byte {at}");
    }
}

#[test]
fn segments_in_each_others_places_are_repaired_by_their_own_parity() {
    let (disk, path, finished) = named(redundant(in_segments()));
    let before = everything(&*disk);
    let (one, other) = (&finished.files[2].path, &finished.files[3].path);
    disk.rename(one, Path::new("/aside")).expect("renames");
    disk.rename(other, one).expect("renames");
    disk.rename(Path::new("/aside"), other).expect("renames");
    repair(&*disk, &path, &mut go_on).expect("is repaired");
    assert!(everything(&*disk) == before);
}

#[test]
fn a_repair_that_finds_no_space_for_a_copy_changes_nothing() {
    let sim = SimDisk::new(5);
    let disk: Arc<dyn Disk> = sim.clone();
    let layers = redundant(Layers::default());
    let finished = write_layered(&disk, layers.clone());
    name_files(&*disk, &place(), &finished.files).expect("gives names");
    let path = place().path(&layers);
    flip(&*disk, &path, 500);
    let before = everything(&*disk);
    let used: usize = before.iter().map(|(_, bytes)| bytes.len()).sum();
    sim.set_capacity(used as u64 + 1000);
    let error = repair(&*disk, &path, &mut go_on).expect_err("there is no space");
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    assert!(everything(&*disk) == before);
    sim.set_capacity(u64::MAX);
    repair(&*disk, &path, &mut go_on).expect("is repaired");
}
