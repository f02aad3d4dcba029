# SPDX-License-Identifier: GPL-2.0-or-later
"""Build a system test: payload of C and assembly behind boot.S, one 128 KiB firmware image.

A line `/* with: NAME.S */` (or NAME.c) in the C file adds that file to the payload.  XBT_TEST_SCALE=N makes tests that
repeat something N times as long.
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CFLAGS = ('-O1 -ffreestanding -fno-pic -fno-pie -nostdlib -fno-stack-protector -fcf-protection=none -mno-red-zone '
          '-fno-asynchronous-unwind-tables -Wall -Wextra -Werror').split()


def run(*command):
    subprocess.run(command, check=True)


def build(source, image):
    bits = '64' if source.endswith('64.c') else '32'
    scale = os.environ.get('XBT_TEST_SCALE', '1')
    flags = CFLAGS + [f'-m{bits}', f'-DSCALE={scale}u'] + (['-mgeneral-regs-only'] if bits == '32' else [])
    emulation = 'elf_x86_64' if bits == '64' else 'elf_i386'
    with open(os.path.join(HERE, source), encoding='ascii') as f:
        extra = re.findall(r'^/\* with: (\w+\.[Sc]) \*/$', f.read(), re.M)
    with tempfile.TemporaryDirectory() as tmp:
        obj = [os.path.join(tmp, name) for name in ('boot.o', 'entry.o', 'test.o')]
        run('gcc', '-m32', '-c', '-o', obj[0], os.path.join(HERE, 'boot.S'))
        run('gcc', f'-m{bits}', '-c', '-o', obj[1], os.path.join(HERE, f'entry{bits}.S'))
        run('gcc', *flags, '-I', HERE, '-c', '-o', obj[2], os.path.join(HERE, source))
        for name in extra:
            obj.append(os.path.join(tmp, name + '.o'))
            run('gcc', *(flags if name.endswith('.c') else [f'-m{bits}']), '-I', HERE, '-c', '-o', obj[-1],
                os.path.join(HERE, name))
        parts = {}
        for name, linked in (('boot', [obj[0], '-Ttext=0', '-e', '0']),
                             ('payload', ['-T', os.path.join(HERE, 'payload.ld'), *obj[1:]])):
            out = os.path.join(tmp, name)
            run('ld', '-m', 'elf_i386' if name == 'boot' else emulation, '-z', 'noexecstack',
                '--no-warn-rwx-segments', '-o', out + '.elf', *linked)
            run('objcopy', '-O', 'binary', out + '.elf', out)
            with open(out, 'rb') as f:
                parts[name] = f.read()
    assert len(parts['boot']) == 0x1000 and len(parts['payload']) <= 0x1f000, source
    with open(image, 'wb') as f:
        f.write(parts['payload'].ljust(0x1f000, b'\0') + parts['boot'])


if __name__ == '__main__':
    build(sys.argv[1], sys.argv[2])
