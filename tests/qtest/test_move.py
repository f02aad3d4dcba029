# SPDX-License-Identifier: GPL-2.0-or-later
"""A CPU moves to another QEMU, between xbt and TCG in both directions: every register goes with it.

The guest (tests/system/move64.c) fills all registers, waits in one of several ways while it is moved, and
prints what is not as it was.
"""

import os
import re
import shutil
import sys
import tempfile
import unittest

from machine import TOP, Failure, Machine, main, until

sys.path.insert(0, os.path.join(TOP, 'tests/system'))
import build  # noqa: E402

# Both accelerators have all of it, with the exception of what is taken out here.
INTEL = 'Haswell-noTSX,-pcid,-invpcid,-x2apic,-tsc-deadline,+smap,+umip,+pku'
AMD = 'EPYC,-x2apic'


# TCG 7.2 has no x87 pointers, no counter that the guest can set, a constant IA32_FEATURE_CONTROL, and no #GP for MSRs
# (123456789abc) that the CPU model lacks.
TCG_LACKS = ('WRONG fop', 'WRONG start of the clock', 'msr 3a: ', 'msr c0000103: WRONG value: 0 want 123456789abc',
             'msr c0000103: WRONG value: 123456789abc')

# What `info registers` shows then.
WAITING = {
    'k': 'RAX=fedcba9876543210(?s:.*)RFL=00247cd7',
    'u': 'RAX=fedcba9876543210(?s:.*)CPL=3',
    'h': 'RAX=fedcba9876543210(?s:.*)RFL=00000893(?s:.*)HLT=1',
    'm': '',
    't': '',
}


class Bare(Machine):
    """A bare-metal image in 16 MiB."""

    def __init__(self, image, accel, cpu, *args):
        super().__init__('-M', 'pc', '-cpu', cpu, '-m', '16', '-bios', image, '-nodefaults',
                         '-no-reboot', *args, accel=accel)

    def wait(self, text):
        try:
            self.console.wait(text, 30)
        except Failure as error:
            raise Failure(self.explain(error)) from None


def wait_migration(m, timeout=60):
    def ended():
        status = m.cmd('query-migrate').get('status')
        if status in ('failed', 'cancelled'):
            raise Failure(f"migration: {m.cmd('query-migrate')}")
        return status == 'completed'
    until(ended, timeout, 'the migration did not end', 0.01)


class Moves(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='xbt-move-')
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.image = os.path.join(cls.dir, 'image')
        build.build('move64.c', cls.image)

    def start(self, accel, cpu, letter):
        m = Bare(self.image, accel, cpu)
        self.addCleanup(m.close)
        m.type(letter)
        if letter == 'm':
            m.wait('!')
            m.hmp('nmi')
        m.wait('>')
        if letter == 'm':
            m.hmp('nmi')
        until(lambda: re.search(WAITING[letter], m.hmp('info registers')), 30, 'the guest does not wait')
        return m

    def move(self, m, accel, cpu, running=True):
        path = os.path.join(self.dir, 'state')
        m.cmd('migrate', uri=f'exec:cat >{path}')
        wait_migration(m)
        other = Bare(self.image, accel, cpu, '-incoming', f'exec:cat {path}')
        self.addCleanup(other.close)
        until(lambda: other.cmd('query-status')['status'] == ('running' if running else 'paused'), 30,
              'the guest did not arrive', 0.01)
        return other

    def expect(self, m, *accels):
        m.wait('end\n')
        lines = m.console.text.replace('!', '').replace('>', '').splitlines()
        if 'tcg' in accels:
            lines = [x for x in lines if not x.startswith(TCG_LACKS)]
        self.assertEqual(lines, ['moved', 'end'])

    def check_move(self, letter, source, target, cpu=INTEL):
        m = self.start(source, cpu, letter)
        other = self.move(m, target, cpu)
        m.close()
        if letter in 'mt':
            other.type('x')
        else:
            other.hmp('nmi')
        self.expect(other, source, target)

    def check_stay(self, letter, accel, cpu=INTEL):
        m = self.start(accel, cpu, letter)
        m.hmp('nmi')
        self.expect(m, accel)


def add_moves():
    for name, cpu, letters in (('intel', INTEL, 'kuhmt'), ('amd', AMD, 'ku'), ('qemu64', 'qemu64', 'k')):
        for letter in letters:
            for source, target in (('xbt', 'xbt'), ('xbt', 'tcg'), ('tcg', 'xbt')):
                def test(self, letter=letter, source=source, target=target, cpu=cpu):
                    self.check_move(letter, source, target, cpu)
                setattr(Moves, f'test_{name}_{letter}_{source}_{target}', test)


add_moves()

if __name__ == '__main__':
    main()
