//! Participants that an application names when it opens its store take part in what the regime does by
//! itself.

use super::*;
use stillpoint::{Participant, Participation};

type Calls = Arc<Mutex<Vec<&'static str>>>;

/// A participant that notes its calls.
struct Probe(Calls);

impl Participant for Probe {
    fn prepare(&mut self, _number: u32) -> Participation {
        self.0.lock().push("prepare");
        Ok(())
    }

    fn freeze(&mut self) -> Participation {
        self.0.lock().push("freeze");
        Ok(())
    }

    fn thaw(&mut self) -> Participation {
        self.0.lock().push("thaw");
        Ok(())
    }

    fn abort(&mut self) {
        self.0.lock().push("abort");
    }
}

#[test]
fn a_participant_of_the_regime_takes_part_in_scheduled_backups_and_in_their_failures() {
    let sim = shop(&DAILY).closed();
    let calls = Calls::default();
    let shop = Shop::open_with(sim, |builder| builder.participant("mail", Probe(calls.clone())));
    shop.at("2026-01-01T02:30:00Z");
    assert_eq!(shop.told(), [0]);
    assert_eq!(std::mem::take(&mut *calls.lock()), ["prepare", "freeze", "thaw"]);
    let archive = Archive::open_on(shop.sim.clone(), Path::new(TO).join(&shop.archives()[0]));
    assert_eq!(archive.unwrap().results().participants[0].name, "mail");
    shop.put(2);
    shop.sim.fail(FaultPlan::once(Call::Rename, TO, Fault::IO));
    shop.regime.backup().run().unwrap_err();
    assert_eq!(std::mem::take(&mut *calls.lock()), ["prepare", "freeze", "thaw", "abort"]);
    assert!(shop.regime.store().unregister_participant("mail"));
    shop.regime.backup().run().unwrap();
    assert_eq!(*calls.lock(), [""; 0]);
}

#[test]
fn a_backup_that_is_due_when_the_store_is_opened_waits_for_no_registration() {
    let sim = shop(&DAILY).closed();
    sim.advance(DAY);
    let calls = Calls::default();
    let shop = Shop::open_with(sim, |builder| builder.participant("mail", Probe(calls.clone())));
    shop.after(HOUR);
    assert_eq!(
        (shop.told(), &**calls.lock()),
        (vec![code::MISSED_RUN, 0], &["prepare", "freeze", "thaw"][..])
    );
}

#[test]
fn two_participants_of_one_name_are_refused_and_the_store_is_let_go() {
    let sim = shop(&[]).closed();
    let probe = || Probe(Calls::default());
    let twice = builder(&sim).participant("mail", probe()).participant("mail", probe());
    assert_eq!(twice.open().unwrap_err().kind(), ErrorKind::Exists);
    Shop::open_with(sim, |builder| builder.participant("mail", probe()));
}
