#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one guest under xbt and under TCG, an instruction at a time, and say
where they part.

  scripts/trace-diff.py [options] [QEMU arguments...]

Without QEMU arguments the guest is the firmware alone.  Both sides log the
state before each instruction: xbt by one-insn=on with dump=exec, TCG by
-singlestep with -d exec,cpu,nochain.  The streams are compared as they come;
at the first difference both QEMUs are ended and the last instructions, both
states and what differs are printed.

What can be compared is what is deterministic: everything up to the first
interrupt or the first read of a clock.  After such a read (RDTSC, IN, CPUID...)
a difference is reported as "of the outside", not as a bug; --tolerate goes on
as long as both sides stay on the same path.  The status flags that the manual
leaves undefined differ between TCG and hardware: a difference in flags alone
is noted and only ends the run with --strict-flags.

Exit status: 0 no difference, 1 a difference, 2 the outside, 3 trouble.
"""

import argparse
import collections
import os
import re
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GPRS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi',
        'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']
FLAGS = [('CF', 0x1), ('PF', 0x4), ('AF', 0x10), ('ZF', 0x40), ('SF', 0x80),
         ('OF', 0x800)]
STATUS = sum(bit for _, bit in FLAGS)
RF = 0x10000            # TCG keeps it in places where hardware has cleared it
OUTSIDE = re.compile(r'\b(rdtscp?|rdpmc|rdrand|rdseed|cpuid|rdmsr|in[bwl]?|'
                     r'(rep )?ins[bwl]?|xgetbv)\b')

State = collections.namedtuple('State', 'cs rip lin wide flags regs')


# ---- the two logs ----------------------------------------------------------

XBT_LINE = re.compile(r'enter ([0-9a-f]{4}):([0-9a-f]{16}) fl=([0-9a-f]{8}) (.*)')


def xbt_states(stream, _asm, other):
    for line in stream:
        m = XBT_LINE.match(line)
        if not m:
            other.append(line)
        else:
            words = dict(word.split('=') for word in m[4].split())
            regs = [int(words[name], 16) for name in GPRS]
            yield State(int(m[1], 16), int(m[2], 16), None, True, int(m[3], 16), regs)


TCG_REG = re.compile(r'([ER][A-Z]{2}|R[0-9]+) *=([0-9a-f]{8,16})\b')
TCG_CS = re.compile(r'CS =([0-9a-f]{4}) ([0-9a-f]{8,16}) ')
TCG_ASM = re.compile(r'0x([0-9a-f]+):  ((?:[0-9a-f]{2} )+)\s*(.*)')


def tcg_states(stream, asm, other):
    """Also fills asm: linear address -> text of the instruction."""
    found = {}
    for line in stream:
        if line.startswith('0x'):
            m = TCG_ASM.match(line)
            if m:
                asm[int(m[1], 16)] = m[3].strip()
        elif line.startswith('CS =') and 'IP' in found:
            m = TCG_CS.match(line)
            wide = 'R8' in found
            prefix = 'R' if wide else 'E'
            regs = [found.get(name.upper() if name[1].isdigit() else prefix + name[1:].upper(), 0)
                    for name in GPRS]
            yield State(int(m[1], 16), found['IP'], found['IP'] + int(m[2], 16), wide,
                        found['FL'], regs)
            found = {}
        else:
            if line.startswith('qemu-'):
                other.append(line)
            for name, value in TCG_REG.findall(line):
                found[name[1:] if name[1:] in ('IP', 'FL') else name] = int(value, 16)


def once(states):
    """One state per visit: TCG logs each turn of a REP, xbt the instruction."""
    last = None
    for state in states:
        if last is None or (state.cs, state.rip) != (last.cs, last.rip):
            yield state
        last = state


# ---- comparing -------------------------------------------------------------

def differences(x, t):
    """Names of what differs; flags apart."""
    mask = (1 << 64) - 1 if t.wide else (1 << 32) - 1
    names = []
    if (x.cs, x.rip & mask) != (t.cs, t.rip):
        names.append('rip')
    names += [name for i, name in enumerate(GPRS)
              if (x.regs[i] ^ t.regs[i]) & mask and (t.wide or i < 8)]
    if (x.flags ^ t.flags) & ~(STATUS | RF):
        names.append('eflags')
    return names


def flag_names(bits):
    return ' '.join(name for name, bit in FLAGS if bits & bit)


def show(side, state, names):
    shown = [f'{side:4} {state.cs:04x}:{state.rip:x} fl={state.flags:08x}']
    shown += [f'{name}={state.regs[i]:x}' for i, name in enumerate(GPRS) if name in names]
    print('  ' + ' '.join(shown))


class Comparison:
    def __init__(self, args, asm):
        self.args = args
        self.asm = asm
        self.count = 0
        self.trail = collections.deque(maxlen=args.context)
        self.soft = []              # (count, text): flags alone
        self.soft_bits = 0
        self.tolerated = 0

    def text(self, state):
        return self.asm.get(state.lin, '?')

    def report(self, what, x, t, names):
        print(f'{what} after {self.count} instructions; the last ones:')
        for state in self.trail:
            print(f'  {state.cs:04x}:{state.rip:x}  {self.text(state)}')
        print('before the next one:')
        show('xbt', x, names)
        show('tcg', t, names)
        if x.flags ^ t.flags:
            print(f'  flags that differ: {flag_names(x.flags ^ t.flags)} '
                  f'({(x.flags ^ t.flags):#x})')
        for count, text in self.soft[-5:]:
            print(f'  earlier, flags alone: {text} (instruction {count})')

    def note_flags(self, x, t):
        bits = (x.flags ^ t.flags) & STATUS
        new = bits & ~self.soft_bits
        self.soft_bits = bits
        if new and self.trail:
            last = self.trail[-1]
            self.soft.append((self.count, f'{flag_names(new)} after '
                              f'{last.cs:04x}:{last.rip:x} {self.text(last)}'))
        return new

    def step(self, x, t):
        """None to go on, or the exit status."""
        names = differences(x, t)
        new_flags = self.note_flags(x, t)
        if names:
            outside = self.trail and OUTSIDE.search(self.text(self.trail[-1]))
            if 'rip' not in names and self.args.tolerate and (outside or self.tolerated):
                self.tolerated += 1
            else:
                self.report('a difference of the outside (clock, device, CPU model)' if outside
                            else 'a difference', x, t, names)
                if self.tolerated:
                    print(f'  {self.tolerated} states with other values were tolerated before')
                return 2 if outside or self.tolerated else 1
        elif new_flags and self.args.strict_flags:
            self.report('a difference in flags', x, t, names)
            return 1
        self.trail.append(t)
        self.count += 1
        if self.count >= self.args.max:
            print(f'no difference in {self.count} instructions')
            self.summary()
            return 0
        return None

    def summary(self):
        if self.tolerated:
            print(f'{self.tolerated} states with other values were tolerated')
        for count, text in self.soft[:10]:
            print(f'  flags alone: {text} (instruction {count})')
        if len(self.soft) > 10:
            print(f'  ... and {len(self.soft) - 10} more')


def start(args, accel):
    launcher = os.environ.get('XBT_LAUNCHER', os.path.join(TOP, 'build/qemu-xbt'))
    # xbt has no SMM: firmware must not find it under TCG either.
    command = [launcher, '-snapshot', '-machine', 'smm=off', '-cpu', args.cpu,
               '-rtc', 'base=2020-01-01,clock=vm', '-display', 'none', '-serial', 'none',
               '-monitor', 'none', *accel, *args.qemu]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, errors='replace')


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0],
                                     usage='trace-diff.py [options] [--] [QEMU arguments...]')
    parser.add_argument('--max', type=int, default=100000, metavar='N',
                        help='instructions to compare (default 100000)')
    parser.add_argument('--context', type=int, default=10, metavar='N',
                        help='instructions to show (default 10)')
    parser.add_argument('--cpu', default='qemu64,tcg-cpuid=off',
                        help='same on both sides; the hypervisor leaf would differ')
    parser.add_argument('--xbt', default='', metavar='PROPERTIES',
                        help='more properties of -accel xbt, e.g. opt=off')
    parser.add_argument('--tolerate', action='store_true',
                        help='go on after clock reads while the paths agree')
    parser.add_argument('--strict-flags', action='store_true',
                        help='also stop at differences in status flags alone')
    args, args.qemu = parser.parse_known_args()
    args.qemu = [word for word in args.qemu if word != '--']

    xbt_accel = 'xbt,one-insn=on,chain=off,jump-cache=off,dump=exec'
    sides = [start(args, ['-accel', xbt_accel + (',' + args.xbt if args.xbt else '')]),
             start(args, ['-accel', 'tcg', '-singlestep', '-d', 'exec,cpu,nochain,in_asm'])]
    asm = {}
    said = [collections.deque(maxlen=5) for _ in sides]     # error messages, other logs
    comparison = Comparison(args, asm)
    try:
        for x, t in zip(once(xbt_states(sides[0].stderr, asm, said[0])),
                        once(tcg_states(sides[1].stderr, asm, said[1]))):
            status = comparison.step(x, t)
            if status is not None:
                return status
    except KeyboardInterrupt:
        print('interrupted')
    finally:
        for side in sides:
            side.kill()
            side.wait()
    if not comparison.count:
        print('trace-diff: no instruction was logged on one side', file=sys.stderr)
        sys.stderr.writelines(line for lines in said for line in lines)
        return 3
    print(f'a stream ended after {comparison.count} instructions without a difference')
    comparison.summary()
    return 0


if __name__ == '__main__':
    sys.exit(main())
