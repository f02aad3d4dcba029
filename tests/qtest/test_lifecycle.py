# SPDX-License-Identifier: GPL-2.0-or-later
"""Stop and continue, reset, power-off, the end of QEMU, saved states."""

import os
import signal
import time
import unittest

from machine import Failure, Firmware, Linux, SeaBiosLog, main, need_guest, until


def vcpu_seconds(m):
    """CPU time of the vCPU's thread alone."""
    thread = m.cmd('query-cpus-fast')[0]['thread-id']
    with open(f'/proc/{m.pid}/task/{thread}/stat', encoding='utf-8') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def uptime(m):
    return float(m.sh('cut -d" " -f1 /proc/uptime').split()[0])


class Running(unittest.TestCase):
    """One guest for what leaves it at the prompt."""

    @classmethod
    def setUpClass(cls):
        need_guest()
        cls.m = Linux()
        cls.addClassCleanup(cls.m.close)
        cls.m.wait_prompt()

    def setUp(self):
        self.addCleanup(self.m.sh, 'kill %1 2>/dev/null; wait')

    def test_stop_stops(self):
        self.m.busy()
        self.m.cmd('stop')
        self.m.qmp.wait_event('STOP')
        before = vcpu_seconds(self.m)
        time.sleep(0.5)
        used = vcpu_seconds(self.m) - before
        self.m.cmd('cont')
        self.m.qmp.wait_event('RESUME')
        self.assertLess(used, 0.05, 'the vCPU ran while stopped')
        until(lambda: vcpu_seconds(self.m) > before + 0.2, 10, 'the vCPU did not go on')

    def test_stop_cont_often(self):
        """Each stop finds other work in the guest; a checksum must survive them."""
        want = self.m.sh('seq 1 3000 | md5sum').split()[0]
        self.m.busy()
        start = self.m.console.mark()
        self.m.type("for i in 1 2 3; do seq 1 3000 | md5sum; done; echo E'N'D\n")
        rounds = 0
        while 'END\n' not in self.m.console.text[start:]:
            self.m.cmd('stop')
            self.m.cmd('cont')
            rounds += 1
            self.assertLess(rounds, 5000, 'the checksums never ended')
            time.sleep(0.005)
        self.m.wait_prompt(30, self.m.console.wait('END\n', 5, start))
        self.assertEqual(self.m.console.text[start:].count(want), 3,
                         f'after {rounds} stops')
        self.assertGreater(rounds, 3)

    def test_guest_time_stands_still(self):
        self.m.busy()
        began = time.monotonic()
        before = uptime(self.m)
        self.m.cmd('stop')
        time.sleep(2.5)
        self.m.cmd('cont')
        passed = uptime(self.m) - before
        real = time.monotonic() - began
        self.assertLess(passed, real - 2.3, f'{passed:.2f} s passed in the guest, '
                        f'{real:.2f} s outside, 2.5 s of them stopped')
        self.assertGreater(passed, 0)

    def test_guest_time_goes_on(self):
        before = uptime(self.m)
        began = time.monotonic()
        self.m.sh('sleep 1.5')
        passed, real = uptime(self.m) - before, time.monotonic() - began
        self.assertGreater(passed, 1.4)
        self.assertLess(abs(passed - real), 0.8, f'{passed} s in the guest, {real} s outside')

    def test_powerdown_request(self):
        """The power button is told to the guest; this one does not listen."""
        self.m.cmd('system_powerdown')
        self.m.qmp.wait_event('POWERDOWN')
        self.assertIn('3', self.m.sh('echo $((1 + 2))'))

    def test_nmi(self):
        """A guest gets an NMI and goes on (it may print a complaint)."""
        before = self.m.counters()['nmis']
        self.m.hmp('nmi')
        until(lambda: self.m.counters()['nmis'] == before + 1, 5, 'no NMI was delivered')
        self.assertIn('3', self.m.sh('echo $((1 + 2))'))

    def test_interrupt_key(self):
        """A key on the console ends a loop that uses the vCPU all the time."""
        start = self.m.console.mark()
        self.m.type('while :; do :; done\n')
        self.m.console.wait('done\n', 10, start)
        time.sleep(0.3)
        start = self.m.console.mark()
        self.m.type('\x03')
        self.m.wait_prompt(15, start)


class Reset(unittest.TestCase):
    def setUp(self):
        need_guest()

    def reset(self, m):
        start = m.console.mark()
        m.cmd('system_reset')
        m.qmp.wait_event('RESET')
        return start

    def test_from_prompt_under_load(self):
        with Linux() as m:
            m.wait_prompt()
            m.busy()
            for _ in range(2):
                m.wait_prompt(60, self.reset(m))
            self.assertLess(uptime(m), 60)
            self.assertIn('3', m.sh('echo $((1 + 2))'))

    def test_in_mid_boot(self):
        """In the firmware, the decompressor, the early kernel and later."""
        log = SeaBiosLog()
        with Linux(*log.args, append='earlyprintk=ttyS0 ignore_loglevel') as m:
            shown = 0
            for seconds in (0, 0.05, 0.3, 0.6, 1, 1.5, 2.2):
                log.wait_shadowed(shown)
                time.sleep(seconds)
                m.cmd('stop')
                shown = len(log.messages())
                start = self.reset(m)
                m.cmd('cont')
            m.wait_prompt(90, start)
            self.assertIn('3', m.sh('echo $((1 + 2))'))

    def test_firmware_often(self):
        with Firmware() as m:
            shown = 0
            for i in range(20):
                m.log.wait_shadowed(shown)
                time.sleep(0.01 * i)
                m.cmd('stop')
                shown = len(m.messages())
                m.cmd('system_reset')
                m.qmp.wait_event('RESET')
                m.cmd('cont')
            until(lambda: m.END in m.messages()[shown:], 30, 'no end of SeaBIOS after 20 resets')

    def test_while_stopped(self):
        with Firmware() as m:
            m.wait_end()
            m.cmd('stop')
            m.cmd('system_reset')
            registers = m.hmp('info registers')
            self.assertIn('EIP=0000fff0', registers)
            self.assertIn('CS =f000 ffff0000', registers)
            shown = len(m.messages())
            m.cmd('cont')
            until(lambda: m.END in m.messages()[shown:], 30, 'no end of SeaBIOS')

    def test_by_guest(self):
        """The guest reboots itself; -no-reboot makes that the end."""
        for args, ends in (((), False), (('-no-reboot',), True)):
            with self.subTest(args=args), Linux(*args) as m:
                m.wait_prompt()
                start = m.console.mark()
                m.type('reboot -f\n')
                if ends:
                    self.assertEqual(m.wait_exit(20), 0)
                else:
                    m.wait_prompt(60, start)


class End(unittest.TestCase):
    def setUp(self):
        need_guest()

    def busy_guest(self, *args, **job):
        m = Linux(*args, **job)
        try:
            m.wait_prompt()
            m.busy()
        except BaseException as error:
            text = m.explain(error)
            m.close()
            raise Failure(text) from error
        return m

    def timed_exit(self, m, limit):
        began = time.monotonic()
        status = m.wait_exit(limit)
        return status, time.monotonic() - began

    def test_terminate_under_load(self):
        with self.busy_guest() as m:
            m.process.send_signal(signal.SIGTERM)
            status, seconds = self.timed_exit(m, 10)
            self.assertEqual(status, 0, m.output())
            self.assertLess(seconds, 1)

    def test_terminate_in_firmware(self):
        with Firmware(accel='xbt,one-insn=on,chain=off') as m:
            m.process.send_signal(signal.SIGTERM)
            status, seconds = self.timed_exit(m, 10)
            self.assertEqual(status, 0, m.output())
            self.assertLess(seconds, 1)

    def test_quit_under_load(self):
        with self.busy_guest() as m:
            m.cmd('quit')
            status, seconds = self.timed_exit(m, 10)
            self.assertEqual(status, 0, m.output())
            self.assertLess(seconds, 1)

    def test_quit_while_stopped(self):
        with self.busy_guest() as m:
            m.cmd('stop')
            m.cmd('quit')
            self.assertEqual(m.wait_exit(5), 0, m.output())

    def test_guest_powers_off(self):
        with Linux() as m:
            m.wait_prompt()
            m.type('poweroff -f\n')
            event = m.qmp.wait_event('SHUTDOWN')
            self.assertEqual(event['data'], {'guest': True, 'reason': 'guest-shutdown'})
            self.assertEqual(m.wait_exit(10), 0, m.output())
            self.assertEqual(m.output(), '')

    def test_triple_fault_resets(self):
        """-no-reboot shows it: QEMU ends as the guest asked for a reset."""
        with Linux('-no-reboot', append='reboot=t') as m:
            m.wait_prompt()
            m.type('reboot -f\n')
            event = m.qmp.wait_event('SHUTDOWN')
            self.assertEqual(event['data']['reason'], 'guest-reset')
            self.assertEqual(m.wait_exit(10), 0, m.output())


class Saved(unittest.TestCase):
    """A state leaves one QEMU through a file and goes on in another."""

    def setUp(self):
        need_guest()

    def save(self, m, path):
        m.cmd('migrate', uri=f'exec:cat >{path}')
        self.wait_migration(m)

    def wait_migration(self, m):
        deadline = time.monotonic() + 60
        while True:
            status = m.cmd('query-migrate').get('status')
            if status == 'completed':
                return
            if status == 'failed' or time.monotonic() > deadline:
                raise Failure(f"migration: {m.cmd('query-migrate')}")
            time.sleep(0.05)

    def restore(self, path, **job):
        other = Linux('-incoming', f'exec:cat {path}', memory=128, **job)
        try:
            until(lambda: other.cmd('query-status')['status'] == 'running', 60,
                  'the incoming guest does not run')
        except BaseException as error:
            text = other.explain(error)
            other.close()
            raise Failure(text) from error
        return other

    def check_alive(self, m, value):
        start = m.console.mark()
        m.type('\n')
        m.wait_prompt(20, start)
        self.assertEqual(m.sh('echo $kept').strip(), value)
        self.assertEqual(m.sh('seq 1 2000 | md5sum').split()[0], self.sum)

    def test_migrate_under_load(self):
        with Linux(memory=128) as m:
            m.wait_prompt()
            m.sh('kept=value$((6 * 7))')
            self.sum = m.sh('seq 1 2000 | md5sum').split()[0]
            m.busy()
            before = uptime(m)
            path = os.path.join(m.dir, 'state')
            self.save(m, path)
            with self.restore(path) as other:
                self.check_alive(other, 'value42')
                self.assertIn('Running', other.sh('jobs'))
                passed = uptime(other) - before
                self.assertGreater(passed, 0)
                self.assertLess(passed, 30)
                other.cmd('stop')
                self.assertRegex(other.hmp('info registers'), 'CR0=80050033')

    def test_migrate_while_stopped_twice(self):
        """The same state again after a second journey."""
        with Linux(memory=128) as m:
            m.wait_prompt()
            m.sh('kept=there')
            self.sum = m.sh('seq 1 2000 | md5sum').split()[0]
            first = os.path.join(m.dir, 'first')
            second = os.path.join(m.dir, 'second')
            m.cmd('stop')
            registers = m.hmp('info registers')
            self.save(m, first)
            other = Linux('-incoming', f'exec:cat {first}', '-S', memory=128)
            with other:
                until(lambda: other.cmd('query-status')['status'] in ('paused', 'prelaunch'),
                      60, 'the incoming guest did not arrive')
                self.assertEqual(other.hmp('info registers'), registers)
                other.cmd('cont')
                self.check_alive(other, 'there')
                self.save(other, second)
                with self.restore(second) as third:
                    self.check_alive(third, 'there')

    def test_savevm_loadvm(self):
        """A snapshot in a qcow2 file; loading it forgets what came after."""
        with Linux(memory=128) as m:
            m.cmd('stop')
            image = os.path.join(m.dir, 'image.qcow2')
            file = {'driver': 'file', 'filename': image}
            m.cmd('blockdev-create', job_id='c1', options={**file, 'size': 0})
            self.end_job(m, 'c1')
            m.cmd('blockdev-add', **file, node_name='file0')
            m.cmd('blockdev-create', job_id='c2',
                  options={'driver': 'qcow2', 'file': 'file0', 'size': 1 << 20})
            self.end_job(m, 'c2')
            m.cmd('blockdev-add', driver='qcow2', file='file0', node_name='disk0')
            m.cmd('cont')
            m.wait_prompt()
            m.sh('kept=before')
            self.sum = m.sh('seq 1 2000 | md5sum').split()[0]
            m.busy()
            self.assertEqual(m.hmp('savevm one').strip(), '')
            self.assertIn('one', m.hmp('info snapshots'))
            m.sh('kept=after')
            self.assertEqual(m.hmp('loadvm one').strip(), '')
            self.check_alive(m, 'before')

    def end_job(self, m, name):
        until(lambda: any(j['id'] == name and j['status'] == 'concluded'
                          for j in m.cmd('query-jobs')), 20, f'job {name} did not end')
        job = [j for j in m.cmd('query-jobs') if j['id'] == name][0]
        self.assertNotIn('error', job)
        m.cmd('job-dismiss', id=name)


if __name__ == '__main__':
    main()
