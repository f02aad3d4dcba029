# SPDX-License-Identifier: GPL-2.0-or-later
"""Run QEMU's qtests with the accelerators given, and say what passes under the last but not under the first.

    usage: run_qtests.py [--accel xbt/tcg] [--timeout S] DIR [PROGRAM...]

DIR is where build-qtest.sh built them.  Each test of a program counts.  Output of the runs goes to DIR/out.
"""
import argparse
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
# Fuzzers' findings and the like: they have nothing of the CPU and some need an hour.
LEFT_OUT = {'qom-test', 'device-introspect-test', 'dbus-display-test'}


def run(folder, program, accel, timeout):
    """{test: "ok", "skip" or "FAIL"}"""
    env = dict(os.environ, XBT_QTEST_ACCEL=accel, QTEST_QEMU_BINARY=os.path.join(HERE, 'qtest-system-x86_64'),
               QTEST_QEMU_IMG=os.path.join(folder, 'qemu-img'), PYTHON='/usr/bin/python3', MALLOC_PERTURB_='0',
               G_TEST_SRCDIR=os.path.join(os.path.realpath(os.path.join(folder, 'tests/qtest'))),
               G_TEST_BUILDDIR=os.path.join(folder, 'tests/qtest'))
    env.setdefault('XBT_LAUNCHER', os.path.join(TOP, 'build/qemu-xbt'))
    log = os.path.join(folder, 'out', f'{program}.{accel.split(",")[0]}')
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, 'w', encoding='utf-8') as file:
        try:
            status = subprocess.run([os.path.join('tests/qtest', program), '--tap', '-k'], cwd=folder, env=env, stdout=file,
                                    stderr=file, stdin=subprocess.DEVNULL, timeout=timeout, check=False).returncode
        except subprocess.TimeoutExpired:
            status = 'timeout'
    results = {}
    with open(log, encoding='utf-8', errors='replace') as file:
        for line in file:
            m = re.match(r'(not ok|ok) \d+ (\S+)( # SKIP)?', line)
            if m:
                results[m[2]] = 'FAIL' if m[1] == 'not ok' else 'skip' if m[3] else 'ok'
    if status and 'FAIL' not in results.values():
        results[f'({status})'] = 'FAIL'
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--accel', default='xbt/tcg')
    parser.add_argument('--timeout', type=int, default=1200)
    parser.add_argument('folder')
    parser.add_argument('program', nargs='*')
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    built = sorted(p for p in os.listdir(os.path.join(folder, 'tests/qtest'))
                   if p not in LEFT_OUT and os.access(os.path.join(folder, 'tests/qtest', p), os.X_OK)
                   and os.path.isfile(os.path.join(folder, 'tests/qtest', p)))
    worse = []
    for program in args.program or built:
        row, of = [], {}
        for accel in args.accel.split('/'):
            of[accel] = run(folder, program, accel, args.timeout)
            values = list(of[accel].values())
            row.append(f"{accel} {values.count('ok')} ok, {values.count('FAIL')} failed, {values.count('skip')} skipped")
        print(f'{program}: {"; ".join(row)}', flush=True)
        first, last = (of[a] for a in (args.accel.split('/')[0], args.accel.split('/')[-1]))
        for test, result in first.items():
            if result == 'FAIL' and last.get(test, 'ok') != 'FAIL':
                worse.append(f'{program} {test}')
    for each in worse:
        print('FAIL', each)
    return bool(worse)


if __name__ == '__main__':
    sys.exit(main())
