# Waits in a guest while it is frozen, and makes the machine that goes on from there one of its own before it is on any
# network. A clone under emulation has translated nothing yet, so what costs is every instruction that runs for the first
# time, and programs most of all: this one starts none before the host has its answer.
#
# The host hands over lines of a name and a value in hexadecimal digits, and a last line `end`; the answer is one line,
# `done` or what went wrong. What nobody waits for is done when the host hangs up.
use strict;
use warnings;
require "/run/berth/engine-id.pl";

my ($host_port, $ready_port, $arch) = @ARGV;

# Numbers of system calls: clock_settime(2), sync(2), inotify_init1(2), inotify_add_watch(2).
my %numbers = (x86_64 => [227, 162, 294, 254], aarch64 => [112, 81, 26, 27]);
my ($clock_settime, $sync, $inotify_init, $inotify_add) = @{$numbers{$arch} || die "no system calls known of $arch\n"};

# O_WRONLY, O_CREAT and O_TRUNC.
sub keep {
    my ($path, $text, $mode) = @_;
    sysopen(my $file, $path, 01101, $mode) or die "$path: $!\n";
    syswrite($file, $text) == length $text or die "$path: $!\n";
    close($file) or die "$path: $!\n";
}

sub request {
    my ($file, $what, $number, $argument) = @_;
    ioctl($file, $number, $argument) or die "$what: $!\n";
}

sub inet {
    my ($address) = @_;
    return pack("S x2 a4 x8", 2, pack("C4", split /\./, $address));
}

# Mixes a seed in, and has the generator take it at once (random(4)). Kernels with VMGENID have done as much by themselves.
sub reseed {
    my ($seed) = @_;
    open(my $random, ">", "/dev/urandom") or die "/dev/urandom: $!\n";
    request($random, "RNDADDENTROPY", 0x40085203, pack("iia*", 8 * length $seed, length $seed, $seed));
    request($random, "RNDRESEEDCRNG", 0x5207, 0);
}

# The card's new address, and with an own place in the network that place too (netdevice(7), rtentry in route.h).
sub join_network {
    my ($card, $own) = @_;
    socket(my $socket, 2, 2, 0) or die "socket: $!\n";
    request($socket, "SIOCSIFHWADDR", 0x8924, pack("a16 S a6 x16", $card, 1, pack("H*", $own->{mac} =~ tr/://dr)));
    my $file = "/run/systemd/network/70-berth-clone.network";
    # There since before the freeze, to keep systemd-networkd off the card.
    unlink $file;
    return unless $own->{address};
    request($socket, "SIOCSIFFLAGS", 0x8914, pack("a16 s x22", $card, 0x1003));
    request($socket, "SIOCSIFADDR", 0x8916, pack("a16 a16 x8", $card, inet($own->{address})));
    request($socket, "SIOCSIFNETMASK", 0x891c, pack("a16 a16 x8", $card, inet($own->{netmask})));
    my $any = inet("0.0.0.0");
    my $route = pack("x8 a16 a16 a16 S x62", $any, inet($own->{gateway}), $any, 3);
    # Where the card was up before, it has the route.
    ioctl($socket, 0x890b, $route) or $!{EEXIST} or die "SIOCADDRT: $!\n";
    keep("/run/berth/resolv.conf", "nameserver $own->{dns}\n", 0644);
    # Until the next boot: then it asks for its address like any other machine.
    keep(
        $file,
        "[Match]\nName=$card\n[Network]\nAddress=$own->{address}/$own->{prefix}\nGateway=$own->{gateway}\n"
            . "DNS=$own->{dns}\nLinkLocalAddressing=ipv6\n",
        0644
    );
}

my ($card) = map { m{([^/]+)/device$} } glob "/sys/class/net/*/device";
my $watch = syscall($inotify_init, 0);
open(my $changes, "<&=", $watch) or die "inotify: $!\n";
my $run = "/run";
# IN_CLOSE_WRITE
syscall($inotify_add, $watch, $run, 8) >= 0 or die "inotify: $!\n";

# The SSH server has stopped where it opens its key, a pipe; what it opens next is the file that took the pipe's place.
sub give_ssh_its_key {
    my ($private, $public) = @_;
    my $key = "/etc/ssh/ssh_host_ed25519_key";
    # O_WRONLY: returns when the server is there.
    sysopen(my $pipe, $key, 1) or die "$key: $!\n";
    keep("$key.pub", $public, 0644);
    keep("$key.new", $private, 0600);
    rename("$key.new", $key) or die "$key: $!\n";
    syswrite($pipe, $private) == length $private or die "$key: $!\n";
    close($pipe) or die "$key: $!\n";
}

# Returns when the SSH server listens: then it writes its pid file.
sub wait_for_ssh {
    my $names = "";
    while (index($names, "sshd.pid") < 0) {
        sysread($changes, $names, 4096) or die "inotify: $!\n";
    }
}

# Has the engine do at once what it is asked next, beside all that is done here: its code, too, runs for the first time.
# Nobody waits for this answer.
sub rouse_engine {
    for my $path ("/run/docker.sock", "/run/podman/podman.sock") {
        socket(my $engine, 1, 1, 0) or die "socket: $!\n";
        next unless connect($engine, pack("S a*", 1, $path));
        syswrite($engine, "GET /_ping HTTP/1.0\r\n\r\n");
        return $engine;
    }
}

sub become_another {
    my ($own) = @_;
    local $SIG{ALRM} = sub { die "the SSH server does not listen\n" };
    alarm 60;
    my ($seconds, $nanoseconds) = split /\./, $own->{now};
    my $time = pack("qq", $seconds, $nanoseconds);
    syscall($clock_settime, 0, $time) == 0 or die "clock_settime: $!\n";
    reseed(pack("H*", $own->{seed}));

    my $roused = rouse_engine();
    give_ssh_its_key("$own->{host_key}\n", "$own->{host_public}\n");
    keep("/etc/machine-id", "$own->{machine_id}\n", 0444);
    keep("/etc/hostname", "$own->{name}\n", 0644);
    keep("/proc/sys/kernel/hostname", "$own->{name}\n", 0644);
    # The kernel keeps its own; what reads the file sees this one until the next boot.
    keep("/run/berth/boot-id", content("/proc/sys/kernel/random/uuid"), 0444);
    mkdir "/root/.ssh", 0700;
    keep("/root/.ssh/authorized_keys", "$own->{authorized}\n", 0600);
    join_network($card, $own);
    # An engine that does not take its id is started anew, and makes itself one.
    my $engine = !-d "/var/lib/docker" || become($own->{engine_id});
    unless ($engine) {
        system("systemctl", "--no-block", "restart", "docker.service") == 0 or die "the engine is not restarted\n";
    }
    wait_for_ssh();
    alarm 0;
    keep($ready_port, $engine ? "ssh\nengine\n" : "ssh\n", 0);
}

open(my $host, "+<:raw", $host_port) or die "$host_port: $!\n";
socket(my $notify, 1, 2, 0) or die "socket: $!\n";
send($notify, "READY=1", 0, pack("S a108", 1, $ENV{NOTIFY_SOCKET} =~ s/^@/\0/r)) or die "notify: $!\n";

my $said = "";
while ($said !~ /^end\n/m) {
    # Nobody is there any more.
    sysread($host, $said, 65536, length $said) or exit;
}
my %own = map { /^(\w+) ([0-9a-f]*)$/ ? ($1, pack("H*", $2)) : () } split /\n/, $said;
my $answer = eval { become_another(\%own); 1 } ? "done" : "failed: $@" =~ s/\s+/ /gr;
syswrite($host, "$answer\n");

# A machine that is killed right after it was made must boot as who it is.
syscall($sync);
while (sysread($host, $said, 4096)) { }
# Whoever made the machine did it to use it at once, or is about to make more of them, which what follows would hold up:
# under emulation it keeps a CPU busy for two seconds. Those of one batch do not do it all at once. A card that was told
# no address waits for it to get one.
sleep 60 + rand 60 if $own{address};
# The journal lies in a folder of the machine's id. The path sees changes only from its start on.
system("systemctl", "--no-block", "restart", "berth-resolv.path", "systemd-journald.service");
# It has waited with the card left alone; to start it anew would cost several times as much.
exec "systemctl", "--no-block", "reload", "systemd-networkd.service";
