# SPDX-License-Identifier: GPL-2.0-or-later
"""The screen of SeaBIOS under xbt is, pixel by pixel, the screen under TCG."""

import time
import unittest

from machine import Machine, main, until
from screen import picture, screen_text

MENU = 'Select boot device'


class Display(unittest.TestCase):
    def show(self, accel, ready, keys=(), args=()):
        m = Machine('-m', '64', '-vga', 'std', *args, accel=accel)
        self.addCleanup(m.close)
        for key, when in keys:
            until(lambda: when in screen_text(m), 30,
                  f'{accel}: no {when!r} on the screen')
            m.cmd('send-key', keys=[{'type': 'qcode', 'data': key}])
        until(lambda: ready in screen_text(m), 30, f'{accel}: no {ready!r} on the screen')
        time.sleep(0.3)
        return m

    def pictures(self, m):
        """All that is shown in a second: the cursor blinks."""
        seen = {}
        end = time.monotonic() + 1
        while time.monotonic() < end:
            width, height, pixels = picture(m)
            seen[width, height, pixels] = screen_text(m)
            time.sleep(0.05)
        return seen

    def check_same(self, ready, **show):
        want_m = self.show('tcg', ready, **show)
        want = self.pictures(want_m)
        want_text = screen_text(want_m)
        want_m.close()
        self.assertLessEqual(len(want), 2, 'under TCG the picture does not stand still')
        width, height, pixels = next(iter(want))
        self.assertEqual((width, height), (720, 400))
        lit = sum(pixels[i:i + 3] != b'\0\0\0' for i in range(0, len(pixels), 3))
        self.assertGreater(lit, 1000, 'a dark screen proves nothing')

        m = self.show('xbt', ready, **show)
        seen = self.pictures(m)
        self.assertEqual(screen_text(m), want_text)
        for got in seen:
            if got not in want:
                nearest = min((sum(a != b for a, b in zip(got[2], w[2])), w[:2]) for w in want)
                self.fail(f'{nearest[0]} bytes of {len(got[2])} differ from the nearest of '
                          f'TCG\'s pictures ({got[:2]} against {nearest[1]});\n{screen_text(m)}')
        self.assertTrue(set(seen) & set(want))

    def test_boot_menu(self):
        self.check_same(MENU, keys=[('esc', 'Press ESC')],
                        args=('-boot', 'menu=on,splash-time=20000'))

    def test_no_bootable_device(self):
        self.check_same('No bootable device')

    def test_screendump_while_drawing(self):
        """Dumps during the whole start: dirty logging against stores, on both sides."""
        m = Machine('-m', '64', '-vga', 'std')
        self.addCleanup(m.close)
        seen = set()
        while 'No bootable device' not in screen_text(m):
            seen.add(picture(m)[2])
            self.assertLess(len(seen), 10000, 'SeaBIOS never ended')
        until(lambda: len(seen.union([picture(m)[2]])) >= 2, 5, 'the picture never changed')
        m.cmd('stop')
        self.assertEqual(picture(m), picture(m))


if __name__ == '__main__':
    main()
