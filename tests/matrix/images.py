# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rows of the guest matrix boot, made from Debian packages.

IMAGES maps the name that a row's command uses to the function that makes it
in the matrix's folder.  A name is made once; delete the file to make it anew.
"""

import glob
import lzma
import os
import shutil
import subprocess
import sys

from fetch import Apt, FetchError, PACKAGES, mirror, run

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(TOP, 'scripts'))

from guest_run import cpio_archive  # noqa: E402

IMAGES = {}
LINUX = 'console=ttyS0 panic=-1 quiet xbt.poweroff'


def image(*names):
    def register(function):
        for name in names:
            IMAGES[name] = function
        return function
    return register


class Shop:
    """The matrix's folder and what is needed to fill it."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.dir = os.path.join(self.build, 'matrix')
        os.makedirs(self.dir, exist_ok=True)
        self.log = os.path.join(self.dir, 'images.log')

    def path(self, *name):
        return os.path.join(self.dir, *name)

    def package_file(self, pattern):
        """A file of one of the packages."""
        tree = self.path('packages')
        Apt(self.dir, 'amd64').unpack(PACKAGES, tree)
        found = glob.glob(os.path.join(tree, pattern))
        if not found:
            raise FetchError(f'no {pattern} in the packages')
        return sorted(found)[0]

    def need(self, name):
        """Make @name unless it is there; its path."""
        path = self.path(name)
        if not os.path.exists(path):
            print(f'guest-matrix: making {name} ...', flush=True)
            IMAGES[name](self, name)
            if not os.path.exists(path):
                raise FetchError(f'{name} was not made')
        return path

    def run(self, *command, **options):
        tool = command[0]
        if not os.path.isabs(tool) and not shutil.which(tool):
            raise FetchError(f'{tool} not found (packages: grub-common xorriso mtools debootstrap e2fsprogs)')
        run(list(command), self.log, **options)

    def fresh(self, name):
        """An empty folder for the contents of an image."""
        path = self.path('tree-' + name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path

    def copy(self, source, *to):
        target = os.path.join(*to)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)

    def write(self, text, *to):
        target = os.path.join(*to)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'w', encoding='utf-8') as file:
            file.write(text)


# ---- kernels ---------------------------------------------------------------

FLAVOURS = {'vmlinuz': ('cloud-amd64', 'vmlinuz'), 'initrd.img': ('cloud-amd64', 'initrd.img'),
            'vm64': ('amd64', 'vmlinuz'), 'initrd64': ('amd64', 'initrd.img'),
            'vm686': ('686', 'vmlinuz'), 'initrd386': ('686', 'initrd.img'),
            'vm686pae': ('686-pae', 'vmlinuz'), 'initrd386pae': ('686-pae', 'initrd.img')}


@image(*FLAVOURS)
def guest(shop, name):
    flavour, file = FLAVOURS[name]
    shop.run(os.path.join(TOP, 'scripts/make-guest.sh'), shop.build, flavour)
    folder = 'guest' if flavour == 'cloud-amd64' else f'guest/{flavour}'
    os.symlink(os.path.join(shop.build, folder, file), shop.path(name))


@image('vmlinux64')
def elf_kernel(shop, name):
    """The kernel out of its self-extracting file (Linux: Documentation/x86/boot.rst)."""
    with open(shop.need('vm64'), 'rb') as file:
        data = file.read()
    start = (data[0x1f1] + 1) * 512 + int.from_bytes(data[0x248:0x24c], 'little')
    size = int.from_bytes(data[0x24c:0x250], 'little')
    with open(shop.path(name), 'wb') as file:
        file.write(lzma.LZMADecompressor().decompress(data[start:start + size]))


@image('devices64', 'devices386')
def devices(shop, name):
    """An initramfs that runs devices.sh."""
    with open(shop.need('initrd64' if name == 'devices64' else 'initrd386'), 'rb') as file:
        first = file.read()
    with open(os.path.join(HERE, 'devices.sh'), 'rb') as file:
        script = file.read()
    with open(shop.path(name), 'wb') as file:
        file.write(first + b'\0' * (-len(first) % 4) + cpio_archive({'run': (0o755, script)}))


@image('scratch.disk')
def scratch(shop, name):
    """An empty disk."""
    with open(shop.path(name), 'wb') as file:
        file.truncate(128 << 20)


# ---- firmware and kernels that are files of a package -----------------------

FILES = {
    'OVMF_CODE.fd': 'usr/share/OVMF/OVMF_CODE.fd',
    'OVMF_VARS.fd': 'usr/share/OVMF/OVMF_VARS.fd',
    'OVMF_CODE_4M.fd': 'usr/share/OVMF/OVMF_CODE_4M.fd',
    'OVMF_VARS_4M.fd': 'usr/share/OVMF/OVMF_VARS_4M.fd',
    'OVMF32_CODE_4M.fd': 'usr/share/OVMF/OVMF32_CODE_4M.secboot.fd',
    'OVMF32_VARS_4M.fd': 'usr/share/OVMF/OVMF32_VARS_4M.fd',
    'OVMF.fd': 'usr/share/ovmf/OVMF.fd',
    'u-boot32.rom': 'usr/lib/u-boot/qemu-x86/u-boot.rom',
    'u-boot64.rom': 'usr/lib/u-boot/qemu-x86_64/u-boot.rom',
    'grub-firmware.bin': 'usr/share/qemu/grub.bin',
    'bochs.bios': 'usr/share/bochs/BIOS-bochs-latest',
    'bochs-legacy.bios': 'usr/share/bochs/BIOS-bochs-legacy',
    'vgabios.bin': 'usr/share/vgabios/vgabios.stdvga.bin',
    'invaders.exec': 'boot/invaders.exec',
    'memtest64.bin': 'boot/memtest86+x64.bin',
    'memtest32.bin': 'boot/memtest86+ia32.bin',
    'memtest64.efi': 'boot/memtest86+x64.efi',
    'memtest32.efi': 'boot/memtest86+ia32.efi',
    'ipxe.iso': 'usr/lib/ipxe/ipxe.iso',
    'ipxe.lkrn': 'boot/ipxe.lkrn',
    'ipxe.efi': 'boot/ipxe.efi',
    'grub-rescue-cdrom.iso': 'usr/lib/grub-rescue/grub-rescue-cdrom.iso',
    'grub-rescue-floppy.img': 'usr/lib/grub-rescue/grub-rescue-floppy.img',
}
DI = 'usr/lib/debian-installer/images/12/{0}/text/debian-installer/{0}/'
for _arch in ('amd64', 'i386'):
    FILES[f'di-{_arch}.linux'] = DI.format(_arch) + 'linux'
    FILES[f'di-{_arch}.initrd'] = DI.format(_arch) + 'initrd.gz'


@image(*FILES)
def package_file(shop, name):
    shop.copy(shop.package_file(FILES[name]), shop.path(name))


@image('di-amd64.tftp', 'di-i386.tftp')
def installer_tftp(shop, name):
    arch = name[3:-5]
    folder = os.path.dirname(shop.package_file(DI.format(arch)))
    os.symlink(os.path.dirname(os.path.dirname(folder)), shop.path(name))


# ---- EFI programs: folders that QEMU shows as a FAT disk ---------------------

EFI = {
    'memtest64.fat': ('BOOTX64.EFI', 'boot/memtest86+x64.efi'),
    'memtest32.fat': ('BOOTIA32.EFI', 'boot/memtest86+ia32.efi'),
    'ipxe.fat': ('BOOTX64.EFI', 'boot/ipxe.efi'),
    'refind.fat': ('BOOTX64.EFI', 'usr/share/refind/refind/refind_x64.efi'),
}


@image(*EFI)
def efi_program(shop, name):
    file, source = EFI[name]
    shop.copy(shop.package_file(source), shop.path(name), 'EFI/BOOT', file)


@image('sd-boot.fat')
def systemd_boot(shop, name):
    root = shop.path(name)
    shop.copy(shop.need('vm64'), root, 'vm64')
    shop.copy(shop.need('initrd64'), root, 'initrd64')
    shop.write('timeout 2\nconsole-mode 0\n', root, 'loader/loader.conf')
    shop.write(f'title Linux\nlinux /vm64\ninitrd /initrd64\noptions {LINUX}\n',
               root, 'loader/entries/linux.conf')
    shop.copy(shop.package_file('usr/lib/systemd/boot/efi/systemd-bootx64.efi'),
              root, 'EFI/BOOT/BOOTX64.EFI')


@image('syslinux.fat')
def syslinux_efi(shop, name):
    root = shop.path(name)
    boot = os.path.join(root, 'EFI/BOOT')
    shop.copy(shop.need('vm64'), root, 'vm64')
    shop.copy(shop.need('initrd64'), root, 'initrd64')
    shop.copy(shop.package_file('usr/lib/syslinux/modules/efi64/ldlinux.e64'), boot, 'ldlinux.e64')
    shop.write(f'SERIAL 0 115200\nDEFAULT l\nPROMPT 1\nTIMEOUT 20\nLABEL l\n LINUX /vm64\n INITRD /initrd64\n'
               f' APPEND {LINUX}\n', boot, 'syslinux.cfg')
    shop.copy(shop.package_file('usr/lib/SYSLINUX.EFI/efi64/syslinux.efi'), boot, 'BOOTX64.EFI')


# ---- GRUB ------------------------------------------------------------------

GRUB_SERIAL = f'''serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=60
set default=0
menuentry "linux64" {{ linux /vm64 {LINUX}; initrd /initrd64; }}
menuentry "linux686" {{ linux /vm686 {LINUX}; initrd /initrd386; }}
menuentry "linux16" {{ linux16 /vm686pae {LINUX}; initrd16 /initrd386pae; }}
menuentry "invaders" {{ multiboot /invaders.exec; }}
menuentry "memtest" {{ linux16 /memtest64.bin; }}
menuentry "reboot" {{ reboot; }}
menuentry "halt" {{ halt; }}
'''
GRUB_GFX = '''insmod all_video
insmod gfxterm
loadfont unicode
set gfxmode={mode}
set gfxpayload=keep
terminal_output gfxterm
set timeout=-1
menuentry "First entry of the matrix" {{ true; }}
menuentry "Second entry" {{ halt; }}
'''
GRUB_DIRS = {'pc': 'i386-pc', 'efi64': 'x86_64-efi', 'efi32': 'i386-efi'}


@image('grub-pc.iso', 'grub-efi64.iso', 'grub-efi32.iso', 'grub-gfx-pc.iso', 'grub-gfx-efi64.iso',
       'grub-gfx-pc-32bpp.iso')
def grub_iso(shop, name):
    tree = shop.fresh(name)
    platform = [p for p in GRUB_DIRS if f'-{p}' in name][0]
    if 'gfx' in name:
        mode = '1024x768x32' if '32bpp' in name else '800x600'
        shop.write(GRUB_GFX.format(mode=mode), tree, 'boot/grub/grub.cfg')
    else:
        shop.write(GRUB_SERIAL, tree, 'boot/grub/grub.cfg')
        for file in ('vm64', 'initrd64', 'vm686', 'initrd386', 'vm686pae', 'initrd386pae',
                     'invaders.exec', 'memtest64.bin'):
            shop.copy(shop.need(file), tree, file)
    modules = shop.package_file(f'usr/lib/grub/{GRUB_DIRS[platform]}')
    shop.run('grub-mkrescue', '-d', modules, '-o', shop.path(name), tree)
    shutil.rmtree(tree)


@image('grub-legacy.img')
def grub_legacy(shop, name):
    """The classic boot floppy: stage 1 and 2 in its first sectors."""
    data = b''
    for stage in ('stage1', 'stage2'):
        with open(shop.package_file(f'usr/lib/grub/x86_64-pc/{stage}'), 'rb') as file:
            data += file.read()
    with open(shop.path(name), 'wb') as file:
        file.write(data.ljust(1440 << 10, b'\0'))


# ---- syslinux --------------------------------------------------------------

def syslinux_config(kernel, initrd, *more):
    text = ('SERIAL 0 115200\nDEFAULT linux\nPROMPT 1\nTIMEOUT 100\n'
            f'LABEL linux\n LINUX {kernel}\n INITRD {initrd}\n APPEND {LINUX}\n')
    return text + ''.join(more)


def syslinux_files(shop, tree, *names):
    for name in names:
        shop.copy(shop.package_file('usr/lib/syslinux/modules/bios/' + name), tree, name)


@image('syslinux.img')
def syslinux_floppy(shop, name):
    """A FAT floppy with a prompt and two small programs."""
    path, tree = shop.path(name), shop.fresh(name)
    syslinux_files(shop, tree, 'cpuid.c32', 'cat.c32', 'libcom32.c32', 'libutil.c32', 'meminfo.c32',
                   'libgpl.c32', 'cpuidtest.c32')
    shop.write('SERIAL 0 115200\nSAY floppy of the matrix\nPROMPT 1\nDEFAULT meminfo.c32\nTIMEOUT 100\n',
               tree, 'syslinux.cfg')
    shop.run('mformat', '-C', '-f', '1440', '-v', 'MATRIX', '-i', path, '::')
    shop.run('mcopy', '-i', path, *sorted(glob.glob(tree + '/*')), '::')
    shop.run(shop.package_file('usr/bin/syslinux'), '-i', path)


@image('syslinux.disk')
def syslinux_disk(shop, name):
    """An MBR disk with one active FAT32 partition, started by the mbr package's loader."""
    path, part, tree = shop.path(name), shop.path(name + '.part'), shop.fresh(name)
    size, start = 128 << 20, 1 << 20
    shop.copy(shop.need('vm686pae'), tree, 'vm')
    shop.copy(shop.need('initrd386pae'), tree, 'initrd')
    shop.write(syslinux_config('vm', 'initrd'), tree, 'syslinux.cfg')
    shop.run('mformat', '-C', '-F', '-T', str((size - start) // 512), '-H', str(start // 512),
             '-h', '16', '-s', '63', '-i', part, '::')
    shop.run('mcopy', '-i', part, *sorted(glob.glob(tree + '/*')), '::')
    shop.run(shop.package_file('usr/bin/syslinux'), '-i', part)
    with open(part, 'rb') as file:
        data = file.read()
    os.remove(part)
    sectors = (size - start) // 512
    entry = bytes([0x80, 0xfe, 0xff, 0xff, 0x0c, 0xfe, 0xff, 0xff])
    entry += (start // 512).to_bytes(4, 'little') + sectors.to_bytes(4, 'little')
    with open(path + '.new', 'wb') as file:
        file.write((bytes(446) + entry).ljust(510, b'\0') + b'\x55\xaa')
        file.seek(start)
        file.write(data)
        file.truncate(size)
    shop.run(shop.package_file('sbin/install-mbr'), '--force', path + '.new')
    os.rename(path + '.new', path)


@image('isolinux.iso')
def isolinux(shop, name):
    tree = shop.fresh(name)
    for file in glob.glob(shop.package_file('usr/lib/syslinux/modules/bios') + '/*.c32'):
        shop.copy(file, tree, 'isolinux', os.path.basename(file))
    shop.copy(shop.package_file('usr/lib/ISOLINUX/isolinux.bin'), tree, 'isolinux/isolinux.bin')
    shop.copy(shop.package_file('usr/lib/syslinux/memdisk'), tree, 'memdisk')
    for file in ('vm64', 'initrd64', 'syslinux.img', 'memtest32.bin'):
        shop.copy(shop.need(file), tree, file)
    shop.write(syslinux_config(
        '/vm64', '/initrd64', 'LABEL hdt\n COM32 hdt.c32\n APPEND modules_pcimap=/none\n',
        'LABEL floppy\n LINUX /memdisk\n INITRD /syslinux.img\n',
        'LABEL memtest\n LINUX /memtest32.bin\n',
        'LABEL menu\n COM32 menu.c32\n', 'LABEL vesa\n COM32 vesainfo.c32\n'), tree, 'isolinux/isolinux.cfg')
    shop.run('xorriso', '-as', 'mkisofs', '-o', shop.path(name), '-b', 'isolinux/isolinux.bin',
             '-c', 'isolinux/boot.cat', '-no-emul-boot', '-boot-load-size', '4', '-boot-info-table', tree)
    shutil.rmtree(tree)


@image('pxe.tftp')
def pxe(shop, name):
    tree = shop.path(name)
    shop.copy(shop.package_file('usr/lib/PXELINUX/pxelinux.0'), tree, 'pxelinux.0')
    syslinux_files(shop, tree, 'ldlinux.c32')
    shop.copy(shop.need('vm64'), tree, 'vm64')
    shop.copy(shop.need('initrd64'), tree, 'initrd64')
    shop.write(syslinux_config('vm64', 'initrd64'), tree, 'pxelinux.cfg/default')
    shop.write(f'#!ipxe\nkernel vm64 initrd=initrd64 {LINUX}\ninitrd initrd64\nboot\n', tree, 'boot.ipxe')


# ---- whole systems -----------------------------------------------------------

SYSTEM_PACKAGES = ('systemd-sysv udev dbus kmod iproute2 ifupdown isc-dhcp-client netbase initramfs-tools '
                   'wget procps cron ca-certificates')
SYSTEMS = {'debian-amd64': ('amd64', 'linux-image-amd64'), 'debian-i386': ('i386', 'linux-image-686-pae')}


@image(*[base + end for base in SYSTEMS for end in ('.disk', '.vmlinuz', '.initrd')])
def system(shop, name):
    """Debian with systemd, made by debootstrap (root only)."""
    base = name.rsplit('.', 1)[0]
    arch, kernel = SYSTEMS[base]
    if os.getuid():
        raise FetchError('debootstrap needs root')
    tree = shop.fresh(base)
    site, release = mirror()
    include = ','.join(SYSTEM_PACKAGES.split() + [kernel])
    env = dict(os.environ, PATH='/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL='C', DEBIAN_FRONTEND='noninteractive')
    shop.run('debootstrap', '--variant=minbase', f'--arch={arch}', f'--include={include}', release, tree,
             site, env=env)
    shop.write('matrix\n', tree, 'etc/hostname')
    shop.write('/dev/vda / ext4 defaults 0 1\n', tree, 'etc/fstab')
    shop.write('auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n', tree, 'etc/network/interfaces')
    shop.run('chroot', tree, 'passwd', '-d', 'root', env=env)
    for file in glob.glob(tree + '/var/cache/apt/archives/*.deb'):
        os.remove(file)
    for end, pattern in (('.vmlinuz', 'vmlinuz-*'), ('.initrd', 'initrd.img-*')):
        shop.copy(glob.glob(os.path.join(tree, 'boot', pattern))[0], shop.path(base + end))
    disk = shop.path(base + '.disk')
    shop.run('mke2fs', '-q', '-t', 'ext4', '-m', '0', '-E', 'root_owner=0:0,lazy_itable_init=0',
             '-d', tree, disk + '.new', '2G', env=env)
    os.rename(disk + '.new', disk)
    shutil.rmtree(tree)
