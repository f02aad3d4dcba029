# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile guests under stock QEMU: whatever runs, the monitor answers and `quit` ends it.

  hostile_qemu.py [--first N] [--count N] [--seconds S]     count 0: until stopped

Guest N is a function of N: a random boot sector, random or damaged firmware, a damaged Linux kernel, or a good kernel
whose memory is damaged while it runs.  The guest may reset, halt or power off; QEMU must not die.
"""

import argparse
import mmap
import os
import random
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
for folder in ('qtest', 'system'):
    sys.path.insert(0, os.path.join(HERE, '..', folder))

from build import build                                             # noqa: E402
from machine import Failure, Machine, QmpError, guest_file          # noqa: E402

ANSWER = 20         # seconds for an answer, on a loaded machine
OPTIONS = ('', ',tlb=tagged', ',one-insn=on', ',tb-size=1', ',wx=on', ',opt=off', ',chain=off')
CPUS = ('max', 'qemu64', 'qemu32', 'Haswell', 'EPYC')


def damage(rng, data, most, low=0, high=None):
    """Change 1 to @most bytes."""
    data = bytearray(data)
    for _ in range(rng.randint(1, most)):
        data[rng.randrange(low, high or len(data))] = rng.randrange(256)
    return bytes(data)


def write(folder, name, data):
    path = os.path.join(folder, name)
    with open(path, 'wb') as file:
        file.write(data)
    os.chmod(path, 0o644)
    return path


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def boot_sector(rng, folder):
    """Random bytes, behind a start that makes a stack and enables interrupts."""
    start = bytes.fromhex('fa31c08ed88ec08ed0bc007cfb')
    data = start + rng.randbytes(510 - len(start)) + b'\x55\xaa' + rng.randbytes(63 * 512)
    return ['-m', '32', '-drive', f'file={write(folder, "disk", data)},format=raw,snapshot=on']


def random_firmware(rng, folder):
    data = bytearray(rng.randbytes(1 << 17))
    data[-16:-11] = b'\xea' + rng.randrange(1 << 16).to_bytes(2, 'little') + b'\x00\xf0'
    return ['-m', '16', '-bios', write(folder, 'bios', bytes(data))]


def damaged_firmware(rng, folder):
    """A system test's image: it goes to protected or long mode with tables of all kinds."""
    name = rng.choice(('debug64.c', 'intr64.c', 'priv32.c'))
    image = os.path.join(folder, 'good')
    build(name, image)
    data = read(image)
    used = [i for i in range(0, len(data), 16) if data[i:i + 16].strip(b'\0')]
    data = bytearray(data)
    for _ in range(rng.randint(1, 40)):
        data[rng.choice(used) + rng.randrange(16)] = rng.randrange(256)
    return ['-m', '64', '-bios', write(folder, 'bios', bytes(data))]


def damaged_seabios(rng, folder):
    data = read('/usr/share/seabios/bios-256k.bin')
    return ['-m', '32', '-bios', write(folder, 'bios', damage(rng, data, 60, len(data) // 2))]


def damaged_kernel(rng, folder):
    """In the boot protocol's header, the set-up code and the decompressor; sometimes in the compressed kernel."""
    data = read(guest_file('vmlinuz'))
    high = rng.choice((0x600, 0x6000, 0x20000, len(data)))
    data = damage(rng, data, 12, 0x240, high)
    return ['-m', '192', '-kernel', write(folder, 'vmlinuz', data), '-initrd', guest_file('initrd.img'),
            '-append', 'console=ttyS0 panic=-1']


def damaged_memory(rng, folder):
    path = os.path.join(folder, 'ram')
    return ['-m', '192', '-kernel', guest_file('vmlinuz'), '-initrd', guest_file('initrd.img'),
            '-append', f'console=ttyS0 panic={rng.choice((-1, 0))}',
            '-object', f'memory-backend-file,id=ram,size=192M,share=on,mem-path={path}',
            '-machine', 'memory-backend=ram']


KINDS = (boot_sector, random_firmware, damaged_firmware, damaged_firmware, damaged_seabios, damaged_kernel,
         damaged_memory)


def flip(rng, folder):
    """Damage the running guest's memory."""
    path = os.path.join(folder, 'ram')
    if not os.path.exists(path):
        return
    with open(path, 'r+b') as file, mmap.mmap(file.fileno(), 0) as ram:
        for _ in range(rng.randint(1, 50)):
            ram[rng.randrange(0x1000000, 0x4000000)] = rng.randrange(256)


def ask(machine):
    """An answer of the monitor; how long it took."""
    start = time.monotonic()
    machine.qmp.command('query-status', timeout=ANSWER)
    machine.qmp.command('query-xbt', timeout=ANSWER)
    return time.monotonic() - start


def use_monitor(rng, machine):
    """What a user may do meanwhile."""
    command = rng.choice(('stop', 'cont', 'system_reset', 'inject-nmi', 'info registers', 'info tlb', None, None))
    try:
        if command and command.startswith('info'):
            machine.qmp.command('human-monitor-command', timeout=ANSWER, command_line=command)
        elif command:
            machine.qmp.command(command, timeout=ANSWER)
    except QmpError:
        pass            # stopped already, nothing to show: an answer all the same


def guest(number, seconds):
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    with tempfile.TemporaryDirectory(prefix='xbt-hostile-') as folder:
        os.chmod(folder, 0o777)
        accel = 'xbt' + rng.choice(OPTIONS)
        args = kind(rng, folder) + ['-cpu', rng.choice(CPUS), '-no-shutdown', '-vga', 'none']
        with Machine(*args, accel=accel) as machine:
            slowest, end = 0, time.monotonic() + seconds
            while time.monotonic() < end:
                slowest = max(slowest, ask(machine))
                use_monitor(rng, machine)
                flip(rng, folder)
                time.sleep(0.1)
            slowest = max(slowest, ask(machine))
            machine.qmp.command('quit', timeout=ANSWER)
            status = machine.wait_exit(ANSWER)
            if status != 0:
                raise Failure(f'QEMU ended with status {status}')
    print(f'guest {number}: {kind.__name__} {accel}: slowest answer {slowest:.2f} s', flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--count', type=int, default=len(KINDS))
    parser.add_argument('--seconds', type=float, default=2)
    options = parser.parse_args()
    number = options.first
    while not options.count or number < options.first + options.count:
        try:
            guest(number, options.seconds)
        except Exception:
            print(f'FAILED: guest {number}; again: hostile_qemu.py --first {number} --count 1', flush=True)
            raise
        number += 1


if __name__ == '__main__':
    main()
