#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run in the guest: works the devices that the kernel's command line names
# with xbt.test=TEST:MODULE[:ARGUMENT][,...].  The last line says how it went.

failed=
device_trouble='NETDEV WATCHDOG|I/O error|lost interrupt'

fail() { echo "XBT-DEVICE: $*"; failed=yes; }

load() { for m in $(echo "$1" | tr + ' '); do [ -z "$m" ] || modprobe "$m" || fail "no module $m"; done; }

wait_for()
{
    i=0
    until [ -e "$1" ] || [ $i -ge 200 ]; do usleep 50000; i=$((i + 1)); done
    [ -e "$1" ] || fail "no $1"
}

# net:DRIVER:PORT[:little]  four downloads at once, then one upload by way of
# the server's checksum of what it got
test_net()
{
    load "$1"
    wait_for /sys/class/net/eth0
    ip link set eth0 up
    i=0
    until [ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" = 1 ] || [ $i -ge 100 ]; do
        usleep 100000; i=$((i + 1))
    done
    ip addr add 10.0.2.15/24 dev eth0
    ip route add default via 10.0.2.2
    url=http://10.0.2.2:$2
    want=$(wget -q -O - $url/sum$3)
    [ -n "$want" ] || fail "no answer from the host"
    for i in 1 2 3 4; do
        wget -q -O - $url/payload$3 | sha256sum >/tmp/sum.$i &
    done
    wait
    for i in 1 2 3 4; do
        read -r got rest </tmp/sum.$i
        [ "$got" = "$want" ] && echo "ok download $i" || fail "download $i: $got, not $want"
    done
    seq 1 300000 >/tmp/up
    got=$(wget -q -O - --post-file=/tmp/up $url/upload)
    want=$(sha256sum </tmp/up | cut -d' ' -f1)
    [ "$got" = "$want" ] && echo "ok upload" || fail "upload: $got, not $want"
    ping -c 3 -i 0.2 -s 1400 10.0.2.2 >/dev/null && echo "ok ping" || fail ping
}

# disk:DRIVER:DEVICE  a pattern written and read back, then a file system
test_disk()
{
    load "$1"
    device=/dev/$2
    wait_for $device
    modprobe ext4
    head -c 33554432 /dev/urandom >/tmp/pattern
    dd if=/tmp/pattern of=$device bs=1M conv=fsync 2>/dev/null || fail "write to $device"
    echo 3 >/proc/sys/vm/drop_caches
    dd if=$device bs=64k count=512 2>/dev/null | cmp - /tmp/pattern && echo "ok raw" || fail "$device: raw"
    # Small and odd pieces.
    dd if=/tmp/pattern of=$device bs=512 skip=11 seek=3 count=777 conv=notrunc,fsync 2>/dev/null
    echo 3 >/proc/sys/vm/drop_caches
    dd if=$device bs=512 skip=3 count=777 2>/dev/null | sha256sum >/tmp/a
    dd if=/tmp/pattern bs=512 skip=11 count=777 2>/dev/null | sha256sum >/tmp/b
    cmp /tmp/a /tmp/b && echo "ok sectors" || fail "$device: sectors"
    mke2fs -b 4096 $device >/dev/null 2>&1
    mkdir -p /tmp/mnt
    mount -t ext4 $device /tmp/mnt || fail "mount $device"
    cp -a /bin /selftest /tmp/mnt
    for i in 0 1 2 3 4 5 6 7; do
        dd if=/tmp/pattern of=/tmp/mnt/part.$i bs=1M skip=$((i * 4)) count=4 2>/dev/null
    done
    umount /tmp/mnt
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext4 $device /tmp/mnt
    cat /tmp/mnt/part.* | cmp - /tmp/pattern && cmp /bin/busybox /tmp/mnt/bin/busybox &&
        echo "ok files" || fail "$device: files"
    umount /tmp/mnt
    rm -f /tmp/pattern
}

# sound:DRIVER:NAME and input:DRIVER:NAME  the driver finds the device and
# can talk to it
test_sound()
{
    load "$1"
    i=0
    until grep -q "$2" /proc/asound/cards || [ $i -ge 50 ]; do usleep 100000; i=$((i + 1)); done
    grep -q "$2" /proc/asound/cards && echo "ok sound" || { fail "no sound card"; cat /proc/asound/cards; }
}

test_input()
{
    load "$1"
    i=0
    until grep -q "$2" /proc/bus/input/devices || [ $i -ge 100 ]; do usleep 100000; i=$((i + 1)); done
    grep -q "$2" /proc/bus/input/devices && echo "ok input" || fail "no $2"
}

# module:DRIVER  a module that tests itself while it is loaded: test_bpf (the
# interpreter and the JIT), xor and raid6_pq (every vector variant)
test_module() { load "$1" && echo "ok module $1"; }

cmdline=$(cat /proc/cmdline)
for test in $(echo "$cmdline" | sed -n 's/.*xbt.test=\([^ ]*\).*/\1/p' | tr , ' '); do
    IFS=: read -r name a b c <<END
$test
END
    echo "XBT-DEVICE: $test"
    test_$name "$a" "$b" "$c"
done
if dmesg | grep -E "BUG:|Oops|general protection|Call Trace|invalid opcode|$device_trouble"; then
    fail kernel-messages
fi
[ -z "$failed" ] && echo "XBT-DEVICE: PASS" || echo "XBT-DEVICE: FAIL"
