# SPDX-License-Identifier: GPL-2.0-or-later
"""The workloads, as data, and the making of their programs and inputs.

Three groups, by what they need:
  micro   a static C program of bench/src, in the initramfs guest
  boot    firmware, kernel and initramfs to power-off, seen from outside
  root    a real program of the Debian root file system
All inputs are made here from fixed seeds: every side computes the same.
"""

import os
import subprocess

import rsa_key

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, 'src')

MICRO = ['sieve', 'qsort', 'crc32', 'interp', 'fib', 'indirect', 'chase',
         'matmul', 'simd', 'x87', 'memfunc', 'nbody', 'mandelbrot',
         'pipe', 'fork', 'exec', 'getppid', 'faults', 'smc']

BOOT = ['boot']

# name -> command, run by sh in a scratch folder; $in has the inputs.  What it
# prints must be the same everywhere.
ROOT = {
    'xz': 'xz -6 -T1 -c $in/text',
    'unxz': 'for i in 1 2 3 4 5 6; do xz -dc $in/text.xz; done',
    'gzip': 'gzip -9nc $in/text; gzip -6nc $in/text',
    '7z': '7z a -mmt1 -mx5 -mtm- -bd a.7z $in/text >/dev/null && '
          '7z x -so -mmt1 -bd a.7z | sha256sum',
    'python3': 'python3 $in/bench.py',
    'perl': 'perl $in/bench.pl',
    'sqlite3': 'sqlite3 :memory: <$in/bench.sql',
    'gcc': 'gcc -O2 -S -o - $in/compile.c',
    'openssl-rsa': 'for i in 1 2 3 4 5 6 7 8; do '
                   'openssl dgst -sha256 -sign $in/rsa.pem $in/text; done',
    'openssl-aes': 'for i in 1 2 3 4 5 6 7 8; do cat $in/text; done | '
                   'openssl enc -aes-256-ctr -K 0123456789abcdef -iv 42 '
                   '2>/dev/null | sha256sum',
    'openssl-sha256': 'for i in 1 2 3 4 5 6 7 8; do cat $in/text; done | '
                      'openssl dgst -sha256',
    'sysbench': 'sysbench cpu --cpu-max-prime=10000 --events=400 --time=0 '
                '--threads=1 run | grep "total number of events"',
    'stress-ng': 'stress-ng --cpu 1 --cpu-method all --cpu-ops 80 --verify '
                 '--temp-path . 2>log || { cat log; false; }',
}

GROUPS = {'micro': MICRO, 'boot': BOOT, 'root': list(ROOT)}


def build_programs(directory):
    """Compile bench/src statically; name -> path."""
    os.makedirs(directory, exist_ok=True)
    header = os.path.join(SOURCES, 'bench.h')
    programs = {}
    for file in sorted(os.listdir(SOURCES)):
        if not file.endswith('.c'):
            continue
        source = os.path.join(SOURCES, file)
        target = os.path.join(directory, file[:-2])
        newest = max(os.path.getmtime(source), os.path.getmtime(header))
        if not os.path.exists(target) or os.path.getmtime(target) < newest:
            subprocess.run(
                ['gcc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror',
                 '-ffp-contract=off', '-static', '-s', '-o', target + '.new',
                 source, '-lm'], check=True)
            os.replace(target + '.new', target)
        programs[file[:-2]] = target
    return programs


def generator(seed):
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def make_text(size):
    """Words with a skewed distribution, numbers and a few long repeats."""
    random = generator(2024)
    letters = 'etaoinshrdlucmfwypvbgkjqxz'
    words = [''.join(letters[next(random) % 26 * (next(random) % 26) // 26]
                     for _ in range(2 + next(random) % 8))
             for _ in range(3000)]
    lines, length = [], 0
    while length < size:
        if lines and next(random) % 9 == 0:
            line = lines[next(random) % len(lines)]
        else:
            line = ' '.join(words[next(random) % 3000 * (next(random) % 3000)
                                  // 3000] for _ in range(9))
            line += f' {next(random) % 100000}\n'
        lines.append(line)
        length += len(line)
    return ''.join(lines)[:size]


C_FUNCTION = '''
static int table_N[64];
struct node_N { struct node_N *left, *right; unsigned key; double weight; };
static double walk_N(const struct node_N *n, unsigned depth)
{
    double sum = 0;
    while (n && depth--) {
        sum += n->weight * (n->key % K + 1);
        if (n->key & 1)
            sum -= walk_N(n->left, depth / 2);
        n = n->key > K ? n->right : n->left;
    }
    return sum;
}
unsigned mix_N(const unsigned char *p, unsigned size, unsigned h)
{
    for (unsigned i = 0; i < size; i++) {
        switch (p[i] % 7) {
        case 0: h = h * 31 + p[i]; break;
        case 1: h ^= h >> (K % 13 + 1); break;
        case 2: h += table_N[h % 64]; break;
        case 3: table_N[i % 64] = h; break;
        case 4: h = (h << 5 | h >> 27) + K; break;
        case 5: if (h % 3 == 1) h -= p[i] * K; break;
        default: h = ~h;
        }
    }
    return h;
}
void matrix_N(double (*a)[16], double (*b)[16], double (*c)[16])
{
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            double s = 0;
            for (int k = 0; k < 16; k++)
                s += a[i][k] * b[k][j];
            c[i][j] = s / K;
        }
}
double use_N(const struct node_N *n) { return walk_N(n, K); }
'''


def make_inputs(directory):
    """The files that the root group reads; name -> path."""
    os.makedirs(directory, exist_ok=True)
    inputs = {}

    def add(name, text):
        path = os.path.join(directory, name)
        with open(path, 'w', encoding='ascii') as file:
            file.write(text)
        inputs[name] = path

    add('text', make_text(600000))
    add('compile.c', ''.join(
        C_FUNCTION.replace('N', str(n)).replace('K', str(n * 7 % 53 + 3))
        for n in range(8)))
    for name in ('bench.py', 'bench.pl', 'bench.sql'):
        with open(os.path.join(HERE, 'inputs', name), encoding='ascii') as file:
            add(name, file.read())
    if os.path.exists(os.path.join(directory, 'rsa.pem')):
        inputs['rsa.pem'] = os.path.join(directory, 'rsa.pem')
    else:
        add('rsa.pem', rsa_key.make_pem(generator(65537)))
    xz = os.path.join(directory, 'text.xz')
    with open(xz, 'wb') as file:
        subprocess.run(['xz', '-6', '-T1', '-c', inputs['text']], stdout=file,
                       check=True)
    inputs['text.xz'] = xz
    return inputs


def micro_script(names, percent):
    """What the initramfs guest runs; the programs are beside the script."""
    lines = ['cd "${1:-/xbt}"']
    for name in names:
        lines.append(f'echo XBT-START {name}')
        lines.append(f'./{name} {percent} || echo XBT-FAILED {name} $?')
    return '\n'.join(lines) + '\n'


def root_script(names):
    """What runs inside the Debian root file system, guest or native."""
    lines = ['export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root',
             'export in=/run/xbt', 'mkdir -p /tmp/xbt && cd /tmp/xbt || exit',
             'export PYTHONDONTWRITEBYTECODE=1', 'export PYTHONHASHSEED=0']
    for name in names:
        command = ROOT[name].replace("'", "'\\''")
        lines.append(f'echo XBT-START {name}')
        lines.append(f"/run/xbt/timed {name} out sh -c '{command}'")
        lines.append(f'echo XBT-SUM {name} $(sha256sum <out)')
        lines.append('rm -rf /tmp/xbt/*')
    return '\n'.join(lines) + '\n'
