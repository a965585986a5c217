//! Promise 9: settings are read from files that others wrote, changed one key at a time, and never
//! half written.

use std::path::Path;

use stillpoint::disk::atomic::{create_dir_all, read_whole, write_atomically};
use stillpoint::disk::{Disk, SimDisk, Survival};
use stillpoint::regime::{SettingKey, Settings, SettingsFile};
use stillpoint::{ErrorKind, code};

const STORE: &str = "/shop/store";
const FILE: &str = "/shop/store/Settings/Backup.4DSettings";
const BEFORE: &str = "<Preferences4D><!-- kept --><Backup><Settings><Advanced><SetNumber>\
    <Value>4</Value></SetNumber><Unknown>x</Unknown></Advanced></Settings></Backup></Preferences4D>";

fn prepared() -> std::sync::Arc<SimDisk> {
    let disk = SimDisk::new(9);
    create_dir_all(&*disk, &Path::new(STORE).join("Settings")).unwrap();
    write_atomically(&*disk, Path::new(FILE), BEFORE.as_bytes()).unwrap();
    disk
}

fn set(disk: &SimDisk) -> stillpoint::Result<()> {
    let mut file = SettingsFile::open(disk, Path::new(STORE))?;
    file.set(disk, SettingKey::find("SetNumber/Value")?, &["5"])
}

#[test]
fn a_crash_at_any_call_leaves_the_old_settings_or_the_new() {
    let after = BEFORE.replace("<Value>4<", "<Value>5<");
    let whole = prepared();
    let first = whole.calls();
    set(&whole).unwrap();
    let calls = whole.calls() - first;
    assert!(calls > 4, "it writes");
    for call in 0..calls {
        for survival in [Survival::Nothing, Survival::Everything] {
            let disk = prepared();
            disk.crash_at(disk.calls() + call);
            // Where the crash comes after the rename, the call may have nothing left to fail at.
            let _ = set(&disk);
            let disk = disk.reboot(survival);
            let text = read_whole(&*disk, Path::new(FILE), 1 << 20).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text == BEFORE || text == after, "call {call}: {text}");
            set(&disk).unwrap();
            assert_eq!(
                Settings::load(&*disk, Path::new(STORE)).unwrap().0.advanced.set_number.value,
                5
            );
        }
    }
}

#[test]
fn a_full_disk_leaves_the_settings_as_they_were() {
    let disk = prepared();
    disk.set_capacity(0);
    assert_eq!(set(&disk).unwrap_err().kind(), ErrorKind::StorageFull);
    let text = read_whole(&*disk, Path::new(FILE), 1 << 20).unwrap();
    assert_eq!(text, BEFORE.as_bytes());
    assert_eq!(disk.list(&Path::new(STORE).join("Settings")).unwrap().len(), 1);
}

#[test]
fn wrong_settings_name_file_key_line_and_what_is_allowed() {
    let disk = prepared();
    let wrong = BEFORE.replace("<Value>4<", "\n<Value>four<");
    write_atomically(&*disk, Path::new(FILE), wrong.as_bytes()).unwrap();
    let error = Settings::load(&*disk, Path::new(STORE)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, code::SETTINGS));
    assert_eq!(error.path(), Some(Path::new(FILE)));
    let said = "Advanced/SetNumber/Value in line 2 is \"four\"; allowed is a whole number from 1";
    assert!(error.message().contains(said), "{error}");
}
