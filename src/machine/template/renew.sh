# Makes a guest that was thawed a machine of its own, before it is on any network. What it is to be is in the variables
# seed, engine_id, now, machine_id, name, mac, host_key, host_public and authorized. Starting a program is what costs most here.
set -eu
exec 2>&1
date --set="@$now" >/dev/null

# Randomness first: all that follows may use it. RNDADDENTROPY mixes the seed in, RNDRESEEDCRNG has the generator take it
# at once (random(4)). Kernels with VMGENID have done as much by themselves.
restart=0
seed=$seed engine_id=$engine_id perl -e '
    open(my $random, ">", "/dev/urandom") or die "/dev/urandom: $!\n";
    my $seed = pack("H*", $ENV{seed});
    my $info = pack("iia*", 8 * length($seed), length($seed), $seed);
    ioctl($random, 0x40085203, $info) or die "RNDADDENTROPY: $!\n";
    ioctl($random, 0x5207, my $nothing = 0) or die "RNDRESEEDCRNG: $!\n";
    require "/run/berth/engine-id.pl";
    exit(become($ENV{engine_id}) ? 0 : 33);
' || restart=$?
[ "$restart" = 0 ] || [ "$restart" = 33 ]

echo "$machine_id" >/etc/machine-id
echo "$name" >/etc/hostname
echo "$name" >/proc/sys/kernel/hostname
# The kernel keeps its own; what reads the file sees another one until the next boot.
read -r boot_id </proc/sys/kernel/random/uuid
echo "$boot_id" >/run/berth/boot-id
mount --bind -o ro /run/berth/boot-id /proc/sys/kernel/random/boot_id

umask 077
[ -d /root/.ssh ] || mkdir /root/.ssh
echo "$authorized" >/root/.ssh/authorized_keys
echo "$host_key" >/etc/ssh/ssh_host_ed25519_key
umask 022
echo "$host_public" >/etc/ssh/ssh_host_ed25519_key.pub

card=
for found in /sys/class/net/*/device; do
    [ -e "$found" ] || break
    found=${found%/device}
    card=${found##*/}
done
ip link set dev "$card" address "$mac"

# An engine that did not take its id makes itself one. The journal lies in a folder of the machine's id.
units="ssh.service systemd-networkd.service berth-resolv.path systemd-journald.service"
if [ -d /var/lib/docker ]; then
    case $restart in
        0) /usr/lib/berth/ready engine ;;
        33) units="$units docker.service" ;;
    esac
fi
systemctl --no-block restart $units
# A machine that is killed right after it was made must boot as who it is. Nobody waits for it.
sync </dev/null >/dev/null 2>&1 &
