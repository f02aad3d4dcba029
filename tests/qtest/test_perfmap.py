# SPDX-License-Identifier: GPL-2.0-or-later
"""The files for perf (property perfmap=): what is in them, and that nobody can be tricked with them."""

import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

from machine import Firmware, Machine, Qmp, clean_environment, launcher, main, until

HEADER = struct.Struct('<6I2Q')
LOAD = struct.Struct('<2IQ2I4Q')
THUNKS = {'xbt:enter', 'xbt:slow-read', 'xbt:slow-write', 'xbt:helper', 'xbt:exit-unlinked', 'xbt:exit-indirect'}
NAME = re.compile(r'(?:(?:nested-)?(?:real16|v86|(?:user|kernel)(?:16|32|64)):[0-9a-f]+(?:\.cold)?|xbt:[a-z-]+)$')


def paths(pid):
    return f'/tmp/perf-{pid}.map', f'/tmp/jit-{pid}.dump'


def read_map(path):
    """[(address, size, name)]"""
    with open(path, encoding='ascii') as file:
        rows = [line.rstrip('\n').split(' ', 2) for line in file]
    return [(int(address, 16), int(size, 16), name) for address, size, name in rows]


def read_dump(path, pid):
    """[(time, address, name, code)]; fails where perf would."""
    with open(path, 'rb') as file:
        data = file.read()
    magic, version, size, machine, _, its_pid, _, flags = HEADER.unpack_from(data)
    assert (magic, version, size, machine, its_pid, flags) == (0x4a695444, 1, 40, 62, pid, 0), data[:40]
    rows, at = [], size
    while at < len(data):
        kind, size, time, its_pid, _, vma, address, length, index = LOAD.unpack_from(data, at)
        assert kind == 0 and its_pid == pid and vma == address and index == len(rows), (kind, its_pid, index)
        end = data.index(b'\0', at + LOAD.size)
        assert end + 1 + length == at + size, (at, end, length, size)
        rows.append((time, address, data[at + LOAD.size:end].decode('ascii'), data[end + 1:at + size]))
        at += size
    assert at == len(data), 'the last record is not whole'
    return rows


def mode_name(block):
    who = 'user' if block['cpl'] == 3 else 'kernel'
    return f"{who}{block['mode']}:{block['address']:x}"


class PerfMap(unittest.TestCase):
    def keep_clean(self, pid):
        for path in paths(pid):
            self.addCleanup(lambda p=path: os.path.lexists(p) and os.unlink(p))

    def start(self, cls=Firmware, accel='xbt,perfmap=on', args=(), **job):
        m = cls(*args, accel=accel, **job)
        self.addCleanup(m.close)
        self.keep_clean(m.pid)
        return m

    def check_disjoint(self, rows):
        rows = sorted(rows)
        for (a, size, name), (b, _, other) in zip(rows, rows[1:]):
            self.assertLessEqual(a + size, b, (name, other))

    def test_contents(self):
        """A block that ran is in both files, with the bytes that are in memory."""
        m = self.start(accel='xbt,perfmap=on,profile=on')
        m.wait_end()
        m.cmd('stop')
        info = m.cmd('query-xbt')
        map_path, dump_path = paths(m.pid)
        self.assertEqual((info['perf-map'], info['jitdump']), (map_path, dump_path))
        self.assertIn(f'for perf: {map_path} {dump_path}', m.hmp('info xbt'))
        for path in paths(m.pid):
            self.assertEqual(os.stat(path).st_mode & 0o7777, 0o600)
        rows = read_map(map_path)
        loads = read_dump(dump_path, m.pid)
        hot, cold = {}, {}
        for address, size, name in rows:
            (cold if name.endswith('.cold') else hot).setdefault(name.removesuffix('.cold'), []).append((address, size))
        dumped = {(name, address): code for _, address, name, code in loads}
        for name in [row[2] for row in rows] + [load[2] for load in loads]:
            self.assertRegex(name, NAME)
        self.assertLessEqual(THUNKS, set(hot))
        self.assertLessEqual(set(cold), set(hot))
        self.assertIn('real16:fffffff0', {load[2] for load in loads})
        self.check_disjoint(rows)
        self.assertEqual([load[0] for load in loads], sorted(load[0] for load in loads))
        self.assertGreaterEqual(len(loads), info['store']['blocks-made'])
        for address, size, name in rows:
            self.assertEqual(len(dumped[name, address]), size, name)

        blocks = [b for b in m.cmd('query-xbt-blocks', count=300) if b['executions'] and b['mode'] == 32]
        self.assertGreater(len(blocks), 5)
        with open(f'/proc/{m.pid}/mem', 'rb', buffering=0) as memory:
            for block in blocks:
                name = mode_name(block)
                self.assertIn(block['host-bytes'], [a[1] + b[1] for a in hot[name] for b in cold.get(name, [(0, 0)])])
                for parts, suffix in ((hot, ''), (cold, '.cold')):
                    for address, size in parts.get(name, []):
                        memory.seek(address)
                        same = sum(a == b for a, b in zip(memory.read(size), dumped[name + suffix, address]))
                        self.assertGreater(same, size * 0.6 - 12, 'only links change a block')

    def test_flushes(self):
        """The map has what is there now; the dump has all."""
        m = self.start(accel='xbt,perfmap=on,flush-every=300')
        m.wait_end()
        m.cmd('stop')
        rows = read_map(paths(m.pid)[0])
        loads = read_dump(paths(m.pid)[1], m.pid)
        self.check_disjoint(rows)
        self.assertLess(len([name for _, _, name in rows if not name.endswith('.cold')]), 300 + 30)
        self.assertLessEqual(THUNKS, {name for _, _, name in rows})
        self.assertGreater(len(loads), 3000)
        self.assertIn('real16:fffffff0', {load[2] for load in loads})

    def test_one_of_them(self):
        for value, wanted in (('map', (True, False)), ('jitdump', (False, True)), ('off', (False, False))):
            with self.subTest(value=value):
                m = self.start(accel=f'xbt,perfmap={value}')
                self.assertEqual(tuple(os.path.exists(path) for path in paths(m.pid)), wanted)
                info = m.cmd('query-xbt')
                self.assertEqual(('perf-map' in info, 'jitdump' in info), wanted)

    def test_nothing_ran_nothing_stays(self):
        m = self.start(Machine)
        until(lambda: m.counters()['enters'] > 100, 30, 'the firmware does not run')
        m.cmd('quit')
        m.wait_exit(20)
        # What perf needs now.
        self.assertTrue(all(os.path.exists(path) for path in paths(m.pid)))
        result = subprocess.Popen([launcher(), '-display', 'none', '-accel', 'xbt,perfmap=on', '-S', '-drive',
                                   'file=/nonexistent'], env=clean_environment(), stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.keep_clean(result.pid)
        result.communicate(timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertFalse(any(os.path.lexists(path) for path in paths(result.pid)))

    def test_daemon(self):
        """The number is that of the process that runs the guest; the sandbox does not get in the way."""
        folder = tempfile.mkdtemp(prefix='xbt-perfmap-')
        self.addCleanup(shutil.rmtree, folder)
        pid_file = os.path.join(folder, 'pid')
        done = subprocess.run([launcher(), '-display', 'none', '-nodefaults', '-accel', 'xbt,perfmap=on', '-daemonize',
                               '-pidfile', pid_file, '-sandbox', 'on,obsolete=deny,resourcecontrol=deny'],
                              env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        with open(pid_file, encoding='ascii') as file:
            pid = int(file.read())
        self.addCleanup(os.kill, pid, signal.SIGKILL)
        self.keep_clean(pid)
        self.assertEqual(os.stat(f'/proc/{pid}').st_uid, os.getuid())
        until(lambda: len(read_map(paths(pid)[0])) > 30, 30, 'the map does not grow')
        self.assertEqual([os.stat(path).st_mode & 0o7777 for path in paths(pid)], [0o600] * 2)

    def test_queries_and_flushes(self):
        """Every few blocks all memory of code is used again; the monitors look at it and the machine is reset."""
        folder = tempfile.mkdtemp(prefix='xbt-perfmap-')
        self.addCleanup(shutil.rmtree, folder)
        name = os.path.join(folder, 'monitor')
        m = self.start(Machine, 'xbt,perfmap=on,profile=on,flush-every=15,tb-size=1', args=(
            '-qmp', f'unix:{name},server=on,wait=off'))
        done = threading.Event()
        failures = []

        def hammer():
            try:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(name)
                    other = Qmp(sock)
                    while not done.is_set():
                        other.command('query-xbt')
                        for block in other.command('query-xbt-blocks', count=30, disassemble=True):
                            if block['host-bytes'] <= 0 or not block['host-code']:
                                failures.append(block)
            except Exception as error:      # noqa: BLE001 - to be seen by the main thread
                failures.append(error)

        thread = threading.Thread(target=hammer)
        thread.start()
        try:
            before = m.counters()
            for turn in range(40):
                self.assertIn('cache-flush-full', m.hmp('info xbt'))
                m.hmp('info xbt-blocks -d 5')
                if turn % 10 == 9:
                    m.cmd('system_reset')
            after = m.counters()
        finally:
            done.set()
            thread.join(60)
        self.assertEqual(failures, [])
        self.assertGreater(after['cache-flush-full'], before['cache-flush-full'] + 20)
        m.cmd('stop')
        self.check_disjoint(read_map(paths(m.pid)[0]))
        self.assertGreater(len(read_dump(paths(m.pid)[1], m.pid)), 500)

    # ---- what is in the way ---------------------------------------------------

    def with_obstacle(self, script):
        """A shell that becomes QEMU: it knows the number beforehand."""
        process = subprocess.Popen(
            ['sh', '-c', script + '; exec "$0" -display none -nodefaults -S -accel xbt,perfmap=on -qmp stdio',
             launcher()], env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.keep_clean(process.pid)
        out, err = process.communicate('{"execute":"qmp_capabilities"}{"execute":"quit"}', timeout=60)
        return process, out, err

    def test_links_are_not_followed(self):
        folder = tempfile.mkdtemp(prefix='xbt-perfmap-')
        self.addCleanup(shutil.rmtree, folder)
        victim = os.path.join(folder, 'victim')
        with open(victim, 'w', encoding='ascii') as file:
            file.write('precious')
        for name in ('perf-$$.map', 'jit-$$.dump'):
            for target in (victim, os.path.join(folder, 'new')):
                with self.subTest(name=name, target=target):
                    process, _, err = self.with_obstacle(f'ln -s {target} /tmp/{name}')
                    self.assertEqual(process.returncode, 1, err)
                    self.assertIn('cannot make the', err)
                    self.assertIn('/tmp/' + name.replace('$$', str(process.pid)), err)
                    self.assertIn('File exists', err)
                    self.assertEqual(os.listdir(folder), ['victim'])
                    with open(victim, encoding='ascii') as file:
                        self.assertEqual(file.read(), 'precious')
                    self.assertEqual([os.path.islink(path) for path in paths(process.pid) if os.path.lexists(path)],
                                     [True], 'ours are gone, the link is not touched')

    def test_stale_file_of_ours(self):
        """An earlier process had our number."""
        process, out, err = self.with_obstacle('echo stale >/tmp/perf-$$.map; chmod 644 /tmp/perf-$$.map')
        self.assertEqual((process.returncode, err), (0, ''))
        self.assertIn('return', out)

    @unittest.skipIf(os.getuid() != 0, 'needs root to make a file of another user')
    def test_file_of_another_user(self):
        process, _, err = self.with_obstacle('echo x >/tmp/perf-$$.map; chown 65534 /tmp/perf-$$.map')
        self.assertEqual(process.returncode, 1)
        self.assertIn('File exists', err)
        with open(paths(process.pid)[0], encoding='ascii') as file:
            self.assertEqual(file.read(), 'x\n')

    def test_file_system_full(self):
        """The guest goes on; what was written can be read."""
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (30001, 30001))

        m = self.start(Machine, preexec_fn=limit)
        until(lambda: 'jit-' in m.output() and 'perf-' in m.output(), 60, 'no complaint')
        self.assertRegex(m.output(), r'warning: xbt: perfmap: cannot write to /tmp/jit-\d+\.dump: .*; it ends here')
        self.assertEqual(len(m.output().strip().splitlines()), 2)
        self.assertGreater(len(read_dump(paths(m.pid)[1], m.pid)), 20)
        self.assertGreater(len(read_map(paths(m.pid)[0])), 50)
        made = m.cmd('query-xbt')['store']['blocks-made']
        until(lambda: m.cmd('query-xbt')['total']['counters']['enters'] > 0, 10, 'not running')
        self.assertGreater(made, 0)

    def test_bad_value(self):
        result = subprocess.run([launcher(), '-display', 'none', '-accel', 'xbt,perfmap=maybe'], text=True,
                                env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertEqual(result.returncode, 1)
        self.assertIn("'perfmap' is on, off, map or jitdump, not 'maybe'", result.stderr)


if __name__ == '__main__':
    main()
