# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrate the machine while a nested guest runs (svmmove64.c); it must go on in the new QEMU as it was."""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import build  # noqa: E402

WANT = '\nexit 81\nint_ctl 10f0105\nrcx 2\ncr0 80050033\ngif and hsave 300000\nend\n'


class Machine:
    def __init__(self, folder, name, image, *extra):
        launcher = os.environ.get('XBT_LAUNCHER', os.path.join(HERE, '../../build/qemu-xbt'))
        self.listen = [self.listener(os.path.join(folder, name + part)) for part in ('.qmp', '.serial')]
        self.process = subprocess.Popen(
            [launcher, '-accel', os.environ.get('XBT_TEST_ACCEL', 'xbt'), '-M', 'pc', '-cpu', 'max', '-m', '16', '-bios',
             image, '-nodefaults', '-display', 'none', '-no-reboot', '-device', 'isa-debug-exit,iobase=0xf4',
             '-qmp', f'unix:{folder}/{name}.qmp', '-serial', f'unix:{folder}/{name}.serial', *extra])
        self.qmp, self.serial = (s.accept()[0] for s in self.listen)
        self.lines = self.qmp.makefile('rw')
        self.lines.readline()
        self.cmd('qmp_capabilities')

    @staticmethod
    def listener(path):
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen()
        s.settimeout(60)
        return s

    def cmd(self, name, **arguments):
        self.lines.write(json.dumps({'execute': name, 'arguments': arguments}) + '\n')
        self.lines.flush()
        while True:
            answer = json.loads(self.lines.readline())
            if 'return' in answer:
                return answer['return']
            if 'error' in answer:
                raise RuntimeError(answer['error'])

    def read(self, until=None):
        self.serial.settimeout(60)
        text = ''
        while not until or until not in text:
            data = self.serial.recv(4096)
            if not data:
                break
            text += data.decode('ascii', 'replace')
        return text


def main():
    with tempfile.TemporaryDirectory() as folder:
        image, state = os.path.join(folder, 'image'), os.path.join(folder, 'state')
        build.build('svmmove64.c', image)
        first = Machine(folder, 'a', image)
        first.read('>')
        for _ in range(3):      # the state goes out and in again
            first.cmd('human-monitor-command', **{'command-line': 'info registers'})
        first.cmd('migrate', uri=f'exec:cat >{state}')
        while first.cmd('query-migrate').get('status') not in ('completed', 'failed'):
            time.sleep(0.05)
        first.process.kill()
        first.process.wait()
        second = Machine(folder, 'b', image, '-incoming', f'exec:cat {state}')
        while second.cmd('query-status')['status'] != 'running':
            time.sleep(0.05)
        second.serial.sendall(b'x')
        got = second.read('end\n')
        second.process.wait(30)
    if got != WANT:
        print(f'got {got!r}\nexpected {WANT!r}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
