# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages for the guest matrix, unpacked and not installed.

The machine's own archives are read with package lists and state of our own,
so nothing of its apt changes and no root is needed.
"""

import os
import subprocess

PACKAGES = """
    ovmf ovmf-ia32 u-boot-qemu ipxe memtest86+
    grub-pc-bin grub-efi-amd64-bin grub-efi-ia32-bin grub-rescue-pc grub-firmware-qemu grub-invaders
    grub-legacy grub-common
    syslinux syslinux-common syslinux-efi isolinux pxelinux mbr
    refind systemd-boot-efi bochsbios vgabios
    debian-installer-12-netboot-amd64 debian-installer-12-netboot-i386
""".split()


class FetchError(Exception):
    pass


def run(command, log, **options):
    with open(log, 'a', encoding='utf-8') as file:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                              check=False, **options)
    if done.returncode:
        raise FetchError(f'{command[0]} failed, see {log}')


class Apt:
    """apt for one architecture, with nothing installed as far as it knows."""

    def __init__(self, directory, arch):
        self.dir = os.path.join(directory, f'apt-{arch}')
        self.log = os.path.join(self.dir, 'log')
        self.arch = arch
        for name in ('lists/partial', 'cache/archives/partial', 'debs'):
            os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        with open(os.path.join(self.dir, 'status'), 'w', encoding='utf-8'):
            pass
        if not [n for n in os.listdir(os.path.join(self.dir, 'lists')) if 'Packages' in n]:
            self.get('update', check=False)

    def get(self, *args, check=True, cwd=None):
        state = {'Dir::State': '', 'Dir::State::lists': 'lists', 'Dir::State::status': 'status',
                 'Dir::Cache': 'cache'}
        options = [f'{key}={os.path.join(self.dir, value)}' for key, value in state.items()]
        options += [f'APT::Architecture={self.arch}', f'APT::Architectures={self.arch}',
                    'APT::Sandbox::User=root', 'Acquire::Languages=none', 'Acquire::Retries=3']
        command = ['apt-get', '-q']
        for option in options:
            command += ['-o', option]
        try:
            run(command + list(args), self.log, cwd=cwd)
        except FetchError:
            if check:
                raise

    def unpack(self, names, into):
        """Download packages and unpack them over each other."""
        done = os.path.join(into, '.packages')
        wanted = ' '.join(names)
        try:
            with open(done, encoding='utf-8') as file:
                if file.read() == wanted:
                    return
        except OSError:
            pass
        os.makedirs(into, exist_ok=True)
        debs = os.path.join(self.dir, 'debs')
        have = {name.split('_')[0] for name in os.listdir(debs)}
        missing = [name for name in names if name not in have]
        if missing:
            self.get('download', *missing, cwd=debs)
        for name in sorted(os.listdir(debs)):
            if name.split('_')[0] in names:
                run(['dpkg-deb', '-x', os.path.join(debs, name), into], self.log)
        with open(done, 'w', encoding='utf-8') as file:
            file.write(wanted)


def mirror():
    """The address of the machine's own Debian archive."""
    out = subprocess.run(['apt-get', 'indextargets', '--format', '$(SITE) $(RELEASE) $(COMPONENT)'],
                         capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        site, release, component = line.split()
        if component == 'main' and '-' not in release:
            return site, release
    raise FetchError('no Debian archive in /etc/apt')
