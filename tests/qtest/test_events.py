# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes from outside between two instructions: NMI, machine checks, watchdogs, resets."""

import os
import re
import time
import unittest

from machine import main, until
from remote import CODE, Remote

MC0 = 0x400                     # CTL, STATUS, ADDR, MISC of bank 0
VALID, UC, EN, PCC = 1 << 63, 1 << 61, 1 << 60, 1 << 57
MCG_STATUS, MCIP, RIPV = 0x17a, 4, 1
CR4_MCE = 0x40


class MachineCheck(unittest.TestCase):
    def start(self):
        m = Remote().wait_up()
        self.addCleanup(m.close)
        m.ask('4', 0x620 | 8 | CR4_MCE)
        for bank in range(10):
            m.ask('M', MC0 + 4 * bank, 2 ** 64 - 1)
        m.ask('M', 0x17b, 2 ** 64 - 1)
        return m

    def inject(self, m, bank=1, status=VALID | UC | EN | 0x5a):
        return m.hmp(f'mce 0 {bank} {status:#x} {MCIP | RIPV:#x} 0x1234000 0x8c').strip()

    def test_delivered_while_busy(self):
        m = self.start()
        m.send('b')
        self.assertIsNone(m.answer())
        self.assertEqual(self.inject(m), '')
        self.assertEqual(m.answer(), 0)
        self.assertEqual(m.ask('n', 18), 1)
        self.assertEqual(m.ask('e'), MCIP | RIPV)
        self.assertEqual([m.ask('m', MC0 + 4 + i) for i in range(1, 4)],
                         [VALID | UC | EN | 0x5a, 0x1234000, 0x8c])
        self.assertEqual(m.output(), '')

    def test_wakes_from_halt(self):
        m = self.start()
        m.send('h')
        self.assertIsNone(m.answer())
        self.assertEqual(self.inject(m, 3), '')
        self.assertEqual(m.answer(), 0)
        self.assertEqual(m.ask('n', 18), 1)
        self.assertEqual(m.ask('m', MC0 + 13), VALID | UC | EN | 0x5a)

    def test_corrected_is_only_noted(self):
        m = self.start()
        self.assertEqual(self.inject(m, 2, VALID | 0x11), '')
        self.assertEqual(m.ask('m', MC0 + 9), VALID | 0x11)
        self.assertEqual(m.ask('n', 18), 0)

    def test_not_enabled_resets(self):
        """CR4.MCE is 0: the processor shuts down."""
        m = self.start()
        m.ask('4', 0x620 | 8)
        m.send('b')
        self.assertIsNone(m.answer())
        self.assertIn('triple fault', self.inject(m))
        m.wait_up()
        self.assertEqual(m.ask('n', 18), 0)


class Nmi(unittest.TestCase):
    def test_busy_and_halted(self):
        with Remote() as m:
            m.wait_up()
            for count, (letter, inject) in enumerate((
                    ('b', lambda: m.cmd('inject-nmi')), ('h', lambda: m.cmd('inject-nmi')),
                    ('h', lambda: m.hmp('nmi')), ('b', lambda: m.hmp('nmi')))):
                m.send(letter)
                self.assertIsNone(m.answer())
                inject()
                self.assertEqual(m.answer(), 0)
                self.assertEqual(m.ask('n', 2), count + 1)

    def test_while_stopped(self):
        """It is kept until the machine goes on."""
        with Remote() as m:
            m.wait_up()
            m.send('b')
            self.assertIsNone(m.answer())
            m.cmd('stop')
            m.cmd('inject-nmi')
            m.cmd('cont')
            self.assertEqual(m.answer(), 0)
            self.assertEqual(m.ask('n', 2), 1)


class Watchdog(unittest.TestCase):
    """The device's clock is the guest's: it must run out although the guest does nothing but compute."""

    def ib700(self, m):
        m.send('o', 0x443, 1, 0xf)          # the shortest time: none

    def i6300esb(self, m):
        """Both stages of 256 ticks of 1 us."""
        function = 0x80000000 | 4 << 11
        m.port_out(0xcf8, 4, function | 0x10)
        m.port_out(0xcfc, 4, 0xe0000000)
        m.port_out(0xcf8, 4, function | 4)
        m.port_out(0xcfc, 2, 2)
        m.port_out(0xcf8, 4, function | 0x60)
        m.port_out(0xcfc, 2, 4)             # 1 us a tick, no interrupt needed
        base = 0xe0000000
        for register in (0, 4):
            self.unlock(m, base)
            m.ask('L', base + register, 0x100)
        m.port_out(0xcf8, 4, function | 0x68)
        m.send('o', 0xcfc, 1, 2)            # on

    def unlock(self, m, base):
        m.ask('L', base + 0xc, 0x80)
        m.ask('L', base + 0xc, 0x86)

    def expire(self, device, action, expect):
        with Remote('-device', device, '-action', f'watchdog={action}') as m:
            m.wait_up()
            getattr(self, device.split(',', maxsplit=1)[0])(m)
            event = m.qmp.wait_event('WATCHDOG')
            self.assertEqual(event['data']['action'], action)
            expect(m)

    def is_reset(self, m):
        m.wait_up()
        self.assertEqual(m.read(CODE), 0)

    def is_paused(self, m):
        m.qmp.wait_event('STOP')
        self.assertEqual(m.cmd('query-status')['status'], 'watchdog')
        m.cmd('cont')
        m.answer()
        self.goes_on(m)

    def got_nmi(self, m):
        m.answer()
        until(lambda: m.ask('n', 2) == 1, 10, 'no NMI')

    def goes_on(self, m):
        if m.console.text.count('\n', m.at):
            m.answer()
        self.assertEqual(m.read(CODE), 0)

    def ends(self, m):
        self.assertEqual(m.wait_exit(10), 0)

    def asked(self, m):
        m.qmp.wait_event('POWERDOWN')
        self.goes_on(m)

    def test_ib700(self):
        for action, expect in (('reset', self.is_reset), ('pause', self.is_paused), ('poweroff', self.ends),
                               ('inject-nmi', self.got_nmi)):
            with self.subTest(action=action):
                self.expire('ib700', action, expect)

    def test_i6300esb(self):
        for action, expect in (('reset', self.is_reset), ('none', self.goes_on), ('shutdown', self.asked),
                               ('inject-nmi', self.got_nmi)):
            with self.subTest(action=action):
                self.expire('i6300esb,addr=4', action, expect)


class Resets(unittest.TestCase):
    def test_many(self):
        """Three hundred, each at another moment of work that never ends; nothing is left behind by one."""
        with Remote() as m:
            m.wait_up()
            m.put_code(CODE, 1)
            self.assertEqual(m.run(CODE), 1)
            before = None
            for i in range(300):
                if i % 3 == 0:
                    m.send('F', CODE, 0x800000, i + 1)      # in the midst of stores
                    m.answer()
                elif i % 3 == 1:
                    m.send('b')                             # of a loop
                    m.answer()
                m.cmd('system_reset')
                m.qmp.wait_event('RESET')
                self.wait_boot(m, i + 2)
                if i == 50:
                    before = m.rss_mib(), len(os.listdir(f'/proc/{m.pid}/fd'))
            self.assertLess(m.rss_mib(), before[0] + 16)
            self.assertEqual(len(os.listdir(f'/proc/{m.pid}/fd')), before[1])
            m.put_code(CODE, 2)
            self.assertEqual(m.run(CODE), 2)
            self.assertEqual(m.output(), '')

    def wait_boot(self, m, number):
        """An answer of the life before may come first."""
        m.at = m.console.wait(f'up {number:x}\n', 30, m.at)
        self.assertEqual(m.read(0x9008), number)

    def test_by_guest(self):
        """Keyboard controller, port 92h, CF9h: with the reasons that QEMU tells."""
        for port, size, value in ((0x64, 1, 0xfe), (0x92, 1, 1), (0xcf9, 1, 6)):
            with self.subTest(port=hex(port)), Remote() as m:
                m.wait_up()
                for _ in range(3):
                    m.send('o', port, size, value)
                    event = m.qmp.wait_event('RESET')
                    self.assertEqual(event['data'], {'guest': True, 'reason': 'guest-reset'})
                    m.at = m.console.wait('up ', 30, m.at)
                    m.at = m.console.wait('\n', 30, m.at)
                self.assertEqual(m.read(0x9008), 4)

    def test_actions(self):
        """-no-reboot, -action reboot=, shutdown=, and that set-action changes them."""
        with Remote('-no-reboot') as m:
            m.wait_up()
            m.send('o', 0x64, 1, 0xfe)
            self.assertEqual(m.wait_exit(10), 0)
        with Remote('-action', 'reboot=shutdown,shutdown=pause') as m:
            m.wait_up()
            m.send('o', 0x64, 1, 0xfe)
            m.qmp.wait_event('SHUTDOWN')
            m.qmp.wait_event('STOP')
            self.assertEqual(m.cmd('query-status')['status'], 'shutdown')
            m.cmd('set-action', reboot='reset', shutdown='poweroff')
            m.cmd('system_reset')
            m.cmd('cont')
            m.wait_up()
            m.send('o', 0xcf9, 1, 6)
            m.wait_up()

    def test_triple_fault(self):
        """An empty IDT; -action reboot=shutdown turns the reset into an end."""
        with Remote() as m:
            for _ in range(3):
                m.wait_up()
                m.write(CODE, 0x0f000000_021d010f)          # LIDT [RIP+2]; UD2; a limit of 0
                m.write(CODE + 8, 0x0b)
                m.send('x', CODE)
                self.assertEqual(m.qmp.wait_event('RESET')['data']['reason'], 'guest-reset')
            m.wait_up()


class Stopped(unittest.TestCase):
    def test_stop_cont_under_load(self):
        """Stopped at two hundred places of a computation; its result is that of one that ran through."""
        with Remote() as m:
            m.wait_up()
            m.ask('f', CODE, 0x400000, 77)
            want = m.ask('s', CODE, 0x400000)
            m.ask('f', CODE, 0x400000, 1)
            self.assertNotEqual(m.ask('s', CODE, 0x400000), want)
            stops = 0
            while stops < 200:
                m.send('f', CODE, 0x400000, 77)
                m.send('s', CODE, 0x400000)
                before = stops
                while m.console.text.count('\n', m.at) < 2:
                    m.cmd('stop')
                    m.cmd('cont')
                    stops += 1
                m.answer()
                self.assertEqual(m.answer(), want)
                stops += stops == before

    def test_registers_do_not_change(self):
        with Remote() as m:
            m.wait_up()
            m.send('b')
            self.assertIsNone(m.answer())
            for _ in range(20):
                m.cmd('stop')
                first = m.hmp('info registers')
                time.sleep(0.005)
                self.assertEqual(m.hmp('info registers'), first)
                self.assertTrue(re.search(r'RIP=[0-9a-f]{16}', first))
                m.cmd('cont')


if __name__ == '__main__':
    main()
