# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one system test with -accel xbt: its serial output must be that of NAME.expect.

A line `/* cpu: MODEL */` in NAME.c names the CPU model, which is `max` otherwise; `/* reboots */` lets a reset boot
the image again instead of ending the run; `/* smp: N */` gives the machine N CPUs.

The expected output is that of the manuals' processor.  XBT_TEST_ACCEL=tcg shows where TCG differs; XBT_UPDATE=1
writes the file anew (review it).
"""
import difflib
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import build  # noqa: E402


def launch(options, arguments, cpu='max', timeout=60):
    """A pc of 16 MiB under the accelerator to be tested; options: properties of -accel xbt.  Its serial output, stderr."""
    accel = os.environ.get('XBT_TEST_ACCEL', 'xbt')
    launcher = os.environ.get('XBT_LAUNCHER', os.path.join(HERE, '../../build/qemu-xbt'))
    command = [launcher, '-accel', accel + (options if accel == 'xbt' else ''), '-M', 'pc', '-cpu', cpu, '-m', '16',
               '-nodefaults', '-display', 'none', '-serial', 'stdio', '-device', 'isa-debug-exit,iobase=0xf4', *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                              check=False)
        return done.stdout, done.stderr
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b'').decode(errors='replace'), 'timed out'


def failing_modes(execute_in, modes, want):
    """Call execute_in(mode, scratch folder) for each mode; print what did not give `want`, and say how many."""
    failed = 0
    for mode in modes:
        with tempfile.TemporaryDirectory() as tmp:
            out, errors = execute_in(mode, tmp)
        if out != want:
            print(f'--- with "{mode}":\n{out}{errors}')
            failed += 1
    return failed


def execute(name, mode=''):
    """mode: properties of -accel xbt, then perhaps @ and a CPU model."""
    options, _, cpu = mode.partition('@')
    with open(os.path.join(HERE, name + '.c'), encoding='ascii') as f:
        source = f.read()
    model = re.search(r'^/\* cpu: (\S+) \*/$', source, re.M)
    with tempfile.TemporaryDirectory() as tmp:
        image = os.path.join(tmp, 'image')
        build.build(name + '.c', image)
        once = [] if re.search(r'^/\* reboots \*/$', source, re.M) else ['-no-reboot']
        cpus = re.search(r'^/\* smp: (\d+) \*/$', source, re.M)
        more = ['-smp', cpus[1]] if cpus else []
        return launch(options, ['-bios', image, *once, *more], cpu or (model[1] if model else 'max'),
                      60 * int(os.environ.get('XBT_TEST_SCALE', '1')))


def main():
    name, modes = sys.argv[1], sys.argv[2:] or ['']
    expect = os.path.join(HERE, name + '.expect')
    if os.environ.get('XBT_UPDATE'):
        with open(expect, 'w', encoding='ascii') as f:
            f.write(execute(name, modes[0])[0])
    with open(expect, encoding='ascii') as f:
        want = f.read()
    failed = 0
    for mode in modes:
        got, errors = execute(name, mode)
        if got != want:
            failed = 1
            print(f'--- {name} with "{mode}": output differs\n{errors}')
            sys.stdout.writelines(difflib.unified_diff(want.splitlines(True), got.splitlines(True), 'expected', 'got'))
    return failed


if __name__ == '__main__':
    sys.exit(main())
