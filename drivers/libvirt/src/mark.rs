//! The mark in a domain's `<metadata>` that tells it is berth's, which machine it is, and what it takes to drive it again
//! when berth's own files are lost.

use berth_driver_api::record::KeptRecord;
use berth_driver_api::{LONGEST_NOTE, Machine};
use uuid::Uuid;

use crate::record::Record;
use crate::xml::Element;

/// The namespace of the mark. It names a format and is never fetched.
pub(crate) const NAMESPACE: &str = "https://berth.dev/libvirt/1";

/// The prefix of the namespace.
pub(crate) const PREFIX: &str = "berth";

/// What the mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The machine's id.
    pub(crate) id: Uuid,
    /// Its name.
    pub(crate) name: String,
    /// Its folder on the computer that made it.
    pub(crate) folder: String,
    /// The driver's record, as it is written in the folder, but without the port: that is of one computer only.
    pub(crate) record: Option<String>,
    /// What berth wants to be told again.
    pub(crate) note: Option<String>,
}

impl Mark {
    /// The mark of a machine, with the note that it has.
    pub(crate) fn of(machine: &Machine, record: &Record, note: Option<String>) -> Mark {
        let portable = Record {
            port: None,
            ..record.clone()
        };
        Mark {
            id: machine.id,
            name: machine.name.clone(),
            folder: machine.folder.display().to_string(),
            record: portable.text().ok(),
            note,
        }
    }

    /// The element for the `<metadata>` of a whole domain.
    pub(crate) fn element(&self) -> Element {
        self.fill(Element::new("berth:machine").with("xmlns:berth", NAMESPACE))
    }

    /// The element for libvirt to put there, which adds the namespace itself.
    pub(crate) fn bare_element(&self) -> Element {
        self.fill(Element::new("machine"))
    }

    fn fill(&self, element: Element) -> Element {
        let part = |name, text: &Option<String>| text.as_ref().map(|t| Element::new(name).text(t));
        element
            .with("id", self.id)
            .with("name", &self.name)
            .with("folder", &self.folder)
            .children(part("driver", &self.record))
            .children(part("note", &self.note))
    }

    /// Reads the element that libvirt keeps for [`NAMESPACE`].
    pub(crate) fn read(xml: &str) -> Option<Mark> {
        let document = roxmltree::Document::parse(xml).ok()?;
        let root = document.root_element();
        if root.tag_name().name() != "machine" {
            return None;
        }
        let value = |name| root.attribute(name).map(str::to_owned);
        let part = |name: &str| {
            let mut parts = root.children().filter(|node| node.is_element());
            let text = parts.find(|node| node.tag_name().name() == name)?.text()?;
            (text.len() <= LONGEST_NOTE).then(|| text.to_owned())
        };
        Some(Mark {
            id: value("id")?.parse().ok()?,
            name: value("name")?,
            folder: value("folder")?,
            record: part("driver"),
            note: part("note"),
        })
    }

    /// The driver's record, if what is there is one.
    pub(crate) fn record(&self) -> Option<Record> {
        Record::read(self.record.as_deref()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark {
            id: Uuid::from_u128(7),
            name: "web".into(),
            folder: "/home/o'neil & <sons>/vm".into(),
            record: Some("uri = \"qemu:///session\"\n".into()),
            note: Some("a = 'ä'\n]]></note>\n".into()),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mark = mark();
        for element in [mark.element(), mark.bare_element()] {
            assert_eq!(Mark::read(&element.to_string()), Some(mark.clone()));
        }
        // libvirt gives it back with its prefix resolved in its own way.
        let other = format!(
            "<x:machine xmlns:x='{NAMESPACE}' folder='/f' name='n' id='{}'/>",
            mark.id
        );
        assert_eq!(Mark::read(&other).map(|mark| mark.id), Some(mark.id));
        for bad in [
            "",
            "<machine/>",
            "<other id='1'/>",
            "<machine id='x' name='' folder=''/>",
            "<<",
        ] {
            assert_eq!(Mark::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_there_is_no_record() {
        let mut mark = mark();
        assert!(mark.record().is_none());
        mark.note = Some("x".repeat(LONGEST_NOTE + 1));
        let read = Mark::read(&mark.element().to_string());
        assert_eq!(read.and_then(|mark| mark.note), None);
    }
}
