//! Bad input: each with a clear error that names file and line, nothing changed, never a panic.

use proptest::prelude::*;

use super::super::tree::Fault;
use super::*;
use crate::regime::settings::MAX_SETTINGS_BYTES;

fn fault(text: impl AsRef<[u8]>) -> Fault {
    Document::parse(text.as_ref()).expect_err("it must be refused")
}

#[test]
fn each_wrong_value_is_told_with_its_key_its_line_and_what_is_allowed() {
    let wrong = "<Preferences4D>\n<Backup>\n<Settings>\n<Advanced>\n\
        <AutomaticRestore>yes</AutomaticRestore>\n\
        <SetNumber><Value>-3</Value></SetNumber>\n\
        <CompressionRate>Faster</CompressionRate>\n\
        <FileSegmentation><DefaultSize>2049</DefaultSize></FileSegmentation>\n\
        <BackupFailure>\n<TryToBackupAfter>0000-00-00T00:61:00</TryToBackupAfter>\n</BackupFailure>\n\
        </Advanced>\n<Scheduler>\n\
        <Daily><Hour>2023-02-30T10:00:00</Hour></Daily>\n\
        <Hourly><StartingAt>0000-00-00T24:00:00</StartingAt></Hourly>\n\
        <Monthly><Day>32</Day></Monthly>\n</Scheduler>\n<Stillpoint>\n\
        <TimeZone>Europe/Atlantis</TimeZone>\n<ArchiveName>a/b</ArchiveName>\n\
        </Stillpoint>\n</Settings>\n</Backup>\n</Preferences4D>\n";
    let disk = disk();
    put(&disk, "/shop/store", wrong);
    let file = SettingsFile::open(&*disk, Path::new("/shop/store")).unwrap();
    let found: Vec<(String, u32, String)> =
        file.problems().into_iter().map(|p| (p.key, p.line, p.value)).collect();
    let expected = [
        ("Advanced/AutomaticRestore", 5, "yes"),
        ("Advanced/SetNumber/Value", 6, "-3"),
        ("Advanced/CompressionRate", 7, "Faster"),
        ("Advanced/FileSegmentation/DefaultSize", 8, "2049"),
        ("Advanced/BackupFailure/TryToBackupAfter", 10, "0000-00-00T00:61:00"),
        ("Scheduler/Daily/Hour", 14, "2023-02-30T10:00:00"),
        ("Scheduler/Hourly/StartingAt", 15, "0000-00-00T24:00:00"),
        ("Scheduler/Monthly/Day", 16, "32"),
        ("Stillpoint/TimeZone", 19, "Europe/Atlantis"),
        ("Stillpoint/ArchiveName", 20, "a/b"),
    ];
    let expected = expected.map(|(key, line, value)| (key.to_owned(), line, value.to_owned()));
    assert_eq!(found, expected);
    let error = load(&disk).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, code::SETTINGS));
    assert_eq!(error.path(), Some(&*place("/shop/store")));
    for said in ["Advanced/SetNumber/Value in line 6 is \"-3\"", "whole number from 1", "5 more"] {
        assert!(error.message().contains(said), "{error}");
    }
}

#[test]
fn dates_and_times_are_possible_ones() {
    let takes = |value: &str| {
        let inside = format!("<Scheduler><Daily><Hour>{value}</Hour></Daily></Scheduler>");
        check::read(&Document::parse(with(&inside).as_bytes()).unwrap()).1.is_empty()
    };
    for right in ["0000-00-00T23:59:59", "T07:30", "07:30", "2024-02-29T07:30:00", " 07:30:15 ", ""]
    {
        assert!(takes(right), "{right}");
    }
    for wrong in [
        "24:00",
        "12:60",
        "12:00:60",
        "2023-02-29T07:30",
        "0000-00-01T07:30",
        "0000-13-00T07:30",
        "7:30",
        "12",
        "12:",
        "12:00:00:00",
        "-1:00",
        "+1:00",
        "noon",
        "0000-00-00",
        "１２:00",
        "0000-00-00T12:00:00.5",
        "20240229T12:00",
        "0000-00-00 12:00:00",
    ] {
        assert!(!takes(wrong), "{wrong}");
    }
}

#[test]
fn a_length_of_time_may_be_longer_than_a_day() {
    let span = "<Stillpoint><HoldLimit>0000-00-00T36:00:01</HoldLimit></Stillpoint>";
    let (settings, problems) = check::read(&Document::parse(with(span).as_bytes()).unwrap());
    assert_eq!((settings.stillpoint.hold_limit.as_secs(), problems), (36 * 3600 + 1, vec![]));
}

#[test]
fn lists_say_as_many_items_as_they_count() {
    let problems = |inside: &str| {
        let inside = format!("<General><IncludesFiles>{inside}</IncludesFiles></General>");
        let found = check::read(&Document::parse(with(&inside).as_bytes()).unwrap()).1;
        found.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    let below = |name: &str| vec![format!("General/IncludesFiles/{name}")];
    assert_eq!(problems("<ItemsCount>1</ItemsCount><Item1>/a</Item1>"), Vec::<String>::new());
    assert_eq!(problems("<ItemsCount>2</ItemsCount><Item1>/a</Item1>"), below("Item2"));
    assert_eq!(problems("<ItemsCount>0</ItemsCount><Item1>/a</Item1>"), below("Item1"));
    assert_eq!(problems("<Item1>/a</Item1>"), below("Item1"));
    assert_eq!(problems("<ItemsCount>9999999999</ItemsCount>"), below("ItemsCount"));
    assert_eq!(problems("<ItemsCount>1</ItemsCount><Item1></Item1>"), below("Item1"));
    assert_eq!(problems("<ItemsCount>1</ItemsCount><Item1>a&#1;b</Item1>").len(), 1);
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let twice =
        with("<Advanced><SetNumber><Value>1</Value>\n<Value>2</Value></SetNumber></Advanced>");
    let (_, problems) = check::read(&Document::parse(twice.as_bytes()).unwrap());
    assert_eq!((problems.len(), problems[0].line), (1, 2));
    assert!(problems[0].allowed.contains("the first is in line 1"), "{}", problems[0]);
    let groups = with("<Advanced/>\n<Advanced/>");
    assert_eq!(check::read(&Document::parse(groups.as_bytes()).unwrap()).1.len(), 1);
    let unknown = with("<New>1</New><New>2</New>");
    assert!(check::read(&Document::parse(unknown.as_bytes()).unwrap()).1.is_empty());
}

#[test]
fn what_is_not_xml_is_told_with_its_line() {
    for (text, line, said) in [
        ("<Preferences4D>\n<Backup>\n</Preferences4D>", 3, "not XML"),
        ("<Preferences4D>\n<Backup>\n", 2, "\"Backup\" does not end"),
        ("<Preferences4D a='1' a='2'/>", 1, "not XML"),
        ("<Preferences4D/>\n<Preferences4D/>", 2, "more than one root"),
        ("<Preferences4D/>\nmore", 2, "outside"),
        ("\n\n<Settings/>", 3, "the root element is \"Settings\""),
        ("", 1, "no element"),
        ("<Preferences4D>\n&nbsp;</Preferences4D>", 2, "entity \"nbsp\" is unknown"),
        ("<Preferences4D>\r\n\r\n<a<b></Preferences4D>", 3, "not XML"),
        ("<Preferences4D>\n<!-- a -- b --></Preferences4D>", 2, "not XML"),
        ("<?xml version=\"1.0\" encoding=\"windows-1252\"?>\n<Preferences4D/>", 1, "windows-1252"),
        ("<!DOCTYPE Preferences4D [<!ENTITY a 'b'>]>\n<Preferences4D/>", 1, "document type"),
    ] {
        let fault = fault(text);
        assert!(fault.why.contains(said), "{text}: {fault:?}");
        assert_eq!(fault.line, line, "{text}: {fault:?}");
    }
}

#[test]
fn encodings_other_than_utf_8_are_refused_by_name() {
    let utf16: Vec<u8> = "<Preferences4D/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(fault(&utf16).why.contains("UTF-16"));
    assert!(fault([&[0xff, 0xfe][..], &utf16].concat()).why.contains("UTF-16"));
    let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?>\n<Preferences4D>\xe9</Preferences4D>";
    assert!(fault(latin).why.contains("ISO-8859-1"));
    let fault = fault(b"<Preferences4D>\n\xe9</Preferences4D>");
    assert_eq!((fault.line, fault.why.contains("not UTF-8")), (2, true));
    let marked = "\u{feff}<?xml version='1.0' encoding='utf-8'?><Preferences4D/>";
    assert!(Document::parse(marked.as_bytes()).is_ok());
}

#[test]
fn an_entity_bomb_is_refused_before_it_grows() {
    let mut bomb = "<!DOCTYPE Preferences4D [\n<!ENTITY a0 \"boom\">\n".to_owned();
    for step in 1..30 {
        let last = format!("&a{};", step - 1).repeat(10);
        bomb.push_str(&format!("<!ENTITY a{step} \"{last}\">\n"));
    }
    bomb.push_str("]>\n<Preferences4D>&a29;</Preferences4D>");
    assert!(fault(&bomb).why.contains("document type"));
    assert!(fault("<!DOCTYPE x SYSTEM 'x' [ %p; ]><Preferences4D/>").why.contains("document type"));
}

#[test]
fn a_file_that_is_huge_is_refused_unread() {
    let disk = disk();
    put(&disk, "/shop/store", vec![b' '; MAX_SETTINGS_BYTES as usize + 1]);
    let error = load(&disk).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, code::SETTINGS));
    assert!(error.message().contains("4194305 bytes"), "{error}");
}

#[test]
fn a_value_that_is_not_allowed_changes_nothing() {
    let disk = disk();
    put(&disk, "/shop/store", ELSEWHERE);
    let (_, mut file) = load(&disk).unwrap();
    for (name, values) in [
        ("SetNumber/Value", &["0"][..]),
        ("SetNumber/Value", &["1", "2"]),
        ("SetNumber/Value", &[]),
        ("Frequency", &["Fortnightly"]),
        ("Daily/Hour", &["25:00"]),
        ("TimeZone", &["Mars/Olympus"]),
        ("ArchiveName", &["-x"]),
        ("DestinationFolder", &["a\u{1}b"]),
        ("IncludesFiles", &["/a", "b\nc"]),
    ] {
        let error = file.set(&*disk, key(name), values).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, code::SETTINGS), "{error}");
        assert!(error.message().contains(key(name).path()), "{error}");
        assert_eq!(text(&disk, "/shop/store"), ELSEWHERE);
    }
}

#[test]
fn an_import_is_taken_whole_or_not_at_all() {
    let disk = disk();
    put(&disk, "/shop/store", with("<!-- mine -->"));
    put(&disk, "/else", with("<Scheduler><Daily><Every>0</Every></Daily></Scheduler>"));
    let store = Path::new("/shop/store");
    let error = SettingsFile::import(&*disk, store, &place("/else")).unwrap_err();
    assert_eq!((error.code(), error.path()), (code::SETTINGS, Some(&*place("/else"))));
    assert_eq!(text(&disk, "/shop/store"), with("<!-- mine -->"));
    put(&disk, "/else", ELSEWHERE);
    let file = SettingsFile::import(&*disk, store, &place("/else")).unwrap();
    assert_eq!(file.settings().unwrap().advanced.set_number.value, 7);
    assert_eq!(text(&disk, "/shop/store"), ELSEWHERE, "byte for byte");
}

/// The file with some bytes changed, cut out, doubled or replaced by something that XML knows.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "<",
        ">",
        "/",
        "&",
        ";",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "?>",
        "\"",
        "<!DOCTYPE",
        "&#x0;",
        "&#xD800;",
        "&#99999999;",
        "<Item1>",
        "</Settings>",
        "\u{feff}",
        "\0",
        "\r",
        "é",
        "<Settings/>",
        "]]",
        "&lt;",
        "99999999999999999999",
        "0000-00-00T99:99:99",
    ]);
    let change = (any::<prop::sample::Index>(), 0usize..40, pieces, any::<u8>(), 0u8..4);
    prop::collection::vec(change, 1..6).prop_map(|changes| {
        let mut bytes = ELSEWHERE.as_bytes().to_vec();
        for (at, len, piece, byte, what) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            let end = (at + len).min(bytes.len());
            match what {
                0 => drop(bytes.splice(at..end, piece.bytes())),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.insert(at, byte),
                _ => bytes.extend_from_within(at..end),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_mutation_of_a_file_makes_it_panic(bytes in mutated()) {
        if let Ok(mut document) = Document::parse(&bytes) {
            prop_assert_eq!(document.to_bytes(), bytes, "reading keeps every byte");
            let (_, problems) = check::read(&document);
            prop_assert!(problems.iter().all(|problem| problem.line > 0));
            check::unknown(&document);
            let names = key("Monthly/Day").names();
            document.set(&names, "9").unwrap();
            let element = document.find(&names).unwrap();
            prop_assert_eq!(element.value.trim(), "9");
        }
    }

    #[test]
    fn text_of_any_kind_is_read_as_it_was_set(value in "[^\u{0}-\u{1f}\u{7f}-\u{9f}]{1,40}") {
        let mut document = Document::parse(ELSEWHERE.as_bytes()).unwrap();
        let names = key("DestinationFolder").names();
        document.set(&names, value.trim()).unwrap();
        let again = Document::parse(&document.to_bytes()).unwrap();
        prop_assert_eq!(again.find(&names).unwrap().value.trim(), value.trim());
        prop_assert_eq!(check::read(&again).0.advanced.set_number.value, 7);
    }
}
