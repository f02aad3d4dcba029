# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one row of the guest matrix: start QEMU, follow the row's steps.

A step is a verb and its text:

    serial TEXT     TEXT comes on the serial console (after what was seen so far)
    absent TEXT     TEXT has not come on the serial console
    screen TEXT     TEXT is in the VGA text buffer
    log TEXT        TEXT comes on SeaBIOS's debug port
    type TEXT       characters to the serial console
    keys TEXT       characters to the keyboard
    key NAMES       keys (QEMU's names) pressed one after the other
    hmp COMMAND     a line for the human monitor
    pause SECONDS
    picture NAME    what is shown, still for a second, is kept
    power           the power button
    exit            QEMU ends by itself, with status 0

In a command {http} stands for the port of a server on the host that serves
the file of payload.py, {dir} for the matrix's folder.
"""

import hashlib
import os
import re
import shlex
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'qtest'))

from machine import Failure, Machine, QmpError, SeaBiosLog, until  # noqa: E402
from screen import picture, screen_text  # noqa: E402

TROUBLE = re.compile(r'Kernel panic|Oops:|BUG: |invalid opcode:|general protection fault|Internal error|'
                     r'traps: |segfault at|X64 Exception Type|IA32 Exception Type|rcu: INFO:')
KEYS = {' ': 'spc', '\n': 'ret', '-': 'minus', '=': 'equal', '/': 'slash', '.': 'dot', ',': 'comma',
        ';': 'semicolon', "'": 'apostrophe', '\\': 'backslash', '[': 'bracket_left', ']': 'bracket_right'}
SHIFTED = {'(': '9', ')': '0', '_': 'minus', ':': 'semicolon', '"': 'apostrophe', '*': '8', '+': 'equal',
           '$': '4', '!': '1', '%': '5', '>': 'dot', '<': 'comma', '|': 'backslash', '&': '7', '#': '3'}


class Outcome:
    def __init__(self):
        self.ok = False
        self.seconds = 0.0
        self.error = ''
        self.console = ''
        self.command = ''
        self.pictures = {}      # name -> list of digests, one per state of the cursor


class Play:
    """One machine and the position in its console."""

    def __init__(self, machine, log, keep, deadline):
        self.m = machine
        self.log = log
        self.keep = keep
        self.at = 0
        self.deadline = deadline
        self.pictures = {}

    def left(self):
        return max(self.deadline - time.monotonic(), 0.1)

    def do_serial(self, text):
        self.at = self.m.console.wait(text, self.left(), self.at)

    def do_absent(self, text):
        if text in self.m.console.text:
            raise Failure(f'{text!r} came on the console')

    def do_screen(self, text):
        until(lambda: text in screen_text(self.m), self.left(), f'no {text!r} on the screen', 0.1)

    def do_log(self, text):
        until(lambda: text in self.log.messages(), self.left(), f'no {text!r} on the debug port', 0.1)

    def do_type(self, text):
        for char in text:           # not faster than a person: UARTs and menus drop characters
            self.m.type(char)
            time.sleep(0.02)

    def send(self, *names):
        self.m.cmd('send-key', keys=[{'type': 'qcode', 'data': name} for name in names])
        time.sleep(0.15)

    def do_keys(self, text):
        for char in text:
            if char in SHIFTED:
                self.send('shift', SHIFTED[char])
            elif char.isupper():
                self.send('shift', char.lower())
            else:
                self.send(KEYS.get(char, char))

    def do_key(self, names):
        for name in names.split():
            self.send(*name.split('+'))

    def do_hmp(self, line):
        answer = self.m.hmp(line)
        if answer.startswith('Error') or 'unknown command' in answer:
            raise Failure(f'{line}: {answer}')

    def do_pause(self, seconds):
        time.sleep(float(seconds))

    def do_power(self, _text):
        self.m.cmd('system_powerdown')

    def do_exit(self, _text):
        status = self.m.wait_exit(self.left())
        if status:
            raise Failure(f'QEMU ended with status {status}')

    def do_picture(self, name):
        """Wait until a second shows at most two pictures (the cursor blinks), and keep them."""
        while True:
            seen = {}
            end = time.monotonic() + 1.1
            while time.monotonic() < end:
                shot = picture(self.m)
                seen[hashlib.sha256(repr(shot[:2]).encode() + shot[2]).hexdigest()] = shot
                time.sleep(0.08)
            colours = max(len({shot[2][i:i + 3] for i in range(0, len(shot[2]), 999)})
                          for shot in seen.values())
            if len(seen) <= 2 and colours > 1:
                break
            if time.monotonic() > self.deadline:
                raise Failure(f'the picture does not stand still: {len(seen)} in a second')
        self.pictures[name] = sorted(seen)
        for number, digest in enumerate(sorted(seen)):
            width, height, pixels = seen[digest]
            with open(f'{self.keep}-{name}-{number}.ppm', 'wb') as file:
                file.write(b'P6\n%d %d\n255\n' % (width, height) + pixels)

    def step(self, text):
        verb, _, rest = text.partition(' ')
        getattr(self, 'do_' + verb)(rest)


def run_row(row, accel, shop, http_port):
    """@row: name, args, expect, timeout, xbt, trouble, ...; an Outcome."""
    outcome = Outcome()
    args = row['args'].format(http=http_port, dir=shop.dir)
    outcome.command = args
    full = accel
    if accel == 'xbt' and row.get('xbt'):
        full += ',' + row['xbt']
    log = SeaBiosLog()
    extra = log.args if any(step.startswith('log ') for step in row['expect']) else []
    folder = shop.path('results', accel)
    os.makedirs(folder, exist_ok=True)
    start = time.monotonic()
    console = ''
    try:
        machine = Machine(*shlex.split(args), *extra, accel=full, cwd=shop.dir)
        try:
            play = Play(machine, log, os.path.join(folder, row['name']), start + row['timeout'])
            try:
                for number, step in enumerate(row['expect'], 1):
                    try:
                        play.step(step)
                    except (Failure, QmpError) as error:
                        raise Failure(f'step {number} ({step}): {error}') from None
            finally:
                outcome.pictures = play.pictures
                console = machine.console.text
                outcome.console = console[-3000:]
                if machine.process.poll() is None:
                    outcome.console += '\n--- screen ---\n' + shown(machine)
                outcome.console += '\n--- QEMU ---\n' + machine.output()[-1500:]
            trouble = TROUBLE.search(console)
            if trouble and not row.get('trouble'):
                raise Failure(f'the console has {trouble[0]!r}')
            outcome.ok = True
        finally:
            machine.close()
    except (Failure, OSError, ValueError) as error:
        outcome.error = str(error).split('\n', maxsplit=1)[0]
    outcome.seconds = time.monotonic() - start
    with open(os.path.join(folder, row['name'] + '.log'), 'w', encoding='utf-8') as file:
        file.write(f'{args}\n{outcome.error}\n{console}\n{outcome.console}')
    return outcome


def shown(machine):
    try:
        return screen_text(machine).rstrip()
    except (Failure, QmpError, OSError):
        return ''
