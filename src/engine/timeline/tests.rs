//! Lines of timelines, as bytes and as answers.

use super::*;

/// A, B after 50 of it, C after 70 of B.
fn line() -> Ancestry {
    Ancestry::first(1).extended(2, 50).unwrap().extended(3, 70).unwrap()
}

fn history(last: Lsn) -> History {
    History::new(line(), last)
}

#[test]
fn a_line_is_read_back_and_every_changed_bit_and_length_is_seen() {
    let line = line();
    let bytes = line.encode();
    let back = Ancestry::decode(&bytes).unwrap();
    assert_eq!((&back, back.digest()), (&line, line.digest()));
    let told: Vec<Timeline> = back.timelines().collect();
    assert_eq!(told[0], Timeline { id: 3, parent: 2, fork: 70 });
    assert_eq!(told[2], Timeline { id: 1, parent: 0, fork: 0 });
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        Ancestry::decode(&changed).unwrap_err();
    }
    for len in 0..bytes.len() {
        Ancestry::decode(&bytes[..len]).unwrap_err();
    }
    Ancestry::decode(&[bytes, vec![0]].concat()).unwrap_err();
}

/// The bytes of a line that no writer writes, with a right checksum.
fn forged(count: u32, stems: &[(u128, Lsn)]) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], &FORMAT.to_le_bytes(), &count.to_le_bytes()].concat();
    for (id, fork) in stems {
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&fork.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn circles_forks_that_go_back_and_false_counts_are_refused() {
    let refused: [(u32, &[(u128, Lsn)]); 9] = [
        (0, &[]),
        (1, &[(0, 0)]),
        (1, &[(1, 4)]),
        (2, &[(1, 0), (1, 4)]),
        (3, &[(1, 0), (2, 4), (1, 9)]),
        (3, &[(1, 0), (2, 4), (3, 3)]),
        (2, &[(1, 0), (2, Lsn::MAX)]),
        (u32::MAX, &[(1, 0)]),
        (1, &[(1, 0), (2, 4)]),
    ];
    for (count, stems) in refused {
        Ancestry::decode(&forged(count, stems)).unwrap_err();
    }
    Ancestry::decode(&forged(2, &[(1, 0), (2, 0)])).unwrap();
    assert_eq!(line().extended(2, 90).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(line().extended(4, 69).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_line_has_at_most_65536_forks() {
    let mut stems: Vec<(u128, Lsn)> = (1..=MAX_FORKS as u128 + 1).map(|id| (id, 0)).collect();
    let bytes = forged(stems.len() as u32, &stems);
    assert_eq!(bytes.len() as u64, Ancestry::MAX_BYTES);
    let longest = Ancestry::decode(&bytes).unwrap();
    assert_eq!(longest.encode(), bytes);
    assert_eq!(longest.extended(9 << 90, 1).unwrap_err().kind(), ErrorKind::Limit);
    stems.push((9 << 90, 1));
    Ancestry::decode(&forged(stems.len() as u32, &stems)).unwrap_err();
}

#[test]
fn a_commit_is_in_a_history_where_its_timeline_was_not_left_before_it() {
    let history = history(90);
    let held = [(1, 0), (1, 50), (2, 51), (2, 70), (3, 71), (3, 90)];
    assert!(held.iter().all(|&(id, lsn)| history.holds(id, lsn)));
    let not = [(1, 51), (2, 71), (3, 91), (4, 1), (2, 49), (3, 69)];
    assert!(!not.iter().any(|&(id, lsn)| history.holds(id, lsn)));
    assert_eq!([1, 2, 3, 4].map(|id| history.end_of(id)), [Some(50), Some(70), Some(90), None]);
}

#[test]
fn histories_part_at_the_last_commit_that_both_have() {
    let none = Known::default();
    let timeline = |id, parent, fork| Timeline { id, parent, fork };
    let parting = |theirs, last, known: &Known| history(90).parting(theirs, last, known);
    assert_eq!(parting(timeline(1, 0, 0), 80, &none), Some(50));
    assert_eq!(parting(timeline(1, 0, 0), 30, &none), Some(30));
    assert_eq!(parting(timeline(3, 2, 70), 200, &none), Some(90));
    assert_eq!(parting(timeline(9, 2, 60), 200, &none), Some(60));
    assert_eq!(parting(timeline(9, 1, 60), 200, &none), Some(50), "A was left before that");
    // By way of a timeline that something else tells of, or nothing does.
    assert_eq!(parting(timeline(9, 8, 65), 200, &none), None);
    let known: Known = [timeline(8, 2, 60)].into_iter().collect();
    assert_eq!(parting(timeline(9, 8, 65), 200, &known), Some(60));
    let circle: Known = [timeline(8, 9, 60), timeline(9, 8, 60)].into_iter().collect();
    assert_eq!(parting(timeline(9, 8, 65), 200, &circle), None);
}

#[test]
fn a_log_is_admitted_where_all_is_held_or_the_rest_goes_on_from_the_end() {
    let none = Known::default();
    let admits =
        |id, parent, fork, last| history(90).admits(Timeline { id, parent, fork }, last, &none);
    assert_eq!(admits(1, 0, 0, 50), Ok(()));
    assert_eq!(admits(1, 0, 0, 51), Err(50));
    assert_eq!(admits(3, 2, 70, 200), Ok(()));
    assert_eq!(admits(9, 3, 90, 200), Ok(()));
    assert_eq!(admits(9, 3, 89, 200), Err(89));
    assert_eq!(admits(9, 8, 89, 200), Ok(()), "nothing is known of it");
}

#[test]
fn what_follows_must_fork_off_exactly_there_and_have_the_whole_line() {
    let line = line();
    assert_eq!(line.follow(line.tip(), line.digest(), 90), Some(line.clone()));
    assert_eq!(line.follow(line.tip(), 7, 90), None);
    let next = line.extended(4, 90).unwrap();
    assert_eq!(line.follow(next.tip(), next.digest(), 90), Some(next.clone()));
    assert_eq!(line.follow(next.tip(), next.digest(), 91), None);
    assert_eq!(line.follow(next.tip(), line.digest(), 90), None);
    // A line of which only the end is stated is followed likewise.
    let stated = Ancestry::stated(line.tip(), line.digest());
    let followed = stated.follow(next.tip(), next.digest(), 90).unwrap();
    assert_eq!((followed.tip(), followed.digest()), (next.tip(), next.digest()));
}

#[test]
fn a_line_is_made_whole_only_where_its_digest_proves_it() {
    let (line, none) = (line(), Known::default());
    let (tip, digest) = (line.tip(), line.digest());
    let proven = |stored: Option<&Ancestry>, known: &Known| {
        Ancestry::proven(stored, tip, digest, known) == Some(line.clone())
    };
    assert!(proven(Some(&line), &none), "it is what is stored");
    assert!(proven(Some(&line.extended(4, 80).unwrap()), &none), "or part of that");
    assert!(proven(Some(&line.through(2).unwrap()), &none), "or goes on from it");
    assert!(!proven(Some(&line.through(1).unwrap()), &none), "B is not known");
    let known: Known = line.timelines().collect();
    assert!(proven(Some(&line.through(1).unwrap()), &known) && proven(None, &known));
    // Another B, and a stored line that has our tip in another place.
    let other: Known = [Timeline { id: 2, parent: 1, fork: 49 }].into_iter().collect();
    assert!(!proven(Some(&line.through(1).unwrap()), &other));
    let elsewhere = Ancestry::first(7).extended(3, 70).unwrap();
    assert!(!proven(Some(&elsewhere), &known));
    let circle: Known = [Timeline { id: 2, parent: 3, fork: 49 }].into_iter().collect();
    assert!(!proven(None, &circle));
}
