# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of QEMU's gdbstub: the remote serial protocol, packet by packet.

gdb itself hides what a stub said behind what it makes of it; the tests look at the answers.
"""

import select
import socket
import struct
import time

from machine import Failure, Machine

# The order of QEMU's 64-bit description of the CPU (gdb-xml/i386-64bit.xml): name, bytes.
REGISTERS = ([(r, 8) for r in ('rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip').split()] +
             [(r, 4) for r in 'eflags cs ss ds es fs gs'.split()] +
             [(r, 8) for r in 'fs_base gs_base k_gs_base cr0 cr2 cr3 cr4 cr8 efer'.split()] +
             [(f'st{i}', 10) for i in range(8)] +
             [(r, 4) for r in 'fctrl fstat ftag fiseg fioff foseg fooff fop'.split()] +
             [(f'xmm{i}', 16) for i in range(16)] + [('mxcsr', 4)])
NUMBER = {name: i for i, (name, _) in enumerate(REGISTERS)}
SOFTWARE, HARDWARE, WRITE, READ, ACCESS = range(5)


class Remote:
    """One connection; `say` sends a packet and returns the answer."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b''

    def fill(self, deadline):
        left = max(deadline - time.monotonic(), 0)
        if not select.select([self.sock], [], [], left)[0]:
            raise Failure('gdbstub: no answer in time')
        data = self.sock.recv(1 << 16)
        if not data:
            raise Failure('gdbstub: QEMU closed the connection')
        self.buffer += data

    def receive(self, timeout=30):
        deadline = time.monotonic() + timeout
        while True:
            self.buffer = self.buffer.lstrip(b'+')
            end = self.buffer.find(b'#')
            if self.buffer[:1] == b'$' and 0 < end <= len(self.buffer) - 3:
                body, self.buffer = self.buffer[1:end], self.buffer[end + 3:]
                self.sock.sendall(b'+')
                return body.decode('latin-1')
            self.fill(deadline)

    def send(self, text):
        data = text.encode('latin-1')
        self.sock.sendall(b'$%s#%02x' % (data, sum(data) & 255))

    def say(self, text, timeout=30):
        self.send(text)
        return self.receive(timeout)

    def check(self, text):
        answer = self.say(text)
        if answer != 'OK':
            raise Failure(f'gdbstub: {text!r} was answered by {answer!r}')

    # ---- state ------------------------------------------------------------

    def registers(self):
        data = bytes.fromhex(self.say('g'))
        values, at = {}, 0
        for name, size in REGISTERS:
            values[name] = int.from_bytes(data[at:at + size], 'little')
            at += size
        return values

    def get(self, name):
        answer = self.say(f'p{NUMBER[name]:x}')
        if len(answer) != 2 * REGISTERS[NUMBER[name]][1]:
            raise Failure(f'gdbstub: {name} is {answer!r}')
        return int.from_bytes(bytes.fromhex(answer), 'little')

    def set(self, name, value):
        number = NUMBER[name]
        self.check(f'P{number:x}={value.to_bytes(REGISTERS[number][1], "little").hex()}')

    def read(self, addr, size):
        answer = self.say(f'm{addr:x},{size:x}')
        return answer if answer.startswith('E') else bytes.fromhex(answer)

    def write(self, addr, data):
        return self.say(f'M{addr:x},{len(data):x}:{data.hex()}')

    # ---- execution --------------------------------------------------------

    def insert(self, kind, addr, length=1):
        self.check(f'Z{kind},{addr:x},{length:x}')

    def remove(self, kind, addr, length=1):
        self.check(f'z{kind},{addr:x},{length:x}')

    def step(self):
        return self.say('s')

    def go(self, timeout=30):
        return self.say('c', timeout)

    def stop(self):
        self.sock.sendall(b'\x03')
        return self.receive()

    def steps(self, mask):
        """What gdb's `maintenance packet Qqemu.sstep` does: 1 enable, 2 no interrupts, 4 no timers."""
        self.check(f'Qqemu.sstep=0x{mask:x}')


class Debugged(Machine):
    """A machine with a gdbstub, stopped before its first instruction; `remote` is connected."""

    def __init__(self, *args, **job):
        ours, theirs = socket.socketpair()
        self.remote_socket = ours
        super().__init__('-S', '-chardev', f'socket,id=gdb,fd={theirs.fileno()}', '-gdb', 'chardev:gdb',
                         *args, keep=(theirs.fileno(),), **job)
        theirs.close()
        self.remote = Remote(ours)
        # QEMU answers `p` and `P` to who has asked for the description only.
        self.remote.say('qXfer:features:read:target.xml:0,ffb')

    def close(self):
        super().close()
        self.remote_socket.close()
