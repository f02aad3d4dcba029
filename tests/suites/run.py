#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run others' test programs natively and in guests, and compare.

A suite is a folder with programs and a file "list" (run-list.sh says how it
reads); the scripts beside this file build them from Debian's source packages.
The folder goes to the guest as a disk, what the programs printed comes back on
another.

known.txt names the programs of which a failure in a guest says nothing about
the processor, with the reason.

A program passes when it ends with status 0 and, where two native runs print
the same, prints that too.  A program that does not end with 0 natively is no
failure in the guest as long as it ends there in the same way.

    usage: run.py [options] DIR...
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(TOP, 'scripts'))

import guest_run  # noqa: E402

RUN_LIST = os.path.join(HERE, 'run-list.sh')
RESULT_MIB = 128

IN_GUEST = '''
dmesg -n 1
ulimit -c 0
mkdir -p /tmp/suite
mount -t {fs} /dev/{disk} /tmp/suite || exit 1
ifconfig lo 127.0.0.1 2>/dev/null || busybox ifconfig lo 127.0.0.1
mount -t tmpfs tmpfs /dev/shm 2>/dev/null || {{ mkdir -p /dev/shm; mount -t tmpfs tmpfs /dev/shm; }}
mkdir -p /dev/pts; mount -t devpts devpts /dev/pts 2>/dev/null
sh /run/xbt/run-list.sh /tmp/suite /tmp/suite/.out
tar cf /dev/{result} -C /tmp/suite/.out .
sync
'''


class Outcome:
    """What one run of a suite gave: name -> status, name -> output."""

    def __init__(self):
        self.status = {}
        self.output = {}
        self.seconds = 0.0
        self.console = ''

    def read(self, directory):
        path = os.path.join(directory, 'status')
        if not os.path.exists(path):
            return self
        with open(path, encoding='ascii') as file:
            for line in file:
                name, status = line.split()
                self.status[name] = int(status)
                with open(os.path.join(directory, name + '.out'), 'rb') as out:
                    self.output[name] = out.read()
        return self


def names_of(suite):
    with open(os.path.join(suite, 'list'), encoding='utf-8') as file:
        return [line.split()[0] for line in file if line.strip()]


def run_natively(suite, out, progress):
    start = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix='xbt-suite-') as scratch:
        work = os.path.join(scratch, 'suite')
        shutil.copytree(suite, work, symlinks=True)
        with subprocess.Popen(['sh', RUN_LIST, work, out], text=True, errors='replace',
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            for line in process.stdout:
                progress(line.rstrip())
    outcome = Outcome().read(out)
    outcome.seconds = time.monotonic() - start
    return outcome


def disk_of(suite, path):
    """An ext4 image of the folder with as much room again."""
    size = 0
    for folder, _, files in os.walk(suite):
        size += sum(os.lstat(os.path.join(folder, f)).st_size + 4096 for f in files)
    mib = size * 3 // 2 // 1048576 + 64
    subprocess.run(['/sbin/mke2fs', '-q', '-F', '-t', 'ext4', '-m', '0', '-O', '^has_journal',
                    '-E', 'lazy_itable_init=0', '-d', suite, path, f'{mib}M'], check=True,
                   stdout=subprocess.DEVNULL)


def run_in_guest(suite, out, accel, progress, options):
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    with tempfile.TemporaryDirectory(prefix='xbt-suite-') as scratch:
        disk = os.path.join(scratch, 'suite.img')
        result = os.path.join(scratch, 'result.tar')
        disk_of(suite, disk)
        with open(result, 'wb') as file:
            file.truncate(RESULT_MIB << 20)
        extra = ['-drive', f'file={disk},format=raw,if=virtio,snapshot=on',
                 '-drive', f'file={result},format=raw,if=virtio', *options.qemu_args.split()]
        job = guest_run.Job(accel, IN_GUEST.format(fs='ext4', disk='vdb', result='vdc'),
                            {'run-list.sh': RUN_LIST}, root=options.root, cpu=options.cpu,
                            memory=options.memory, timeout=options.timeout, extra=extra,
                            append=options.append)
        done = job.run(progress)
        try:
            with tarfile.open(result) as tar:
                tar.extractall(out)
        except tarfile.TarError:
            pass
    outcome = Outcome().read(out)
    outcome.seconds = done.seconds
    outcome.console = done.tail(40)
    return outcome


def verdict(name, native, again, guest):
    """'' when the guest's run is as it must be, or what is wrong."""
    if name not in guest.status:
        return 'not run'
    status = guest.status[name]
    if native is None:
        return '' if status == 0 else f'status {status}'
    if status != native.status[name]:
        return f'status {status}, natively {native.status[name]}'
    same_natively = again and again.output.get(name) == native.output[name]
    if same_natively and guest.output[name] != native.output[name]:
        return 'prints something else than natively'
    return ''


def known_failures(label):
    """name -> reason, from known.txt: SUITE NAME REASON"""
    known = {}
    with open(os.path.join(HERE, 'known.txt'), encoding='utf-8') as file:
        for line in file:
            if line.strip() and not line.startswith('#'):
                suite, name, reason = line.split(None, 2)
                if suite == label:
                    known[name] = reason.strip()
    return known


def keep_going(line):
    print(f'\r\033[K{line[:100]}', end='', flush=True)


def show_failures(label, failures, outcome):
    for name, why in failures.items():
        print(f'  {label}: {name}: {why}')
        tail = outcome.output.get(name, b'').decode('utf-8', 'replace').splitlines()[-3:]
        for line in tail:
            print(f'      | {line[:110]}')


def run_suite(suite, options):
    suite = os.path.abspath(suite)
    label = os.path.basename(suite)
    out = os.path.join(options.out, label)
    progress = keep_going if sys.stdout.isatty() or options.progress else (lambda line: None)
    row = {'suite': label, 'tests': len(names_of(suite))}
    native = again = None
    if not options.no_native:
        native = run_natively(suite, os.path.join(out, 'native'), progress)
        again = run_natively(suite, os.path.join(out, 'native2'), progress)
        row['native'] = sum(s == 0 for s in native.status.values())
        failing = {n: f'status {s}' for n, s in native.status.items() if s}
        row['native_failures'] = failing
    known = known_failures(label)
    for accel in options.accel.split('/'):
        kind = accel.split(',')[0]
        outcome = run_in_guest(suite, os.path.join(out, kind), accel, progress, options)
        wrong = {name: why for name in names_of(suite)
                 if (why := verdict(name, native, again, outcome))}
        row[kind] = row['tests'] - len(wrong)
        failures = {name: why for name, why in wrong.items() if name not in known or why == 'not run'}
        row[kind + '_failures'] = failures
        row[kind + '_seconds'] = round(outcome.seconds)
        print(f"\r\033[K{label}: {kind}: {row[kind]} of {row['tests']} as expected, "
              f'{outcome.seconds:.0f} s', flush=True)
        for name in wrong.keys() - failures.keys():
            print(f'  {kind}: {name}: {wrong[name]}; known: {known[name]}')
        show_failures(kind, failures, outcome)
        if len(outcome.status) < row['tests']:
            print(f"the guest did not finish; the end of its console:\n{outcome.console}")
    with open(os.path.join(out, 'result.json'), 'w', encoding='utf-8') as file:
        json.dump(row, file, indent=1)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--accel', default='xbt/tcg', help="more than one with '/' between")
    parser.add_argument('--cpu', default='max')
    parser.add_argument('--memory', type=int, default=1024)
    parser.add_argument('--timeout', type=float, default=3600)
    parser.add_argument('--guest', help='folder with vmlinuz, initrd.img and perhaps rootfs.img')
    parser.add_argument('--append', default='vsyscall=emulate no_timer_check')
    parser.add_argument('--out', default=os.path.join(guest_run.build_dir(), 'suites/out'))
    parser.add_argument('--qemu-args', default='', help='more for QEMU')
    parser.add_argument('--no-native', action='store_true')
    parser.add_argument('--progress', action='store_true')
    parser.add_argument('suite', nargs='+')
    options = parser.parse_args()
    options.root = guest_run.guest_file('rootfs.img')
    if options.guest:
        os.environ['XBT_GUEST'] = options.guest
        if os.path.exists(guest_run.guest_file('rootfs.img')):
            options.root = guest_run.guest_file('rootfs.img')
    rows = [run_suite(suite, options) for suite in options.suite]
    print('\nsuite                tests native    tcg    xbt')
    for row in rows:
        print(f"{row['suite']:20} {row['tests']:5} {row.get('native', '-'):>6} "
              f"{row.get('tcg', '-'):>6} {row.get('xbt', '-'):>6}")
    sys.exit(any(row.get('xbt_failures') for row in rows))


if __name__ == '__main__':
    main()
