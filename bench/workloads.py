# SPDX-License-Identifier: GPL-2.0-or-later
"""The workloads, as data, and the making of their programs and inputs.

Groups, by what they need:
  micro      a static C program of bench/src, in the initramfs guest
  boot       firmware, kernel and initramfs to power-off, seen from outside
  root       a real program of the Debian root file system, 20 to 200 ms natively: its start counts
  long       the same kind of work for ten times as long, in one process
  jit        programs that make code, from a root file system with node and OpenJDK
  openssl    rates that `openssl speed` finds, as the time that a fixed amount takes
  growth     a program of bench/src/growth twice, with the same amount of work: the second time with ten times
             as much live code, processes or memory
  translate  code that is executed once
  system     Debian with systemd to the login prompt, apt-get install (system.py)
The first three are what `bench/run` without names does.
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

LONG = {
    'xz-long': 'xz -6 -T1 -c $in/text-long',
    'gzip-long': 'gzip -9nc $in/text-long; gzip -6nc $in/text-long',
    '7z-long': ROOT['7z'].replace('text', 'text-long'),
    'python3-long': 'python3 $in/bench.py 10',
    'perl-long': 'perl $in/bench.pl 10',
    'sqlite3-long': 'for i in 0 1 2 3 4 5 6 7 8 9; do '
                    'sed "s/item/item$i/g; s/kind(/kind$i(/; s/INTO kind/INTO kind$i/; '
                    's/JOIN kind ON kind/JOIN kind$i ON kind$i/" $in/bench.sql; done | sqlite3 :memory:',
    'gcc-long': 'gcc -O2 -S -o - $in/compile-long.c',
    'sysbench-long': ROOT['sysbench'].replace('events=400', 'events=4000'),
}

# One processor, as in the guest; the heap does not depend on the machine's memory.
ONE = 'taskset -c $(sed -n "s/^Cpus_allowed_list:[^0-9]*\\([0-9]*\\).*/\\1/p" /proc/self/status)'
NODE = ONE + ' node'
JAVA = ONE + ' /usr/lib/jvm/java-17-openjdk-amd64/bin/java -Xms64m -Xmx256m -cp /opt/xbt'
JIT = {
    'node-start': f'for i in 1 2 3; do {NODE} -p "[1, 2].map(n => n * 2)"; done',
    'node-json': f'{NODE} $in/json.js',
    'node-regex': f'{NODE} $in/regex.js',
    'node-numeric': f'{NODE} $in/numeric.js',
    'java-start': f'for i in 1 2 3; do {JAVA} Hello; done',
    'java-maps': f'{JAVA} Maps',
}

# name -> arguments of `openssl speed`, how many of what its rate is about make the time that is shown
SPEED = {
    'rsa2048-sign': ('rsa2048', 100),
    'rsa2048-verify': ('rsa2048', 2000),
    'aes-128-gcm': ('-bytes 16384 -evp aes-128-gcm', 100 << 20),
    'sha256': ('-bytes 16384 -evp sha256', 100 << 20),
}

# name -> program, what grows tenfold between name-1x and name-10x
GROWTH = {'code': 'live code', 'processes': 'processes', 'memory': 'working set'}

GROUPS = {'micro': MICRO, 'boot': BOOT, 'root': list(ROOT), 'long': list(LONG), 'jit': list(JIT),
          'openssl': list(SPEED) + [name + '-equal' for name in SPEED],
          'growth': [name + end for name in GROWTH for end in ('-1x', '-10x')],
          'translate': ['translate'], 'system': ['login', 'apt-install']}
ONCE_ROUNDS = 10        # of growth/translate.c
USUAL = ['micro', 'boot', 'root']
COMMANDS = {**ROOT, **LONG, **JIT}


def image_of(group):
    """The folder of build/guest whose image and tree the group's programs come from."""
    return 'jit' if group == 'jit' else ''


def build_program(source, target, *options):
    """Compile a program statically, unless it is newer than its sources."""
    folder = os.path.dirname(source)
    sources = [source, os.path.join(SOURCES, 'bench.h')]
    sources += [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith('.h')]
    newest = max(map(os.path.getmtime, sources))
    if not os.path.exists(target) or os.path.getmtime(target) < newest:
        fresh = f'{target}.{os.getpid()}'    # tests side by side may want the same program
        subprocess.run(
            ['gcc', '-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror',
             '-ffp-contract=off', '-static', *options, '-o', fresh,
             source, '-lm'], check=True)
        os.replace(fresh, target)
    return target


def build_programs(directory, groups=()):
    """What the groups need of bench/src; name -> path."""
    os.makedirs(directory, exist_ok=True)
    programs = {}
    for file in sorted(os.listdir(SOURCES)):
        if file.endswith('.c'):
            name = file[:-2]
            programs[name] = build_program(os.path.join(SOURCES, file), os.path.join(directory, name), '-s')
    scaled = [name for group in ('growth', 'translate') if group in groups for name in GROUPS[group]]
    for name in scaled:
        base, _, scale = name.partition('-')
        programs[name] = build_program(
            os.path.join(SOURCES, 'growth', base + '.c'), os.path.join(directory, name),
            '-O1', f'-DSCALE={scale[:-1] or 1}', f'-DNAME="{name}"')
    return programs


def once_instructions(program):
    """How many instructions one call of all functions of growth/code.h has."""
    text = subprocess.run(['objdump', '-d', '--section=once', '--no-show-raw-insn', program],
                          capture_output=True, text=True, check=True).stdout
    return sum(line.startswith('  ') for line in text.splitlines())


def generator(seed):
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def make_text(size, seed=2024):
    """Words with a skewed distribution, numbers and a few long repeats."""
    random = generator(seed)
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


def make_inputs(directory, long=False):
    """The files that the root group reads, and the long one; name -> path."""
    os.makedirs(directory, exist_ok=True)
    inputs = {}

    def add(name, text):
        path = os.path.join(directory, name)
        with open(path, 'w', encoding='ascii') as file:
            file.write(text)
        inputs[name] = path

    def functions(count):
        return ''.join(C_FUNCTION.replace('N', str(n)).replace('K', str(n * 7 % 53 + 3)) for n in range(count))

    add('text', make_text(600000))
    add('compile.c', functions(8))
    if long:
        add('text-long', ''.join(make_text(600000, seed) for seed in range(2030, 2040)))
        add('compile-long.c', functions(80))
    for name in ('bench.py', 'bench.pl', 'bench.sql', 'json.js', 'regex.js', 'numeric.js'):
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
        command = COMMANDS[name].replace("'", "'\\''")
        lines.append(f'echo XBT-START {name}')
        lines.append(f"/run/xbt/timed {name} out sh -c '{command}'")
        lines.append(f'echo XBT-SUM {name} $(sha256sum <out)')
        lines.append('rm -rf /tmp/xbt/*')
    return '\n'.join(lines) + '\n'


def speed_script(options):
    """`openssl speed` with everything; the rates are read by speed_lines()."""
    lines = ['export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'cd /tmp || exit']
    for arguments in dict.fromkeys(arguments for arguments, _ in SPEED.values()):
        lines.append(f'echo "XBT-SPEED {arguments}"')
        lines.append(f'openssl speed -mr -seconds 2 {options} {arguments} 2>/dev/null | grep ^+F')
        lines.append('echo XBT-SPEED end')
    return '\n'.join(lines) + '\n'


def speed_lines(lines):
    """Rates of a run: name -> (per second, host seconds, QEMU's processor seconds).

    lines as in Bench.take_lines()."""
    rates, arguments, start = {}, None, (0, 0)
    for wall, cpu, line in lines:
        if line.startswith('XBT-SPEED '):
            arguments, start = line[10:].strip(), (wall, cpu)
        elif line.startswith('+F'):
            fields = line.split(':')
            both = [name for name, (known, _) in SPEED.items() if known == arguments]
            values = fields[3:5] if line.startswith('+F2') else fields[-1:]
            for name, value in zip(both, values):
                if float(value) > 0:
                    rates[name] = float(value), wall - start[0], cpu - start[1]
    return rates


# Flags of /proc/cpuinfo -> bit of OPENSSL_ia32cap: CPUID.1 EDX and ECX, then CPUID.7 EBX and ECX.
CPU_BITS = {'pclmulqdq': 33, 'ssse3': 41, 'fma': 44, 'movbe': 54, 'aes': 57, 'avx': 60, 'rdrand': 62,
            'bmi1': 67, 'avx2': 69, 'bmi2': 72, 'avx512f': 80, 'avx512dq': 81, 'rdseed': 82, 'adx': 83,
            'avx512ifma': 85, 'avx512cd': 92, 'sha_ni': 93, 'avx512bw': 94, 'avx512vl': 95,
            'avx512_vbmi': 97, 'avx512_vbmi2': 102, 'vaes': 105, 'vpclmulqdq': 106}


def equal_cpu(native, guest):
    """OPENSSL_ia32cap that takes away what the guest's processor lacks."""
    mask = sum(1 << bit for flag, bit in CPU_BITS.items() if flag in native and flag not in guest)
    return f'~{mask & (1 << 64) - 1:#x}:~{mask >> 64:#x}'
