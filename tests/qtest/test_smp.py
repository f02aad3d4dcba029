# SPDX-License-Identifier: GPL-2.0-or-later
"""Several vCPUs as QEMU's user sees them: threads, rest, stop and continue, NMI, queries, reset."""

import os
import time
import unittest

from machine import Linux, main, need_guest, until

CPUS = 4


def threads(m):
    return [cpu['thread-id'] for cpu in m.cmd('query-cpus-fast')]


def seconds(m):
    """CPU time of each vCPU's thread."""
    used = []
    for thread in threads(m):
        with open(f'/proc/{m.pid}/task/{thread}/schedstat', encoding='ascii') as file:
            used.append(int(file.read().split()[0]) / 1e9)
    return used


def grown(m, before):
    return [b - a for a, b in zip(before, seconds(m))]


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        need_guest()
        cls.m = Linux('-smp', str(CPUS))
        cls.addClassCleanup(cls.m.close)
        cls.m.wait_prompt(120)

    def setUp(self):
        self.addCleanup(self.m.sh, 'kill $(jobs -p) 2>/dev/null; wait')

    def busy_all(self):
        for i in range(CPUS):
            self.m.sh(f'taskset -c {i} sh -c "while :; do :; done" &')

    def test_threads(self):
        ids = threads(self.m)
        self.assertEqual(len(set(ids)), CPUS)
        alive = set(map(int, os.listdir(f'/proc/{self.m.pid}/task')))
        self.assertLessEqual(set(ids), alive)
        shown = self.m.hmp('info cpus')
        for number, thread in enumerate(ids):
            self.assertRegex(shown, rf'CPU #{number}: thread_id={thread}\b')

    def test_queries(self):
        info = self.m.cmd('query-xbt')
        each = info['cpus']
        self.assertEqual([cpu['cpu-index'] for cpu in each], list(range(CPUS)))
        for cpu in each:
            self.assertGreater(cpu['counters']['interrupts'], 0)
            self.assertLessEqual(cpu['counters']['interrupts'], info['total']['counters']['interrupts'])
        self.assertGreater(info['total']['counters']['tbs-made'], max(cpu['counters']['tbs-made'] for cpu in each))

    def test_rest_costs_nothing(self):
        """All asleep: a few timer ticks.  One busy: the others sleep on."""
        time.sleep(1)
        before = seconds(self.m)
        time.sleep(2)
        used = grown(self.m, before)
        self.assertLess(sum(used), 0.4, f'idle vCPUs used {used} s in 2 s')
        self.m.sh('taskset -c 2 sh -c "while :; do :; done" &')
        before = seconds(self.m)
        until(lambda: grown(self.m, before)[2] > 1, 60, 'the busy vCPU got no time')
        used = grown(self.m, before)
        self.assertLess(max(used[:2] + used[3:]), 0.5 * used[2], f'{used}: number 2 is busy')

    def test_stop(self):
        self.busy_all()
        self.m.cmd('stop')
        before = seconds(self.m)
        time.sleep(0.5)
        used = grown(self.m, before)
        self.m.cmd('cont')
        self.assertLess(sum(used), 0.05, f'{used} s while stopped')
        until(lambda: min(grown(self.m, before)) > 0.1, 60, 'a vCPU did not go on')

    def test_stop_cont_often(self):
        """Sums on all CPUs survive being stopped anywhere."""
        want = self.m.sh('seq 1 3000 | md5sum').split()[0]
        start = self.m.console.mark()
        self.m.type(f'for i in $(seq {2 * CPUS}); do (seq 1 3000 | md5sum) & done; wait; ' "echo E'N'D\n")
        rounds = 0
        while 'END\n' not in self.m.console.text[start:]:
            self.m.cmd('stop')
            self.m.cmd('cont')
            rounds += 1
            self.assertLess(rounds, 20000, 'the sums never ended')
            time.sleep(0.005)
        self.m.wait_prompt(30, self.m.console.wait('END\n', 5, start))
        self.assertEqual(self.m.console.text[start:].count(want), 2 * CPUS, f'after {rounds} stops')

    def test_nmi(self):
        """The monitor's NMI comes by LINT1 of every local APIC: Linux lets the boot CPU alone take it."""
        def nmis():
            return [cpu['counters']['nmis'] for cpu in self.m.cmd('query-xbt')['cpus']]
        before = nmis()
        self.m.hmp('nmi')
        until(lambda: nmis()[0] > before[0], 20, 'the NMI did not arrive')
        self.assertEqual(nmis()[1:], before[1:])
        self.assertIn('3', self.m.sh('echo $((1 + 2))'))


class Reset(unittest.TestCase):
    def test_with_all_running(self):
        need_guest()
        with Linux('-smp', str(CPUS)) as m:
            m.wait_prompt(120)
            for _ in range(2):
                for i in range(CPUS):
                    m.sh(f'taskset -c {i} sh -c "while :; do :; done" &')
                start = m.console.mark()
                m.cmd('system_reset')
                m.qmp.wait_event('RESET')
                m.wait_prompt(120, start)
                self.assertEqual(m.sh('nproc').split()[0], str(CPUS))


class OneThread(unittest.TestCase):
    def test_all_in_one(self):
        need_guest()
        with Linux('-smp', '2', accel='xbt,thread=single') as m:
            m.wait_prompt(180)
            self.assertEqual(len(set(threads(m))), 1)
            self.assertEqual(m.sh('nproc').split()[0], '2')
            want = m.sh('seq 1 2000 | md5sum').split()[0]
            text = m.sh('for i in 1 2 3 4; do (seq 1 2000 | md5sum) & done; wait', 120)
            self.assertEqual(text.count(want), 4)


if __name__ == '__main__':
    main()
