# SPDX-License-Identifier: GPL-2.0-or-later
"""Run dma32.c, a firmware image that has devices write over its code, with -accel xbt in several modes.

XBT_TEST_ACCEL=tcg runs it under TCG instead.
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, '../system'))

import build  # noqa: E402

DEVICES = ['ide-pio', 'ide-dma', 'ahci', 'virtio-blk', 'nvme', 'fw_cfg']
WANT = ''.join(f'{name} done\n' for name in DEVICES) + 'end\n'


def function(k):
    """mov eax, k; ret"""
    return b'\xb8' + k.to_bytes(4, 'little') + b'\xc3'


def disk():
    sectors = [function(k).ljust(512, b'\xcc') if k < 32 else b'\x90' * 500 + function(k).ljust(12, b'\xcc')
               for k in range(64)]
    return b''.join(sectors).ljust(1 << 20, b'\0')


def execute(options, tmp):
    accel = os.environ.get('XBT_TEST_ACCEL', 'xbt')
    launcher = os.environ.get('XBT_LAUNCHER', os.path.join(HERE, '../../build/qemu-xbt'))
    image, data = os.path.join(tmp, 'image'), os.path.join(tmp, 'disk')
    build.build(os.path.join(HERE, 'dma32.c'), image)
    with open(data, 'wb') as f:
        f.write(disk())
    command = [launcher, '-accel', accel + (options if accel == 'xbt' else ''), '-M', 'pc', '-cpu', 'max', '-m', '16',
               '-bios', image, '-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot', '-snapshot',
               '-device', 'isa-debug-exit,iobase=0xf4', '-fw_cfg', f'name=opt/dma,file={data}',
               '-device', 'ich9-ahci,id=ahci']
    for i, device in enumerate(['ide-hd,bus=ide.0', 'ide-hd,bus=ahci.0', 'virtio-blk-pci', 'nvme,serial=1']):
        command += ['-drive', f'if=none,id=d{i},format=raw,file={data}', '-device', f'{device},drive=d{i}']
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              check=False)
        return done.stdout, done.stderr
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b'').decode(errors='replace'), 'timed out'


def main():
    failed = 0
    for options in sys.argv[1:] or ['']:
        with tempfile.TemporaryDirectory() as tmp:
            out, errors = execute(options, tmp)
        if out != WANT:
            print(f'--- with "{options}":\n{out}{errors}')
            failed = 1
    return failed


if __name__ == '__main__':
    sys.exit(main())
