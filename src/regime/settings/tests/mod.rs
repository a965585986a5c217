//! What reading and writing the settings promises, with the document in hand.

mod guide;
mod input;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::time;

use super::document::Document;
use super::file::{SETTINGS_FILE, SETTINGS_FOLDER, SettingsFile};
use super::key::SettingKey;
use super::types::{Frequency, Settings};
use super::{check, tree};
use crate::archive::Compression;
use crate::code;
use crate::disk::atomic::{create_dir_all, read_whole, write_atomically};
use crate::disk::{Disk, SimDisk};
use crate::error::ErrorKind;

/// A file of the other program, with tabs, comments and keys that nobody here knows.
const ELSEWHERE: &str = include_str!("elsewhere.4DSettings");

/// A disk with an empty folder `/shop/store`.
fn disk() -> Arc<SimDisk> {
    let disk = SimDisk::new(1);
    create_dir_all(&*disk, Path::new("/shop/store")).unwrap();
    disk
}

fn place(folder: &str) -> std::path::PathBuf {
    Path::new(folder).join(SETTINGS_FOLDER).join(SETTINGS_FILE)
}

fn put(disk: &SimDisk, folder: &str, text: impl AsRef<[u8]>) {
    create_dir_all(disk, &Path::new(folder).join(SETTINGS_FOLDER)).unwrap();
    write_atomically(disk, &place(folder), text.as_ref()).unwrap();
}

fn text(disk: &SimDisk, folder: &str) -> String {
    String::from_utf8(read_whole(disk, &place(folder), 1 << 20).unwrap()).unwrap()
}

/// A file with `inside` below `Settings`.
fn with(inside: &str) -> String {
    format!("<Preferences4D><Backup><Settings>{inside}</Settings></Backup></Preferences4D>")
}

fn load(disk: &SimDisk) -> crate::Result<(Settings, SettingsFile)> {
    Settings::load(disk, Path::new("/shop/store"))
}

fn key(name: &str) -> &'static SettingKey {
    SettingKey::find(name).unwrap()
}

#[test]
fn a_file_written_elsewhere_loads_as_it_is() {
    let disk = disk();
    put(&disk, "/shop/store", ELSEWHERE);
    let (settings, file) = load(&disk).unwrap();
    assert_eq!(settings.scheduler.frequency, Frequency::Weekly);
    assert_eq!(settings.scheduler.weekly.every, 2);
    let days: Vec<bool> = settings.scheduler.weekly.days.iter().map(|day| day.save).collect();
    assert_eq!(days, [false, false, false, false, true, false, false]);
    assert_eq!(settings.scheduler.weekly.days[4].hour, time(21, 30, 0, 0));
    assert_eq!(settings.scheduler.daily.hour, time(22, 15, 0, 0));
    assert_eq!(settings.scheduler.monthly.day, 31);
    assert_eq!(settings.advanced.set_number.value, 7);
    assert_eq!(settings.advanced.compression_rate, Compression::Compact);
    assert_eq!(settings.advanced.segment_mib, 650);
    assert_eq!(settings.advanced.backup_failure.try_to_backup_after, Duration::from_secs(60));
    assert!(!settings.advanced.backup_journal_verbose_mode);
    let destination = settings.general.destination_folder.unwrap();
    assert_eq!(destination.to_str().unwrap(), r"D:\Backups & more\");
    let attached: Vec<_> = settings.general.includes_files.iter().map(|p| p.to_str()).collect();
    assert_eq!(attached, [Some("./WebFolder/"), Some("Macintosh HD:Docs:letter.txt")]);
    assert_eq!(settings.stillpoint, Settings::default().stillpoint, "and the rest by default");
    assert_eq!(file.unknown(), [("Advanced/SomethingNew".to_owned(), 65)]);
    assert!(file.problems().is_empty());
}

#[test]
fn a_change_touches_the_text_of_its_key_alone() {
    let disk = disk();
    put(&disk, "/shop/store", ELSEWHERE);
    let (_, mut file) = load(&disk).unwrap();
    file.set(&*disk, key("SetNumber/Value"), &["12"]).unwrap();
    let expected = ELSEWHERE.replace("<Value>7</Value><!--", "<Value>12</Value><!--");
    assert_eq!(text(&disk, "/shop/store"), expected);
    // A new key stands where it belongs, set in as its neighbours are.
    file.set(&*disk, key("Redundancy"), &["high"]).unwrap();
    let mode = "<BackupJournalVerboseMode>False</BackupJournalVerboseMode>\n";
    let expected =
        expected.replace(mode, &format!("{mode}\t\t\t\t<Redundancy>High</Redundancy>\n"));
    assert_eq!(text(&disk, "/shop/store"), expected);
    file.set(&*disk, key("Drill/Every"), &["7"]).unwrap();
    let own = "\t\t\t</Advanced>\n\t\t\t<Stillpoint>\n\t\t\t\t<Drill>\n\t\t\t\t\t\
               <Every>7</Every>\n\t\t\t\t</Drill>\n\t\t\t</Stillpoint>\n";
    let expected = expected.replace("\t\t\t</Advanced>\n", own);
    assert_eq!(text(&disk, "/shop/store"), expected);
    let (settings, _) = load(&disk).unwrap();
    assert_eq!((settings.advanced.set_number.value, settings.stillpoint.drill.every), (12, 7));
}

#[test]
fn every_key_can_be_set_and_comes_back() {
    let disk = disk();
    let (before, mut file) = load(&disk).unwrap();
    assert_eq!(before, Settings::default());
    assert!(!file.is_there());
    for key in SettingKey::all() {
        let wanted: Vec<&str> = match (key.kind(), key.path()) {
            ("boolean", _) => {
                vec![if key.default_values()[0] == "True" { "False" } else { "True" }]
            }
            ("number", _) => vec!["17"],
            ("time of day" | "length of time", _) => vec!["0000-00-00T13:14:15"],
            ("path" | "name", _) => vec!["a <b> & \"c\""],
            ("list of paths", _) => vec!["/first", "second & last"],
            ("time zone", _) => vec!["Pacific/Auckland"],
            ("public keys", _) => {
                vec!["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]
            }
            (_, "Scheduler/Frequency") => vec!["Monthly"],
            (_, "Advanced/AutomaticLogIntegrationStrictness") => vec!["auto-repair"],
            (_, "Advanced/CompressionRate") => vec!["Compact"],
            (_, "Stillpoint/Access") => vec!["Live"],
            (_, "Stillpoint/AtHoldLimit") => vec!["Abort"],
            (_, "Stillpoint/LogPolicy") => vec!["DropOldest"],
            _ => vec!["High"],
        };
        file.set(&*disk, key, &wanted).unwrap_or_else(|e| panic!("{}: {e}", key.path()));
        let (settings, read) = load(&disk).unwrap();
        assert_eq!(key.values(&settings), wanted, "{}", key.path());
        assert_ne!(key.values(&settings), key.default_values(), "{}", key.path());
        assert!(read.line_of(key).is_some());
    }
    let (settings, file) = load(&disk).unwrap();
    let left: Vec<&str> = SettingKey::all()
        .filter(|key| key.values(&settings) == key.default_values())
        .map(SettingKey::path)
        .collect();
    assert!(left.is_empty(), "two keys share a field: {left:?}");
    assert!(file.unknown().is_empty());
}

#[test]
fn the_file_beside_the_data_wins() {
    let disk = disk();
    put(&disk, "/shop", with("<Scheduler><Frequency>Daily</Frequency></Scheduler>"));
    let (settings, file) = load(&disk).unwrap();
    assert_eq!((settings.scheduler.frequency, file.path()), (Frequency::Daily, &*place("/shop")));
    put(&disk, "/shop/store", with(""));
    assert!(file.changed(&*disk), "a file came that wins");
    let (settings, file) = load(&disk).unwrap();
    assert_eq!(settings, Settings::default(), "taken whole, not mixed");
    assert_eq!(file.path(), place("/shop/store"));
}

#[test]
fn both_names_of_the_verbose_key_are_understood() {
    let read = |inside: &str| {
        let document = Document::parse(with(inside).as_bytes()).unwrap();
        let (settings, problems) = check::read(&document);
        (settings.advanced.backup_journal_verbose_mode, problems.len())
    };
    let (old, new) = ("<VerboseMode>False</VerboseMode>", "BackupJournalVerboseMode");
    let advanced = |inside: &str| read(&format!("<Advanced>{inside}</Advanced>"));
    assert_eq!(advanced(old), (false, 0));
    assert_eq!(advanced(&format!("<{new}>False</{new}>")), (false, 0));
    assert_eq!(advanced(&format!("{old}<{new}>True</{new}>")), (true, 0), "today's name counts");
    assert_eq!(advanced(&format!("<{new}>True</{new}>{old}")), (true, 0), "in any order");
    assert_eq!(advanced(&format!("<VerboseMode>x</VerboseMode><{new}>True</{new}>")).1, 1);
    let disk = disk();
    put(&disk, "/shop/store", with(&format!("<Advanced>{old}</Advanced>")));
    let (_, mut file) = load(&disk).unwrap();
    file.set(&*disk, key("VerboseMode"), &["true"]).unwrap();
    let set = format!("<Advanced><VerboseMode>True</VerboseMode><{new}>True</{new}></Advanced>");
    assert_eq!(text(&disk, "/shop/store"), with(&set), "setting it sets both");
}

#[test]
fn a_list_grows_and_shrinks_with_its_count() {
    let disk = disk();
    put(&disk, "/shop/store", ELSEWHERE);
    let (_, mut file) = load(&disk).unwrap();
    let paths = key("IncludesFiles");
    for items in [&["/a", "/b", "/c"][..], &["/d"], &[], &["/e", "/f"]] {
        file.set(&*disk, paths, items).unwrap();
        let (settings, _) = load(&disk).unwrap();
        assert_eq!(paths.values(&settings), items);
        assert!(load(&disk).unwrap().1.problems().is_empty());
    }
    let count = text(&disk, "/shop/store").lines().count();
    assert_eq!(count, ELSEWHERE.lines().count(), "no empty lines are left behind");
}

#[test]
fn a_change_is_noticed_once_and_a_broken_one_keeps_what_was() {
    let disk = disk();
    let (_, mut file) = load(&disk).unwrap();
    assert!(!file.changed(&*disk));
    disk.advance(Duration::from_secs(1));
    put(&disk, "/shop/store", with("<Scheduler><Frequency>Daily</Frequency></Scheduler>"));
    assert!(file.changed(&*disk), "a file came");
    (_, file) = load(&disk).unwrap();
    assert!(!file.changed(&*disk));
    disk.advance(Duration::from_secs(1));
    put(&disk, "/shop/store", with("<Scheduler><Frequency>Dayly</Frequency></Scheduler>"));
    assert!(file.changed(&*disk), "the length is the same, the time is not");
    assert_eq!(load(&disk).unwrap_err().code(), code::SETTINGS);
    assert_eq!(file.settings().unwrap().scheduler.frequency, Frequency::Daily);
    file.seen(&*disk);
    assert!(!file.changed(&*disk), "it is told once");
    disk.remove_file(&place("/shop/store")).unwrap();
    assert!(file.changed(&*disk), "a file went");
}

#[test]
fn a_change_of_somebody_else_is_not_overwritten() {
    let disk = disk();
    put(&disk, "/shop/store", ELSEWHERE);
    let (_, mut file) = load(&disk).unwrap();
    disk.advance(Duration::from_secs(1));
    put(&disk, "/shop/store", with(""));
    let error = file.set(&*disk, key("SetNumber/Value"), &["9"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert_eq!(text(&disk, "/shop/store"), with(""));
}

#[test]
fn keys_are_found_by_their_last_part_where_it_is_unique() {
    assert_eq!(key("DestinationFolder").path(), "General/DestinationFolder");
    assert_eq!(key("setnumber/value").path(), "Advanced/SetNumber/Value");
    assert_eq!(key("Monday/Hour").path(), "Scheduler/Weekly/Monday/Hour");
    assert_eq!(key("VerboseMode").path(), "Advanced/BackupJournalVerboseMode");
    let several = SettingKey::find("Hour").unwrap_err();
    assert_eq!((several.kind(), several.code()), (ErrorKind::Invalid, code::SETTINGS));
    for path in ["Scheduler/Daily/Hour", "Scheduler/Weekly/Sunday/Hour", "Stillpoint/Drill/Hour"] {
        assert!(several.advice().unwrap().contains(path), "{several}");
    }
    for wrong in ["", "/", "our", "DestinationFolde", "General", "é", "Settings/General"] {
        assert_eq!(SettingKey::find(wrong).unwrap_err().kind(), ErrorKind::NotFound, "{wrong}");
    }
}

#[test]
fn the_form_of_a_file_is_kept() {
    for form in [
        // On one line; with a prefix; with CR LF and a mark; with empty elements and comments.
        with("<Advanced/>"),
        "<p:Preferences4D xmlns:p='x'><p:Backup/></p:Preferences4D>".to_owned(),
        "\u{feff}<Preferences4D>\r\n <Backup>\r\n  <Settings />\r\n </Backup>\r\n</Preferences4D>"
            .to_owned(),
        with(
            "<Advanced><SetNumber><Value><!-- a --> 3 <!-- b -->&#32;</Value></SetNumber></Advanced>",
        ),
        "<Preferences4D/>".to_owned(),
        with("<Advanced><SetNumber><Value/></SetNumber></Advanced><!-- end -->"),
        with("<Advanced><SetNumber><Value> <![CDATA[3]]> </Value></SetNumber></Advanced>"),
        with("<Advanced><SetNumber>\n</SetNumber></Advanced>"),
    ] {
        let mut document = Document::parse(form.as_bytes()).unwrap();
        document.set(&key("SetNumber/Value").names(), "1 < 2 & 3").unwrap();
        document.set(&key("SetNumber/Value").names(), "21").unwrap();
        let written = String::from_utf8(document.to_bytes()).unwrap();
        let again = Document::parse(written.as_bytes()).unwrap();
        let (settings, problems) = check::read(&again);
        assert_eq!((settings.advanced.set_number.value, problems), (21, vec![]), "{written}");
        assert_eq!(form.matches("<!--").count(), written.matches("<!--").count(), "{written}");
        assert_eq!(form.starts_with('\u{feff}'), written.starts_with('\u{feff}'));
        assert_eq!(form.contains("<p:"), written.contains("<p:SetNumber>"), "{written}");
        let plain = written.replace("\r\n", "");
        assert!(!form.contains('\r') || !plain.contains('\n'), "{written:?}");
        assert!(form.contains('\n') || !written.contains('\n'), "{written}");
    }
}

#[test]
fn bounds_of_the_tree_are_those_of_its_constants() {
    let deep = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert!(tree::Tree::parse(&deep(tree::MAX_DEPTH)).is_ok());
    assert!(tree::Tree::parse(&deep(tree::MAX_DEPTH + 1)).unwrap_err().why.contains("deep"));
    let wide = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count - 1));
    assert!(tree::Tree::parse(&wide(tree::MAX_ELEMENTS)).is_ok());
    assert!(tree::Tree::parse(&wide(tree::MAX_ELEMENTS + 1)).unwrap_err().why.contains("elements"));
}
