# SPDX-License-Identifier: GPL-2.0-or-later
"""What bench/run computes from what programs print."""

import os
import sys
import unittest

ROOT = os.environ['XBT_SOURCE_ROOT']
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(ROOT, 'bench'), os.path.join(ROOT, 'scripts')]

import density  # noqa: E402
import report  # noqa: E402
import workloads  # noqa: E402


def row(name, **sides):
    return {'name': name, 'group': '', 'sides': {side: {'median_ns': ns} for side, ns in sides.items()}}


class Computed(unittest.TestCase):
    def test_rates_of_openssl(self):
        text = ['XBT-SPEED rsa2048', '+F2:2:2048:500.5:9000', 'XBT-SPEED end',
                'XBT-SPEED -bytes 16384 -evp sha256', '+F:25:sha256:2000000.00', '+F:25:sha256:0.00']
        rates = workloads.speed_lines([(10 + i, 5 + i / 2, line) for i, line in enumerate(text)])
        self.assertEqual(rates, {'rsa2048-sign': (500.5, 1, .5), 'rsa2048-verify': (9000, 1, .5),
                                 'sha256': (2e6, 1, .5)})

    def test_equal_processor(self):
        # CPUID.7 EBX bit 29 is SHA; ECX bit 9 of the same leaf VAES; CPUID.1 ECX bit 28 AVX (SDM vol. 2, CPUID).
        native = ['avx', 'avx2', 'sha_ni', 'vaes', 'fpu']
        self.assertEqual(workloads.equal_cpu(native, ['avx', 'avx2', 'fpu']), '~0x0:~0x20020000000')
        self.assertEqual(workloads.equal_cpu(native, ['avx2', 'sha_ni', 'vaes']), '~0x1000000000000000:~0x0')

    def test_growth(self):
        data = {'sides': ['native', 'xbt'], 'rows': [row('code-1x', native=10, xbt=20),
                                                     row('code-10x', native=12, xbt=30), row('memory-1x', xbt=1)]}
        self.assertEqual(report.growth_lines(data), ['10 times the live code, cost per unit: native 1.20, xbt 1.50'])

    def test_hot_code(self):
        def block(executions, insns, guest, host):
            return {'executions': executions, 'guest-insns': insns, 'guest-bytes': guest, 'host-bytes': host}

        found = [block(10, 1, 3, 30), block(1000, 10, 40, 200), block(1000, 5, 10, 60)]
        self.assertEqual(density.summary(found), (50, 260))

    def test_groups(self):
        names = [name for group in workloads.GROUPS.values() for name in group]
        self.assertEqual(sorted(names), sorted(set(names)))
        for group in workloads.USUAL + ['jit']:
            self.assertIn(group, workloads.GROUPS)
        for name in workloads.GROUPS['root'] + workloads.GROUPS['jit']:
            self.assertIn(f'XBT-SUM {name} ', workloads.root_script([name]))


if __name__ == '__main__':
    unittest.main()
