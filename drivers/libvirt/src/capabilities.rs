//! What a hypervisor says of itself (libvirt.org/formatcaps.html).

use roxmltree::{Document, Node};

use crate::volume::Owner;

/// The user that QEMU runs as, where libvirt keeps the users of files apart (`+UID:+GID`).
pub(crate) fn qemu_user(capabilities: &str) -> Option<Owner> {
    let document = Document::parse(capabilities).ok()?;
    let label = document
        .descendants()
        .filter(|node| node.has_tag_name("secmodel"))
        .find(|model| text_of(*model, "model") == Some("dac"))
        .and_then(|model| text_of(model, "baselabel"))?;
    let (user, group) = label.split_once(':')?;
    Some(Owner {
        user: user.trim_start_matches('+').parse().ok()?,
        group: group.trim_start_matches('+').parse().ok()?,
    })
}

/// Whether guests of `arch` can be had by KVM, as far as it says.
pub(crate) fn offers_kvm(capabilities: &str, arch: &str) -> bool {
    let Ok(document) = Document::parse(capabilities) else {
        return false;
    };
    document
        .descendants()
        .filter(|node| node.has_tag_name("arch") && node.attribute("name") == Some(arch))
        .flat_map(|arch| arch.children())
        .any(|node| node.has_tag_name("domain") && node.attribute("type") == Some("kvm"))
}

/// The element `<cpu>` of its computer.
pub(crate) fn host_cpu(capabilities: &str) -> Option<String> {
    let document = Document::parse(capabilities).ok()?;
    let cpu = document
        .descendants()
        .find(|node| node.has_tag_name("cpu"))?;
    capabilities.get(cpu.range()).map(str::to_owned)
}

/// Whether a CPU, described with all of its features, has hardware for virtualization.
pub(crate) fn virtualizes(cpu: &str) -> bool {
    let Ok(document) = Document::parse(cpu) else {
        return false;
    };
    document.descendants().any(|node| {
        node.has_tag_name("feature") && matches!(node.attribute("name"), Some("vmx" | "svm"))
    })
}

/// Whether UEFI firmware is at hand, from the capabilities of a kind of domain (libvirt.org/formatdomaincaps.html).
pub(crate) fn has_efi(domain_capabilities: &str) -> bool {
    let Ok(document) = Document::parse(domain_capabilities) else {
        return false;
    };
    document
        .descendants()
        .filter(|node| node.has_tag_name("enum") && node.attribute("name") == Some("firmware"))
        .flat_map(|node| node.children())
        .any(|value| value.text() == Some("efi"))
}

fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children()
        .find(|child| child.has_tag_name(name))
        .and_then(|child| child.text())
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPABILITIES: &str = "<capabilities><host><cpu><arch>x86_64</arch><model>EPYC</model>\
        <feature name='ht'/></cpu>\
        <secmodel><model>apparmor</model><doi>0</doi></secmodel>\
        <secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+64055:+994</baselabel></secmodel></host>\
        <guest><os_type>hvm</os_type><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest>\
        <guest><os_type>hvm</os_type><arch name='aarch64'><domain type='qemu'/></arch></guest></capabilities>";

    #[test]
    fn what_it_says_is_read() {
        assert_eq!(
            qemu_user(CAPABILITIES),
            Some(Owner {
                user: 64055,
                group: 994
            })
        );
        assert!(offers_kvm(CAPABILITIES, "x86_64"));
        assert!(!offers_kvm(CAPABILITIES, "aarch64"));
        let cpu = host_cpu(CAPABILITIES).unwrap();
        assert!(cpu.starts_with("<cpu>") && cpu.ends_with("</cpu>"), "{cpu}");
        assert!(!virtualizes(&cpu));
        assert!(virtualizes(
            "<cpu><feature policy='require' name='svm'/></cpu>"
        ));
    }

    #[test]
    fn firmware_is_found() {
        let with = |value: &str| {
            format!(
                "<domainCapabilities><os><enum name='firmware'>{value}</enum></os></domainCapabilities>"
            )
        };
        assert!(has_efi(&with("<value>bios</value><value>efi</value>")));
        assert!(!has_efi(&with("<value>bios</value>")));
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        for bad in [
            "",
            "<",
            "<capabilities/>",
            "<a><secmodel><model>dac</model></secmodel></a>",
        ] {
            assert_eq!(qemu_user(bad), None);
            assert!(!offers_kvm(bad, "x86_64"));
            assert_eq!(host_cpu(bad), None);
            assert!(!virtualizes(bad));
            assert!(!has_efi(bad));
        }
    }
}
