# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user is told when something is wrong: one line, and a failing exit.

The launcher's own errors are in tests/loader; here the real module is asked.
"""

import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

from machine import Machine, clean_environment, launcher, main, module_path
from module_copy import ModuleCopy


def run(*args, env=None, timeout=60, **popen):
    """QEMU with a machine that is never started; how it ended."""
    return subprocess.run(
        [launcher(), '-display', 'none', '-nodefaults', '-S', *args], cwd='/',
        env=clean_environment(**(env or {})), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout, **popen)


class ErrorTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='xbt-errors-')
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir)

    def check_refused(self, args, *parts, env=None, lines=1):
        """Exit status 1 and @lines lines; the last one has all @parts."""
        try:
            result = run(*args, env=env)
        except subprocess.TimeoutExpired:
            self.fail(f'{args}: QEMU started instead of refusing')
        what = f'{args}: status {result.returncode}, stderr:\n{result.stderr}'
        self.assertEqual(result.returncode, 1, what)
        said = result.stderr.strip().splitlines()
        self.assertEqual(len(said), lines, what)
        for part in parts:
            self.assertIn(part, said[-1], what)
        return said


class Module(ErrorTest):
    def test_missing(self):
        self.check_refused(['-accel', 'xbt'], 'accel-xbt-x86_64.so', 'not found', self.dir,
                           env={'QEMU_MODULE_DIR': self.dir})

    def test_of_another_build(self):
        copy = ModuleCopy(self.dir)
        ours = copy.stamp()
        copy.set_stamp('0123456789' * 4)
        copy.set_built_for('9.9.9 (Other 1:9.9)')
        copy.save()
        self.check_refused(['-accel', 'xbt'], copy.path, '9.9.9 (Other 1:9.9)',
                           '0123456789' * 4, ours, '7.2',
                           env={'QEMU_MODULE_DIR': self.dir})

    def test_truncated(self):
        with open(module_path(), 'rb') as file:
            data = file.read()
        path = os.path.join(self.dir, os.path.basename(module_path()))
        with open(path, 'wb') as file:
            file.write(data[:100000])
        self.check_refused(['-accel', 'xbt'], path, 'incomplete', env={'QEMU_MODULE_DIR': self.dir})

    # ---- the ABI self-check says which field --------------------------------

    def check_abi(self, table, row, change, *parts):
        copy = ModuleCopy(self.dir)
        old, new = copy.change_number(table, row, change)
        copy.save()
        self.check_refused(['-accel', 'xbt'], 'built for another QEMU', str(old), str(new),
                           'rebuild xbt', *parts, env={'QEMU_MODULE_DIR': self.dir})

    def test_copy_unchanged_is_accepted(self):
        """The patched copies are refused for what was patched."""
        ModuleCopy(self.dir).save()
        with Machine('-S', env={'QEMU_MODULE_DIR': self.dir}) as m:
            self.assertIn('version', m.cmd('query-xbt'))

    def test_abi_field_of_cpu(self):
        self.check_abi('x86_fields', 1, 8, 'X86CPU.env.eip')

    def test_abi_field_in_subsection(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)),
                               '../../accel-xbt/xbt-abi.c'), encoding='utf-8') as file:
            table = file.read().split('x86_fields[] = {')[1].split('};')[0]
        names = re.findall(r'F\((.*?)\)', table)
        self.check_abi('x86_fields', names.index('env.pkru'), -4, 'X86CPU.env.pkru')

    def test_abi_field_of_common_state(self):
        self.check_abi('common_fields', 0, 8, 'CPUState.halted')

    def test_abi_size(self):
        self.check_abi('sizes', 0, 16, 'x86_64-cpu')


class Options(ErrorTest):
    def test_unknown_property(self):
        self.check_refused(['-accel', 'xbt,nonsense=1'], 'nonsense', 'not found')

    def test_bad_values(self):
        for option, parts in {
                'tb-size=0': ('tb-size', '1', '2047'),
                'tb-size=1000000': ('tb-size', '2047', '1000000'),
                'tb-size=many': ('tb-size',),
                'flush-every=-1': ('flush-every', '-1'),
                'chain=maybe': ('chain', 'on'),
                'one-insn=2': ('one-insn',),
                'thread=x': ('thread', 'single', 'multi'),
                'wx=x': ('wx',),
                'profile=': ('profile',),
                'tlb=round': ('tlb', 'flat', 'tagged', 'round'),
                'dump=guest+all': ('dump', 'all', 'host'),
                'dump-filter=12': ('dump-filter', 'lo-hi'),
                'dump-filter=20-10': ('dump-filter', 'lo-hi'),
                'host-features=no-sse2': ('host-features', 'no-sse2', 'no-bmi2')}.items():
            with self.subTest(option=option):
                self.check_refused(['-accel', f'xbt,{option}'], *parts)

    def test_too_many_cpus(self):
        self.check_refused(['-accel', 'xbt', '-machine', 'q35', '-smp', '256'], 'smp', '256')

    def test_other_machine(self):
        self.check_refused(['-accel', 'xbt', '-machine', 'x-remote'], 'xbt', 'x-remote')

    def test_icount(self):
        result = run('-accel', 'xbt', '-icount', 'shift=1')
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn('icount', result.stderr)


class Features(ErrorTest):
    """xop, mpx and vmx are not offered; no host has them all."""

    def warnings(self, cpu):
        with Machine('-S', '-cpu', cpu) as m:
            m.cmd('query-status')
            return m.output().strip().splitlines()

    def test_warning_per_feature(self):
        said = self.warnings('qemu64,+xop,+mpx,+vmx')
        self.assertEqual(len(said), 3, said)
        for name in ('ECX.xop [bit 11]', 'EBX.mpx [bit 14]', 'ECX.vmx [bit 5]'):
            self.assertTrue(any("xbt doesn't support requested feature: CPUID." in line and
                                name in line for line in said), (name, said))

    def test_no_warning_without_check(self):
        self.assertEqual(self.warnings('qemu64,+xop,check=off'), [])

    def test_no_warning_for_what_is_offered(self):
        for cpu in ('qemu64', 'max', 'qemu64,+aes,+ssse3,+popcnt,+pcid'):
            with self.subTest(cpu=cpu):
                self.assertEqual(self.warnings(cpu), [])

    def test_enforce(self):
        said = self.check_refused(['-accel', 'xbt', '-cpu', 'qemu64,+xop,+mpx,enforce'],
                                  "xbt doesn't support requested features", lines=3)
        self.assertIn('xop', ' '.join(said[:2]))
        self.assertIn('mpx', ' '.join(said[:2]))

    def test_enforce_with_nothing_missing(self):
        self.assertEqual(self.warnings('max,enforce'), [])

    def test_masked_host_features(self):
        said = None
        with Machine('-S', '-cpu', 'qemu64,+avx,+bmi2',
                     accel='xbt,host-features=no-bmi2+no-avx') as m:
            self.assertEqual(m.cmd('query-xbt')['host-features'], [])
            said = m.output()
        for name in ('avx', 'bmi2'):
            self.assertIn(f'.{name} ', said)

    def test_unknown_feature(self):
        self.check_refused(['-accel', 'xbt', '-cpu', 'max,+nonsense'], 'nonsense')


class Launcher(ErrorTest):
    def test_names_another_binary(self):
        """QEMU= runs that binary, with exactly the arguments given."""
        script = os.path.join(self.dir, 'my qemu')
        with open(script, 'w', encoding='utf-8') as file:
            file.write('#!/bin/sh\necho "mine: $*" >&2\nexec qemu-system-x86_64 "$@"\n')
        os.chmod(script, os.stat(script).st_mode | stat.S_IXUSR)
        with Machine('-S', env={'QEMU': script}) as m:
            self.assertIn('version', m.cmd('query-xbt'))
            self.assertIn('mine: -accel xbt -display none', m.output())

    def test_by_name(self):
        with Machine('-S', env={'QEMU': 'qemu-system-x86_64'}) as m:
            self.assertIn('version', m.cmd('query-xbt'))

    def test_binary_missing(self):
        result = run('-accel', 'xbt', env={'QEMU': '/nonexistent/qemu'})
        self.assertNotEqual(result.returncode, 0)
        self.assertRegex(result.stderr, r"^qemu-xbt: error: .*/nonexistent/qemu.*\n$")

    @unittest.skipUnless(os.getuid() == 0, 'needs root to become another')
    def test_ordinary_user(self):
        for path in (launcher(), module_path()):
            directory = os.path.dirname(os.path.realpath(path))
            while directory != '/':
                if not os.stat(directory).st_mode & stat.S_IXOTH:
                    self.skipTest(f'others may not enter {directory}')
                directory = os.path.dirname(directory)
        with Machine('-S', user=65534, group=65534, extra_groups=[]) as m:
            self.assertIn('version', m.cmd('query-xbt'))
            self.assertRegex(m.proc('status'), r'Uid:\s+65534')


if __name__ == '__main__':
    main()
