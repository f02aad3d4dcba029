# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps and logs have in them what they should; each mode boots SeaBIOS."""

import re
import tempfile
import unittest

from machine import Firmware, main, until

PATTERNS = {
    'guest': r'(?m)^block 0xfffffff0 .*\n  0xfff0:  ljmp ',
    'ir': r'(?m)^  fff0: jmpf\n +helper\.x ',
    'host': r'(?m)^host 0x[0-9a-f]+, \d+ bytes(?:, cold 0x[0-9a-f]+, \d+ bytes)?\n  0x[0-9a-f]+:  \w+',
    'exit': r'(?m)^exit .*rax=[0-9a-f]{16}|^enter .*rax=[0-9a-f]{16}',
    'exec': r'(?m)^enter f000:0000000000000?fff0 ',
}
CATEGORIES = {'in_asm': 'guest', 'op': 'ir', 'op_opt': 'ir', 'op_ind': 'ir', 'out_asm': 'host', 'exec': 'exec'}
RESET_VECTOR = 'fffffff0-ffffffff'


class DebugTest(unittest.TestCase):
    def setUp(self):
        file = tempfile.NamedTemporaryFile(prefix='xbt-log-', suffix='.log')
        self.addCleanup(file.close)
        self.path = file.name

    def log(self, *args, accel='xbt', until_text=Firmware.END):
        """The log of a start of SeaBIOS, and QEMU's own output."""
        with Firmware('-D', self.path, *args, accel=accel) as m:
            m.wait_end(text=until_text)
            m.cmd('quit')
            self.assertEqual(m.wait_exit(10), 0, m.output())
            self.said = m.output()
        with open(self.path, encoding='utf-8', errors='replace') as file:
            return file.read()


class Dump(DebugTest):
    def test_each_stage(self):
        for stage, pattern in PATTERNS.items():
            with self.subTest(stage=stage):
                text = self.log(accel=f'xbt,dump={stage},dump-filter={RESET_VECTOR}')
                self.assertRegex(text or self.said, pattern)
                for other in {'guest', 'ir', 'host'} - {stage}:
                    self.assertNotRegex(text, PATTERNS[other], f'not asked for: {other}')

    def test_together(self):
        text = self.log(accel=f'xbt,dump=guest+ir+host+exit,dump-filter={RESET_VECTOR}')
        for stage in ('guest', 'ir', 'host', 'exit'):
            self.assertRegex(text, PATTERNS[stage])

    def test_filter(self):
        text = self.log(accel='xbt,dump=guest,dump-filter=fe000-fe0ff')
        blocks = [int(a, 16) for a in re.findall(r'(?m)^block 0x([0-9a-f]+)', text)]
        self.assertTrue(blocks, text[:500])
        self.assertTrue(all(0xfe000 <= a <= 0xfe0ff for a in blocks),
                        [hex(a) for a in blocks[:20]])

    def test_without_a_file_it_goes_to_stderr(self):
        with Firmware(accel=f'xbt,dump=guest,dump-filter={RESET_VECTOR}') as m:
            m.wait_end()
            self.assertRegex(m.output(), PATTERNS['guest'])

    def test_nothing_unless_asked(self):
        self.assertEqual(self.log(), '')
        self.assertEqual(self.said, '')


class Categories(DebugTest):
    """QEMU's own -d."""

    def test_code(self):
        for category, stage in CATEGORIES.items():
            with self.subTest(category=category):
                text = self.log('-d', category, until_text='SeaBIOS (version')
                self.assertRegex(text, PATTERNS[stage])

    def test_cpu(self):
        text = self.log('-d', 'cpu', until_text='SeaBIOS (version')
        self.assertRegex(text, PATTERNS['exit'])

    def test_fpu(self):
        text = self.log('-d', 'cpu,fpu', until_text='SeaBIOS (version')
        self.assertRegex(text, r'(?m)^enter f000:.*\n  fcw=037f .* mxcsr=00001f80 st0=0{20} .* xmm15=0{32}$')

    def test_far_transfers_and_control_registers(self):
        text = self.log('-d', 'pcall,mmu', until_text='SeaBIOS (version')
        self.assertRegex(text, r'(?m)^CR0 update: CR0=0x00000011\nljmp 0008:[0-9a-f]+ s=4$')
        text = self.log('-d', 'mmu', until_text='SeaBIOS (version')
        self.assertNotIn('ljmp', text)

    def test_reset(self):
        self.assertRegex(self.log('-d', 'cpu_reset'), r'(?m)^CPU Reset \(CPU 0\)\n.*\n(.*\n)*EIP=')

    def test_others_are_silent(self):
        for category in ('guest_errors', 'unimp', 'page', 'plugin', 'strace'):
            with self.subTest(category=category):
                text = self.log('-d', category, until_text='SeaBIOS (version')
                self.assertNotRegex(text + self.said, '(?i)block 0x|enter |xbt')

    def test_nochain(self):
        """Then exec sees every block, also those that were chained already when it was switched on."""
        with Firmware('-D', self.path) as m:
            m.wait_end()
            before = m.counters()
            m.hmp('log nochain')
            m.cmd('system_reset')
            m.qmp.wait_event('RESET')
            until(lambda: m.messages().count(Firmware.END) == 2, 60, 'SeaBIOS did not come to its end again')
            after = m.counters()
            self.assertEqual(after['chains-made'], before['chains-made'])
            self.assertEqual(after['lookup-jump-cache'], before['lookup-jump-cache'])
            m.hmp('log none')
            m.cmd('system_reset')
            until(lambda: m.messages().count(Firmware.END) == 3, 60, 'SeaBIOS did not come to its end again')
            self.assertGreater(m.counters()['chains-made'], after['chains-made'])

    def test_a_file_for_each_thread(self):
        with tempfile.TemporaryDirectory() as directory:
            with Firmware('-D', directory + '/log-%d', '-d', 'int,tid') as m:
                m.wait_end()
                vcpu = m.cmd('query-cpus-fast')[0]['thread-id']
            with open(f'{directory}/log-{vcpu}', encoding='ascii') as file:
                self.assertIn('v=10 INT', file.read())

    def test_int(self):
        text = self.log('-d', 'int')
        lines = [line for line in text.splitlines() if re.match(r' *\d+: v=', line)]
        self.assertRegex(lines[0], r'v=[0-9a-f]{2} .*cpl=0 IP=f000:0000')
        self.assertTrue(any('v=10 INT' in line for line in lines), 'video BIOS calls')
        self.assertTrue(any('v=08 ' in line for line in lines), 'timer interrupts')

    def test_dfilter(self):
        text = self.log('-d', 'in_asm', '-dfilter', '0xfffffff0+15')
        self.assertEqual(len(re.findall(r'(?m)^block 0x', text)), 1, text[:400])
        self.assertIn('block 0xfffffff0 ', text)

    def test_switched_on_while_it_runs(self):
        """By the monitor, with nothing but the guest's own interrupts to notice it."""
        with Firmware('-D', self.path) as m:
            m.wait_end(text='SeaBIOS (version')
            m.hmp('log exec')
            m.wait_end()
            m.hmp('log none')
            with open(self.path, encoding='utf-8', errors='replace') as file:
                self.assertRegex(file.read(), r'(?m)^enter [0-9a-f]{4}:')

    def test_switched_on_later(self):
        with Firmware('-D', self.path) as m:
            m.wait_end()
            m.hmp('log int,in_asm')
            before = len(m.messages())
            m.cmd('system_reset')
            m.qmp.wait_event('RESET')
            while Firmware.END not in m.messages()[before:]:
                self.assertIsNone(m.process.poll())
            m.hmp('log none')
        with open(self.path, encoding='utf-8', errors='replace') as file:
            text = file.read()
        self.assertIn('v=10 INT', text)
        self.assertRegex(text, r'(?m)^block 0x')


class Modes(DebugTest):
    """The switches that divide a miscompile's search space."""

    def check(self, options, *args):
        with Firmware(*args, accel=f'xbt,{options}') as m:
            m.wait_end()
            self.assertEqual(m.output(), '')
            return m.cmd('query-xbt'), m.counters(), m.cmd('query-xbt-blocks', count=1000)

    def test_one_insn(self):
        _, _, blocks = self.check('one-insn=on')
        self.assertEqual({b['guest-insns'] for b in blocks}, {1})

    def test_no_chain(self):
        _, count, _ = self.check('chain=off')
        self.assertEqual(count['chains-made'], 0)
        _, count, _ = self.check('chain=on')
        self.assertGreater(count['chains-made'], 0)

    def test_no_opt(self):
        self.check('opt=off')

    def test_no_jump_cache(self):
        _, count, _ = self.check('jump-cache=off')
        self.assertEqual(count['lookup-jump-cache'], 0)

    def test_flush_every(self):
        info, _, _ = self.check('flush-every=20')
        self.assertGreater(info['store']['flushes'], 50)
        self.assertLessEqual(info['store']['blocks-live'], 20)

    def test_tiny_cache(self):
        info, _, _ = self.check('tb-size=1')
        self.assertEqual(info['store']['size'], 1 << 20)

    def test_tlb_formats(self):
        for tlb in ('flat', 'tagged'):
            with self.subTest(tlb=tlb):
                self.assertEqual(self.check(f'tlb={tlb}')[0]['tlb'], tlb)

    def test_profile(self):
        _, _, blocks = self.check('profile=on')
        self.assertGreater(blocks[0]['executions'], 100)

    def test_without_profile(self):
        _, _, blocks = self.check('profile=off')
        self.assertEqual({b['executions'] for b in blocks}, {0})
        sizes = [b['guest-bytes'] for b in blocks]
        self.assertEqual(sizes, sorted(sizes, reverse=True))

    def test_all_at_once(self):
        self.check('one-insn=on,chain=off,opt=off,jump-cache=off,flush-every=100,tb-size=1,'
                   'wx=on,profile=on,tlb=tagged,host-features=no-bmi2+no-avx')


if __name__ == '__main__':
    main()
