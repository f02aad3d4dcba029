# SPDX-License-Identifier: GPL-2.0-or-later
"""Run where32.c, a firmware image whose code changes its place, with -accel xbt in several modes.

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

PARTS = ['pam', 'a20', 'bars', 'registers', 'flash', 'bits', 'large pages']
WANT = ''.join(f'{name} ok\n' for name in PARTS) + 'end\n'


def execute(options, tmp):
    accel = os.environ.get('XBT_TEST_ACCEL', 'xbt')
    launcher = os.environ.get('XBT_LAUNCHER', os.path.join(HERE, '../../build/qemu-xbt'))
    image = os.path.join(tmp, 'image')
    build.build(os.path.join(HERE, 'where32.c'), image)
    command = [launcher, '-accel', accel + (options if accel == 'xbt' else ''), '-M', 'pc', '-cpu', 'max', '-m', '16',
               '-drive', f'if=pflash,format=raw,file={image}', '-nodefaults', '-display', 'none', '-serial', 'stdio',
               '-no-reboot', '-device', 'isa-debug-exit,iobase=0xf4', '-device', 'VGA,romfile=',
               '-device', 'secondary-vga,romfile=']
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
