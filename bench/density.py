# SPDX-License-Identifier: GPL-2.0-or-later
"""Host bytes per guest byte of hot code: what query-xbt-blocks says after a few programs of the root group.

A run of its own with profile=on, which takes its time: no time is measured.
"""

import json
import os
import socket

PROGRAMS = ['xz', 'python3', 'sqlite3', 'gcc']
HOT = 0.95      # of the guest instructions executed by the 1000 hottest blocks


def blocks(path):
    """The 1000 hottest blocks."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        with connection.makefile('rw', encoding='utf-8') as file:
            file.readline()
            for name, arguments in (('qmp_capabilities', {}), ('query-xbt-blocks', {'count': 1000})):
                file.write(json.dumps({'execute': name, 'arguments': arguments}) + '\n')
                file.flush()
                answer = json.loads(file.readline())
                while 'event' in answer:
                    answer = json.loads(file.readline())
    return answer['return']


def summary(found):
    """(bytes of guest code, of host code) of the blocks that make up HOT of what was executed."""
    weight = [(b['executions'] * b['guest-insns'], b['guest-bytes'], b['host-bytes']) for b in found]
    weight.sort(reverse=True)
    total, done, guest, host = sum(w for w, _, _ in weight), 0, 0, 0
    for executed, guest_bytes, host_bytes in weight:
        if done >= HOT * total:
            break
        done += executed
        guest += guest_bytes
        host += host_bytes
    return guest, host


def measure(bench, make_job):
    """name -> (guest bytes, host bytes).  make_job(names, options, extra) is a job of the root group."""
    result = {}
    for name in PROGRAMS:
        path = os.path.join(bench.out, 'qmp')
        answers = []

        def on_line(line):
            if line.startswith('XBT-SUM'):
                answers.append(blocks(path))        # pylint: disable=cell-var-from-loop

        make_job([name], 'profile=on', ['-qmp', f'unix:{path},server=on,wait=off']).run(on_line)
        if answers:
            result[name] = summary(answers[0])
        else:
            bench.fail('translate', 'xbt', f'no profile of {name}')
    return result
