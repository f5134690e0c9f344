//! What a driver promises that finds machines again whose files are lost.

use super::{CHANGE, Subject, Trial, is, words};
use crate::State;

/// What is kept with the machine. It has in it what must not end an element, a line or a value of whatever holds it.
const NOTE: &str = "name = \"it's <a> & 'b'\"\n]]>\n";

impl Trial<'_> {
    /// Goes on with a machine that was made and is off.
    pub(super) async fn found_again(&mut self, one: &Subject) {
        let driver = self.driver;
        if !driver.info().capabilities.adopt {
            return;
        }
        let machine = &one.machine;
        let promise = "finds a machine again by the note that it kept, and makes it whole again";
        self.case(promise, CHANGE, async {
            for note in ["old", NOTE] {
                driver.keep_note(machine, note).await.map_err(words)?;
            }
            let all = driver.found(&machine.spec.options).await.map_err(words)?;
            let found = all.into_iter().find(|found| found.id == machine.id);
            let found = found.ok_or("it does not find it")?;
            if found.name != machine.name || found.folder != machine.folder {
                return Err(format!("it takes it for another: {found:?}"));
            }
            if found.note.as_deref() != Some(NOTE) {
                return Err(format!("its note became {:?}", found.note));
            }
            // As if the folder had been lost.
            std::fs::remove_dir_all(&machine.folder).map_err(|error| error.to_string())?;
            std::fs::create_dir(&machine.folder).map_err(|error| error.to_string())?;
            for (name, text) in &found.files {
                let file = machine.file(name);
                crate::files::write(&file, text.as_bytes()).map_err(words)?;
            }
            let again = driver.create(machine, &one.credentials, &crate::Silent);
            again.await.map_err(words)?;
            is(driver, machine, State::Stopped).await
        })
        .await;
    }
}
