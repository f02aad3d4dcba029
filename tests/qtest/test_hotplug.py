# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux while its machine changes: memory comes and goes (pc-dimm, virtio-mem, balloon), it sleeps and is woken, it
gets an NMI.  What it computes and keeps in memory stays right, also with mappings made for hot code."""

import os
import unittest

from machine import Linux, main, need_guest, until

ACCEL = os.environ.get('XBT_TEST_ACCEL', 'xbt')
MIB = 1 << 20
# A program whose pages are mapped for hot code at once.
HOT = ',hostmap-heat=0' if ACCEL == 'xbt' else ''


class Guest(Linux):
    def __init__(self, *args, options=HOT, **job):
        super().__init__(*args, accel=ACCEL + options, **job)
        self.wait_prompt()
        self.sh('mount -t tmpfs -o size=2g none /mnt; head -c 1m /dev/urandom >/tmp/seed')
        self.sum = None

    def keep(self, size):
        """Data in a file in memory, @size MiB."""
        self.sum = self.sh(f'i=0; while [ $i -lt {size} ]; do cat /tmp/seed; i=$((i+1)); done >/mnt/kept; '
                           'md5sum </mnt/kept', 60).split()[0]

    def kept(self):
        return self.sh('md5sum </mnt/kept', 60).split()[0] == self.sum

    def memory(self):
        """MiB that Linux has."""
        return int(self.sh("sed -n 's/MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo")) // 1024

    def balloon(self, size):
        self.cmd('balloon', value=size * MIB)
        until(lambda: self.cmd('query-balloon')['actual'] == size * MIB, 30, f'the balloon did not reach {size} MiB')


class Hotplug(unittest.TestCase):
    def setUp(self):
        need_guest()

    def start(self, *args, **job):
        m = Guest(*args, **job)
        self.addCleanup(m.close)
        return m

    def test_dimm(self):
        m = self.start('-m', '192M,slots=2,maxmem=1G', append='memhp_default_state=online_movable')
        before = m.memory()
        for _ in range(2):
            m.cmd('object-add', qom_type='memory-backend-ram', id='mem', size=256 * MIB)
            m.cmd('device_add', driver='pc-dimm', id='dimm', memdev='mem')
            until(lambda: m.memory() >= before + 240, 20, 'Linux did not take the memory')
            m.keep(170)                         # more than there was without
            self.assertTrue(m.kept())
            m.keep(30)
            m.cmd('device_del', id='dimm')
            m.qmp.wait_event('DEVICE_DELETED', 60)
            m.cmd('object-del', id='mem')
            self.assertTrue(m.kept(), 'Linux moved what it kept there')
            self.assertLess(abs(m.memory() - before), 8)
        self.assertEqual(m.output(), '')

    def test_virtio_mem(self):
        m = self.start('-m', '192M,maxmem=1G', '-object', 'memory-backend-ram,id=vm,size=512M',
                       '-device', 'virtio-mem-pci,id=vmem,memdev=vm,requested-size=0,block-size=2M',
                       append='memhp_default_state=online_movable')
        if 'fail' in m.sh('modprobe virtio_mem 2>&1 || echo fail'):
            self.skipTest('the guest has no virtio_mem: run `make guest` again')
        for size in (256, 128, 0):
            if size < 200:
                m.keep(20)
            m.cmd('qom-set', path='/machine/peripheral/vmem', property='requested-size', value=size * MIB)
            until(lambda size=size: m.cmd('qom-get', path='/machine/peripheral/vmem', property='size') == size * MIB,
                  60, f'virtio-mem did not reach {size} MiB')
            if size < 200:
                self.assertTrue(m.kept())
            else:
                m.keep(200)
                self.assertTrue(m.kept())
        self.assertEqual(m.output(), '')

    def inflate(self, options):
        m = self.start('-device', 'virtio-balloon,free-page-reporting=on,deflate-on-oom=on', options=options)
        m.keep(80)
        full = m.rss_mib()
        m.sh('rm /mnt/kept; modprobe virtio_balloon')
        until(lambda: m.rss_mib() < full - 40, 20, 'free pages were reported, the host did not get them back')
        m.keep(20)
        for _ in range(2):
            m.balloon(140)
            self.assertTrue(m.kept())
            m.balloon(256)
            self.assertTrue(m.kept())
            m.sh('cat /mnt/kept /mnt/kept >/tmp/twice; rm /tmp/twice')
        # Pages that come back from the balloon.
        m.keep(100)
        self.assertTrue(m.kept())
        self.assertEqual(m.output(), '')

    def test_cpu(self):
        """A CPU comes, goes, and comes again: another thread with the same number; a reset keeps what is there."""
        m = self.start('-smp', '1,maxcpus=3', append='lpj=4000000')
        slots = [c for c in m.cmd('query-hotpluggable-cpus') if 'qom-path' not in c]
        slots.sort(key=lambda c: c['props']['core-id'])

        def plug(number):
            props = {k.replace('-', '_'): v for k, v in slots[number]['props'].items()}
            m.cmd('device_add', driver=slots[number]['type'], id=f'cpu{number}', **props)

        def see(count):
            until(lambda: m.sh('for i in /sys/devices/system/cpu/cpu[1-9]*/online; do echo 1 >$i; done 2>/dev/null; '
                               'nproc', 60).strip() == str(count), 60, f'Linux has not {count} CPUs')
            sums = m.sh('for i in 1 2 3; do seq 1 20000 | md5sum & done; wait', 60)
            self.assertEqual(sums.count('e071f707df7bbeee2a6a1eb48011ddd0'), sums.count('  -'), sums)
            self.assertEqual(sums.count('  -'), 3)

        self.assertEqual(len(slots), 2)
        plug(0)
        see(2)
        plug(1)
        see(3)
        for _ in range(2):
            threads = len(os.listdir(f'/proc/{m.pid}/task'))
            m.cmd('device_del', id='cpu0')
            until(lambda: len(m.cmd('query-cpus-fast')) == 2, 60, 'the CPU was not given back')
            see(2)
            self.assertLess(len(os.listdir(f'/proc/{m.pid}/task')), threads)
            plug(0)
            see(3)
        self.assertEqual(m.output(), '')
        start = m.console.mark()
        m.cmd('system_reset')
        m.wait_prompt(60, start)
        see(3)

    def test_balloon(self):
        self.inflate(HOT)

    @unittest.skipIf(ACCEL != 'xbt', 'hostmap is a property of xbt')
    def test_balloon_without_mappings(self):
        self.inflate(',hostmap=off')


class Sleep(unittest.TestCase):
    def setUp(self):
        need_guest()

    def sleep(self, m):
        """S3: everything but memory is off."""
        m.keep(40)
        start = m.console.mark()
        m.type("echo mem >/sys/power/state; echo W'O'KE\n")
        m.qmp.wait_event('SUSPEND')
        self.assertEqual(m.cmd('query-status')['status'], 'suspended')
        return start

    def wake(self, *args):
        """The firmware finds the way back into the kernel.  (Once: a second sleep ends at once under TCG as well.)"""
        with Guest(*args) as m:
            start = self.sleep(m)
            m.cmd('system_wakeup')
            m.qmp.wait_event('WAKEUP')
            m.wait_prompt(30, m.console.wait('WOKE\n', 30, start))
            self.assertTrue(m.kept())
            self.assertEqual(m.output(), '')

    def test_pc(self):
        self.wake('-machine', 'pc')

    def test_q35(self):
        self.wake('-machine', 'q35')

    def test_reset_while_asleep(self):
        with Guest() as m:
            start = self.sleep(m)
            m.cmd('system_reset')
            m.qmp.wait_event('RESET')
            m.cmd('cont')
            m.wait_prompt(60, start)
            self.assertIn('3', m.sh('echo $((1 + 2))'))


class Nmi(unittest.TestCase):
    def setUp(self):
        need_guest()

    def test_linux_gets_it(self):
        with Guest(append='nmi_watchdog=0') as m:
            m.busy()
            for count in range(1, 6):
                m.cmd('inject-nmi')
                until(lambda count=count: f'NMI: {count:10d} ' in m.sh('grep NMI /proc/interrupts'), 10,
                      f'Linux did not count NMI {count}')
            self.assertIn('3', m.sh('kill %1; echo $((1 + 2))'))

    def test_two_cpus(self):
        """Both busy: stopped and continued, an NMI, a reset; then sleep, from which the second CPU is started anew."""
        with Guest('-smp', '2', append='lpj=4000000 nmi_watchdog=0') as m:
            m.busy()
            m.busy()
            for _ in range(30):
                m.cmd('stop')
                m.cmd('cont')
            m.cmd('inject-nmi')
            until(lambda: f'NMI: {1:10d} ' in m.sh('grep NMI /proc/interrupts'), 10, 'Linux did not count the NMI')
            start = m.console.mark()
            m.cmd('system_reset')
            m.wait_prompt(60, start)
            start = m.console.mark()
            m.type("echo mem >/sys/power/state; echo W'O'KE\n")
            m.qmp.wait_event('SUSPEND')
            m.cmd('system_wakeup')
            m.wait_prompt(30, m.console.wait('WOKE\n', 30, start))
            self.assertEqual(m.sh('nproc').strip(), '2')
            self.assertEqual(m.output(), '')


if __name__ == '__main__':
    main()
