# SPDX-License-Identifier: GPL-2.0-or-later
"""Text, VGA and linear graphics drawn by a boot sector: the pictures under xbt are TCG's.

Each mode is shown twice: after a first drawing, and after a second one that
changes parts of what has been shown already, so that a store that display
code does not hear of leaves an old pixel behind.
"""

import os
import shutil
import subprocess
import tempfile
import unittest

from machine import Machine, main
from screen import picture

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'screens.asm')


class Screens(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='xbt-screens-')
        self.addCleanup(shutil.rmtree, self.dir)

    def show(self, accel, image, options):
        with Machine('-m', '16', '-vga', 'std', '-fda', image, '-boot', 'a', *options, '-snapshot',
                     accel=accel) as m:
            at = m.console.wait('1', 60)
            first = picture(m)
            self.assertEqual(picture(m), first, 'the first picture changes')
            m.type('x')
            m.console.wait('2', 60, at)
            second = picture(m)
            self.assertEqual(picture(m), second, 'the second picture changes')
            return first, second

    def check_mode(self, mode, size, accel='xbt', options=()):
        image = os.path.join(self.dir, 'sector.img')
        mode, _, depth = mode.partition(' ')
        subprocess.run(['nasm', '-f', 'bin', '-D', 'MODE=' + mode, '-D', 'BYTES_PER_PIXEL=' + (depth or '1'),
                        '-o', image, SOURCE], check=True)
        with open(image, 'ab') as file:
            file.truncate(1440 << 10)
        want = self.show('tcg', image, options)
        self.assertNotEqual(want[0], want[1], 'the second drawing shows nothing')
        for shot in want:
            self.assertEqual(shot[:2], size)
            colours = {shot[2][i:i + 3] for i in range(0, len(shot[2]), 3)}
            self.assertGreater(len(colours), 14, 'a plain screen proves nothing')
        got = self.show(accel, image, options)
        for name, one, other in zip(('first', 'second'), want, got):
            wrong = sum(a != b for a, b in zip(one[2], other[2]))
            self.assertEqual((wrong, one[:2]), (0, other[:2]), f'bytes of the {name} picture that differ')

    def test_text(self):
        self.check_mode('TEXT', (720, 400))

    def test_bytes(self):
        self.check_mode('BYTES', (640, 400))

    def test_planes(self):
        self.check_mode('PLANES', (640, 480))

    def test_linear_8(self):
        self.check_mode('LINEAR 1', (640, 480))

    def test_linear_8_tagged(self):
        self.check_mode('LINEAR 1', (640, 480), accel='xbt,tlb=tagged')

    def test_linear_8_cirrus(self):
        self.check_mode('LINEAR 1', (640, 480), options=('-vga', 'cirrus'))

    def test_linear_32(self):
        self.check_mode('LINEAR 4', (640, 480))



if __name__ == '__main__':
    main()
