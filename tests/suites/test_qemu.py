# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/tcg of the QEMU source package, as far as it is quick.

The programs run natively and in the small guest; they must end with the same
status and print the same.  `make suites` runs all of it and others' suites.
XBT_TEST_ACCEL=tcg checks the tests themselves.
"""

import argparse
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import bare_metal  # noqa: E402
import run  # noqa: E402

ACCEL = os.environ.get('XBT_TEST_ACCEL', 'xbt')
SOURCE = os.environ['XBT_QEMU_SOURCE']
OUT = os.environ['XBT_SUITES_OUT']


def setUpModule():
    subprocess.run(['sh', os.path.join(HERE, 'build-qemu.sh'), SOURCE, OUT, 'quick'], check=True)


class Programs(unittest.TestCase):
    def check(self, suite):
        options = argparse.Namespace(root=run.guest_run.guest_file('rootfs.img'), cpu='max', memory=512,
                                     timeout=300, qemu_args='', append='vsyscall=emulate no_timer_check')
        suite = os.path.join(OUT, suite)
        out = os.path.join(OUT, 'out', os.path.basename(suite))
        natively = [run.run_natively(suite, os.path.join(out, n), str) for n in ('native', 'native2')]
        guest = run.run_in_guest(suite, os.path.join(out, ACCEL), ACCEL, str, options)
        names = run.names_of(suite)
        self.assertGreater(len(names), 20)
        wrong = {name: why for name in names if (why := run.verdict(name, *natively, guest))}
        self.assertEqual(wrong, {}, f'see {out}; the end of the console:\n{guest.console}')

    def test_i386(self):
        self.check('qemu-i386')

    def test_x86_64(self):
        self.check('qemu-x86_64')


class BareMetal(unittest.TestCase):
    def check(self, arch):
        images = bare_metal.images(os.path.join(OUT, 'qemu-system', arch))
        self.assertEqual([os.path.basename(i) for i in images], ['hello', 'memory'])
        for image in images:
            with self.subTest(image):
                status, output = bare_metal.run(image, ACCEL)
                self.assertEqual(status, 0, output)
                self.assertEqual(output, bare_metal.run(image, 'tcg')[1])

    def test_i386(self):
        self.check('i386')

    def test_x86_64(self):
        self.check('x86_64')


if __name__ == '__main__':
    unittest.main()
