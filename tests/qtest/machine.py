# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU process to look at: its QMP monitor, serial console and host side.

The monitor and the console are socket pairs handed to QEMU as open files, so
nothing has to be waited for or named.  Every wait has a limit; what fails
shows the command line, QEMU's own output and the end of the console.
"""

import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, 'scripts'))

from guest_run import guest_file, launcher  # noqa: E402

MODULE = 'accel-xbt-x86_64.so'
PROMPT = '/root # '


def module_path():
    return os.path.join(os.path.dirname(os.path.dirname(
        os.path.realpath(launcher()))), MODULE)


def clean_environment(**changes):
    env = {k: v for k, v in os.environ.items()
           if k not in ('QEMU', 'QEMU_MODULE_DIR', 'LD_PRELOAD')}
    env.update(changes)
    return env


class Failure(AssertionError):
    """Something QEMU or the guest did not do; says what it did instead."""


class QmpError(Exception):
    """QEMU answered a command with an error."""


class Qmp:
    """The monitor protocol: one command at a time, events kept aside."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b''
        self.events = []
        self.receive(time.monotonic() + 60)     # the greeting
        self.command('qmp_capabilities')

    def receive(self, deadline):
        while b'\n' not in self.buffer:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.sock], [], [], left)[0]:
                raise Failure('QMP: no answer in time')
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionError:
                data = b''
            if not data:
                raise Failure('QMP: QEMU closed the connection')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return json.loads(line)

    def command(self, name, timeout=30, **arguments):
        request = {'execute': name}
        if arguments:
            request['arguments'] = {k.replace('_', '-'): v
                                    for k, v in arguments.items()}
        self.sock.sendall(json.dumps(request).encode() + b'\n')
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self.receive(deadline)
            except Failure as error:
                raise Failure(f'{name}: {error}') from None
            if 'event' in message:
                self.events.append(message)
            elif 'error' in message:
                raise QmpError(f"{name}: {message['error']['desc']}")
            else:
                return message['return']

    def wait_event(self, name, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event['event'] == name:
                    self.events.remove(event)
                    return event
            message = self.receive(deadline)
            if 'event' in message:
                self.events.append(message)


class Console(threading.Thread):
    """Reads the serial console all the time, so that it never blocks."""

    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock = sock
        self.text = ''
        self.changed = threading.Condition()
        self.closed = False
        self.start()

    def run(self):
        while True:
            try:
                data = self.sock.recv(1 << 16)
            except OSError:
                data = b''
            with self.changed:
                self.text += data.decode(errors='replace').replace('\r', '')
                self.closed = not data
                self.changed.notify_all()
            if not data:
                return

    def mark(self):
        with self.changed:
            return len(self.text)

    def wait(self, text, timeout, start=0):
        """The position after @text; what came before @start is not looked at."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                at = self.text.find(text, start)
                if at >= 0:
                    return at + len(text)
                left = deadline - time.monotonic()
                if self.closed:
                    raise Failure(f'the console closed before {text!r}')
                if left <= 0:
                    raise Failure(f'no {text!r} on the console in {timeout} s')
                self.changed.wait(left)


class Machine:
    """A running QEMU; `with Machine(...) as m` ends it whatever happens."""

    def __init__(self, *args, accel='xbt', env=None, prefix=(), cwd='/', keep=(), **popen):
        self.dir = tempfile.mkdtemp(prefix='xbt-qtest-')
        os.chmod(self.dir, 0o777)
        monitor, monitor_end = socket.socketpair()
        serial, serial_end = socket.socketpair()
        ends = (monitor_end.fileno(), serial_end.fileno())
        self.command = [
            *prefix, launcher(), '-accel', accel, '-display', 'none',
            '-nic', 'none',
            '-chardev', f'socket,id=monitor,fd={ends[0]}',
            '-mon', 'chardev=monitor,mode=control',
            '-chardev', f'socket,id=serial,fd={ends[1]}',
            '-serial', 'chardev:serial', *args]
        self.stderr = tempfile.TemporaryFile(mode='w+', dir=self.dir)
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self.stderr,
            stderr=self.stderr, pass_fds=(*ends, *keep), cwd=cwd,
            env=clean_environment(**(env or {})), **popen)
        monitor_end.close()
        serial_end.close()
        self.console = Console(serial)
        self.sockets = (monitor, serial)
        try:
            self.qmp = Qmp(monitor)
        except BaseException as error:
            text = self.explain(error)
            self.close()
            raise Failure(text) from None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        text = self.explain(error) if kind and issubclass(kind, AssertionError) else ''
        self.close()
        if text:
            raise Failure(text) from error

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        for sock in self.sockets:
            sock.close()
        self.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def output(self):
        self.stderr.seek(0)
        return self.stderr.read()

    def explain(self, error):
        status = self.process.poll()
        state = 'runs' if status is None else f'ended with status {status}'
        console = '\n'.join(self.console.text.splitlines()[-15:])
        return (f'{error}\nQEMU {state}; command: {shlex.join(self.command)}\n'
                f'--- its output ---\n{self.output()[-1500:]}\n'
                f'--- end of the console ---\n{console}')

    # ---- monitor ----------------------------------------------------------

    def cmd(self, name, **arguments):
        return self.qmp.command(name, **arguments)

    def hmp(self, line):
        return self.cmd('human-monitor-command', command_line=line)

    def counters(self):
        return self.cmd('query-xbt')['total']['counters']

    # ---- guest ------------------------------------------------------------

    def wait_prompt(self, timeout=60, start=0):
        return self.console.wait(PROMPT, timeout, start)

    def type(self, text):
        self.sockets[1].sendall(text.encode())

    def sh(self, script, timeout=30):
        """Run a line in the guest's shell; its output."""
        start = self.console.mark()
        # The echo of the line has the quotes, the output has not.
        self.type(f"echo B'G'N; {script}\necho E'N'D\n")
        begin = self.console.wait('BGN\n', timeout, start)
        end = self.console.wait('END\n', timeout, begin)
        self.wait_prompt(timeout, end)
        text = self.console.text[begin:end - len('END\n')]
        return text.split(PROMPT, 1)[0]

    def busy(self):
        """Load that needs the vCPU all the time, with system calls."""
        self.sh('while :; do : $(echo); done >/dev/null 2>&1 &')

    # ---- host side --------------------------------------------------------

    @property
    def pid(self):
        return self.process.pid

    def proc(self, name):
        with open(f'/proc/{self.pid}/{name}', encoding='utf-8',
                  errors='replace') as file:
            return file.read()

    def cpu_seconds(self):
        fields = self.proc('stat').rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def rss_mib(self):
        return int(re.search(r'VmRSS:\s+(\d+)', self.proc('status'))[1]) / 1024

    def wait_exit(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f'QEMU still runs after {timeout} s') from None


class Linux(Machine):
    """The small Debian guest (scripts/make-guest.sh)."""

    def __init__(self, *args, append='', memory=256, cpu='max', **job):
        super().__init__(
            '-m', str(memory), '-cpu', cpu, '-kernel', guest_file('vmlinuz'),
            '-initrd', guest_file('initrd.img'),
            '-append', f'console=ttyS0 panic=-1 quiet {append}', *args, **job)


class SeaBiosLog:
    """SeaBIOS's messages, by its debug port."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix='xbt-seabios-')
        os.chmod(self.file.name, 0o666)
        self.args = ['-chardev', f'file,id=debug,path={self.file.name}',
                     '-device', 'isa-debugcon,iobase=0x402,chardev=debug']

    def messages(self):
        with open(self.file.name, encoding='utf-8', errors='replace') as file:
            return file.read()

    def wait_shadowed(self, start):
        """Wait until SeaBIOS has copied itself into RAM.

        A reset at its first message leaves QEMU 7.2's PC running in the still
        empty RAM at F0000h, under TCG as well (26 times in 30).
        """
        until(lambda: 'Relocating init' in self.messages()[start:], 30,
              'SeaBIOS did not start after a reset', 0.002)


class Firmware(Machine):
    """SeaBIOS alone."""

    END = 'No bootable device'

    def __init__(self, *args, **job):
        self.log = SeaBiosLog()
        super().__init__('-m', '64', *self.log.args, *args, **job)

    def messages(self):
        return self.log.messages()

    def wait_end(self, timeout=60, text=END):
        deadline = time.monotonic() + timeout
        while text not in self.messages():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f'SeaBIOS did not say {text!r} in {timeout} s; '
                              f'its last words: {self.messages()[-400:]!r}')
            time.sleep(0.05)


def until(true, timeout, what, step=0.05):
    """Wait until true(); what is the complaint."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise Failure(f'{what} (waited {timeout} s)')
        time.sleep(step)


def need_guest():
    if not os.path.exists(guest_file('vmlinuz')):
        raise unittest.SkipTest('no guest: run `make guest`')


def main():
    unittest.main(verbosity=2)
