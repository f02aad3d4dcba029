# SPDX-License-Identifier: GPL-2.0-or-later
"""The system group: Debian with systemd, booted to the login prompt, and a package installed in it.

The image is that of the guest matrix (tests/matrix/images.py, made by
debootstrap: root only); a second disk has the packages as a local repository,
so nothing is asked of the network while time runs.
"""

import os
import selectors
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, 'tests', 'matrix'), os.path.join(TOP, 'scripts')]

import guest_run  # noqa: E402

PACKAGE = 'python3'
BASE = 'debian-amd64'
SETUP = ("mkdir -p /srv/repo && mount -o ro /dev/vdb /srv/repo && "
         "echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list && "
         'rm -f /etc/apt/sources.list.d/* && systemctl is-system-running --wait >/dev/null; echo XBT"-SET"UP')
INSTALL = (f'apt-get -q update >log 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get -q -y install {PACKAGE} '
           '>>log 2>&1; echo XBT"-INST"ALLED $?')
CHECK = ("(dpkg-query -W -f '${Package} ${Version} ${Status}\\n'; python3 -c 'import json, hashlib; "
         'print(hashlib.sha256(json.dumps(list(range(9999))).encode()).hexdigest())\' ) | sha256sum | '
         'sed s/^/XBT"-SUM "/')


def make_images(build):
    """The disks, made on first use; their folder."""
    import images   # pylint: disable=import-outside-toplevel
    from fetch import Apt   # pylint: disable=import-outside-toplevel
    shop = images.Shop(build)
    for end in ('.vmlinuz', '.initrd', '.disk'):
        shop.need(BASE + end)
    disk = shop.path('bench-repo.disk')
    if not os.path.exists(disk):
        tree = shop.fresh('bench-repo')
        apt = Apt(shop.dir, 'amd64')
        apt.get('install', '-y', '--download-only', PACKAGE)
        archives = os.path.join(apt.dir, 'cache', 'archives')
        for name in os.listdir(archives):
            if name.endswith('.deb'):
                shop.copy(os.path.join(archives, name), tree, name)
        with open(os.path.join(tree, 'Packages'), 'wb') as file:
            subprocess.run(['dpkg-scanpackages', '-m', '.'], cwd=tree, stdout=file, stderr=subprocess.DEVNULL,
                           check=True)
        shop.run('mke2fs', '-q', '-t', 'ext4', '-m', '0', '-E', 'root_owner=0:0', '-d', tree, disk + '.new',
                 '256M', env=dict(os.environ, PATH='/usr/sbin:/usr/bin:/sbin:/bin'))
        os.rename(disk + '.new', disk)
    return shop.dir


class Console:
    """QEMU with its serial port on pipes."""

    def __init__(self, command, log):
        self.log = open(log, 'ab')
        self.start = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.seen = b''

    def wait(self, text, limit):
        """Everything up to @text; (host seconds, QEMU's processor seconds) so far."""
        deadline = time.monotonic() + limit
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while text not in self.seen:
                if not selector.select(max(0, deadline - time.monotonic())):
                    raise TimeoutError(f'no "{text.decode()}" within {limit} s')
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise TimeoutError(f'QEMU ended before "{text.decode()}"')
                self.log.write(data)
                self.seen += data
        before, self.seen = self.seen.split(text, 1)
        return before, time.monotonic() - self.start, guest_run.cpu_seconds(self.process.pid)

    def line(self, text, limit):
        """The rest of the line that begins with @text, and the times."""
        _, wall, cpu = self.wait(text, limit)
        rest, _, _ = self.wait(b'\n', limit)
        return rest.decode('utf-8', 'replace').strip(), wall, cpu

    def type(self, text):
        self.process.stdin.write(text.encode() + b'\n')
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def command(accel, cpu, memory, folder):
    disk = os.path.join(folder, BASE)
    return [guest_run.launcher(), '-accel', accel, '-M', 'q35', '-m', str(memory), '-cpu', cpu,
            '-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot',
            '-device', 'virtio-rng-pci',
            '-netdev', 'user,id=n,restrict=on', '-device', 'virtio-net-pci,netdev=n',
            '-kernel', disk + '.vmlinuz', '-initrd', disk + '.initrd',
            '-drive', f'file={disk}.disk,format=raw,if=virtio,snapshot=on',
            '-drive', f'file={folder}/bench-repo.disk,format=raw,if=virtio,snapshot=on',
            '-append', 'root=/dev/vda console=ttyS0 panic=-1 net.ifnames=0']


def run(accel, cpu, memory, folder, log):
    """Yields (name, wall seconds, processor seconds, result); raises TimeoutError."""
    console = Console(command(accel, cpu, memory, folder), log)
    try:
        _, wall, busy = console.wait(b'matrix login: ', 400)
        yield 'login', wall, busy, 'prompt'
        console.type('root')
        console.wait(b':~# ', 120)
        console.type(SETUP)
        console.line(b'XBT-SETUP', 200)
        console.wait(b':~# ', 60)
        before, busy_before = time.monotonic() - console.start, guest_run.cpu_seconds(console.process.pid)
        console.type(INSTALL)
        status, wall, busy = console.line(b'XBT-INSTALLED ', 600)
        console.type(CHECK)
        result, _, _ = console.line(b'XBT-SUM ', 120)
        yield 'apt-install', wall - before, busy - busy_before, f'{status} {result[:16]}'
    finally:
        console.end()
