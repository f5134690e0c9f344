use std::path::Path;

use berth_driver_api::{DiskFormat, Spec};
use snapbox::{assert_data_eq, str};
use uuid::Uuid;

use super::*;
use crate::options::PoolName;
use crate::uri::Uri;

fn machine(name: &str, folder: &str) -> Machine {
    Machine {
        id: Uuid::from_u128(0x1234_5678_0000_4000_8000_0000_dead_beef),
        name: name.into(),
        folder: folder.into(),
        sockets: "/sockets".into(),
        ports: "/ports".into(),
        networks: "/networks".into(),
        seed: None,
        shares: Vec::new(),
        spec: Spec {
            cpus: 2,
            memory: 2 << 30,
            disk: 20 << 30,
            image: None,
            options: Default::default(),
        },
    }
}

fn image(arch: &str) -> BootImage {
    BootImage {
        digest: "sha256:00".into(),
        arch: arch.into(),
        disk: "/images/disk.qcow2".into(),
        format: DiskFormat::Qcow2,
        virtual_size: 20 << 30,
        kernel: Some("/images/vmlinux".into()),
        initrd: Some("/images/initrd".into()),
        cmdline: Some("root=/dev/vda quiet".into()),
        driver_kernel: None,
    }
}

fn record(network: Network, accelerator: Accelerator, cpu: &str, boot: BootKind) -> Record {
    Record {
        uri: Uri::try_from("qemu:///session".to_owned()).unwrap(),
        pool: PoolName::try_from("default".to_owned()).unwrap(),
        image: "sha256:00".into(),
        accelerator,
        accelerator_reason: String::new(),
        machine_type: "q35".into(),
        cpu: cpu.into(),
        boot,
        port: network.is_loopback().then_some(42_000),
        network,
        max_memory: None,
        others: toml::Table::new(),
    }
}

fn files(folder: &str) -> Files {
    Files {
        disk: "/pool/disk.qcow2".into(),
        seed: None,
        kernel: Some("/images/vmlinux".into()),
        initrd: Some("/images/initrd".into()),
        credentials: vec![(
            "ssh.authorized_keys.root".into(),
            format!("{folder}/credentials/k"),
        )],
        outputs: Some(Outputs {
            console: Path::new(folder).join("console.log"),
            ready: Path::new(folder).join("ready"),
        }),
    }
}

#[test]
fn a_machine_of_a_session() {
    let record = record(
        Network::User,
        Accelerator::Tcg,
        "Nehalem,+aes",
        BootKind::Direct,
    );
    let xml = describe(
        &machine("web", "/home/me/vm"),
        &image("x86_64"),
        &record,
        &files("/home/me/vm"),
        None,
        Kind::Qemu,
    );
    assert_data_eq!(
        xml.to_string(),
        str![[r#"
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>berth-web-12345678</name>
  <uuid>12345678-0000-4000-8000-0000deadbeef</uuid>
  <title>berth machine web</title>
  <metadata>
    <berth:machine xmlns:berth='https://berth.dev/libvirt/1' id='12345678-0000-4000-8000-0000deadbeef' name='web' folder='/home/me/vm'>
      <driver>uri = &quot;qemu:///session&quot;&#10;pool = &quot;default&quot;&#10;image = &quot;sha256:00&quot;&#10;accelerator = &quot;tcg&quot;&#10;accelerator_reason = &quot;&quot;&#10;machine_type = &quot;q35&quot;&#10;cpu = &quot;Nehalem,+aes&quot;&#10;boot = &quot;direct&quot;&#10;network = &quot;user&quot;&#10;</driver>
    </berth:machine>
  </metadata>
  <memory unit='KiB'>2097152</memory>
  <vcpu>2</vcpu>
  <sysinfo type='fwcfg'>
    <entry name='opt/io.systemd.credentials/ssh.authorized_keys.root' file='/home/me/vm/credentials/k'/>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>/images/vmlinux</kernel>
    <initrd>/images/initrd</initrd>
    <cmdline>root=/dev/vda quiet console=ttyS0 mitigations=off</cmdline>
  </os>
  <features>
    <acpi/>
    <apic/>
    <vmport state='off'/>
  </features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>Nehalem</model>
    <topology sockets='1' cores='2' threads='1'/>
    <feature policy='require' name='aes'/>
  </cpu>
  <clock offset='utc'>
    <timer name='hpet' present='no'/>
  </clock>
  <genid/>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap' detect_zeroes='unmap'/>
      <source file='/pool/disk.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </disk>
    <controller type='usb' model='none'/>
    <controller type='virtio-serial' index='0'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x06' function='0x0'/>
    </controller>
    <serial type='file'>
      <source path='/home/me/vm/console.log' append='on'/>
    </serial>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <channel type='file'>
      <source path='/home/me/vm/ready' append='on'/>
      <target type='virtio' name='dev.berth.ready.0'/>
    </channel>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/>
    </rng>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-netdev'/>
    <qemu:arg value='user,id=berthnet0,hostname=web,hostfwd=tcp:127.0.0.1:42000-:22'/>
    <qemu:arg value='-device'/>
    <qemu:arg value='virtio-net-pci,id=berthnic0,netdev=berthnet0,mac=52:54:de:ad:be:ef,romfile=,bus=pcie.0,addr=0x10'/>
  </qemu:commandline>
</domain>

"#]]
    );
}

#[test]
fn a_machine_of_the_system() {
    let files = Files {
        outputs: None,
        seed: Some("/pool/seed".into()),
        credentials: Vec::new(),
        kernel: None,
        initrd: None,
        ..files("")
    };
    let network = Network::Named("default".into());
    let xml = describe(
        &machine("web", "/home/me/vm"),
        &image("x86_64"),
        &record(network, Accelerator::Kvm, "host", BootKind::Efi),
        &files,
        None,
        Kind::Qemu,
    );
    assert_data_eq!(
        xml.to_string(),
        str![[r#"
<domain type='kvm'>
  <name>berth-web-12345678</name>
  <uuid>12345678-0000-4000-8000-0000deadbeef</uuid>
  <title>berth machine web</title>
  <metadata>
    <berth:machine xmlns:berth='https://berth.dev/libvirt/1' id='12345678-0000-4000-8000-0000deadbeef' name='web' folder='/home/me/vm'>
      <driver>uri = &quot;qemu:///session&quot;&#10;pool = &quot;default&quot;&#10;image = &quot;sha256:00&quot;&#10;accelerator = &quot;kvm&quot;&#10;accelerator_reason = &quot;&quot;&#10;machine_type = &quot;q35&quot;&#10;cpu = &quot;host&quot;&#10;boot = &quot;efi&quot;&#10;network = &quot;network:default&quot;&#10;</driver>
    </berth:machine>
  </metadata>
  <memory unit='KiB'>2097152</memory>
  <vcpu>2</vcpu>
  <os firmware='efi'>
    <type arch='x86_64' machine='q35'>hvm</type>
    <firmware>
      <feature enabled='no' name='secure-boot'/>
    </firmware>
  </os>
  <features>
    <acpi/>
    <apic/>
    <vmport state='off'/>
  </features>
  <cpu mode='host-passthrough'>
    <topology sockets='1' cores='2' threads='1'/>
  </cpu>
  <clock offset='utc'>
    <timer name='hpet' present='no'/>
  </clock>
  <genid/>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap' detect_zeroes='unmap'/>
      <source file='/pool/disk.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/pool/seed'/>
      <target dev='vdb' bus='virtio'/>
      <readonly/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>
    </disk>
    <controller type='usb' model='none'/>
    <controller type='virtio-serial' index='0'>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x06' function='0x0'/>
    </controller>
    <interface type='network'>
      <mac address='52:54:de:ad:be:ef'/>
      <source network='default'/>
      <model type='virtio'/>
      <rom enabled='no'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>
    </interface>
    <serial type='pty'/>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/>
    </rng>
    <memballoon model='none'/>
  </devices>
</domain>

"#]]
    );
}

#[test]
fn passt_is_told_which_port_leads_to_ssh() {
    let xml = describe(
        &machine("web", "/f"),
        &image("aarch64"),
        &record(Network::Passt, Accelerator::Tcg, "max", BootKind::Direct),
        &files("/f"),
        None,
        Kind::Qemu,
    )
    .to_string();
    let read = roxmltree::Document::parse(&xml).unwrap();
    let forward = read
        .descendants()
        .find(|n| n.has_tag_name("portForward"))
        .unwrap();
    assert_eq!(forward.attribute("address"), Some("127.0.0.1"));
    let range = forward.first_element_child().unwrap();
    assert_eq!(range.attribute("start"), Some("42000"));
    assert_eq!(range.attribute("to"), Some("22"));
    // ARM has its own names for things, and neither an APIC nor a generation id.
    assert!(xml.contains("console=ttyAMA0"), "{xml}");
    for none in ["apic", "genid", "vmport"] {
        assert!(!read.descendants().any(|n| n.has_tag_name(none)), "{none}");
    }
}

#[test]
fn nothing_that_a_user_named_becomes_xml() {
    let hostile = "/home/o'x\"/><hook>&lt;\n<!--]]>";
    let network = Network::try_from("network:x'/><hook/>".replace(['/', ' '], "")).unwrap();
    let mut machine = machine("web", hostile);
    machine.name = "web'/><hook/>".into();
    let mut record = record(network, Accelerator::Tcg, "Nehalem", BootKind::Direct);
    record.machine_type = "pc-q35-'/><hook/>".into();
    let files = Files {
        disk: hostile.into(),
        seed: Some(hostile.into()),
        ..files(hostile)
    };
    let xml = describe(
        &machine,
        &image("x86_64"),
        &record,
        &files,
        None,
        Kind::Qemu,
    )
    .to_string();
    let read = roxmltree::Document::parse(&xml).unwrap();
    assert!(!read.descendants().any(|node| node.has_tag_name("hook")));
    let disk = read.descendants().find(|n| n.has_tag_name("disk")).unwrap();
    let source = disk.children().find(|n| n.has_tag_name("source")).unwrap();
    assert_eq!(source.attribute("file"), Some(hostile));
    let mark = read
        .descendants()
        .find(|n| n.tag_name().name() == "machine")
        .unwrap();
    assert_eq!(mark.attribute("folder"), Some(hostile));
}
