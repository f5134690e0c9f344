//! The computer's libvirt, with a NAT network of its own: all of it in namespaces that the test makes, so that neither
//! this computer's network nor its libvirt, if it has one, is touched.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::plugin;
use crate::vm::{ANSWER, BOOT, Host, Run, assert_nothing_left, eventually, image};

/// In the namespaces: libvirt's folders are the test's own, and /dev has what libvirt makes VMs with, but no /dev/kvm
/// (the one of the computer that this was written on cannot run a kernel, and libvirt looks at it for seconds in every
/// call). It is the first process of its namespace: when its standard input ends it does, and all others with it.
const NAMESPACES: &str = r#"
ip link set lo up
mkdir -p dev etc lib cache log plugins
mount -t tmpfs none dev; mkdir dev/net dev/pts dev/shm
for name in null zero full random urandom tty net/tun; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts; ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
mount -t tmpfs none dev/shm
mount --rbind dev /dev
mount -t tmpfs none /run
mkdir -p /run/libvirt /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
for folder in etc lib cache log; do
    case $folder in etc) at=/etc/libvirt;; *) at=/var/$folder/libvirt;; esac
    mount --bind $folder $at
done
# Debian's libvirt looks for a user and a group that a package makes which also starts its daemons on this computer.
for file in passwd group; do cp /etc/$file $file; done
echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' >> passwd
echo 'libvirt-qemu:x:64055:' >> group
for file in passwd group; do mount --bind $file /etc/$file; done
echo 'user = "nobody"
group = "nogroup"' > etc/qemu.conf
echo 'auth_unix_rw = "none"' > etc/libvirtd.conf
mkdir -p ssh /root/.ssh /run/sshd; chmod 700 ssh
ssh-keygen -q -t ed25519 -N '' -f ssh/id_ed25519
cp ssh/id_ed25519.pub ssh/authorized_keys
echo "[127.0.0.1]:$SSH_PORT $(cat ssh/id_ed25519.pub)" > ssh/known_hosts
mount --bind ssh /root/.ssh
/usr/sbin/sshd -f /dev/null -h /root/.ssh/id_ed25519 -o ListenAddress=127.0.0.1:$SSH_PORT -o PidFile=/run/sshd.pid \
    -o UsePAM=no -o PermitRootLogin=yes
virtlogd --daemon
libvirtd --daemon
echo "<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='off' delay='0'/>
<ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp>
</ip></network>" > net.xml
virsh -q net-define net.xml
touch made
# Not the last command, which would take the place of the shell that reaps the daemons' orphans.
cat
:
"#;

/// Of the namespaces' own loopback.
const SSH_PORT: u16 = 2222;

#[test]
#[ignore = "boots VMs; cargo xtask test runs it"]
fn a_machine_on_the_computers_nat_network() {
    let system = System::new();
    let run = |line: &str| system.run(line);
    let made = run(&format!(
        "$BERTH create nat --timings -o autostart=true --image {}",
        image("debian-13-docker")
    ))
    .deadline(BOOT)
    .ok()
    // What is stopped is started, and told.
    .says("network default was stopped")
    .says("Uploading the image");
    println!("{}", made.stderr);
    assert_eq!(
        run("docker --context nat version --format {{.Server.Os}}").text(),
        "linux"
    );
    assert_eq!(run("$BERTH ip nat").text().split('.').next(), Some("192"));

    // The same libvirt as another computer's, by SSH: the image is there already, the engine is reached through it.
    let far = run(&format!(
        "$BERTH create far --timings -o uri=qemu+ssh://root@127.0.0.1:{SSH_PORT}/system --image {}",
        image("debian-13-docker")
    ))
    .deadline(BOOT)
    .ok();
    println!("{}", far.stderr);
    assert!(
        !far.stderr.contains("Uploading the image"),
        "{}",
        far.stderr
    );
    let way = run("cat home/.local/share/berth/machines/far/ssh_config").text();
    assert!(
        way.contains(&format!("127.0.0.1:{SSH_PORT}")) || way.contains(&format!("-p {SSH_PORT}")),
        "{way}"
    );
    run("docker --context far version").ok();
    assert_eq!(run("$BERTH ssh far -- cat /etc/hostname").text(), "far");
    run("$BERTH rm --yes --force far").ok();
    let volumes = run("virsh -q vol-list default").text();
    assert_eq!(volumes.matches(" berth-image-").count(), 4, "{volumes}");
    // Credentials are QEMU's alone, and in nobody's XML.
    run(
        "test -z \"$(find lib/images -name '*.credential-*' -perm /077)\"; \
         if grep -rlE 'ssh-ed25519|ssh_host' etc; then exit 1; fi",
    )
    .ok();

    run("$BERTH stop nat").deadline(BOOT).ok();
    run("$BERTH rm --yes nat").ok();
    let check = "$BERTH driver check libvirt --memory 512M --image";
    let kept = run(&format!("{check} {}", image("debian-13-docker")))
        .deadline(BOOT * 4)
        .ok();
    println!("{}", kept.stdout);
    assert_eq!(run("virsh -q list --all --name").text(), "");
    assert_eq!(run("virsh -q vol-list default").text(), "");
    let left = run("find etc/qemu lib/qemu -name '*nat*'").text();
    assert_eq!(left, "");
    system.finish();
}

struct System {
    host: Host,
    namespaces: Child,
}

impl System {
    fn new() -> System {
        let host = Host::with("libvirt");
        fs::create_dir(host.scratch().join("bin")).unwrap();
        fs::copy(plugin(), host.scratch().join("bin/berth-driver-libvirt")).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["bash", "-euo", "pipefail", "-c", NAMESPACES])
            .current_dir(host.scratch())
            .env("LIBVIRT_DEFAULT_URI", "qemu:///system")
            .env("TMPDIR", host.scratch())
            .env("SSH_PORT", SSH_PORT.to_string())
            .stdin(Stdio::piped());
        let namespaces = command.spawn().unwrap();
        let system = System { host, namespaces };
        let made = system.host.scratch().join("made");
        eventually("libvirt runs in the namespaces", ANSWER, || {
            made.exists().then_some(())
        });
        system
    }

    /// A line for root's shell in the namespaces.
    fn run(&self, line: &str) -> Run {
        let scratch = self.host.scratch();
        let path = format!(
            "{}:{}:/usr/sbin:/usr/bin:/sbin:/bin",
            scratch.join("bin").display(),
            self.host.docker_folder().display()
        );
        self.host
            .run("nsenter", "--net --mount --pid --target")
            .arg(self.first_process())
            .arg("--wdns=".to_owned() + &scratch.display().to_string())
            .args(["bash", "-euc", line])
            .env("PATH", path)
            .env("LIBVIRT_DEFAULT_URI", "qemu:///system")
    }

    /// The child of unshare(1), which itself stays in the namespace of processes that it was started in.
    fn first_process(&self) -> String {
        let id = self.namespaces.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.trim().to_owned()
    }

    fn finish(mut self) {
        self.run("virsh -q net-destroy default").ok();
        drop(self.namespaces.stdin.take());
        self.namespaces.wait().unwrap();
        assert_nothing_left(&self.host);
    }
}
