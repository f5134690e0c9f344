//! Storage volumes: their names, and their XML (libvirt.org/formatstorage.html).

use berth_driver_api::{Error, Machine, Result};
use uuid::Uuid;

use crate::xml::Element;

/// Who may read a volume; everybody else may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// What the names of a machine's volumes begin with.
pub(crate) fn prefix(id: Uuid) -> String {
    format!("berth-{id}")
}

/// The machine's disk.
pub(crate) fn overlay(machine: &Machine) -> String {
    format!("{}.qcow2", prefix(machine.id))
}

/// The machine's seed.
pub(crate) fn seed(machine: &Machine) -> String {
    format!("{}.seed", prefix(machine.id))
}

/// What the names of the machine's credentials begin with; their own names follow.
pub(crate) fn credentials(machine: &Machine) -> String {
    format!("{}.credential-", prefix(machine.id))
}

/// The volumes of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageVolumes {
    pub(crate) disk: String,
    pub(crate) kernel: String,
    pub(crate) initrd: String,
    /// Made when all others are there whole.
    pub(crate) complete: String,
}

impl ImageVolumes {
    /// Of an image, by its digest.
    ///
    /// # Errors
    /// If that is none.
    pub(crate) fn of(digest: &str) -> Result<ImageVolumes> {
        let digest = digest
            .strip_prefix("sha256:")
            .filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .ok_or_else(|| Error::failed("the image's digest", "is none"))?;
        let named = |end: &str| format!("berth-image-{digest}.{end}");
        Ok(ImageVolumes {
            disk: named("qcow2"),
            kernel: named("kernel"),
            initrd: named("initrd"),
            complete: named("complete"),
        })
    }

    /// All of them, the mark of completeness first: removed in this order, what is left of them is never taken for whole.
    pub(crate) fn names(&self) -> [&str; 4] {
        [&self.complete, &self.disk, &self.kernel, &self.initrd]
    }
}

/// A volume of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) path: String,
    /// The path of what it stands on.
    pub(crate) backing: Option<String>,
}

/// True if no volume stands on the one that is called `name`.
pub(crate) fn is_unused(name: &str, volumes: &[Listed]) -> bool {
    let path = volumes
        .iter()
        .find(|volume| volume.name == name)
        .map(|volume| &volume.path);
    !volumes
        .iter()
        .any(|volume| volume.backing.is_some() && volume.backing.as_ref() == path)
}

/// An empty volume, to be filled or left as it is.
pub(crate) fn plain(name: &str, bytes: u64, owner: Option<Owner>) -> Element {
    volume(name, bytes, "raw", owner)
}

/// A disk that holds what differs from `base`, a qcow2 disk.
pub(crate) fn overlay_of(base: &str, name: &str, bytes: u64, owner: Option<Owner>) -> Element {
    volume(name, bytes, "qcow2", owner).child(
        Element::new("backingStore")
            .child(Element::new("path").text(base))
            .child(Element::new("format").with("type", "qcow2")),
    )
}

fn volume(name: &str, bytes: u64, format: &str, owner: Option<Owner>) -> Element {
    let permissions = Element::new("permissions").child(Element::new("mode").text("0600"));
    let permissions = match owner {
        Some(Owner { user, group }) => permissions
            .child(Element::new("owner").text(user))
            .child(Element::new("group").text(group)),
        None => permissions,
    };
    Element::new("volume")
        .child(Element::new("name").text(name))
        .child(Element::new("capacity").with("unit", "bytes").text(bytes))
        .child(Element::new("allocation").with("unit", "bytes").text(0))
        .child(
            Element::new("target")
                .child(Element::new("format").with("type", format))
                .child(permissions),
        )
}

/// What a volume stands on, from its XML.
pub(crate) fn backing(xml: &str) -> Option<String> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let store = document
        .root_element()
        .children()
        .find(|node| node.has_tag_name("backingStore"))?;
    let path = store.children().find(|node| node.has_tag_name("path"))?;
    path.text().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_with_the_last_disk_that_stands_on_it() {
        let row = |name: &str, backing: Option<&str>| Listed {
            name: name.into(),
            path: format!("/pool/{name}"),
            backing: backing.map(str::to_owned),
        };
        let mut volumes = vec![
            row("berth-image-aa.qcow2", None),
            row("berth-image-bb.qcow2", None),
            row("berth-1.qcow2", Some("/pool/berth-image-aa.qcow2")),
        ];
        assert!(!is_unused("berth-image-aa.qcow2", &volumes));
        assert!(is_unused("berth-image-bb.qcow2", &volumes));
        assert!(is_unused("not there", &volumes));
        volumes.pop();
        assert!(is_unused("berth-image-aa.qcow2", &volumes));
    }

    #[test]
    fn what_a_volume_stands_on_is_read() {
        let xml = overlay_of("/pool/a & b.qcow2", "x.qcow2", 5, None).to_string();
        assert_eq!(backing(&xml).as_deref(), Some("/pool/a & b.qcow2"));
        assert_eq!(backing(&plain("x", 5, None).to_string()), None);
        assert_eq!(backing("<volume><backingStore/></volume>"), None);
        assert_eq!(backing("nonsense"), None);
    }

    #[test]
    fn a_credentials_volume_is_its_owners_alone() {
        let owner = Owner {
            user: 64055,
            group: 64055,
        };
        let xml = plain("x", 5, Some(owner)).to_string();
        assert!(xml.contains("<mode>0600</mode>"), "{xml}");
        assert!(xml.contains("<owner>64055</owner>"), "{xml}");
    }
}
