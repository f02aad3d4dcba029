# SPDX-License-Identifier: GPL-2.0-or-later
"""Run dma32.c, a firmware image that has devices write over its code, with -accel xbt in several modes.

XBT_TEST_ACCEL=tcg runs it under TCG instead.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, '../system'))

import build  # noqa: E402
import run  # noqa: E402

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
    image, data = os.path.join(tmp, 'image'), os.path.join(tmp, 'disk')
    build.build(os.path.join(HERE, 'dma32.c'), image)
    with open(data, 'wb') as f:
        f.write(disk())
    arguments = ['-bios', image, '-no-reboot', '-snapshot', '-fw_cfg', f'name=opt/dma,file={data}',
                 '-device', 'ich9-ahci,id=ahci']
    for i, device in enumerate(['ide-hd,bus=ide.0', 'ide-hd,bus=ahci.0', 'virtio-blk-pci', 'nvme,serial=1']):
        arguments += ['-drive', f'if=none,id=d{i},format=raw,file={data}', '-device', f'{device},drive=d{i}']
    return run.launch(options, arguments)


if __name__ == '__main__':
    sys.exit(1 if run.failing_modes(execute, sys.argv[1:] or [''], WANT) else 0)
