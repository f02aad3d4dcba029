#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that checks itself (live32.c) is moved while it writes and while its code changes: migration in several
passes, savevm and loadvm, pause and continue."""

import os
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(HERE, '../system'), os.path.join(HERE, '../qtest')]

import build  # noqa: E402
from machine import Failure, Machine, until  # noqa: E402

ACCEL = os.environ.get('XBT_TEST_ACCEL', 'xbt')


class Guest(Machine):
    def __init__(self, image, *args):
        super().__init__('-M', 'pc', '-cpu', 'max', '-m', '32', '-bios', image, '-nodefaults', *args, accel=ACCEL)

    def ask(self, letter, answer, timeout=30):
        start = self.console.mark()
        self.type(letter)
        end = self.console.wait(answer, timeout, start)
        return self.console.text[start:end]

    def verify(self, version):
        text = self.ask('v', 'verified\n')
        if 'BAD' in self.console.text or f'version {version:x}\n' not in text:
            raise Failure(f'the guest says:\n{text}')


class Live(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory(prefix='xbt-live-')
        self.image = os.path.join(self.tmp.name, 'image')
        build.build(os.path.join(HERE, 'live32.c'), self.image)

    def tearDown(self):
        self.tmp.cleanup()

    def start(self):
        m = Guest(self.image)
        m.console.wait('ready\n', 30)
        return m

    def test_migrate_while_writing(self):
        """Slow enough for several passes over memory that never stops changing; then the rest at once."""
        path = os.path.join(self.tmp.name, 'state')
        with self.start() as m:
            m.ask('p', 'patched 2\n')
            m.verify(2)
            m.cmd('migrate-set-parameters', downtime_limit=5, max_bandwidth=48 << 20)
            m.cmd('migrate', uri=f'exec:cat >{path}')

            def passes():
                ram = m.cmd('query-migrate').get('ram', {})
                return ram.get('dirty-sync-count', 0)
            until(lambda: passes() >= 4, 60, 'there were no four passes')
            m.cmd('migrate-set-parameters', downtime_limit=10000)
            until(lambda: m.cmd('query-migrate')['status'] == 'completed', 60, 'migration did not end')
        with Guest(self.image, '-incoming', f'exec:cat {path}') as other:
            until(lambda: other.cmd('query-status')['status'] == 'running', 60, 'the incoming guest does not run')
            other.verify(2)
            other.ask('p', 'patched 3\n')
            other.verify(3)

    def test_loadvm_takes_code_back(self):
        with Guest(self.image, '-S') as m:
            file = {'driver': 'file', 'filename': os.path.join(self.tmp.name, 'snapshot')}
            self.create(m, {**file, 'size': 0})
            m.cmd('blockdev-add', **file, node_name='file0')
            self.create(m, {'driver': 'qcow2', 'file': 'file0', 'size': 1 << 20})
            m.cmd('blockdev-add', driver='qcow2', file='file0', node_name='disk0')
            m.cmd('cont')
            m.console.wait('ready\n', 30)
            m.ask('p', 'patched 2\n')
            for version in (3, 4):
                self.assertEqual(m.hmp('savevm one').strip(), '')
                m.ask('p', f'patched {version:x}\n')
                m.verify(version)
                self.assertEqual(m.hmp('loadvm one').strip(), '')
                m.verify(version - 1)
                m.ask('p', f'patched {version:x}\n')

    def create(self, m, options):
        m.cmd('blockdev-create', job_id='create', options=options)
        until(lambda: any(j['status'] == 'concluded' for j in m.cmd('query-jobs')), 20, 'blockdev-create did not end')
        m.cmd('job-dismiss', id='create')

    def test_stop_and_continue(self):
        with self.start() as m:
            for version in range(2, 8):
                m.cmd('stop')
                time.sleep(0.02)
                m.cmd('cont')
                m.ask('p', f'patched {version:x}\n')
                m.verify(version)


if __name__ == '__main__':
    unittest.main()
