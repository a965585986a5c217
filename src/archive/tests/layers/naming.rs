//! A crash between two renames, and what may and may not be cleared away after it.

use super::*;
use crate::disk::{Call, Fault, FaultPlan, Survival};
use std::collections::BTreeSet;

/// A disk with an archive in segments with parity that has yet to get its names.
fn written() -> (Arc<SimDisk>, Finished) {
    let sim = SimDisk::new(5);
    let disk: Arc<dyn Disk> = sim.clone();
    let finished = write_layered(&disk, redundant(in_segments()));
    (sim, finished)
}

fn names(disk: &SimDisk) -> BTreeSet<PathBuf> {
    let names = disk.list(Path::new("/")).expect("lists");
    names.into_iter().map(|name| Path::new("/").join(name)).collect()
}

fn clear_away(sim: &Arc<SimDisk>) -> Result<()> {
    let disk: Arc<dyn Disk> = sim.clone();
    remove_unfinished(&disk, Path::new("/"), 7, None)
}

fn finals(finished: &Finished) -> BTreeSet<PathBuf> {
    finished.files.iter().map(|file| file.path.clone()).collect()
}

/// The archive is whole under its names, or nothing of it is there.
fn assert_all_or_nothing(disk: &SimDisk, finished: &Finished) -> bool {
    let found = names(disk);
    if found.is_empty() {
        return false;
    }
    assert_eq!(found, finals(finished));
    let archive = ArchiveFile::open(disk, &finished.files[1].path, &Keys::none()).expect("opens");
    archive.verify(1, &mut go_on).expect("is whole");
    true
}

const SURVIVALS: [Survival; 5] = [
    Survival::Nothing,
    Survival::Everything,
    Survival::Random(1),
    Survival::Random(2),
    Survival::Random(3),
];

#[test]
fn whatever_a_crash_among_the_renames_leaves_is_cleared_away_or_whole() {
    let (ground, finished) = written();
    let (mut whole, mut cleared) = (0, 0);
    for call in 1.. {
        let sim = ground.image();
        sim.crash_at(call);
        let named = name_files(&*sim, &place(), &finished.files);
        if !sim.crashed() {
            named.expect("names all");
            break;
        }
        for survival in SURVIVALS {
            let after = sim.reboot(survival);
            let begun = names(&after).intersection(&finals(&finished)).count();
            clear_away(&after).expect("clears away");
            match assert_all_or_nothing(&after, &finished) {
                true => whole += 1,
                false => cleared += usize::from(begun > 0),
            }
        }
    }
    assert!(whole > 0 && cleared > 10, "{whole} whole, {cleared} cleared");
}

#[test]
fn clearing_away_may_be_cut_off_anywhere_and_taken_up_again() {
    let (ground, finished) = written();
    // Half of the names are given, and the power stays on.
    ground.crash_at(ground.calls() + 6 + finished.files.len() as u64 / 2);
    name_files(&*ground, &place(), &finished.files).expect_err("crashes");
    let ground = ground.reboot(Survival::Everything);
    assert!(!names(&ground).is_disjoint(&finals(&finished)), "some have their names");
    assert!(!finals(&finished).is_subset(&names(&ground)), "and some have not");
    for call in 1.. {
        let sim = ground.image();
        sim.crash_at(call);
        let cleared = clear_away(&sim);
        if !sim.crashed() {
            cleared.expect("clears away");
            break;
        }
        for survival in SURVIVALS {
            let after = sim.reboot(survival);
            clear_away(&after).expect("clears away");
            assert!(!assert_all_or_nothing(&after, &finished), "{call}, {survival:?}");
        }
    }
}

/// The list of names may come back with a power cut. It says nothing of an archive that is whole, or
/// was: a segment that somebody has moved elsewhere is no rename that never happened.
#[test]
fn an_archive_whose_segment_was_moved_away_is_never_cleared_away() {
    let (ground, finished) = written();
    let mut with_list = 0;
    for call in 1.. {
        let sim = ground.image();
        sim.crash_at(call);
        let named = name_files(&*sim, &place(), &finished.files);
        let is_last = !sim.crashed();
        let after = sim.reboot(Survival::Everything);
        if finals(&finished).is_subset(&names(&after)) {
            with_list += usize::from(names(&after) != finals(&finished));
            let moved = &finished.files[2].path;
            after.create_dir(Path::new("/elsewhere")).expect("makes a folder");
            after.rename(moved, Path::new("/elsewhere/segment")).expect("moves");
            clear_away(&after).expect("there is no more than a list");
            let mut left = finals(&finished);
            left.remove(moved);
            left.insert(PathBuf::from("/elsewhere"));
            assert_eq!(names(&after), left);
        }
        if is_last {
            named.expect("names all");
            break;
        }
    }
    assert!(with_list > 0, "a crash left the list beside a whole archive");
}

/// Another store was faster with the same names: what is unfinished goes, and its archive stays.
#[test]
fn the_archive_of_another_store_with_the_same_names_stays() {
    let (sim, finished) = written();
    // A list of ours is there, and nothing of ours has its name.
    sim.crash_at(sim.calls() + 5);
    name_files(&*sim, &place(), &finished.files).expect_err("crashes");
    let after = sim.reboot(Survival::Everything);
    assert!(names(&after).is_disjoint(&finals(&finished)));
    for file in &finished.files[1..] {
        let other = after.open(&file.path, OpenMode::CreateNew).expect("creates");
        other.set_len(file.bytes).expect("is as long");
    }
    clear_away(&after).expect("clears away");
    let mut theirs = finals(&finished);
    theirs.remove(&finished.files[0].path);
    assert_eq!(names(&after), theirs);
}

#[test]
fn a_list_that_names_files_of_another_number_or_folder_removes_none() {
    for name in ["a[0002-0001].tar.zst", "b[0001-0001].tar.zst", "a[0001]/../keep", "keep"] {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/a[0001]")).expect("makes a folder");
        let keep = |name: &str| Path::new("/").join(name);
        disk.open(&keep(name), OpenMode::CreateNew).expect("creates");
        let list = place().folder.join(partial("a[0001].naming", 7));
        let file = disk.open(&list, OpenMode::CreateNew).expect("creates");
        let unfinished = "a[0001-0002].tar.zst";
        disk.open(&keep(&partial(unfinished, 7)), OpenMode::CreateNew).expect("creates");
        let content = serde_json::json!({ "format": 1, "files": [
            { "name": name, "bytes": 0 }, { "name": unfinished, "bytes": 0 },
        ]});
        file.write_at(content.to_string().as_bytes(), 0).expect("writes");
        clear_away(&disk).expect("clears away");
        assert!(disk.metadata(&keep(name)).is_ok(), "{name}");
        assert!(disk.metadata(&list).is_err());
    }
}

/// Two stores of one identity write here at once: what lies there is only cleared away where nobody but
/// the one who does it is alive.
#[test]
fn nothing_is_cleared_away_while_another_who_may_have_made_it_is_alive() {
    let sim = SimDisk::new(5);
    let disk: Arc<dyn Disk> = sim.clone();
    let root = Path::new("/");
    let clear = |own: Option<&Claim>| remove_unfinished(&disk, root, 7, own).expect("looks");
    let other = Claim::new(&disk, root, 7).expect("claims");
    let unfinished = root.join(partial("a[0001].tar.zst", 7));
    disk.open(&unfinished, OpenMode::CreateNew).expect("creates");
    let own = Claim::new(&disk, root, 7).expect("claims");
    clear(Some(&own));
    clear(None);
    assert_eq!(names(&sim).len(), 3);
    // Another store is nobody's business.
    let stranger = Claim::new(&disk, root, 8).expect("claims");
    drop(other);
    clear(Some(&own));
    assert!(disk.metadata(&unfinished).is_err());
    drop((own, stranger));
    assert!(names(&sim).is_empty(), "claims end with their values");
    // The claim of a process that died says nothing, and goes.
    let dead = Claim::new(&disk, root, 7).expect("claims");
    disk.open(&unfinished, OpenMode::CreateNew).expect("creates");
    let after = sim.image();
    assert_eq!(names(&after).len(), 2);
    clear_away(&after).expect("clears away");
    assert!(names(&after).is_empty());
    drop(dead);
}

/// Nobody can be told from the dead there; before there were claims it was so everywhere.
#[test]
fn where_the_file_system_has_no_locks_archives_are_written_and_cleared_away_all_the_same() {
    let sim = SimDisk::new(5);
    let disk: Arc<dyn Disk> = sim.clone();
    sim.fail(FaultPlan::always(Call::Lock, "writing-", Fault::NO_LOCKS));
    let own = Claim::new(&disk, Path::new("/"), 7).expect("goes without");
    let unfinished = Path::new("/").join(partial("a[0001].tar.zst", 7));
    disk.open(&unfinished, OpenMode::CreateNew).expect("creates");
    remove_unfinished(&disk, Path::new("/"), 7, Some(&own)).expect("clears away");
    drop(own);
    assert!(names(&sim).is_empty());
}

/// Whoever cannot see whether a claim is held takes nobody for dead, neither now nor later.
#[test]
fn a_claim_that_cannot_be_looked_at_stays_and_so_does_what_it_protects() {
    let sim = SimDisk::new(5);
    let disk: Arc<dyn Disk> = sim.clone();
    let root = Path::new("/");
    let other = Claim::new(&disk, root, 7).expect("claims");
    let unfinished = root.join(partial("a[0001].tar.zst", 7));
    disk.open(&unfinished, OpenMode::CreateNew).expect("creates");
    let own = Claim::new(&disk, root, 7).expect("claims");
    // There are locks here, since one's own claim has one: that they are all in use passes.
    let faults = [(Fault::NO_HANDLES, false), (Fault::IO, false), (Fault::NO_LOCKS, true)];
    for (fault, is_well) in faults {
        sim.fail(FaultPlan::once(Call::Lock, "writing-", fault));
        let looked = remove_unfinished(&disk, root, 7, Some(&own));
        assert_eq!(looked.is_ok(), is_well, "{looked:?}");
        assert!(!sim.has_faults());
        clear_away(&sim).expect("somebody is alive");
        assert!(disk.metadata(&unfinished).is_ok(), "it was taken for that of a dead one");
    }
    drop((other, own));
    clear_away(&sim).expect("clears away");
    assert!(names(&sim).is_empty());
}

/// Another user's: its lock would be seen by whoever may read it.
#[test]
fn the_claim_of_a_dead_one_that_may_only_be_read_is_in_nobodys_way() {
    let sim = SimDisk::new(5);
    let disk: Arc<dyn Disk> = sim.clone();
    drop(disk.lock(&Path::new("/").join(partial("writing-1[0000]", 7)), "").expect("locks"));
    let unfinished = Path::new("/").join(partial("a[0001].tar.zst", 7));
    disk.open(&unfinished, OpenMode::CreateNew).expect("creates");
    let own = Claim::new(&disk, Path::new("/"), 7).expect("claims");
    sim.fail(FaultPlan::once(Call::Lock, "writing-1", Fault::DENIED));
    remove_unfinished(&disk, Path::new("/"), 7, Some(&own)).expect("clears away");
    drop(own);
    assert!(names(&sim).is_empty());
}
