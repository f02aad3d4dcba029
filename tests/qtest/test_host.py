# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest costs the host, and hosts that allow less than usual."""

import glob
import os
import re
import resource
import shlex
import shutil
import subprocess
import tempfile
import time
import unittest

from machine import Linux, clean_environment, launcher, main, need_guest

IDLE_SHARE = 0.03       # of a core
MORE_THAN_TCG = 64      # MiB
GIB = 1 << 30
PHRASE = 'XBT-BOOT: userspace'
MODULES = '/usr/lib/x86_64-linux-gnu/qemu'
OVERCOMMIT = '/proc/sys/vm/overcommit_memory'
CGROUP = '/sys/fs/cgroup'


class HostTest(unittest.TestCase):
    def setUp(self):
        need_guest()

    def boot(self, *args, accel='xbt', **job):
        """Firmware to power-off; the last query-xbt before."""
        with Linux('-no-reboot', *args, accel=accel, **job) as m:
            m.wait_prompt()
            info = m.cmd('query-xbt') if accel.startswith('xbt') else None
            maps = m.proc('maps')
            self.assertIn('3', m.sh('echo $((1 + 2))'))
            m.type('poweroff -f\n')
            self.assertEqual(m.wait_exit(20), 0, m.output())
            self.assertEqual(m.output(), '')
        return info, maps


class Cost(HostTest):
    def test_idle(self):
        with Linux() as m:
            m.wait_prompt()
            time.sleep(1)
            before = m.cpu_seconds()
            time.sleep(5)
            share = (m.cpu_seconds() - before) / 5
            print(f'idle guest: {share:.2%} of a core', flush=True)
            self.assertLess(share, IDLE_SHARE)

    def test_stopped(self):
        with Linux() as m:
            m.wait_prompt()
            m.busy()
            m.cmd('stop')
            before = m.cpu_seconds()
            time.sleep(2)
            self.assertLess((m.cpu_seconds() - before) / 2, IDLE_SHARE)

    def test_memory(self):
        rss = {}
        for accel in ('tcg', 'xbt'):
            with Linux(accel=accel, memory=512) as m:
                m.wait_prompt()
                time.sleep(0.5)
                rss[accel] = m.rss_mib()
        text = f"RSS at the prompt: xbt {rss['xbt']:.0f} MiB, TCG {rss['tcg']:.0f} MiB"
        print(text, flush=True)
        self.assertLessEqual(rss['xbt'], rss['tcg'] + MORE_THAN_TCG, text)


class Limits(HostTest):
    def test_default_is_the_large_scheme(self):
        """What the other tests of this class take away."""
        info, _ = self.boot()
        self.assertEqual(info['tlb'], 'flat')

    def test_address_space(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (16 * GIB, 16 * GIB))
        info, _ = self.boot(preexec_fn=limit)
        self.assertEqual(info['tlb'], 'tagged')

    def test_address_space_too_small_says_so(self):
        """Not enough for QEMU's own needs and the cache: an error, no crash."""
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (GIB, GIB))
        result = subprocess.run(
            [launcher(), '-accel', 'xbt,tb-size=2000', '-display', 'none', '-S', '-m', '64'],
            env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=30, preexec_fn=limit)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn('tb-size', result.stderr)
        self.assertEqual(len(result.stderr.strip().splitlines()), 1, result.stderr)

    def test_flat_on_request_says_why_not(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (16 * GIB, 16 * GIB))
        result = subprocess.run(
            [launcher(), '-accel', 'xbt,tlb=flat', '-display', 'none', '-S', '-m', '64'],
            env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=30, preexec_fn=limit)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn('address space', result.stderr)

    def test_strict_overcommit_of_this_process(self):
        preload = os.environ.get('XBT_STRICT_OVERCOMMIT')
        if not preload:
            self.skipTest('XBT_STRICT_OVERCOMMIT names no object')
        info, _ = self.boot(env={'LD_PRELOAD': preload})
        self.assertEqual(info['tlb'], 'tagged')

    def test_strict_overcommit_of_the_machine(self):
        """The real switch concerns every process: only where that is allowed."""
        if os.environ.get('XBT_TEST_OVERCOMMIT') != '1' or os.getuid() != 0:
            self.skipTest('changes vm.overcommit_memory for the whole machine: '
                          'set XBT_TEST_OVERCOMMIT=1 as root')
        with open(OVERCOMMIT, encoding='ascii') as file:
            old = file.read()
        try:
            with open(OVERCOMMIT, 'w', encoding='ascii') as file:
                file.write('2')
            self.boot()
        finally:
            with open(OVERCOMMIT, 'w', encoding='ascii') as file:
                file.write(old)

    def test_container_of_2_gib(self):
        # The controller is below the unified hierarchy, or has one of its own.
        limits = [(top, name) for top, name in
                  ((CGROUP, 'memory.max'), (f'{CGROUP}/memory', 'memory.limit_in_bytes'))
                  if os.path.exists(f'{top}/cgroup.procs')]
        if not limits:
            self.skipTest('no control groups here')
        top, name = limits[0]
        group = f'{top}/xbt-test-{os.getpid()}'
        try:
            os.mkdir(group)
        except OSError as error:
            self.skipTest(f'no control group can be made: {error}')
        self.addCleanup(os.rmdir, group)
        if not os.path.exists(f'{group}/{name}'):
            self.skipTest('this host has no memory controller to give away')
        with open(f'{group}/{name}', 'w', encoding='ascii') as file:
            file.write(str(2 * GIB))
        self.boot(memory=512, prefix=('sh', '-c', f'echo $$ >{group}/cgroup.procs && exec "$@"',
                                      'sh'))


class Security(HostTest):
    def test_sandbox(self):
        self.boot('-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,'
                  'resourcecontrol=deny')

    def test_write_xor_execute(self):
        _, maps = self.boot(accel='xbt,wx=on')
        both = [line for line in maps.splitlines() if re.search(r'^\S+ .w.?x|^\S+ rwx', line)]
        self.assertEqual(both, [])
        self.assertRegex(maps, r'(?m)^\S+ r-xs ', 'no second view of the code cache')

    def test_ordinary_user(self):
        if os.getuid() != 0:
            self.skipTest('the whole suite runs as an ordinary user')
        if not os.access(launcher(), os.X_OK):
            self.skipTest('no launcher')
        probe = subprocess.run(['test', '-x', launcher()], user=65534, group=65534,
                               extra_groups=[], check=False)
        if probe.returncode:
            self.skipTest('others may not read the build directory')
        self.boot(user=65534, group=65534, extra_groups=[])


class WithoutTcg(HostTest):
    def test_not_loaded(self):
        _, maps = self.boot()
        self.assertIn('accel-xbt-x86_64.so', maps)
        self.assertNotIn('accel-tcg', maps)

    def test_removed(self):
        """In a mount namespace whose QEMU module directory is empty."""
        if not glob.glob(f'{MODULES}/accel-tcg-*.so'):
            self.skipTest(f'no accel-tcg-*.so in {MODULES}')
        empty = tempfile.mkdtemp(prefix='xbt-empty-')
        self.addCleanup(shutil.rmtree, empty)
        unshare = ['unshare', '-m'] if os.getuid() == 0 else ['unshare', '-rm']
        prefix = [*unshare, 'sh', '-c',
                  f'mount --bind {shlex.quote(empty)} {MODULES} && exec "$@"', 'sh']
        try:
            subprocess.run([*prefix, 'true'], check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.CalledProcessError) as error:
            self.skipTest(f'no mount namespace here: {error}')
        tcg = subprocess.run([*prefix, 'qemu-system-x86_64', '-accel', 'tcg', '-version'],
                             capture_output=True, text=True, timeout=20, check=False)
        gone = subprocess.run([*prefix, 'qemu-system-x86_64', '-accel', 'tcg', '-display', 'none',
                               '-S', '-nodefaults', '-monitor', 'stdio'], input='quit\n',
                              capture_output=True, text=True, timeout=20, check=False)
        self.assertNotEqual(gone.returncode, 0, f'TCG is still there: {tcg.stdout}{gone.stdout}')
        _, maps = self.boot(prefix=prefix)
        self.assertNotIn('accel-tcg', maps)


class Features(HostTest):
    """Hosts that have less; the kernel must not see what is masked."""

    def test_masked(self):
        for options, guest_lacks, host_lacks in (
                ('no-bmi2', {'bmi2'}, {'bmi2'}),
                ('no-avx', {'avx', 'avx2', 'fma', 'f16c'}, {'avx'}),
                ('no-bmi2+no-avx', {'bmi2', 'avx', 'avx2'}, {'bmi2', 'avx'})):
            with self.subTest(options=options), \
                    Linux(accel=f'xbt,host-features={options}') as m:
                m.wait_prompt()
                flags = set(m.sh('grep -m1 ^flags /proc/cpuinfo').split())
                self.assertIn('sse4_2', flags)
                self.assertFalse(flags & guest_lacks, flags)
                self.assertFalse(set(m.cmd('query-xbt')['host-features']) & host_lacks)
                self.assertEqual(m.sh('seq 1 300 | md5sum').split()[0],
                                 subprocess.run('seq 1 300 | md5sum', shell=True, text=True,
                                                capture_output=True, check=True).stdout.split()[0])

    def test_features_of_the_issue(self):
        """-cpu max has these where the host has them."""
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            host = set(re.search(r'(?m)^flags.*', file.read())[0].split())
        wanted = {'invpcid', 'rdseed', 'xsavec', 'sha_ni', 'avx2', 'bmi1', 'bmi2', 'aes',
                  'pclmulqdq', 'movbe', 'adx', 'rdrand', 'fma', 'f16c', 'popcnt', 'sse4_2'}
        with Linux() as m:
            m.wait_prompt()
            guest = set(m.sh('grep -m1 ^flags /proc/cpuinfo').split())
        self.assertEqual(wanted & host - guest, set())
        # These need nothing of the host's processor.
        self.assertEqual({'pcid', 'pge', 'smep', 'smap', 'nx', 'syscall', 'apic'} - guest, set())


if __name__ == '__main__':
    main()
