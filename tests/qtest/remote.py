# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine whose guest is remote64.c: it starts in a moment and does single accesses when asked."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, '../system'))

import build  # noqa: E402
from machine import Machine  # noqa: E402

ACCEL = os.environ.get('XBT_TEST_ACCEL', 'xbt')
CODE = 0x400000         # free memory
_images = []


def image():
    """The firmware, built once per process."""
    if not _images:
        folder = tempfile.TemporaryDirectory(prefix='xbt-remote-')
        os.chmod(folder.name, 0o755)
        path = os.path.join(folder.name, 'image')
        build.build(os.path.join(HERE, 'remote64.c'), path)
        _images.extend((path, folder))
    return _images[0]


class GuestFault(Exception):
    """The guest met an exception; args[0] is its vector."""


class Remote(Machine):
    def __init__(self, *args, memory='32M', options='', accel=None, firmware=True, **job):
        accel = accel or ACCEL + (options if ACCEL == 'xbt' else '')
        super().__init__('-nodefaults', '-cpu', 'max', '-m', memory,
                         *(('-bios', image()) if firmware else ()), *args, accel=accel, **job)
        self.boots = 0
        self.at = 0

    def wait_up(self, timeout=30):
        """The guest starts anew (or for the first time)."""
        self.at = self.console.wait('up ', timeout, self.at)
        self.at = self.console.wait('\n', timeout, self.at)
        return self

    def ask(self, letter, *numbers, timeout=30):
        self.send(letter, *numbers)
        return self.answer(timeout)

    def send(self, letter, *numbers):
        self.type(letter + ''.join(f' {n:x}' for n in numbers) + '\n')

    def answer(self, timeout=30):
        end = self.console.wait('\n', timeout, self.at)
        text, self.at = self.console.text[self.at:end - 1], end
        if text == 'waits':
            return None
        if text.startswith('! '):
            raise GuestFault(int(text[2:], 16))
        if not text.startswith('= '):
            raise AssertionError(f'the guest answered {text!r}')
        return int(text[2:], 16)

    def read(self, address):
        return self.ask('r', address)

    def write(self, address, value):
        self.ask('w', address, value)

    def run(self, address):
        """Call code in the guest; what it leaves in RAX."""
        return self.ask('x', address)

    def put_code(self, address, value):
        """MOV EAX,value; RET, by two stores that are not at the page's start."""
        self.write(address, 0xb8 | value << 8 | 0xc3 << 40)

    def port_in(self, port, size):
        return self.ask('i', port, size)

    def port_out(self, port, size, value):
        self.ask('o', port, size, value)
