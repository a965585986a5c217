//! Random histories against a model that shares nothing with the simulator: it keeps every content
//! that the file ever had, whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{create, read};
use crate::disk::{Disk, OpenMode, SimDisk, Survival};

#[derive(Clone, Debug)]
enum Act {
    Write { offset: u16, len: u16, byte: u8 },
    SetLen(u16),
    Allocate(u16),
    Sync,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..9000u16, 0..5000u16, any::<u8>())
            .prop_map(|(offset, len, byte)| Act::Write { offset, len, byte }),
        2 => (0..14_000u16).prop_map(Act::SetLen),
        1 => (0..14_000u16).prop_map(Act::Allocate),
        2 => Just(Act::Sync),
    ]
}

/// Each byte of a sector comes from one and the same moment, and the length from some moment.
fn check_possible(found: &[u8], moments: &[Vec<u8>]) -> Result<(), TestCaseError> {
    prop_assert!(moments.iter().any(|moment| moment.len() == found.len()), "no such length");
    for (number, sector) in found.chunks(512).enumerate() {
        let possible = moments.iter().any(|moment| {
            let at = |n: usize| moment.get(number * 512 + n).copied().unwrap_or(0);
            sector.iter().enumerate().all(|(n, byte)| at(n) == *byte)
        });
        prop_assert!(possible, "sector {number} never was like that");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_crash_leaves_only_what_once_was(
        acts in prop::collection::vec(act(), 1..25),
        mapped in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let disk = SimDisk::new(seed);
        let file = create(&disk, "a", b"");
        file.sync()?;
        let _map = mapped.then(|| file.map(1 << 20)).transpose()?;
        let mut moments = vec![Vec::new()];
        for act in acts {
            let mut model = moments[moments.len() - 1].clone();
            match act {
                Act::Write { offset, len, byte } => {
                    let (from, to) = (usize::from(offset), usize::from(offset) + usize::from(len));
                    file.write_at(&vec![byte; to - from], u64::from(offset))?;
                    if from < to {
                        model.resize(model.len().max(to), 0);
                        model[from..to].fill(byte);
                    }
                }
                Act::SetLen(len) => {
                    file.set_len(u64::from(len))?;
                    model.resize(usize::from(len), 0);
                }
                Act::Allocate(end) => {
                    file.allocate(0, u64::from(end))?;
                    model.resize(model.len().max(usize::from(end)), 0);
                }
                Act::Sync => {
                    file.sync()?;
                    moments.clear();
                }
            }
            moments.push(model);
            let now = &moments[moments.len() - 1];
            prop_assert!(&read(&disk, "a")? == now);
            prop_assert!(read(&disk.image().reboot(Survival::Nothing), "a")? == moments[0]);
            for survival in 0..4 {
                let after = disk.image().reboot(Survival::Random(seed ^ survival));
                check_possible(&read(&after, "a")?, &moments)?;
            }
        }
    }

    #[test]
    fn names_are_those_of_the_last_sync_or_come_from_later_changes(
        acts in prop::collection::vec((0..4u8, 0..4usize, 0..4usize), 1..25),
        seed in any::<u64>(),
    ) {
        let names = ["a", "b", "c", "d"].map(Path::new);
        let disk = SimDisk::new(seed);
        // Each file says its number; each number is given once.
        let mut now: BTreeMap<&Path, u32> = BTreeMap::new();
        let mut synced = now.clone();
        let mut next = 0;
        for (act, one, two) in acts {
            let (one, two) = (names[one], names[two]);
            match act {
                0 => if let Ok(file) = disk.open(one, OpenMode::CreateNew) {
                    file.write_at(&u32::to_le_bytes(next), 0)?;
                    file.sync()?;
                    prop_assert!(now.insert(one, next).is_none());
                    next += 1;
                },
                1 => prop_assert_eq!(disk.remove_file(one).is_ok(), now.remove(one).is_some()),
                2 => {
                    prop_assert_eq!(disk.rename(one, two).is_ok(), now.contains_key(one));
                    if let Some(number) = now.remove(one) {
                        now.insert(two, number);
                    }
                }
                _ => {
                    disk.sync_dir(Path::new("/"))?;
                    synced = now.clone();
                }
            }
            prop_assert_eq!(&found(&disk)?, &now);
            prop_assert_eq!(&found(&disk.image().reboot(Survival::Nothing))?, &synced);
            let after = found(&disk.image().reboot(Survival::Random(seed)))?;
            let mut numbers: Vec<u32> = after.values().copied().collect();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), after.len(), "one file has two names");
        }
    }
}

fn found(disk: &SimDisk) -> std::io::Result<BTreeMap<&'static Path, u32>> {
    let mut all = BTreeMap::new();
    for name in ["a", "b", "c", "d"] {
        if disk.list(Path::new("/"))?.contains(&PathBuf::from(name)) {
            let bytes = read(disk, name)?;
            let bytes: [u8; 4] = bytes.try_into().map_err(|_| std::io::ErrorKind::InvalidData)?;
            all.insert(Path::new(name), u32::from_le_bytes(bytes));
        }
    }
    Ok(all)
}
