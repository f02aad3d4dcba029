# SPDX-License-Identifier: GPL-2.0-or-later
"""The gdbstub with several vCPUs: which thread stops, steps of one, breakpoints that all of them meet; Linux."""

import re
import time
import unittest

from gdb_remote import HARDWARE, SOFTWARE, WRITE, Debugged
from machine import guest_file, main, need_guest
from test_gdb import Firmware, TRAP

BSP_COUNT, STARTED, AP_COUNT = 0x5000, 0x5004, 0x5008


def thread(answer):
    return int(re.match('T05thread:([0-9a-f]+);', answer)[1], 16)


class Smp(Firmware):
    ACCELS = ('tcg', 'xbt', 'xbt,thread=single', 'xbt,tlb=tagged')

    def linear(self, label):
        """Of code that runs on the others."""
        return 0x8000 + self.at[label] - self.at['ap_code']

    def running(self, accel, vcpus):
        """All vCPUs in their loops, stopped by gdb."""
        m = Debugged('-m', '64', '-smp', str(vcpus), '-machine', 'pc,smm=off', '-cpu', 'qemu64', '-bios', self.image,
                     accel=accel)
        r = m.remote
        self.run_to(r, 'interrupts')
        r.set('rip', self.at['smp'])
        for _ in range(200):
            r.send('c')
            time.sleep(0.02)
            r.stop()
            started = int.from_bytes(r.read(STARTED, 4), 'little')
            if started == vcpus - 1 and r.read(AP_COUNT, 4) != bytes(4):
                return m
        m.close()
        self.fail(f'{started} started under {accel}')

    def registers(self, r, n):
        r.check(f'Hg{n:x}')
        return r.registers()

    def place(self, r, n):
        g = self.registers(r, n)
        return g['rip'] + (0x8000 if n > 1 else 0), g['cs']

    def check_one_thread(self, r):
        """Breakpoints, watchpoints and steps of one vCPU; the others stand still or run as they are told."""
        self.assertEqual(r.say('qfThreadInfo'), 'm01')
        self.assertEqual(r.say('qsThreadInfo'), 'm02')
        for label, n, kind in (('ap_loop2', 2, SOFTWARE), ('smp_bsp2', 1, HARDWARE), ('ap_loop', 2, HARDWARE)):
            addr = self.linear(label) if n > 1 else self.at[label]
            r.insert(kind, addr)
            self.assertEqual(thread(r.go()), n, label)
            self.assertEqual(self.place(r, n), (addr, 0x800 if n > 1 else 0x18))
            r.remove(kind, addr)
        # Only the second goes on, an instruction at a time.
        first = self.registers(r, 1)
        count = int.from_bytes(r.read(AP_COUNT, 4), 'little')
        at = [self.linear(name) for name in ('ap_loop2', 'ap_loop2', 'ap_loop')]
        at[1] += 2
        for i in range(30):
            self.assertEqual(thread(r.say('vCont;s:2')), 2)
            self.assertEqual(self.place(r, 2)[0], at[i % 3])
        self.assertEqual(int.from_bytes(r.read(AP_COUNT, 4), 'little'), count + 10)
        self.assertEqual(self.registers(r, 1), first)
        # The second steps while the first runs.
        before = r.read(BSP_COUNT, 4)
        for _ in range(100):
            self.assertEqual(thread(r.say('vCont;s:2;c')), 2)
            if r.read(BSP_COUNT, 4) != before:
                break
            time.sleep(0.005)
        self.assertNotEqual(r.read(BSP_COUNT, 4), before)
        for addr, n in ((AP_COUNT, 2), (BSP_COUNT, 1)):
            r.insert(WRITE, addr, 4)
            self.assertEqual(r.go(), f'T05thread:{n:02x};watch:{addr:016x};')
            self.assertEqual(self.place(r, n)[0], self.at['smp_bsp2'] if n == 1 else self.linear('ap_loop2'))
            r.remove(WRITE, addr, 4)
        r.check('Hg1')

    def test_one_thread(self):
        for accel in self.ACCELS:
            with self.subTest(accel), self.running(accel, 2) as m:
                self.check_one_thread(m.remote)

    def test_all_meet_it(self):
        """Four vCPUs; each is stepped over the breakpoint as gdb does it, nobody passes it unnoticed."""
        for accel in self.ACCELS[1:]:
            with self.subTest(accel), self.running(accel, 4) as m:
                r = m.remote
                addr = self.linear('ap_loop2')
                r.insert(SOFTWARE, addr)
                seen = {}
                before = {n: self.registers(r, n)['rax'] for n in (2, 3, 4)}
                for _ in range(60):
                    n = thread(r.say('vCont;c'))
                    self.assertEqual(self.place(r, n)[0], addr)
                    seen[n] = seen.get(n, 0) + 1
                    # INC EAX comes behind the breakpoint: as often as it was met, once at most before the first time.
                    self.assertLessEqual(self.registers(r, n)['rax'] - before[n] - seen[n], 0)
                    r.remove(SOFTWARE, addr)
                    self.assertEqual(thread(r.say(f'vCont;s:{n}')), n)
                    r.insert(SOFTWARE, addr)
                self.assertGreater(sum(seen.values()), 59)
                r.remove(SOFTWARE, addr)
                counts = r.read(AP_COUNT, 4)
                r.send('c')
                time.sleep(0.05)
                self.assertIn('T02thread', r.stop())
                self.assertNotEqual(r.read(AP_COUNT, 4), counts)

class Linux(unittest.TestCase):
    """A kernel at work."""

    def symbols(self, m, *names):
        lines = m.sh('grep ' + ' '.join(f'-we {name}' for name in names) + ' /proc/kallsyms').splitlines()
        found = {name: int(addr, 16) for addr, _, name in (line.split() for line in lines)}
        return [found[name] for name in names]

    def stop_at(self, r, answer):
        n = thread(answer)
        r.check(f'Hg{n:x}')
        return n, r.registers()

    def check(self, m):
        r = m.remote
        r.send('c')
        m.wait_prompt(100)
        open_file, jiffies = self.symbols(m, 'do_sys_openat2', 'jiffies')
        r.stop()
        r.insert(HARDWARE, open_file)
        m.type('cat /proc/version /proc/uptime\n')
        for name in (b'/proc/version', b'/proc/uptime'):
            n, g = self.stop_at(r, r.say('vCont;c'))
            self.assertEqual(g['rip'], open_file)
            self.assertEqual(r.read(g['rsi'], len(name) + 1), name + b'\0')
            r.remove(HARDWARE, open_file)
            self.assertEqual(thread(r.say(f'vCont;s:{n}')), n)
            r.insert(HARDWARE, open_file)
        r.remove(HARDWARE, open_file)
        r.insert(WRITE, jiffies, 8)
        before = int.from_bytes(r.read(jiffies, 8), 'little')
        places = set()
        for i in range(5):
            places.add(self.stop_at(r, r.say('vCont;c'))[1]['rip'])
            now = int.from_bytes(r.read(jiffies, 8), 'little')
            self.assertGreater(now, before)     # by more than one, when the guest was late
            before = now
        self.assertEqual(len(places), 1, 'one place counts')
        r.remove(WRITE, jiffies, 8)
        r.steps(1)
        for _ in range(300):
            thread(r.step())
        r.send('c')
        self.assertIn('alive', m.sh('echo alive'))

    def test_kernel(self):
        need_guest()
        for vcpus in (1, 2):
            with self.subTest(vcpus), Debugged(
                    '-m', '256', '-smp', str(vcpus), '-cpu', 'max', '-kernel', guest_file('vmlinuz'),
                    '-initrd', guest_file('initrd.img'),
                    '-append', 'console=ttyS0 panic=-1 quiet nokaslr') as m:
                self.check(m)


if __name__ == '__main__':
    main()
