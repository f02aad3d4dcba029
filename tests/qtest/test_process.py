# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU as a process: its options, its ends in every state, many of them at once and one after the other."""

import glob
import os
import signal
import socket
import subprocess
import tempfile
import unittest

from machine import Machine, Qmp, clean_environment, launcher, main, until
from remote import ACCEL, CODE, Remote, image

# QEMU may ask for far more with -sandbox than the small profile: all of it.
SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'


def run(*args, timeout=30):
    return subprocess.run([launcher(), '-accel', ACCEL, '-display', 'none', '-nodefaults', *args],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
                          env=clean_environment())


def traces():
    """What a QEMU could leave behind."""
    names = set(glob.glob('/dev/shm/*') + glob.glob('/tmp/qemu*') + glob.glob('/tmp/perf-*') + glob.glob('/tmp/jit-*'))
    return {name for name in names if os.stat(name).st_uid == os.getuid()}


class Options(unittest.TestCase):
    def works(self, m):
        m.wait_up()
        for value in (1, 2):
            m.put_code(CODE, value)
            self.assertEqual(m.run(CODE), value)
        m.ask('f', CODE + 0x1000, 1 << 20, 3)
        self.assertEqual(m.output(), '')

    def test_each(self):
        root = os.getuid() == 0
        folder = tempfile.mkdtemp(prefix='xbt-process-')
        self.addCleanup(os.rmdir, folder)
        for args in (['-sandbox', SANDBOX], ['-only-migratable'], ['-rtc', 'clock=vm'], ['-rtc', 'clock=rt,base=localtime'],
                     ['-no-hpet'], ['-no-acpi'], ['-overcommit', 'cpu-pm=on'], ['-mem-prealloc'],
                     ['-no-user-config', '-name', 'guest,debug-threads=on'], ['-machine', 'mem-merge=off,dump-guest-core=off'],
                     ['-smbios', 'type=0,vendor=x'], ['-uuid', '1d5e5b2c-5c0e-4a52-9c0f-0d1b0a7c1c11'],
                     *([['-runas', 'nobody'], ['-chroot', folder],
                        ['-chroot', folder, '-runas', 'nobody', '-sandbox', 'on']] if root else [])):
            with self.subTest(' '.join(args)), Remote(*args) as m:
                self.works(m)
                m.cmd('quit')
                self.assertEqual(m.wait_exit(10), 0)

    def test_sandbox_kills_who_asks_for_more(self):
        """The filter is in force: otherwise the test above says nothing."""
        with Remote('-sandbox', SANDBOX) as m:
            m.wait_up()
            self.assertIn('Seccomp:\t2', m.proc('status'))

    def test_snapshot(self):
        """-snapshot: the guest writes to its disk (IDE, by ports), the image stays as it was."""
        with tempfile.NamedTemporaryFile() as disk:
            os.ftruncate(disk.fileno(), 1 << 20)
            for args, kept in ((['-snapshot'], False), ([], True)):
                with Remote(*args, '-drive', f'file={disk.name},format=raw,if=ide') as m:
                    m.wait_up()
                    for port, value in ((0x1f2, 1), (0x1f3, 5), (0x1f4, 0), (0x1f5, 0), (0x1f6, 0xe0), (0x1f7, 0x30)):
                        m.port_out(port, 1, value)
                    until(lambda: m.port_in(0x1f7, 1) & 8, 10, 'the disk wants no data')
                    for _ in range(128):
                        m.port_out(0x1f0, 4, 0x58425421)
                    until(lambda: not m.port_in(0x1f7, 1) & 0x88, 10, 'the disk does not end')
                    m.port_out(0x1f7, 1, 0xe7)      # flush
                    until(lambda: not m.port_in(0x1f7, 1) & 0x88, 10, 'the disk does not end')
                    m.cmd('quit')
                    self.assertEqual(m.wait_exit(10), 0)
                self.assertEqual(os.pread(disk.fileno(), 4, 5 * 512) == b'!TBX', kept, args)

    def test_stopped_at_first(self):
        with Remote('-S') as m:
            self.assertEqual(m.cmd('query-status')['status'], 'prelaunch')
            self.assertIn('EIP=0000fff0', m.hmp('info registers'))
            self.assertEqual(m.console.text, '')
            m.cmd('cont')
            self.works(m)

    def test_preconfig(self):
        with Remote('-preconfig') as m:
            m.cmd('x-exit-preconfig')
            self.works(m)
        with Machine('-nodefaults', '-preconfig', accel=ACCEL) as m:
            m.cmd('quit')
            self.assertEqual(m.wait_exit(10), 0)

    def test_readconfig(self):
        with tempfile.NamedTemporaryFile('w', suffix='.cfg') as config:
            config.write('[machine]\n  type = "pc"\n[memory]\n  size = "40M"\n'
                         '[device "dog"]\n  driver = "ib700"\n')
            config.flush()
            with Remote('-readconfig', config.name) as m:
                self.works(m)
                self.assertEqual(m.read(39 << 20), 0)
                self.assertIn('dog', m.hmp('info qtree'))

    def test_daemon(self):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            done = run('-cpu', 'max', '-m', '32', '-bios', image(), '-daemonize', '-pidfile', f'{folder}/pid', '-qmp',
                       f'unix:{folder}/qmp,server=on,wait=off', '-serial', f'file:{folder}/serial',
                       '-sandbox', 'on')
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, '', ''))
            with open(f'{folder}/pid', encoding='ascii') as file:
                pid = int(file.read())
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(f'{folder}/qmp')
                qmp = Qmp(sock)

                def serial():
                    with open(f'{folder}/serial', encoding='ascii') as file:
                        return file.read()
                until(lambda: 'up 1' in serial(), 20, 'the guest in the background does not run')
                qmp.command('system_reset')
                until(lambda: 'up 2' in serial(), 20, 'the guest in the background is not reset')
                os.kill(pid, signal.SIGTERM)
                until(lambda: not running(pid), 10, 'the daemon does not end')
            self.assertEqual(sorted(os.listdir(folder)), ['serial'])


def running(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as file:
            return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except OSError:
        return False


@unittest.skipIf(ACCEL != 'xbt', 'TCG has what is refused here')
class Refused(unittest.TestCase):
    """What QEMU has for TCG alone: one line that says what to do."""

    def refused(self, *args):
        done = run(*args)
        self.assertEqual(done.returncode, 1, done.stderr)
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_icount(self):
        with tempfile.TemporaryDirectory() as folder:
            for more in ('shift=auto', 'shift=3', f'shift=7,rr=record,rrfile={folder}/rr'):
                self.assertIn('-accel tcg', self.refused('-icount', more))

    def test_icount_falls_back(self):
        """A second -accel is asked instead."""
        with Machine('-nodefaults', '-accel', 'tcg', '-icount', 'shift=3', accel='xbt') as m:
            self.assertIn('does not count instructions', m.output())

    def test_plugin(self):
        with tempfile.TemporaryDirectory() as folder:
            plugin = f'{folder}/plugin.so'
            subprocess.run(['gcc', '-shared', '-fPIC', '-x', 'c', '-o', plugin, '-'], check=True, text=True,
                           input='int qemu_plugin_version = 1;\n'
                                 'int qemu_plugin_install(unsigned long id, const void *i, int n, char **a) '
                                 '{ return 0; }\n')
            self.assertIn('-accel tcg', self.refused('-plugin', plugin))

    def test_smm(self):
        self.assertIn('System Management Mode not supported', self.refused('-machine', 'smm=on'))

    def test_locked_flat_tables(self):
        done = subprocess.run([launcher(), '-accel', 'xbt,tlb=flat', '-overcommit', 'mem-lock=on', '-display', 'none'],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
                              env=clean_environment())
        self.assertEqual(done.returncode, 1)
        self.assertIn('tlb=tagged', done.stderr)


class Ends(unittest.TestCase):
    """By signal and by the monitor; stopped, halted, in a loop, before the first instruction."""

    STATES = {'before': (), 'halted': ('h',), 'busy': ('b',), 'stopped': ('b',), 'idle': ()}

    def test_all(self):
        for state, request in self.STATES.items():
            for way in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, 'quit'):
                with self.subTest(state=state, way=str(way)), Remote(*(['-S'] if state == 'before' else [])) as m:
                    if state != 'before':
                        m.wait_up()
                    if request:
                        m.send(*request)
                        m.answer()
                    if state == 'stopped':
                        m.cmd('stop')
                    if way == 'quit':
                        m.cmd('quit')
                    else:
                        m.process.send_signal(way)
                        event = m.qmp.wait_event('SHUTDOWN')
                        self.assertEqual(event['data'], {'guest': False, 'reason': 'host-signal'})
                    self.assertEqual(m.wait_exit(10), 0)

    def test_no_shutdown(self):
        """-no-shutdown: a guest that ends leaves QEMU paused; a signal ends it still."""
        with Remote('-no-shutdown', '-device', 'isa-debug-exit') as m:
            m.wait_up()
            m.cmd('system_powerdown')
            self.assertEqual(m.read(0x9008), 1)
            m.process.send_signal(signal.SIGTERM)
            self.assertEqual(m.wait_exit(10), 0)


class Many(unittest.TestCase):
    def test_at_once(self):
        """Six machines, each with its own code at the same place."""
        machines = [Remote(options=',tb-size=16') for _ in range(6)]
        try:
            for number, m in enumerate(machines):
                m.wait_up()
                m.put_code(CODE, number + 1)
                m.send('F', CODE + 0x1000, 8 << 20, number + 1)
                m.answer()
            for number, m in enumerate(machines):
                m.answer()
                self.assertEqual(m.run(CODE), number + 1)
            sums = {m.ask('s', CODE + 0x1000, 8 << 20) for m in machines}
            self.assertEqual(len(sums), 6)
        finally:
            for m in machines:
                m.close()

    def test_one_after_the_other(self):
        """A hundred starts, to their ends: nothing is left in the file system, no process."""
        before = traces()
        for _ in range(100):
            self.assertEqual(self.once(), 0)
        self.assertEqual(traces() - before, set())
        with self.assertRaises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)

    def once(self):
        process = subprocess.Popen([launcher(), '-accel', ACCEL, '-display', 'none', '-nodefaults', '-m', '32', '-bios',
                                    image(), '-monitor', 'stdio'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.STDOUT, env=clean_environment())
        process.communicate(b'quit\n', timeout=30)
        return process.returncode


if __name__ == '__main__':
    main()
