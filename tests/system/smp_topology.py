# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets, cores and threads: every CPU says the same about its place with -accel xbt as with TCG."""
import difflib
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, HERE)

import build  # noqa: E402
import run    # noqa: E402

SHAPES = ['1', '2', '4,sockets=2,cores=2', '4,sockets=1,cores=2,threads=2', '8,sockets=2,cores=2,threads=2',
          '3,sockets=1,cores=3', '2,maxcpus=8', '8,dies=2,cores=2,threads=2']
MODELS = ['max', 'EPYC', 'Haswell-noTSX', 'qemu64']


def parts(text):
    """Text by CPU: the order in which they were found may differ."""
    return sorted(text.partition('cpus ')[0].split('cpu ')[1:])


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        image = os.path.join(tmp, 'image')
        build.build('smptopo64.c', image)
        for number, shape in enumerate(SHAPES):
            model = MODELS[number % len(MODELS)]
            texts = []
            for accel in ('tcg', 'xbt'):
                os.environ['XBT_TEST_ACCEL'] = accel
                out, errors = run.launch('', ['-bios', image, '-smp', shape], model)
                texts.append(parts(out))
            count = int(shape.split(',')[0])
            if texts[0] != texts[1] or len(texts[1]) != count or not out.endswith('end\n'):
                failed = 1
                print(f'--- -smp {shape} -cpu {model}:\n{errors}')
                sys.stdout.writelines(difflib.unified_diff(''.join(texts[0]).splitlines(True),
                                                           ''.join(texts[1]).splitlines(True), 'TCG', 'xbt'))
    return failed


if __name__ == '__main__':
    sys.exit(main())
