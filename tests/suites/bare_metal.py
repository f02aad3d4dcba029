#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own bare-metal images (build-qemu.sh), each as -kernel.

They print on the debug console and end QEMU: with status 0 when all is well.
What they print under TCG is the reference.

    usage: bare_metal.py [--accel xbt/tcg] DIR...
"""

import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), 'scripts'))

import guest_run  # noqa: E402


def images(folder):
    names = sorted(os.listdir(folder))
    return [os.path.join(folder, n) for n in names
            if '.' not in n and os.access(os.path.join(folder, n), os.X_OK)]


def run(image, accel, timeout=120):
    """(status of QEMU or None when it had to be ended, output)"""
    with tempfile.TemporaryDirectory(prefix='xbt-bare-') as scratch:
        out = os.path.join(scratch, 'out')
        command = [guest_run.launcher(), '-accel', accel, '-monitor', 'none', '-display', 'none',
                   '-chardev', f'file,path={out},id=output', '-device', 'isa-debugcon,chardev=output',
                   '-device', 'isa-debug-exit,iobase=0xf4,iosize=0x4', '-no-reboot', '-kernel', image]
        try:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=timeout,
                                    check=False).returncode
        except subprocess.TimeoutExpired:
            status = None
        with open(out, 'rb') as file:
            return status, file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--accel', default='xbt/tcg', help="more than one with '/' between")
    parser.add_argument('folder', nargs='+')
    options = parser.parse_args()
    failed = 0
    for folder in options.folder:
        for image in images(folder):
            name = os.path.relpath(image, os.path.dirname(folder))
            reference = run(image, 'tcg')
            for accel in options.accel.split('/'):
                status, output = run(image, accel)
                good = status == 0 and (status, output) == reference
                failed += not good and accel.startswith('xbt')
                print(f"{name}: {accel}: {'as expected' if good else f'status {status}'}")
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
