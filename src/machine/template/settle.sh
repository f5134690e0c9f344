# Brings a guest that is up into the state in which it is frozen: engine and SSH server up, the program in memory that
# makes a clone another machine, and nothing that says who it is.
set -eu
exec 2>&1
for program in perl systemctl systemd-run; do
    command -v "$program" >/dev/null || {
        echo "this image cannot be a template: it has no $program"
        exit 1
    }
done

# The first two start in a clone as if they had never run: they wait for name servers, and there are none.
systemctl stop berth-resolv.path berth-resolv.service systemd-networkd.socket systemd-networkd.service
# What still starts, as it does after every boot.
systemctl is-system-running --wait >/dev/null || true

# The SSH server runs itself anew, without the key that it had made itself, up to where it reads one: a pipe that nobody
# writes to before it is the clone's.
ssh=$(systemctl show --property=MainPID --value ssh.service)
rm -f /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /var/lib/systemd/random-seed /var/lib/dbus/machine-id
rm -f /run/berth/resolv.conf /run/systemd/netif/leases/* /var/lib/systemd/network/*
mkfifo -m 600 /etc/ssh/ssh_host_ed25519_key
kill -HUP "$ssh"
: >/etc/machine-id
cat /proc/sys/kernel/random/boot_id >/run/berth/boot-id
mount --bind -o ro /run/berth/boot-id /proc/sys/kernel/random/boot_id
# The engine keeps one in memory that no clone has.
if [ -e /var/lib/docker/engine-id ]; then
    read -r trial </proc/sys/kernel/random/uuid
    perl -e 'require "/run/berth/engine-id.pl"; learn(@ARGV)' \
        "$(systemctl show --property=MainPID --value docker.service)" "$trial"
fi
rm -f /var/lib/docker/engine-id /etc/docker/key.json

# Started anew, now that there is no machine id that it could keep, and with the card left alone until the clone is
# another machine and has it read its files again: that costs a fraction of a start.
mkdir -p /run/systemd/network
printf '[Match]\nName=en* eth*\n[Link]\nUnmanaged=yes\n' >/run/systemd/network/70-berth-clone.network
systemctl start systemd-networkd.service

cat /usr/sbin/sshd /usr/lib/openssh/sshd-* /usr/lib/systemd/systemd-networkd /usr/bin/systemctl /usr/sbin/dockerd \
    >/dev/null 2>&1 || true
for name in /sys/class/virtio-ports/*/name; do
    read -r port <"$name"
    device=${name%/name}
    device=/dev/${device##*/}
    case $port in
        dev.berth.renew.0) renew=$device ;;
        dev.berth.ready.0) ready=$device ;;
    esac
done
systemd-run --quiet --collect --unit=berth-renew --service-type=notify \
    perl /run/berth/renew.pl "$renew" "$ready" "$(uname -m)"
sync
