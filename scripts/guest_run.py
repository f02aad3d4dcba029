#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a script in the small guest and give back what it printed.

The script and its files travel as a cpio archive appended to the initramfs:
no shared file system, no network, no driver is needed before it runs.  The
guest's init runs /xbt/run (scripts/guest/init), in the root file system when
one is given (there it is /run/xbt/run), and powers off.

As a program: scripts/guest_run.py [options] SCRIPT [FILE...]
As a module:  Job(...).run() -> Result; used by bench/ and tests/guest/.
"""

import argparse
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def build_dir():
    return os.environ.get('XBT_BUILD', os.path.join(TOP, 'build'))


def launcher():
    return os.environ.get('XBT_LAUNCHER', os.path.join(build_dir(), 'qemu-xbt'))


def guest_file(name, flavour=None):
    """A file of the guest, or of the one that `make-guest.sh BUILD FLAVOUR` made."""
    guest = os.environ.get('XBT_GUEST', os.path.join(build_dir(), 'guest'))
    return os.path.join(guest, flavour or '', name)


def cpio_member(number, path, mode, data):
    """One member in the "newc" format of the kernel's initramfs."""
    name = path.encode() + b'\0'
    fields = (number, mode, 0, 0, 2 if mode & 0o040000 else 1, 0, len(data),
              0, 0, 0, 0, len(name), 0)
    header = b'070701' + b''.join(b'%08X' % field for field in fields)
    member = header + name
    member += b'\0' * (-len(member) % 4) + data
    return member + b'\0' * (-len(data) % 4)


def cpio_archive(files):
    """files: name -> (mode, bytes); all are put into the folder /xbt."""
    members = [cpio_member(1, 'xbt', 0o040755, b'')]
    for number, (name, (mode, data)) in enumerate(sorted(files.items()), 2):
        members.append(cpio_member(number, 'xbt/' + name, 0o100000 | mode, data))
    members.append(cpio_member(0, 'TRAILER!!!', 0, b''))
    return b''.join(members)


class Result:
    """What a guest did: its serial output, line by line with host times."""

    def __init__(self):
        self.lines = []         # (seconds since start, line)
        self.cpu = []           # QEMU's processor time at each line, seconds
        self.status = None      # of QEMU; None: it had to be ended
        self.seconds = 0.0
        self.cpu_seconds = 0.0  # of QEMU in all
        self.peak_kib = 0       # of QEMU's memory, as last seen
        self.command = []

    @property
    def output(self):
        return '\n'.join(line for _, line in self.lines)

    @property
    def timed_out(self):
        return self.status is None

    def tail(self, count=25):
        return '\n'.join(line for _, line in self.lines[-count:])


class Job:
    """One boot of the guest.

    script   shell text for /xbt/run, or None for a boot without one
    files    name -> path of a file that goes beside it
    root     image for /dev/vda, never written to
    accel    what -accel says, with its properties
    flavour  of the kernel, see make-guest.sh
    timeout  seconds for all, idle: seconds without a line of output
    """

    def __init__(self, accel, script=None, files=None, root=None, append='',
                 machine=None, cpu=None, memory=512, timeout=300, idle=None,
                 extra=(), env=None, flavour=None):
        self.accel = accel
        self.flavour = flavour
        self.script = script
        self.files = files or {}
        self.root = root
        self.append = append
        self.machine = machine
        self.cpu = cpu
        self.memory = memory
        self.timeout = timeout
        self.idle = idle or timeout
        self.extra = list(extra)
        self.env = env

    def initrd(self, directory):
        plain = guest_file('initrd.img', self.flavour)
        if self.script is None:
            return plain
        files = {'run': (0o755, self.script.encode())}
        for name, path in self.files.items():
            with open(path, 'rb') as file:
                files[name] = (os.stat(path).st_mode & 0o777, file.read())
        path = os.path.join(directory, 'initrd.img')
        with open(plain, 'rb') as file:
            first = file.read()
        with open(path, 'wb') as file:
            file.write(first + b'\0' * (-len(first) % 4) + cpio_archive(files))
        return path

    def command(self, directory):
        append = 'console=ttyS0 panic=-1 quiet ' + self.append
        if self.script is not None:
            append += ' xbt.run'
        command = [launcher(), '-accel', self.accel, '-m', str(self.memory),
                   '-display', 'none', '-monitor', 'none', '-serial', 'stdio',
                   '-nic', 'none', '-no-reboot',
                   '-kernel', guest_file('vmlinuz', self.flavour),
                   '-initrd', self.initrd(directory)]
        if self.machine:
            command += ['-machine', self.machine]
        if self.cpu:
            command += ['-cpu', self.cpu]
        if self.root:
            append += ' root=/dev/vda'
            command += ['-drive', f'file={self.root},format=raw,if=virtio,'
                        'snapshot=on,readonly=off']
        return command + self.extra + ['-append', append]

    def run(self, on_line=None):
        result = Result()
        with tempfile.TemporaryDirectory(prefix='xbt-guest-') as directory:
            result.command = self.command(directory)
            environment = dict(os.environ, **(self.env or {}))
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.monotonic()
            process = subprocess.Popen(
                result.command, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=environment)
            try:
                finished = read_lines(process, start + self.timeout,
                                      self.idle, result, on_line)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                process.stdout.close()
                now = resource.getrusage(resource.RUSAGE_CHILDREN)
                result.cpu_seconds = (now.ru_utime + now.ru_stime
                                      - before.ru_utime - before.ru_stime)
            result.seconds = time.monotonic() - start
            result.status = process.returncode if finished else None
        return result


def peak_memory(pid):
    """The most memory the process had resident so far, in KiB."""
    try:
        with open(f'/proc/{pid}/status', encoding='ascii') as status:
            for line in status:
                if line.startswith('VmHWM:'):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def cpu_seconds(pid):
    """Processor time of all threads so far, with the scheduler's precision."""
    total = 0
    try:
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/schedstat', encoding='ascii') as file:
                total += int(file.read().split()[0])
    except (OSError, IndexError):
        pass
    return total / 1e9


def read_lines(process, deadline, idle, result, on_line):
    """Read until QEMU ends (True) or a time is over (False)."""
    start = time.monotonic()

    def keep(raw):
        line = raw.decode('utf-8', 'replace').rstrip('\r')
        result.lines.append((time.monotonic() - start, line))
        result.cpu.append(cpu_seconds(process.pid))
        result.peak_kib = max(result.peak_kib, peak_memory(process.pid))
        if on_line:
            on_line(line)

    rest = b''
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = min(idle, deadline - time.monotonic())
            if left <= 0 or not selector.select(left):
                if rest:
                    keep(rest)
                return False
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                if rest:
                    keep(rest)
                break
            *lines, rest = (rest + data).split(b'\n')
            for line in lines:
                keep(line)
    try:
        process.wait(max(1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--accel', default='xbt')
    parser.add_argument('--cpu')
    parser.add_argument('--machine')
    parser.add_argument('--memory', type=int, default=512)
    parser.add_argument('--timeout', type=float, default=300)
    parser.add_argument('--append', default='')
    parser.add_argument('--root', nargs='?', const=guest_file('rootfs.img'),
                        help='run it in the Debian root file system')
    parser.add_argument('--qemu-args', default='', help='more for QEMU')
    parser.add_argument('script', help="a file, or shell text after 'sh:'")
    parser.add_argument('files', nargs='*')
    args = parser.parse_args()
    if args.script.startswith('sh:'):
        script = args.script[3:] + '\n'
    else:
        with open(args.script, encoding='utf-8') as file:
            script = file.read()
    job = Job(args.accel, script, {os.path.basename(f): f for f in args.files},
              root=args.root, append=args.append, machine=args.machine,
              cpu=args.cpu, memory=args.memory, timeout=args.timeout,
              extra=args.qemu_args.split())
    result = job.run(lambda line: print(line, flush=True))
    if result.timed_out:
        sys.exit(f'guest_run: not done after {args.timeout:g} s')
    sys.exit(result.status)


if __name__ == '__main__':
    main()
