//! Settings that were changed while the store is open: read anew, and put in force or refused.
//!
//! Invariant: what cannot be used changes nothing, and is told once for each change of the file.

use std::sync::Arc;

use super::core::Core;
use super::events::RegimeEvent;
use super::plan::Plan;
use super::settings::{Settings, SettingsFile};
use crate::engine::LogCap;

impl Core {
    /// Reads the settings anew. What cannot be used changes nothing but is told.
    pub(super) fn reload(&self) {
        // Looked at before it is read: what changes meanwhile is noticed by the next look.
        let mut looked = self.desk.lock().file.clone();
        looked.seen(&*self.disk);
        let loaded = Settings::load(&*self.disk, &self.dir).and_then(|(settings, file)| {
            Plan::of(&settings, &self.dir, &self.secrets).map(|plan| (settings, plan, file))
        });
        match loaded {
            Ok((settings, plan, file)) => self.put_in_force(settings, plan, file),
            Err(error) => {
                let path = looked.path().to_path_buf();
                {
                    let mut desk = self.desk.lock();
                    desk.file = looked;
                    desk.refused = Some(error.clone());
                }
                self.books(|books| books.settings(&path, Some(&error)));
                self.events.tell(RegimeEvent::SettingsRefused { error });
            }
        }
    }

    fn put_in_force(&self, settings: Settings, plan: Plan, file: SettingsFile) {
        let path = file.path().to_path_buf();
        let plan = Arc::new(plan);
        {
            let mut desk = self.desk.lock();
            self.store.inner().engine.set_log_cap(log_cap(&settings, desk.own_cap));
            desk.file = file;
            desk.settings = Arc::new(settings);
            desk.plan = plan.clone();
            desk.refused = None;
        }
        let now = self.disk.now();
        self.remember(|state| {
            state.backups.go_on(plan.schedule_mark(), now);
            state.drills.go_on(plan.drills_mark(), now);
        });
        self.books(|books| {
            books.configure(&plan);
            books.settings(&path, None)
        });
        self.keep_log_for(&plan);
        self.events.tell(RegimeEvent::SettingsChanged);
    }
}

/// The bound of the kept log that the settings say, where they say one; else that of the application.
pub(super) fn log_cap(settings: &Settings, own: Option<LogCap>) -> Option<LogCap> {
    match settings.stillpoint.log_cap {
        0 => own,
        bytes => Some(LogCap { bytes, policy: settings.stillpoint.log_policy }),
    }
}
