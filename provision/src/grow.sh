# Has a guest that runs use what its hypervisor has given it: the disk of $bytes bytes that / is on, memory, CPUs.
set -e
for state in /sys/devices/system/memory/memory*/state /sys/devices/system/cpu/cpu*/online; do
    [ -e "$state" ] || continue
    case $(cat "$state") in
    offline) echo online >"$state" ;;
    0) echo 1 >"$state" ;;
    esac
done
[ "$bytes" -gt 0 ] || exit 0
root=$(awk '$2 == "/" { device = $1; type = $3 } END { print device, type }' /proc/self/mounts)
type=${root#* }
partition=$(readlink -f "${root% *}")
name=${partition##*/}
class=/sys/class/block/$name
if ! [ -e "$class/partition" ]; then
    echo "/ is on ${root% *}, which is no partition of the disk's" >&2
    exit 1
fi
number=$(cat "$class/partition")
disk=$(basename "$(dirname "$(readlink -f "$class")")")
tries=0
while [ $(($(cat "/sys/class/block/$disk/size") * 512)) -lt "$bytes" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 50 ]; then
        echo "its kernel does not see that /dev/$disk has grown" >&2
        exit 1
    fi
    sleep 0.2
done
if command -v sfdisk >/dev/null; then
    echo ', +' | sfdisk --quiet --force --no-reread --no-tell-kernel -N "$number" "/dev/$disk"
    partx --update --nr "$number" "/dev/$disk"
else
    growpart "/dev/$disk" "$number"
fi
case $type in
ext*) resize2fs "$partition" ;;
xfs) xfs_growfs / ;;
btrfs) btrfs filesystem resize max / ;;
*)
    echo "its file system is $type, which is not grown while it is in use" >&2
    exit 1
    ;;
esac
