use super::*;

const ID: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

fn machine<'a>(boot: Boot<'a>, credentials: &'a [(String, PathBuf)]) -> CommandLine<'a> {
    CommandLine {
        id: ID,
        name: "web1",
        arch: "x86_64",
        accelerator: Accelerator::Tcg,
        machine_type: "q35",
        cpu: "Nehalem",
        cpus: 2,
        memory: (1 << 30) + 5,
        memory_is: Memory::Own,
        disk: Path::new("/m/a,b/disk.qcow2"),
        seed: None,
        shares: &[],
        boot,
        netdev: Netdev::User { port: 42001 },
        carrier: Carrier::Smbios,
        credentials,
        console: Path::new("/m/console.log"),
        ready: Path::new("/m/ready"),
        agent: Path::new("/s/agent"),
        channel: true,
        hpet: false,
        boots: true,
        pid_file: Path::new("/m/qemu.pid"),
    }
}

fn direct() -> Boot<'static> {
    Boot::Direct {
        kernel: Path::new("/i/vm,linuz"),
        initrd: Some(Path::new("/i/initrd")),
        cmdline: "root=/dev/vda1 rw",
    }
}

fn lines(machine: &CommandLine) -> String {
    let mut text = String::new();
    for argument in machine.arguments().unwrap() {
        let separator = if argument.starts_with('-') { "\n" } else { " " };
        text = text + separator + &argument;
    }
    text
}

#[test]
fn a_direct_boot_under_emulation() {
    let credentials = [(
        "ssh.authorized_keys.root".to_owned(),
        PathBuf::from("/m/credentials/ssh.authorized_keys.root"),
    )];
    let expected = "
-nodefaults
-no-user-config
-display none
-name guest=web1,debug-threads=on
-uuid 00112233-4455-6677-8899-aabbccddeeff
-pidfile /m/qemu.pid
-msg timestamp=on
-machine q35,memory-backend=mem0,vmport=off,sata=off,smbus=off,hpet=off
-accel tcg,thread=multi
-cpu Nehalem
-smp 2,sockets=1,cores=2,threads=1
-m size=1048576k
-object memory-backend-ram,id=mem0,size=1048576k
-kernel /i/vm,linuz
-initrd /i/initrd
-append root=/dev/vda1 rw console=ttyS0 mitigations=off
-blockdev driver=qcow2,node-name=disk0,discard=unmap,detect-zeroes=unmap,cache.direct=off,cache.no-flush=off,\
file.driver=file,file.filename=/m/a,,b/disk.qcow2,file.discard=unmap,file.aio=threads
-device virtio-blk-pci,id=blk0,drive=disk0,write-cache=on,bootindex=1,bus=pcie.0,addr=0x2
-netdev user,id=net0,hostname=web1,hostfwd=tcp:127.0.0.1:42001-:22
-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:cc:dd:ee:ff,romfile=,bus=pcie.0,addr=0x3
-chardev socket,id=qmp,fd=10,server=on,wait=off
-mon chardev=qmp,mode=control
-chardev socket,id=watch,fd=11,server=on,wait=off
-mon chardev=watch,mode=control
-chardev file,id=console,path=/m/console.log,append=on
-serial chardev:console
-object rng-random,id=random0,filename=/dev/urandom
-device virtio-rng-pci,id=rng0,rng=random0,bus=pcie.0,addr=0x4
-device vmgenid,id=vmgenid0,guid=auto
-device virtio-serial-pci,id=serial0,bus=pcie.0,addr=0x5
-chardev pipe,id=agent,path=/s/agent
-chardev socket,id=renew,fd=14,server=on,wait=off
-chardev file,id=ready,path=/m/ready
-chardev socket,id=channel,fd=15,server=on,wait=off
-device virtserialport,id=agent0,bus=serial0.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0
-device virtserialport,id=ready0,bus=serial0.0,nr=2,chardev=ready,name=dev.berth.ready.0
-device virtserialport,id=renew0,bus=serial0.0,nr=3,chardev=renew,name=dev.berth.renew.0
-device virtserialport,id=channel0,bus=serial0.0,nr=4,chardev=channel,name=dev.berth.channel.0
-smbios type=11,path=/m/credentials/ssh.authorized_keys.root";
    assert_eq!(lines(&machine(direct(), &credentials)), expected);
}

#[test]
fn firmware_takes_the_place_of_the_kernel() {
    let firmware = Firmware {
        code: "/f/code.fd".into(),
        code_format: "raw".into(),
        variables: "/f/vars.fd".into(),
        variables_format: "raw".into(),
    };
    let boot = Boot::Efi {
        firmware: &firmware,
        variables: Path::new("/m/efivars.fd"),
    };
    let text = lines(&machine(boot, &[]));
    assert!(
        text.contains("-machine q35,memory-backend=mem0,vmport=off,sata=off,smbus=off,hpet=off,pflash0=code0,pflash1=vars0\n")
    );
    assert!(text.contains(
        "-blockdev driver=raw,node-name=code0,file.driver=file,file.filename=/f/code.fd,read-only=on\n"
    ));
    assert!(text.contains(
        "-blockdev driver=raw,node-name=vars0,file.driver=file,file.filename=/m/efivars.fd\n"
    ));
    assert!(!text.contains("-kernel"));
}

#[test]
fn an_arm_guest_gets_its_credentials_without_smbios() {
    let credentials = [("a.b".to_owned(), PathBuf::from("/m/x,y"))];
    let mut machine = machine(direct(), &credentials);
    machine.arch = "aarch64";
    machine.machine_type = "virt";
    machine.accelerator = Accelerator::Kvm;
    machine.cpu = "host";
    machine.carrier = Carrier::FwCfg;
    let text = lines(&machine);
    assert!(
        text.contains("-machine virt,memory-backend=mem0,gic-version=max\n-accel kvm\n-cpu host\n")
    );
    assert!(text.contains("-append root=/dev/vda1 rw console=ttyAMA0\n"));
    assert!(text.contains("-fw_cfg name=opt/io.systemd.credentials/a.b,file=/m/x,,y"));
    assert!(!text.contains("vmgenid"));
}

#[test]
fn other_networks() {
    let mut machine = machine(direct(), &[]);
    machine.netdev = Netdev::Bridge("br0");
    assert!(lines(&machine).contains("-netdev bridge,id=net0,br=br0\n"));
    machine.netdev = Netdev::Helper;
    assert!(
        lines(&machine).contains("-netdev stream,id=net0,server=off,addr.type=fd,addr.str=13\n")
    );
}

#[test]
fn a_seed_is_a_disk_that_the_guest_may_only_read() {
    let seeded = CommandLine {
        seed: Some(Path::new("/m/seed,1.img")),
        ..machine(direct(), &[])
    };
    let told = lines(&seeded);
    let expected = "
-blockdev driver=raw,node-name=seed0,read-only=on,file.driver=file,file.filename=/m/seed,,1.img
-device virtio-blk-pci,id=blk1,drive=seed0,bus=pcie.0,addr=0x6";
    assert!(told.ends_with(expected), "{told}");
    // No other device moves for it.
    let without = lines(&machine(direct(), &[]));
    assert_eq!(told.strip_suffix(expected), Some(without.as_str()));
}

#[test]
fn shared_folders_have_memory_that_is_shared_and_places_of_their_own() {
    let mut machine = machine(direct(), &[]);
    let tags = ["berth-one".to_owned(), "berth-two".to_owned()];
    machine.shares = &tags;
    let lines = lines(&machine);
    for line in [
        "-object memory-backend-memfd,share=on,id=mem0,size=1048576k",
        "-chardev socket,id=share0,fd=16",
        "-device vhost-user-fs-pci,id=fs0,chardev=share0,tag=berth-one,bus=pcie.0,addr=0x8",
        "-chardev socket,id=share1,fd=17",
        "-device vhost-user-fs-pci,id=fs1,chardev=share1,tag=berth-two,bus=pcie.0,addr=0x9",
    ] {
        assert!(lines.lines().any(|found| found == line), "{line}: {lines}");
    }
}

#[test]
fn a_machine_that_is_frozen_keeps_its_memory_and_a_clone_copies_it() {
    let with = |memory_is, netdev| {
        let machine = CommandLine {
            memory_is,
            netdev,
            ..machine(direct(), &[])
        };
        lines(&machine)
    };
    let ordinary = with(Memory::Own, Netdev::User { port: 42001 });
    let differs = |text: &str| -> String {
        let lines = text.lines().filter(|line| !ordinary.contains(line));
        lines.collect::<Vec<_>>().join("\n")
    };
    let file = Path::new("/t,1/memory");
    // All that is no device of the guest's: a clone must have the very same devices.
    assert_eq!(
        differs(&with(Memory::Kept(file), Netdev::Isolated)),
        "-object memory-backend-file,mem-path=/t,,1/memory,share=on,id=mem0,size=1048576k\n\
         -netdev hubport,id=net0,hubid=0"
    );
    assert_eq!(
        differs(&with(Memory::CopyOf(file), Netdev::User { port: 42001 })),
        "-object memory-backend-file,mem-path=/t,,1/memory,share=off,id=mem0,size=1048576k"
    );
}
