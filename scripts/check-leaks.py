#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Start QEMU with -accel xbt under valgrind, plug a CPU, quit: no definite leak and no error of ours.

`make check-leaks`.  Only what has a frame in the module or the loader counts: QEMU and GLib have leaks of their own.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAUNCHER = os.environ.get('XBT_LAUNCHER', os.path.join(TOP, 'build/qemu-xbt'))
BEGIN = re.compile(r'definitely lost in loss|^(Invalid|Use of uninit|Conditional jump|Syscall param|Mismatched|'
                   r'Source and destination overlap)')


def records(text):
    """The paragraphs of valgrind's log, without its prefix."""
    lines = [re.sub(r'^==\d+== ?', '', line) for line in text.splitlines() if line.startswith('==')]
    return [part for part in '\n'.join(lines).split('\n\n') if BEGIN.search(part)]


def sources():
    return {os.path.basename(path) for folder in ('accel-xbt', 'translator', 'translator/x86-64', 'tlb', 'tb-store',
                                                  'loader') for path in glob.glob(f'{TOP}/{folder}/*.c')}


def ours(record, names):
    return 'accel-xbt' in record or any(name in names for name in re.findall(r'\((\S+\.c):\d+\)', record))


def main():
    if not shutil.which('valgrind'):
        print('check-leaks: no valgrind: apt-get install valgrind')
        return 1
    plug = ('device_add qemu64-x86_64-cpu,id=cpu1,socket-id=0,core-id=1,thread-id=0\n'
            'info cpus\nquit\n')
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ['valgrind', '--trace-children=yes', '--leak-check=full', '--show-leak-kinds=definite', '--num-callers=20',
             '--smc-check=all', f'--log-file={folder}/%p', LAUNCHER, '-accel', 'xbt,tb-size=16', '-display', 'none',
             '-nodefaults', '-m', '32', '-S', '-smp', '1,maxcpus=2', '-monitor', 'stdio'],
            input=plug, text=True, capture_output=True, timeout=900, check=False)
        logs = ''
        for path in glob.glob(f'{folder}/*'):
            with open(path, encoding='utf-8', errors='replace') as file:
                logs += file.read() + '\n==0== \n'
    names = sources()
    bad = [r for r in records(logs) if ours(r, names)]
    if done.returncode or 'CPU #1' not in done.stdout or 'LEAK SUMMARY' not in logs:
        print(f'check-leaks: QEMU did not do what it was asked ({done.returncode}):\n{done.stdout}{done.stderr}')
        return 1
    print('\n\n'.join(bad) or 'check-leaks: no definite leak and no error of ours')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
