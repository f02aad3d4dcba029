# SPDX-License-Identifier: GPL-2.0-or-later
"""Run QEMU's qtests with the accelerators given, and say what passes under the last but not under the first.

    usage: run_qtests.py [--accel xbt/tcg] [--timeout S] [--firmware] DIR [PROGRAM...]

DIR is where build-qtest.sh built them.  Each test of a program counts: where a program ends early or does
not end, the test it was in has failed, and the program is run again without those that have had their turn.
Output of the runs goes to DIR/out.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
# Programs and single tests that are not run, with the reason.
LEFT_OUT = {
    'am53c974-test': 'has tests for i386 alone',
}
TESTS_LEFT_OUT = {
    'bios-tables-test': {'/x86_64/acpi/q35/core-count2': "needs KVM's interrupt controller (kernel-irqchip)"},
    'migration-test': {'/x86_64/migration/dirty_ring': 'sets an option of KVM (dirty-ring-size)',
                       '/x86_64/migration/vcpu_dirty_limit': 'KVM alone has limits of dirty pages'},
}
# Programs that ask for the accelerator `qtest` and wait until the machine runs, or do nothing that its
# firmware would mind.
WITH_FIRMWARE = {'cpu-plug-test', 'machine-none-test', 'numa-test', 'qmp-cmd-test', 'qmp-test',
                 'readconfig-test', 'test-filter-mirror', 'test-filter-redirector', 'test-hmp',
                 'test-netfilter', 'test-x86-cpuid-compat'}


def environment(folder, accel, firmware):
    env = dict(os.environ, XBT_QTEST_ACCEL=accel, QTEST_QEMU_BINARY=os.path.join(HERE, 'qtest-system-x86_64'),
               PYTHON='/usr/bin/python3', MALLOC_PERTURB_='0', XBT_QTEST_FIRMWARE=str(int(firmware)),
               QTEST_QEMU_STORAGE_DAEMON_BINARY=shutil.which('qemu-storage-daemon') or '',
               G_TEST_SRCDIR=os.path.realpath(os.path.join(folder, 'tests/qtest')),
               G_TEST_BUILDDIR=os.path.join(folder, 'tests/qtest'))
    if os.path.exists(os.path.join(folder, 'qemu-img')):
        env['QTEST_QEMU_IMG'] = os.path.join(folder, 'qemu-img')
    env.setdefault('XBT_LAUNCHER', os.path.join(TOP, 'build/qemu-xbt'))
    return env


def run_once(command, folder, env, timeout, log):
    """The status it ended with, and {test: "ok", "skip" or "FAIL"} of those that came to an end."""
    start = log.tell()
    try:
        status = subprocess.run(command, cwd=folder, env=env, stdout=log, stderr=log, timeout=timeout,
                                stdin=subprocess.DEVNULL, check=False).returncode
    except subprocess.TimeoutExpired:
        status = 'timeout'
    results = {}
    log.seek(start)
    for line in log.read().decode(errors='replace').splitlines():
        m = re.match(r'(not ok|ok) \d+ (\S+)( # SKIP)?', line)
        if m:
            results[m[2]] = 'FAIL' if m[1] == 'not ok' else 'skip' if m[3] else 'ok'
    return status, results


def run(folder, program, accel, timeout, firmware):
    """{test: "ok", "skip" or "FAIL"}"""
    env = environment(folder, accel, firmware or program in WITH_FIRMWARE)
    path = os.path.join('tests/qtest', program)
    listed = subprocess.run([path, '-l'], cwd=folder, env=env, stdout=subprocess.PIPE, timeout=timeout,
                            stdin=subprocess.DEVNULL, check=False).stdout.decode().split('\n')
    left_out = TESTS_LEFT_OUT.get(program, {})
    todo = [test for test in listed if test.startswith('/') and test not in left_out]
    results = {}
    log = os.path.join(folder, 'out', f'{program}.{accel.split(",")[0]}')
    os.makedirs(os.path.dirname(log), exist_ok=True)
    with open(log, 'wb+', buffering=0) as file:
        while todo:
            before = set(results)
            skip = [option for test in [*left_out, *results] for option in ('-s', test)]
            status, done = run_once([path, '--tap', '-k', *skip], folder, env, timeout, file)
            for test in todo:
                if test in done:
                    results[test] = done[test]
            todo = [test for test in todo if test not in results]
            if todo and status == 'timeout' and set(results) - before:
                continue
            if todo:
                file.write(f'# {todo[0]}: status {status}\n'.encode())
                results[todo.pop(0)] = 'FAIL'
            elif status and 'FAIL' not in results.values():
                results[f'({status})'] = 'FAIL'
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--accel', default='xbt/tcg')
    parser.add_argument('--timeout', type=int, default=1200, help='seconds for one run of a program')
    parser.add_argument('--firmware', action='store_true', help='let firmware run beside tests of devices')
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
            of[accel] = run(folder, program, accel, args.timeout, args.firmware)
            values = list(of[accel].values())
            ok, failed, skipped = (values.count(each) for each in ('ok', 'FAIL', 'skip'))
            row.append(f'{accel} {ok} ok, {failed} failed, {skipped} skipped')
        print(f'{program}: {"; ".join(row)}', flush=True)
        first, last = (of[a] for a in (args.accel.split('/')[0], args.accel.split('/')[-1]))
        for test, result in first.items():
            if result == 'FAIL' and last.get(test, 'ok') != 'FAIL':
                worse.append(f'{program} {test}')
                print('   ', worse[-1], flush=True)
    for each in worse:
        print('FAIL', each)
    return bool(worse)


if __name__ == '__main__':
    sys.exit(main())
