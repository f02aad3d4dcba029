# SPDX-License-Identifier: GPL-2.0-or-later
"""Each optimisation of translator/optimisations.inc is a property, says so, and is off when it is switched off.

That the engine is right without it is for the engine's tests (tests/insn/meson.build) and `make check-options`.
"""

import os
import re
import subprocess
import unittest

from machine import TOP, Firmware, Machine, QmpError, clean_environment, launcher, main

TABLE = {name: {'in_opt': in_opt == '1', 'on': on == '1', 'text': text} for name, in_opt, on, text in re.findall(
    r'^OPTIMISATION\(\w+,\s*"([a-z0-9-]+)",\s*([01]),\s*([01]),\s*"(.*)"\)$',
    open(os.path.join(TOP, 'translator/optimisations.inc'), encoding='utf-8').read(), re.M)}


def states(m):
    return {o['name']: o['on'] for o in m.cmd('query-xbt')['optimisations']}


class Options(unittest.TestCase):
    def help(self, option='help'):
        result = subprocess.run([launcher(), '-display', 'none', '-accel', f'xbt,{option}'], env=clean_environment(), text=True,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertEqual((result.returncode, result.stderr), (0, ''))
        return result.stdout

    def test_table(self):
        self.assertGreater(len(TABLE), 10)

    def test_defaults(self):
        with Machine('-S') as m:
            self.assertEqual(states(m), {name: row['on'] for name, row in TABLE.items()})

    def test_each_alone(self):
        """The other value than the default's, and nothing else changes."""
        for name, row in TABLE.items():
            with self.subTest(name=name):
                with Machine('-S', accel=f'xbt,{name}={"off" if row["on"] else "on"}') as m:
                    want = {n: r['on'] for n, r in TABLE.items()}
                    want[name] = not row['on']
                    self.assertEqual(states(m), want)

    def test_opt(self):
        with Machine('-S', accel='xbt,opt=off') as m:
            self.assertEqual(states(m), {n: r['on'] and not r['in_opt'] for n, r in TABLE.items()})
            self.assertIn('switched off: native-flags,', m.hmp('info xbt'))

    def test_everything_off(self):
        """The firmware runs without all of them, and what can be counted is not done."""
        off = ','.join(f'{name}=off' for name in TABLE)
        with Firmware(accel=f'xbt,profile=on,{off}') as m:
            m.wait_end()
            self.assertFalse(any(states(m).values()))
            count = m.counters()
            self.assertEqual({name: count[name] for name in (
                'chains-made', 'lookup-chained', 'lookup-jump-cache', 'lookup-jump-cache-inline', 'string-runs')},
                dict.fromkeys(('chains-made', 'lookup-chained', 'lookup-jump-cache', 'lookup-jump-cache-inline',
                               'string-runs'), 0))
            self.assertGreater(count['lookup-hash'], 1000)
            self.assertGreater(count['string-elements'], 1000)

    def test_cross_page_links_off(self):
        """Exits to other pages stay unlinked; others are linked."""
        with Firmware(accel='xbt,cross-page-links=off') as m:
            m.wait_end()
            count = m.counters()
            self.assertEqual(count['exit-unlinked-page'], 0)
            self.assertGreater(count['chains-made'], 100)

    def test_help(self):
        lines = self.help().splitlines()
        for name, row in TABLE.items():
            self.assertTrue(any(re.match(rf'  {name} +bool +{re.escape(row["text"])}$', line) for line in lines), name)
        self.assertTrue(any(line.startswith('  tb-size ') for line in lines), lines)

    def test_help_is_for_the_command_line(self):
        """Off asks for nothing."""
        with Machine('-S', accel='xbt,help=off') as m:
            self.assertTrue(m.cmd('query-xbt'))

    def test_bad_value(self):
        for name in TABLE:
            result = subprocess.run([launcher(), '-display', 'none', '-accel', f'xbt,{name}=maybe'],
                                    env=clean_environment(), text=True, stdin=subprocess.DEVNULL, capture_output=True,
                                    timeout=60)
            self.assertEqual(result.returncode, 1, result)
            self.assertIn(f"'{name}' expects 'on' or 'off'", result.stderr)

    def test_queries_before_the_machine_is_complete(self):
        with Machine('--preconfig') as m:
            for query in ('query-xbt', 'query-xbt-blocks'):
                with self.assertRaisesRegex(QmpError, 'after machine initialization'):
                    m.cmd(query)
            m.cmd('x-exit-preconfig')
            self.assertEqual(len(m.cmd('query-xbt')['cpus']), 1)

    def test_bad_arguments(self):
        with Machine('-S') as m:
            for name, arguments, text in (
                    ('query-xbt', {'x': 1}, "'x' is unexpected"),
                    ('query-xbt-blocks', {'count': -5}, 'from 1 to 1000, not -5'),
                    ('query-xbt-blocks', {'count': 10 ** 11}, 'from 1 to 1000'),
                    ('query-xbt-blocks', {'disassemble': 'yes'}, 'expected: boolean')):
                with self.assertRaisesRegex(QmpError, text):
                    m.cmd(name, **arguments)
            self.assertIn('from 1 to 1000', m.hmp('info xbt-blocks 1001'))
            self.assertEqual(m.cmd('query-xbt-blocks'), [])
            self.assertEqual(m.cmd('query-xbt')['total']['helpers'], [])

    def test_readme_lists_each(self):
        with open(os.path.join(TOP, 'README.md'), encoding='utf-8') as file:
            readme = file.read()
        for name, row in TABLE.items():
            self.assertIn(f'| `{name}=on\\|off` | {"on" if row["on"] else "off"} |', readme, name)


if __name__ == '__main__':
    main()
