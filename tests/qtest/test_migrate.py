# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways in which QEMU migrates, each with a guest that writes all the time (tests/system/dirty64.c).

Afterwards memory is the same on both sides where both stand still, and the guest finds its words as it wrote them.
"""

import os
import shutil
import tempfile
import time
import unittest

from machine import Failure, Linux, Machine, main, need_guest, until
from test_dirty import CPU, Writer, build, differing_pages

XBT = 'xbt,hostmap-heat=0'


def wait_status(m, *wanted):
    until(lambda: m.migration()['status'] in wanted, 60, f'no {wanted}', 0.01)


def wait_arrived(m, *states):
    until(lambda: m.cmd('query-status')['status'] in (states or ('paused', 'prelaunch')), 30, 'nothing arrived', 0.01)


class Ways(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='xbt-migrate-')
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.image = os.path.join(cls.dir, 'image')
        build.build('dirty64.c', cls.image)

    def setUp(self):
        self.path = os.path.join(self.dir, self.id())

    def start(self, *args, accel=XBT):
        m = Writer(self.image, accel, *args)
        self.addCleanup(m.close)
        return m

    def pair(self, **capabilities):
        m, other = self.start(), self.start('-S', '-incoming', 'defer')
        m.console.wait('ready', 30)
        for each in m, other:
            each.cmd('migrate-set-capabilities', capabilities=[
                {'capability': name.replace('_', '-'), 'state': True} for name in capabilities])
        return m, other

    def slow(self, m, mib=30, downtime=1):
        m.cmd('migrate-set-parameters', max_bandwidth=mib << 20, downtime_limit=downtime)

    def fast(self, m):
        self.slow(m, 4096, 2000)

    def go(self, m, other, uri=None):
        uri = uri or f'unix:{self.path}'
        other.cmd('migrate-incoming', uri=uri)
        m.cmd('migrate', uri=uri)

    def second_pass(self, m):
        until(lambda: m.passes() >= 3, 60, 'no third pass', 0.01)

    def check(self, m, other):
        """m has gone, other has arrived."""
        wait_status(m, 'completed')
        wait_arrived(other)
        one, two = m.memory(), other.memory()
        if one != two:
            self.fail(f'pages differ: {differing_pages(one, two)[:20]}')
        self.alive(other)

    def alive(self, m):
        m.cmd('cont')
        try:
            m.answers()
        except Failure as error:
            raise Failure(m.explain(error)) from None

    def run_through(self, m, other, uri=None):
        self.slow(m)
        self.go(m, other, uri)
        self.second_pass(m)
        self.fast(m)
        self.check(m, other)

    def test_tcp(self):
        m, other = self.pair()
        other.cmd('migrate-incoming', uri='tcp:127.0.0.1:0')
        port = other.cmd('query-migrate')['socket-address'][0]['port']
        self.slow(m)
        m.cmd('migrate', uri=f'tcp:127.0.0.1:{port}')
        self.second_pass(m)
        self.fast(m)
        self.check(m, other)

    def test_file(self):
        m = self.start()
        m.console.wait('ready', 30)
        m.cmd('migrate', uri=f'exec:cat >{self.path}')
        wait_status(m, 'completed')
        other = self.start('-S', '-incoming', f'exec:cat {self.path}')
        self.check(m, other)

    def test_stopped(self):
        m, other = self.pair()
        m.cmd('stop')
        self.go(m, other)
        self.check(m, other)

    def test_xbzrle(self):
        self.run_through(*self.pair(xbzrle=True))

    def test_multifd(self):
        m, other = self.pair(multifd=True)
        for each in m, other:
            each.cmd('migrate-set-parameters', multifd_channels=3)
        self.run_through(m, other)

    def test_compress(self):
        self.run_through(*self.pair(compress=True))

    def test_host_mappings_again(self):
        """A guest that has arrived is as fast as it was: its pages are mapped into the host again."""
        m, other = self.pair()
        self.fast(m)
        self.go(m, other)
        self.check(m, other)
        until(lambda: other.counters()['hostmap-mappings'] > 10, 10, 'no host mappings')

    def test_postcopy(self):
        m, other = self.pair(postcopy_ram=True)
        self.slow(m)
        m.cmd('migrate-set-parameters', max_postcopy_bandwidth=3 << 20)
        self.go(m, other)
        self.second_pass(m)
        other.cmd('cont')       # takes effect when it arrives
        m.cmd('migrate-start-postcopy')
        wait_status(m, 'postcopy-active', 'completed')
        wait_arrived(other, 'running')
        other.answers()
        if m.migration()['status'] == 'postcopy-active':
            self.assertEqual(other.counters()['hostmap-mappings'], 0)
        m.cmd('migrate-set-parameters', max_postcopy_bandwidth=0)
        wait_status(m, 'completed')
        self.assertGreater(m.migration()['ram']['postcopy-bytes'], 0)
        wait_status(other, 'completed')
        other.answers()
        until(lambda: other.counters()['hostmap-mappings'] > 10, 10, 'no host mappings')
        other.answers()

    def test_auto_converge(self):
        m, other = self.pair(auto_converge=True)
        m.cmd('migrate-set-parameters', cpu_throttle_initial=50, cpu_throttle_increment=49, max_cpu_throttle=99)
        self.slow(m, 8)
        self.go(m, other)
        until(lambda: m.migration().get('cpu-throttle-percentage', 0) >= 50, 60, 'no throttling', 0.02)
        before, began = m.cpu_seconds(), time.monotonic()
        time.sleep(1)
        used = (m.cpu_seconds() - before) / (time.monotonic() - began)
        self.assertLess(used, 0.75, 'the guest is not throttled')
        m.type('x')
        m.console.wait('+', 30)
        self.fast(m)
        self.check(m, other)

    def test_cancel_and_again(self):
        m, other = self.pair()
        self.slow(m, 2)
        self.go(m, other)
        until(lambda: m.migration().get('ram', {}).get('transferred', 0) > 1 << 20, 30, 'nothing goes', 0.01)
        m.cmd('migrate_cancel')
        until(lambda: m.cmd('query-migrate')['status'] == 'cancelled', 30, 'not cancelled', 0.01)
        m.answers()
        third = self.start('-S', '-incoming', 'defer')
        self.path += '2'
        self.run_through(m, third)

    def test_background_snapshot(self):
        m = self.start()
        m.console.wait('ready', 30)
        m.cmd('migrate-set-capabilities', capabilities=[{'capability': 'background-snapshot', 'state': True}])
        self.slow(m, 10)
        until(lambda: m.counters()['hostmap-mappings'] > 10, 10, 'no host mappings')
        m.cmd('migrate', uri=f'exec:cat >{self.path}')
        while m.migration()['status'] != 'completed':
            before = m.counters()['hostmap-mappings']
            m.answers()
        m.answers()
        until(lambda: m.counters()['hostmap-mappings'] > before, 10, 'no host mappings after the snapshot')
        m.close()
        other = self.start('-S', '-incoming', f'exec:cat {self.path}')
        wait_arrived(other)
        self.alive(other)


class Several(unittest.TestCase):
    """A Debian kernel on two vCPUs that write at the same time."""

    MIB = 160
    SUM = "i=0; while [ $i -lt 8 ]; do seq 1 20000 | md5sum; i=$((i+1)); done | sort | uniq -c"

    def linux(self, accel, *args):
        m = Linux('-smp', '2', *args, accel=accel, memory=self.MIB, cpu=CPU)
        self.addCleanup(m.close)
        return m

    def memory(self, m):
        path = os.path.join(m.dir, 'memory')
        m.cmd('pmemsave', val=1 << 20, size=(self.MIB - 1) << 20, filename=path)
        with open(path, 'rb') as file:
            return file.read()

    def check_move(self, target):
        need_guest()
        m = self.linux('xbt')
        m.wait_prompt()
        want = m.sh('seq 1 20000 | md5sum').split()[0]
        m.sh(f'({self.SUM} >/tmp/one) & ({self.SUM} >/tmp/two) &')
        path = os.path.join(m.dir, 'socket')
        other = self.linux(target, '-S', '-incoming', f'unix:{path}')
        m.cmd('migrate-set-parameters', max_bandwidth=60 << 20, downtime_limit=1)
        m.cmd('migrate', uri=f'unix:{path}')
        until(lambda: m.cmd('query-migrate').get('ram', {}).get('dirty-sync-count', 0) >= 4, 60, 'no fourth pass', 0.01)
        m.cmd('migrate-set-parameters', max_bandwidth=4 << 30, downtime_limit=2000)
        until(lambda: m.cmd('query-migrate')['status'] == 'completed', 60, 'the migration did not end', 0.01)
        wait_arrived(other)
        one, two = self.memory(m), self.memory(other)
        if one != two:
            self.fail(f'pages differ: {differing_pages(one, two)[:20]}')
        other.cmd('cont')
        start = other.console.mark()
        other.type('\n')
        other.wait_prompt(30, start)
        other.sh('wait', timeout=120)
        sums = other.sh('cat /tmp/one /tmp/two').splitlines()
        self.assertEqual([line.split()[:2] for line in sums], [['8', want]] * 2)

    def test_xbt(self):
        self.check_move('xbt')

    def test_tcg(self):
        self.check_move('tcg')


class VideoMemory(unittest.TestCase):
    def test_postcopy(self):
        """It enters the memory map with the devices' state, when QEMU waits for faults in it already."""
        path = os.path.join(tempfile.mkdtemp(prefix='xbt-migrate-'), 'socket')
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        args = '-m', '32', '-vga', 'std'
        with Machine(*args) as m, Machine(*args, '-incoming', f'unix:{path}') as other:
            until(lambda: 'prefetchable memory at 0xf' in m.hmp('info pci'), 30, 'the firmware sets no BAR')
            for each in m, other:
                each.cmd('migrate-set-capabilities', capabilities=[{'capability': 'postcopy-ram', 'state': True}])
            m.cmd('migrate-set-parameters', max_bandwidth=1 << 16)
            m.cmd('migrate', uri=f'unix:{path}')
            until(lambda: m.cmd('query-migrate')['status'] == 'active', 30, 'no migration')
            m.cmd('migrate-start-postcopy')
            until(lambda: m.cmd('query-migrate')['status'] not in ('active', 'device', 'postcopy-active'), 60,
                  'the migration does not end')
            self.assertEqual(m.cmd('query-migrate')['status'], 'completed', other.output())
            self.assertEqual(other.cmd('query-status')['status'], 'running')


if __name__ == '__main__':
    main()
