# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules that hold for the source tree as a whole."""

import os
import re
import unittest

ROOT = os.environ['XBT_SOURCE_ROOT']
FOLDERS = ('accel-xbt', 'translator', 'tlb', 'tb-store', 'loader', 'qapi',
           'tests', 'bench', 'scripts', 'docs')
SOURCE = ('.c', '.h', '.S', '.inc', '.py', '.sh', '.build')

# Headers of QEMU, by the folders of its include/ and by name.
QEMU_HEADER = re.compile(
    r'^\s*#\s*include\s*["<](qemu/|exec/|hw/|sysemu/|system/|qapi/|qom/|'
    r'monitor/|migration/|accel/|target/i386/|cpu\.h)', re.M)


def files(*folders):
    for folder in folders:
        for directory, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if name.endswith(SOURCE):
                    path = os.path.join(directory, name)
                    with open(path, encoding='utf-8') as file:
                        yield os.path.relpath(path, ROOT), file.read()


class Sources(unittest.TestCase):
    def test_only_accel_xbt_includes_qemu(self):
        allowed = ('tests/loader/probe_accel.c',)
        bad = [path for path, text in files('translator', 'tlb', 'tb-store',
                                            'loader', 'tests')
               if path not in allowed and QEMU_HEADER.search(text)]
        self.assertEqual(bad, [])

    def test_every_source_names_its_license(self):
        bad = [path for path, text in files(*FOLDERS)
               if 'SPDX-License-Identifier: GPL-2.0-or-later'
               not in text[:400]]
        self.assertEqual(bad, [])

    def test_nothing_of_qemu_is_committed(self):
        bad = [path for path, text in files(*FOLDERS)
               if 'This work is licensed under the terms of the GNU GPL'
               in text and 'test_sources' not in path]
        self.assertEqual(bad, [])


if __name__ == '__main__':
    unittest.main()
