# SPDX-License-Identifier: GPL-2.0-or-later
"""No page is forgotten by a migration of a guest that writes all the time, in many ways.

The guest (tests/system/dirty64.c) moves from QEMU to QEMU.  Each migration passes several times over its memory
before it may end.  Then every page of the new QEMU's memory must be as in the old one, and the guest must find its
words as it wrote them.  XBT_DIRTY_ROUNDS says how many moves (20): `make long-migrate` makes 1000.
"""

import os
import shutil
import sys
import tempfile
import unittest

from machine import TOP, Failure, Machine, main, until

sys.path.insert(0, os.path.join(TOP, 'tests/system'))
import build  # noqa: E402

CPU = 'Haswell-noTSX,-pcid,-invpcid,-x2apic,-tsc-deadline'
MIB = 20
PASSES = 4
ROUNDS = int(os.environ.get('XBT_DIRTY_ROUNDS', '20'))
# One after the other.  TCG 7.2 itself forgets pages of this guest, a thousand in one move of four: it is stopped first.
ACCELS = ('xbt,hostmap-heat=0', 'xbt', 'tcg', 'xbt,tlb=tagged', 'xbt,hostmap-heat=0')


class Writer(Machine):
    def __init__(self, image, accel, *args):
        super().__init__('-M', 'pc', '-cpu', CPU, '-m', str(MIB), '-bios', image, '-nodefaults', '-no-reboot', *args,
                         accel=accel)
        self.accel = accel

    def memory(self):
        path = os.path.join(self.dir, 'memory')
        self.cmd('pmemsave', val=0, size=MIB << 20, filename=path)
        with open(path, 'rb') as file:
            return file.read()

    def answers(self):
        """The guest goes round once more; anything but the answer is a complaint."""
        for _ in range(2):
            at = self.console.mark()
            self.type('x')
            self.console.wait('+', 30, at)
        if self.console.text.replace('ready\n', '').strip('+'):
            raise Failure('the guest complains')

    def migration(self):
        status = self.cmd('query-migrate')
        if status['status'] in ('failed', 'cancelled'):
            raise Failure(f'migration: {status}')
        return status

    def passes(self):
        return self.migration().get('ram', {}).get('dirty-sync-count', 0)


def move(m, other, path):
    passes = PASSES
    if m.accel == 'tcg':
        m.cmd('stop')
        passes = 1
    m.cmd('migrate-set-parameters', max_bandwidth=50 << 20, downtime_limit=1)
    m.cmd('migrate', uri=f'unix:{path}')
    until(lambda: m.passes() >= passes, 60, 'the migration does not go on', 0.01)
    m.cmd('migrate-set-parameters', max_bandwidth=4 << 30, downtime_limit=2000)
    until(lambda: m.migration()['status'] == 'completed', 60, 'the migration did not end', 0.01)
    until(lambda: other.cmd('query-status')['status'] in ('paused', 'prelaunch'), 30, 'nothing arrived', 0.01)


def differing_pages(one, other):
    return [hex(at) for at in range(0, len(one), 4096) if one[at:at + 4096] != other[at:at + 4096]]


class Dirty(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='xbt-dirty-')
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.image = os.path.join(cls.dir, 'image')
        build.build('dirty64.c', cls.image)

    def test_moves(self):
        path = os.path.join(self.dir, 'socket')
        m = Writer(self.image, ACCELS[0])
        try:
            m.console.wait('ready', 30)
            for i in range(1, ROUNDS + 1):
                other = Writer(self.image, ACCELS[i % len(ACCELS)], '-S', '-incoming', f'unix:{path}')
                try:
                    move(m, other, path)
                    one, two = m.memory(), other.memory()
                    self.assertEqual(len(one), MIB << 20)
                    if one != two:
                        pages = differing_pages(one, two)
                        self.fail(f'move {i} from {m.accel} to {other.accel}: {len(pages)} pages differ: {pages[:20]}')
                    other.cmd('cont')
                    other.answers()
                except BaseException as error:
                    text = f'move {i} from {m.accel}: {m.explain(error)}\n{other.explain("")}'
                    other.close()
                    raise Failure(text) from error
                m.close()
                m = other
        finally:
            m.close()


if __name__ == '__main__':
    main()
