# SPDX-License-Identifier: GPL-2.0-or-later
"""Run where32.c, a firmware image whose code changes its place, with -accel xbt in several modes.

XBT_TEST_ACCEL=tcg runs it under TCG instead.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, '../system'))

import build  # noqa: E402
import run  # noqa: E402

PARTS = ['pam', 'a20', 'bars', 'registers', 'flash', 'bits', 'large pages']
WANT = ''.join(f'{name} ok\n' for name in PARTS) + 'end\n'


def execute(options, tmp):
    image = os.path.join(tmp, 'image')
    build.build(os.path.join(HERE, 'where32.c'), image)
    return run.launch(options, ['-drive', f'if=pflash,format=raw,file={image}', '-no-reboot',
                                '-device', 'VGA,romfile=', '-device', 'secondary-vga,romfile='])


if __name__ == '__main__':
    sys.exit(1 if run.failing_modes(execute, sys.argv[1:] or [''], WANT) else 0)
