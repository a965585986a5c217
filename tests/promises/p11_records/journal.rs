//! The journal: its lines, its files, and crashes.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use stillpoint::disk::{Call, Disk, Fault, FaultPlan, SimDisk, Survival};
use stillpoint::regime::{
    About, Journal, JournalEvent, JournalItem, JournalReader, Origin, ROTATE_ABOVE,
};
use stillpoint::{Error, ErrorKind};

use super::{names, read, write};

const DIR: &str = "/store";
const LIVE: &str = "/store/Logs/Backup Journal[001].txt";

fn open(sim: &Arc<SimDisk>, verbose: bool) -> Journal {
    Journal::open(sim.clone(), Path::new(DIR), verbose, TimeZone::get("Asia/Kolkata").unwrap())
}

fn disk(seed: u64) -> Arc<SimDisk> {
    let sim = SimDisk::new(seed);
    sim.create_dir(Path::new(DIR)).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    sim
}

fn note(message: &str) -> JournalItem {
    JournalItem::note(JournalEvent::Backup, message)
}

fn text(sim: &SimDisk, path: &str) -> String {
    String::from_utf8(read(sim, path)).unwrap()
}

/// The last fields of the lines, first line left out.
fn messages(sim: &SimDisk, path: &str) -> Vec<String> {
    let text = text(sim, path);
    let last = |line: &str| line.rsplit('\t').next().unwrap().to_owned();
    text.lines().skip(1).map(last).collect()
}

fn all_lines(sim: &Arc<SimDisk>) -> Vec<String> {
    let mut reader = JournalReader::open(sim.clone(), Path::new(DIR));
    let mut found = Vec::new();
    loop {
        let lines = reader.next_lines().unwrap();
        if lines.is_empty() {
            return found;
        }
        let message = |line: stillpoint::regime::JournalLine| {
            line.record.map_or(line.text, |record| record.item.message)
        };
        found.extend(lines.into_iter().map(message));
    }
}

fn a_backup() -> [JournalItem; 4] {
    let of = |about| {
        let mut item = JournalItem::new(JournalEvent::Backup, about);
        (item.origin, item.number) = (Some(Origin::Scheduled), Some(7));
        item
    };
    let mut start = of(About::Start);
    start.started = Some(0);
    let mut archive = of(About::Archive);
    archive.path = Some("/b/shop[0007].tar.zst".into());
    archive.contents = "data structure".into();
    let mut attachment = of(About::Item("attachment".into()));
    attachment.path = Some("/web/tab\there".into());
    [start, archive, attachment, of(About::End)]
}

#[test]
fn a_line_has_as_many_fields_as_the_first_line_names() {
    let sim = disk(1);
    open(&sim, true).append_all(&a_backup()).unwrap();
    let text = text(&sim, LIVE);
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split('\t').collect();
    assert_eq!(columns[..5], ["time", "event", "origin", "number", "item"]);
    assert_eq!(columns.last(), Some(&"file 1"));
    let lines: Vec<Vec<&str>> = lines.map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 4);
    for line in &lines {
        assert_eq!(line.len(), columns.len() - 1, "{line:?}");
        assert_eq!(line[1..4], ["backup", "scheduled", "7"]);
        assert!(line[0].ends_with("+05:30"), "local time with its offset: {line:?}");
    }
    assert_eq!(lines[0][8], "1970-01-01T05:30:00.000+05:30");
    assert_eq!(lines[2][5], "/web/tab\\there");
    assert!(!text.contains('\r') && text.ends_with('\n'));
}

#[test]
fn a_brief_journal_has_starts_notes_and_errors_alone() {
    let sim = disk(2);
    let journal = open(&sim, false);
    journal.append_all(&a_backup()).unwrap();
    let failed = Error::new(ErrorKind::BackupFailed, "no room").with_code(1409);
    journal.append(&a_backup()[3].clone().with_error(&failed)).unwrap();
    journal.append(&note("postponed")).unwrap();
    let text = text(&sim, LIVE);
    let items: Vec<&str> = text.lines().skip(1).map(|l| l.split('\t').nth(4).unwrap()).collect();
    assert_eq!(items, ["start", "end", "note"]);
    assert!(text.contains("\t1409\tno room"));
}

#[test]
fn a_journal_past_10_mb_is_ended_before_a_backup_and_at_no_other_time() {
    let sim = disk(3);
    let journal = open(&sim, true);
    let long = note(&"x".repeat(1 << 20));
    for _ in 0..9 {
        journal.append(&long).unwrap();
    }
    let len = || sim.metadata(Path::new(LIVE)).unwrap().len;
    // To the byte: a line of the rest, whose frame is as long as that of an empty one.
    let before = len();
    journal.append(&note("")).unwrap();
    let frame = len() - before;
    let rest = ROTATE_ABOVE - len() - frame;
    journal.append(&note(&"y".repeat(usize::try_from(rest).unwrap()))).unwrap();
    assert_eq!(len(), ROTATE_ABOVE);
    journal.before_backup().unwrap();
    assert_eq!(names(&sim, "/store/Logs").len(), 1, "10 MB is not past 10 MB");
    journal.append(&note("one more")).unwrap();
    assert_eq!(names(&sim, "/store/Logs").len(), 1, "not within a backup");
    journal.before_backup().unwrap();
    journal.append(&note("in the second")).unwrap();
    assert_eq!(messages(&sim, "/store/Logs/Backup Journal[002].txt"), ["in the second"]);
    // Whoever opens it next goes on there, whatever the times of the files say.
    drop(journal);
    open(&sim, true).append(&note("also")).unwrap();
    assert_eq!(messages(&sim, "/store/Logs/Backup Journal[002].txt").len(), 2);
}

/// Makes the file `number` the live one, with a length past that of rotation.
fn live_at(sim: &Arc<SimDisk>, number: u32, serial: u64) {
    let journal = open(sim, true);
    journal.append(&note("first")).unwrap();
    let first = text(sim, LIVE).lines().next().unwrap().replace("file 1", "");
    let mut bytes = format!("{first}file {serial}\n{}", "z\n".repeat(10)).into_bytes();
    bytes.resize(usize::try_from(ROTATE_ABOVE).unwrap(), b'z');
    bytes.push(b'\n');
    write(sim, format!("/store/Logs/Backup Journal[{number:03}].txt"), &bytes);
}

#[test]
fn after_999_comes_001_and_replaces_what_is_there() {
    let sim = disk(4);
    live_at(&sim, 999, 999);
    let journal = open(&sim, true);
    journal.before_backup().unwrap();
    journal.append(&note("round again")).unwrap();
    assert_eq!(messages(&sim, LIVE), ["round again"]);
    drop(journal);
    // 001 is the newest now, though 999 has the greater number.
    open(&sim, true).append(&note("still")).unwrap();
    assert_eq!(messages(&sim, LIVE), ["round again", "still"]);
    assert_eq!(all_lines(&sim).last().unwrap(), "still", "and it is read last");
}

/// Some editors give all lines other ends, that of the first line too.
#[test]
fn the_live_file_stays_the_live_one_when_an_editor_has_saved_it() {
    let sim = disk(10);
    open(&sim, true).append(&note("first")).unwrap();
    let first = text(&sim, LIVE).lines().next().unwrap().replace("file 1", "file 2");
    let second = "/store/Logs/Backup Journal[002].txt";
    write(&sim, second, format!("{first}\r\n").as_bytes());
    open(&sim, true).append(&note("second")).unwrap();
    assert!(text(&sim, second).contains("second"));
    assert_eq!(messages(&sim, LIVE), ["first"]);
}

#[test]
fn a_reader_follows_across_files_and_gives_each_line_once() {
    let sim = disk(5);
    live_at(&sim, 2, 2);
    let journal = open(&sim, true);
    let mut reader = JournalReader::open(sim.clone(), Path::new(DIR));
    let mut seen = Vec::new();
    let mut follow = |seen: &mut Vec<String>| loop {
        let lines = reader.next_lines().unwrap();
        if lines.is_empty() {
            break;
        }
        seen.extend(lines.into_iter().filter_map(|line| line.record).map(|r| r.item.message));
    };
    follow(&mut seen);
    journal.append(&note("a")).unwrap();
    follow(&mut seen);
    journal.append(&note("b")).unwrap();
    journal.before_backup().unwrap();
    journal.append(&note("c")).unwrap();
    follow(&mut seen);
    follow(&mut seen);
    journal.append(&note("d")).unwrap();
    follow(&mut seen);
    assert_eq!(seen, ["first", "a", "b", "c", "d"]);
}

#[test]
fn a_line_that_a_crash_cut_off_is_ended_by_the_next() {
    let sim = disk(6);
    open(&sim, true).append(&note("whole")).unwrap();
    let mut bytes = read(&sim, LIVE);
    bytes.extend_from_slice(b"2026-01-01T00:00:0");
    write(&sim, LIVE, &bytes);
    open(&sim, true).append(&note("next")).unwrap();
    let lines = messages(&sim, LIVE);
    assert_eq!(lines, ["whole", "2026-01-01T00:00:0", "next"]);
}

#[test]
fn a_full_disk_is_told_once_and_what_was_lost_is_counted() {
    let sim = disk(7);
    let journal = open(&sim, true);
    journal.append(&note("before")).unwrap();
    sim.fail(FaultPlan::always(Call::Write, "Journal", Fault::FULL));
    let error = journal.append(&note("lost")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.path().unwrap().ends_with("Backup Journal[001].txt"));
    journal.append(&note("lost too")).unwrap();
    sim.heal();
    journal.append(&note("after")).unwrap();
    let lines = messages(&sim, LIVE);
    assert_eq!(lines[0], "before");
    assert_eq!(lines[lines.len() - 2..], ["2 lines could not be written before this one", "after"]);
    sim.fail(FaultPlan::always(Call::Write, "Journal", Fault::FULL));
    journal.append(&note("lost")).unwrap_err();
}

#[test]
fn a_journal_that_somebody_took_away_is_begun_anew() {
    let sim = disk(8);
    let journal = open(&sim, true);
    journal.append(&note("gone")).unwrap();
    sim.remove_file(Path::new(LIVE)).unwrap();
    journal.append(&note("there")).unwrap();
    assert_eq!(all_lines(&sim), ["there"]);
}

/// Appends, rotates, appends; what was acknowledged is there after a crash at any call.
#[test]
fn no_crash_loses_a_line_that_was_written() {
    let ground = disk(9);
    live_at(&ground, 999, 999);
    for survival in [Survival::Nothing, Survival::Everything] {
        for call in 1.. {
            let sim = ground.image();
            sim.crash_at(call);
            let journal = open(&sim, true);
            let mut acknowledged = Vec::new();
            for step in ["a", "b", "rotate", "c", "d"] {
                let done = match step {
                    "rotate" => journal.before_backup().is_ok(),
                    step => journal.append(&note(step)).is_ok(),
                };
                if sim.crashed() {
                    break;
                }
                assert!(done, "{step} at call {call}");
                acknowledged.push(step);
            }
            if !sim.crashed() {
                assert!(call > 10, "there is something to crash");
                break;
            }
            let after = sim.reboot(survival);
            open(&after, true).append(&note("z")).unwrap();
            let mut wanted: Vec<&str> = acknowledged.clone();
            wanted.retain(|step| *step != "rotate");
            wanted.push("z");
            let lines = all_lines(&after);
            let mut left = lines.iter();
            for step in wanted {
                assert!(left.any(|line| line == step), "{step} at call {call}: {lines:?}");
            }
        }
    }
}
