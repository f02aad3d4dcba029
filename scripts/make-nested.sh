#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Make guests that are hypervisors themselves, from Debian's packages.
#
#   usage: scripts/make-nested.sh [BUILD_DIR]       (default: build)
#
#   BUILD_DIR/guest/amd64/vmlinuz    Debian's amd64 kernel (by make-guest.sh)
#   BUILD_DIR/guest/nested/kvm.img   initramfs for it: kvm_amd and this machine's QEMU, which boots
#                                    BUILD_DIR/guest/vmlinuz and runs the self-test there; npt=0 on the kernel's
#                                    command line: shadow paging
#   BUILD_DIR/guest/nested/xen.iso   Xen and the amd64 kernel as dom0 (PV)
#   BUILD_DIR/guest/nested/pvh.iso   the same with a PVH dom0, which runs under SVM (needs -device amd-iommu)
#
# The ISO images are made when grub-mkrescue (grub-pc-bin, xorriso) is there.  docs/guests.md has the commands.

set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=${1:-$top/build}
say() { echo "make-nested: $*"; }
die() { echo "make-nested: error: $*" >&2; exit 1; }

"$top/scripts/make-guest.sh" "$build"
XBT_GUEST=$build/guest/amd64 XBT_GUEST_KERNEL=linux-image-amd64 "$top/scripts/make-guest.sh" "$build"
guest=$(cd "$build/guest" && pwd)
out=$guest/nested
mkdir -p "$out"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# ---- KVM ----
qemu=$(command -v qemu-system-x86_64) || die "qemu-system-x86_64 not found"
root=$work/root
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/lib" "$root/lib64" "$root/mods" \
    "$root/qemu" "$work/kernel"
cp /bin/busybox "$root/bin/"
dpkg-deb -x "$(ls "$guest"/amd64/cache/linux-image-*_amd64.deb | tail -1)" "$work/kernel"
for m in irqbypass ccp kvm kvm-amd; do
    cp "$(find "$work/kernel" -name "$m.ko")" "$root/mods/"
done
cp "$qemu" "$root/bin/qemu"
for l in $(ldd "$qemu" | awk '/=>/ { print $3 }'); do
    cp -L "$l" "$root/lib/"
done
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
for f in bios-256k.bin kvmvapic.bin linuxboot_dma.bin; do
    cp -L "$(find -L /usr/share/qemu /usr/share/seabios -name $f | head -1)" "$root/qemu/"
done
cp "$guest/vmlinuz" "$guest/initrd.img" "$root/"
cat > "$root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
export LD_LIBRARY_PATH=/lib PATH=/bin
npt=1
for w in $(cat /proc/cmdline); do
    case $w in npt=*) npt=${w#npt=} ;; esac
done
for m in ccp irqbypass kvm; do insmod /mods/$m.ko; done
insmod /mods/kvm-amd.ko npt=$npt
echo "hypervisor: starting a guest, npt=$npt"
qemu -L /qemu -accel kvm -cpu host -m 128 -nodefaults -display none -serial stdio -monitor none -no-reboot \
    -kernel /vmlinuz -initrd /initrd.img -append "console=ttyS0 quiet xbt.selftest panic=-1" </dev/null
echo "hypervisor: QEMU ended with $?"
poweroff -f
END
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$work/kvm.img"
mv "$work/kvm.img" "$out/kvm.img"
say "$out/kvm.img is ready"

# ---- Xen ----
command -v grub-mkrescue >/dev/null || { say "no grub-mkrescue: no Xen images"; exit 0; }
(cd "$work" && apt-get -o APT::Sandbox::User=root download xen-hypervisor-4.17-amd64 >/dev/null)
dpkg-deb -x "$work"/xen-hypervisor-*.deb "$work/xen"
mkdir -p "$work/iso/boot/grub"
gzip -dc "$work"/xen/boot/xen-*.gz > "$work/iso/boot/xen"
cp "$guest/amd64/vmlinuz" "$guest/amd64/initrd.img" "$work/iso/boot/"
iso()
{
    cat > "$work/iso/boot/grub/grub.cfg" <<END
set timeout=0
serial --unit=0 --speed=115200
terminal_output serial
menuentry xen {
  multiboot2 /boot/xen placeholder console=com1 com1=115200,8n1 dom0_mem=512M noreboot $2
  module2 /boot/vmlinuz placeholder console=hvc0 quiet xbt.poweroff panic=-1
  module2 /boot/initrd.img
}
END
    grub-mkrescue -o "$out/$1" "$work/iso" >/dev/null 2>&1 || die "grub-mkrescue failed"
    say "$out/$1 is ready"
}
iso xen.iso ""
iso pvh.iso "dom0=pvh iommu=1"
