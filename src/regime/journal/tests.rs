//! The text of lines, and which file is the live one. Files and crashes are tested from outside.

use super::*;
use crate::disk::{Disk, OpenMode, SimDisk};
use crate::error::{Error, ErrorKind};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::path::Path;

fn full(message: &str) -> JournalItem {
    JournalItem {
        about: About::Item("attachment".into()),
        origin: Some(Origin::Scheduled),
        number: Some(6),
        path: Some("/web/a\tb\n\\n".into()),
        bytes: Some(u64::MAX),
        contents: "data\u{1b}".into(),
        started: Some(1_700_000_000_123_000),
        scheduled: Some(-1_000),
        ended: Some(1_700_000_001_000_000),
        code: -9976,
        ..JournalItem::note(JournalEvent::Backup, message)
    }
}

proptest! {
    #[test]
    fn a_line_is_read_back_whatever_it_says(message in any::<String>(), raw in any::<String>()) {
        let item = full(&message);
        let text = line::format(&item, 5_000, &TimeZone::UTC);
        prop_assert_eq!(text.matches('\n').count(), 1);
        prop_assert!(text.ends_with('\n'));
        let read = line::parse(text.trim_end_matches('\n')).expect("it is a line");
        prop_assert_eq!(read, JournalRecord { time: 5_000, item });
        // Anything else is no panic.
        let _any = line::parse(&raw);
    }
}

#[test]
fn times_are_local_and_say_their_offset() {
    let zone = TimeZone::get("Australia/Lord_Howe").expect("a bundled zone");
    let text = line::format(&full(""), 1_700_000_000_123_456, &zone);
    assert!(text.starts_with("2023-11-15T09:13:20.123+11:00\tbackup\tscheduled\t6\t"), "{text}");
}

#[test]
fn every_event_and_origin_has_a_name_of_its_own() {
    for event in JournalEvent::ALL {
        assert_eq!(JournalEvent::from_name(event.name()), Some(event));
    }
    for origin in Origin::ALL {
        assert_eq!(Origin::from_name(origin.name()), Some(origin));
    }
}

#[test]
fn an_error_brings_its_number_its_path_and_its_words() {
    let error = Error::new(ErrorKind::BackupFailed, "the copy failed").with_code(1409).at("/b");
    let item = JournalItem::new(JournalEvent::Backup, About::End).with_error(&error);
    assert_eq!((item.code, item.path.as_deref()), (1409, Some(Path::new("/b"))));
    assert!(item.message.contains("the copy failed"));
}

#[test]
fn a_file_whose_first_line_is_damaged_counts_as_the_oldest() {
    let disk = SimDisk::new(1);
    let folder = Path::new("/Logs");
    files::JournalFile { serial: 7, number: 2 }.create(&*disk, folder).unwrap();
    let path = files::JournalFile { serial: 0, number: 3 }.path(folder);
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_at(b"somebody's notes\n", 0).unwrap();
    let numbers: Vec<u32> =
        files::list(&*disk, folder).unwrap().into_iter().map(|file| file.number).collect();
    assert_eq!(numbers, [3, 2]);
}
