//! The mark in a domain's `<metadata>` that tells it is berth's, and which machine it is.

use std::path::Path;

use berth_driver_api::Machine;
use uuid::Uuid;

use crate::xml::Element;

/// The namespace of the mark. It names a format and is never fetched.
pub(crate) const NAMESPACE: &str = "https://berth.dev/libvirt/1";

/// What the mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The machine's id.
    pub(crate) id: Uuid,
    /// Its name.
    pub(crate) name: String,
    /// Its folder on the computer that made it.
    pub(crate) folder: String,
}

impl Mark {
    /// The mark of a machine.
    pub(crate) fn of(machine: &Machine) -> Mark {
        let folder: &Path = &machine.folder;
        Mark {
            id: machine.id,
            name: machine.name.clone(),
            folder: folder.display().to_string(),
        }
    }

    /// The element for `<metadata>`.
    pub(crate) fn element(&self) -> Element {
        Element::new("berth:machine")
            .with("xmlns:berth", NAMESPACE)
            .with("id", self.id)
            .with("name", &self.name)
            .with("folder", &self.folder)
    }

    /// Reads the element that libvirt keeps for [`NAMESPACE`].
    pub(crate) fn read(xml: &str) -> Option<Mark> {
        let document = roxmltree::Document::parse(xml).ok()?;
        let root = document.root_element();
        if root.tag_name().name() != "machine" {
            return None;
        }
        let value = |name| root.attribute(name).map(str::to_owned);
        Some(Mark {
            id: value("id")?.parse().ok()?,
            name: value("name")?,
            folder: value("folder")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mark = Mark {
            id: Uuid::from_u128(7),
            name: "web".into(),
            folder: "/home/o'neil & <sons>/vm".into(),
        };
        assert_eq!(Mark::read(&mark.element().to_string()), Some(mark.clone()));
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
}
