# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts: how apt's source lists are read, shell syntax, what check-options runs, how where-time sorts."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.environ['XBT_SOURCE_ROOT']
HEADERS = os.path.join(ROOT, 'scripts/qemu-headers.sh')
DEB_SRC = os.path.join(ROOT, 'scripts/deb-src.sh')


def shell_function(name):
    with open(DEB_SRC, encoding='utf-8') as file:
        text = file.read()
    return re.search(rf'^{name}\(\)\n\{{.*?^\}}$', text, re.M | re.S).group(0)


def convert(function, text):
    with tempfile.NamedTemporaryFile('w', suffix='.list') as file:
        file.write(text)
        file.flush()
        script = (f'codename=bookworm\n{shell_function(function)}\n'
                  f'{function} "$1"')
        return subprocess.run(['sh', '-euc', script, 'sh', file.name],
                              check=True, capture_output=True,
                              text=True).stdout


class SourceLists(unittest.TestCase):
    def one_line(self, text):
        return convert('one_line_sources', text).splitlines()

    def deb822(self, text):
        return [stanza.splitlines() for stanza in
                convert('deb822_sources', text).strip().split('\n\n')
                if stanza]

    def test_one_line(self):
        self.assertEqual(
            self.one_line('deb http://mirror/debian bookworm main contrib\n'
                          '# deb http://mirror/debian bookworm-backports main\n'
                          'deb-src http://mirror/debian bookworm-updates main\n'
                          '  deb http://sec/ bookworm-security main # why\n'),
            ['deb-src http://mirror/debian bookworm main',
             'deb-src http://mirror/debian bookworm-updates main',
             'deb-src http://sec/ bookworm-security main'])

    def test_one_line_keeps_options_but_not_architectures(self):
        self.assertEqual(
            self.one_line('deb [ arch=amd64 signed-by=/k.gpg ] http://m/d '
                          'bookworm main\n'
                          'deb [arch=amd64] http://m/e bookworm main\n'
                          'deb [trusted=yes] file:/srv/d stable main\n'),
            ['deb-src [  signed-by=/k.gpg ] http://m/d bookworm main',
             'deb-src http://m/e bookworm main',
             'deb-src [trusted=yes] file:/srv/d stable main'])

    def test_one_line_skips_other_archives(self):
        self.assertEqual(
            self.one_line('deb https://a/cloud cloud-sdk-bookworm main\n'
                          'deb https://b/node nodistro main\n'
                          'deb https://c/docker bookworm stable\n'), [])

    def test_deb822(self):
        self.assertEqual(
            self.deb822('Types: deb deb-src\n'
                        '# a comment\n'
                        'URIs: http://m/debian\n'
                        'Suites: bookworm bookworm-updates\n'
                        'Components: main contrib\n'
                        'Architectures: amd64\n'
                        'Signed-By: /k.gpg\n'
                        '\n'
                        'Types: deb\n'
                        'URIs: http://m/debian-security\n'
                        'Suites:\n'
                        ' bookworm-security\n'
                        'Components: main\n'),
            [['Types: deb-src', 'Components: main', 'URIs: http://m/debian',
              'Suites: bookworm bookworm-updates', 'Signed-By: /k.gpg'],
             ['Types: deb-src', 'Components: main',
              'URIs: http://m/debian-security', 'Suites:',
              ' bookworm-security']])

    def test_deb822_keeps_an_inline_key(self):
        key = ['Signed-By:', ' -----BEGIN PGP PUBLIC KEY BLOCK-----', ' .',
               ' abc', ' -----END PGP PUBLIC KEY BLOCK-----']
        out = self.deb822('Types: deb\nURIs: http://m/\nSuites: bookworm\n'
                          'Components: main\n' + '\n'.join(key) + '\n')
        self.assertEqual(out[0][-len(key):], key)

    def test_deb822_skips_disabled_and_other_archives(self):
        self.assertEqual(
            self.deb822('Types: deb\nURIs: http://m/\nSuites: bookworm\n'
                        'Components: main\nEnabled: no\n'
                        '\n'
                        'Types: deb\nURIs: https://n/\nSuites: nodistro\n'
                        'Components: main\n'), [])


class Scripts(unittest.TestCase):
    def test_shell_syntax(self):
        paths = [os.path.join(ROOT, 'scripts', name)
                 for name in os.listdir(os.path.join(ROOT, 'scripts'))
                 if name.endswith('.sh')]
        paths += [os.path.join(ROOT, 'scripts/guest', name)
                  for name in ('init', 'run', 'cases')]
        paths += [os.path.join(ROOT, '.ci/run'),
                  os.path.join(ROOT, 'loader/qemu-xbt.in')]
        for path in paths:
            with self.subTest(path=path):
                subprocess.run(['sh', '-n', path], check=True)

    def test_headers_second_run_returns_at_once(self):
        result = subprocess.run([HEADERS], capture_output=True, text=True,
                                timeout=20, check=False,
                                env=dict(os.environ,
                                         http_proxy='http://127.0.0.1:1'))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn('up to date', result.stdout)

    def test_install_deps_names_packages_without_root(self):
        if os.getuid() != 0:
            self.skipTest('needs root to become another')
        with tempfile.TemporaryDirectory() as directory:
            os.chmod(directory, 0o755)
            # A dpkg-query that knows no package.
            fake = os.path.join(directory, 'dpkg-query')
            with open(fake, 'w', encoding='utf-8') as file:
                file.write('#!/bin/sh\nexit 1\n')
            os.chmod(fake, 0o755)
            with open(os.path.join(ROOT, 'scripts/install-deps.sh'),
                      encoding='utf-8') as file:
                script = file.read()
            result = subprocess.run(
                ['sh', '-c', script], cwd='/', user=65534, group=65534,
                extra_groups=[], capture_output=True, text=True, check=False,
                env={'PATH': f'{directory}:/usr/bin:/bin'})
        self.assertEqual(result.returncode, 1)
        self.assertIn('apt-get install', result.stderr)
        self.assertIn('qemu-system-x86', result.stderr)


def python_script(name):
    loader = importlib.machinery.SourceFileLoader(name.replace('-', '_'), os.path.join(ROOT, 'scripts', name))
    sys.dont_write_bytecode = True
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class CheckOptions(unittest.TestCase):
    def setUp(self):
        self.script = python_script('check-options')
        with open(os.path.join(ROOT, 'translator/optimisations.inc'), encoding='utf-8') as file:
            self.lines = [line for line in file if line.startswith('OPTIMISATION(')]

    def test_a_way_for_each_line(self):
        ways = self.script.ways()
        self.assertGreater(len(self.lines), 10)
        self.assertEqual(len(ways), len(self.lines) + 3)
        for line, way in zip(self.lines, ways):
            name = line.split('"')[1]
            self.assertEqual(way, (f'{name}=off', f'no-{name}', f'{name}=off'))
        self.assertEqual([way.properties.count('=off') for way in ways[-3:]], [1, len(self.lines), 0])

    def test_everything_is_run(self):
        way = self.script.ways()[0]
        images = [name[:-7] for name in os.listdir(os.path.join(ROOT, 'tests/system')) if name.endswith('.expect')]
        commands = self.script.commands(way, self.script.GROUPS, '/tests')
        for name in ('test_insn_smoke', 'test_insn_rows', 'test_insn_alone', 'test_smc', 'fuzz', 'hostile'):
            self.assertTrue(any(command[0].endswith('/' + name) and way.machine in command for _, command in commands),
                            name)
        for image in images:
            self.assertTrue(any(image in command and command[-1].startswith(f',{way.properties}')
                                for _, command in commands), image)
        self.assertEqual({group for group, _ in commands}, set(self.script.GROUPS))


class WhereTime(unittest.TestCase):
    def test_parts(self):
        part = python_script('where-time').part_of
        module = '/x/accel-xbt-x86_64.so'
        files = {'dec_decode': 'translator/decode.c', 'lower_addr': 'translator/x86-64/lower_mem.c',
                 'help_in': 'translator/help_io.c', 'xbt_vcpu_run': 'translator/exec.c', 'tlb_walk': 'tlb/walk.c',
                 'tlb_slow_read': 'tlb/slow.c', 'tb_link': 'tb-store/link.c', 'host_poll': 'accel-xbt/xbt-host.c'}
        for name, dso, want in (
                ('user64:4d4890', '/tmp/perf-1.map', ('generated code', 'user')),
                ('kernel32:3f5694f.cold', 'x', ('generated code', 'kernel, rare paths')),
                ('nested-user64:1000', 'x', ('generated code', 'user')),
                ('real16:fe05b', 'x', ('generated code', 'real mode')),
                ('v86:1000', 'x', ('generated code', 'real mode')),
                ('xbt:slow-read', 'x', ('generated code', 'ways in and out (thunks)')),
                ('dec_decode', module, ('xbt', 'making blocks')),
                ('lower_addr.isra.0', module, ('xbt', 'making blocks')),
                ('help_in', module, ('xbt', 'other helpers')),
                ('xbt_vcpu_run', module, ('xbt', 'the loop, interrupts')),
                ('tlb_walk', module, ('xbt', 'page walks and fills')),
                ('tlb_slow_read', module, ('xbt', 'slow accesses')),
                ('tb_link', module, ('xbt', 'block store: links, lookups, invalidation')),
                ('host_poll', module, ('xbt', 'calls of QEMU')),
                ('other', module, ('xbt', 'unknown')),
                ('clear_page_erms', '[kernel.kallsyms]', ('host', 'kernel')),
                ('main_loop_wait', '/usr/bin/qemu-system-x86_64', ('host', 'QEMU')),
                ('memcpy', '/lib/libc.so.6', ('host', 'libraries')),
                ('[unknown]', '[JIT] tid 7', ('generated code', 'not in the perf map'))):
            self.assertEqual(part(name, dso, files), want, name)


if __name__ == '__main__':
    unittest.main()
