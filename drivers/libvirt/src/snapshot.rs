//! Snapshots as libvirt describes them (libvirt.org/formatsnapshot.html).

use berth_driver_api::Snapshot;
use roxmltree::{Document, Node};

use crate::xml::Element;

/// Before the names of berth's own: others make snapshots of a domain too, and QEMU takes a number for one of its own.
const PREFIX: &str = "berth-";

/// What is kept of the guest's words, in characters.
const MOST_WORDS: usize = 1000;

/// What libvirt calls a snapshot of berth's.
pub(crate) fn name(snapshot: &str) -> String {
    format!("{PREFIX}{snapshot}")
}

/// A snapshot to be taken: of disk and memory of a domain that is up, of the disk of one that is off. `said` is what the
/// guest has said by now, which it will not say again.
pub(crate) fn describe(snapshot: &str, said: &str) -> Element {
    let said: String = said.chars().take(MOST_WORDS).collect();
    Element::new("domainsnapshot")
        .child(Element::new("name").text(name(snapshot)))
        .children((!said.is_empty()).then(|| Element::new("description").text(said)))
}

/// A snapshot of berth's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) snapshot: Snapshot,
    /// What the guest had said.
    pub(crate) said: String,
}

/// Reads a snapshot's XML; `None` if it is somebody else's.
pub(crate) fn read(xml: &str) -> Option<Kept> {
    let document = Document::parse(xml).ok()?;
    let root = document.root_element();
    let up = matches!(text_of(root, "state"), Some("running" | "paused"));
    let memory = child(root, "domain").and_then(|domain| text_of(domain, "memory"));
    Some(Kept {
        snapshot: Snapshot {
            name: text_of(root, "name")?.strip_prefix(PREFIX)?.to_owned(),
            taken: text_of(root, "creationTime")?.parse().ok()?,
            // libvirt tells it in KiB.
            memory: memory
                .filter(|_| up)
                .and_then(|size| size.parse::<u64>().ok()?.checked_mul(1024)),
        },
        said: text_of(root, "description").unwrap_or_default().to_owned(),
    })
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xml(state: &str, said: &str) -> String {
        format!(
            "<domainsnapshot><name>berth-before</name>{said}<state>{state}</state>\
             <creationTime>1795400000</creationTime><memory snapshot='internal'/>\
             <domain type='qemu'><memory unit='KiB'>524288</memory></domain></domainsnapshot>"
        )
    }

    #[test]
    fn a_snapshot_of_a_machine_that_ran_has_its_memory() {
        let kept = read(&xml("running", "<description>ssh\nengine\n</description>")).unwrap();
        assert_eq!(kept.snapshot.name, "before");
        assert_eq!(kept.snapshot.taken, 1_795_400_000);
        assert_eq!(kept.snapshot.memory, Some(512 << 20));
        assert_eq!(kept.said, "ssh\nengine\n");
        let off = read(&xml("shutoff", "")).unwrap();
        assert_eq!(off.snapshot.memory, None);
        assert_eq!(off.said, "");
    }

    #[test]
    fn snapshots_of_others_are_none_of_ours() {
        for other in [
            "",
            "<",
            "<domainsnapshot/>",
            "<domainsnapshot><name>mine</name><creationTime>1</creationTime></domainsnapshot>",
            "<domainsnapshot><name>berth-x</name><creationTime>soon</creationTime></domainsnapshot>",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_guest_says_ends_no_element() {
        let said = format!("</description><name>x</name>{}", "y".repeat(5000));
        let xml = describe("7", &said).to_string();
        let document = Document::parse(&xml).unwrap();
        let root = document.root_element();
        assert_eq!(text_of(root, "name"), Some("berth-7"));
        assert_eq!(text_of(root, "description"), said.get(..MOST_WORDS));
    }
}
