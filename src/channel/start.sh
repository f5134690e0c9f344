# Starts the program that carries streams past SSH, where the hypervisor has given this machine a port for it.
channel=
for name in /sys/class/virtio-ports/*/name; do
    [ -e "$name" ] || continue
    read -r port <"$name"
    device=${name%/name}
    [ "$port" != PORT ] || channel=/dev/${device##*/}
done
if [ -n "$channel" ] && command -v perl systemd-run >/dev/null; then
    systemctl stop berth-channel.service 2>/dev/null || true
    systemd-run --quiet --collect --unit=berth-channel --service-type=notify \
        sh -c 'exec perl /run/berth/channel.pl "$1" <>"$0"' "$channel" "GREETING"
fi
