# Brings a guest that is up into the state in which it is frozen: engine up, programs that a clone needs at once in
# memory, and nothing that says who it is.
set -eu
exec 2>&1
for program in perl ip systemctl; do
    command -v "$program" >/dev/null || {
        echo "this image cannot be a template: it has no $program"
        exit 1
    }
done

# Each of these starts in a clone as if it had never run. The second waits for name servers, and there are none.
systemctl stop ssh.service berth-resolv.path berth-resolv.service systemd-networkd.socket systemd-networkd.service
# What still starts, as it does after every boot.
systemctl is-system-running --wait >/dev/null || true

rm -f /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /var/lib/systemd/random-seed /var/lib/dbus/machine-id
rm -f /run/berth/resolv.conf /run/systemd/netif/leases/* /var/lib/systemd/network/*
: >/etc/machine-id
# The engine keeps one in memory that no clone has.
if [ -e /var/lib/docker/engine-id ]; then
    read -r trial </proc/sys/kernel/random/uuid
    perl -e 'require "/run/berth/engine-id.pl"; learn(@ARGV)' \
        "$(systemctl show --property=MainPID --value docker.service)" "$trial"
fi
rm -f /var/lib/docker/engine-id /etc/docker/key.json

cat /usr/sbin/sshd /usr/lib/openssh/sshd-* /usr/lib/systemd/systemd-networkd /usr/bin/perl /usr/sbin/dockerd \
    >/dev/null 2>&1 || true
sync
