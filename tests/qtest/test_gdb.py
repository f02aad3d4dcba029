# SPDX-License-Identifier: GPL-2.0-or-later
"""The gdbstub: stops, steps, registers and memory, packet by packet, beside TCG's.

A session is a function that drives gdb.asm through the remote protocol and returns what it saw; most run
under both accelerators and must see the same.  The guest is deterministic until its interrupts begin.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from gdb_remote import ACCESS, HARDWARE, READ, SOFTWARE, WRITE, Debugged
from machine import QmpError, main, until

HERE = os.path.dirname(os.path.abspath(__file__))
TRAP, INTERRUPTED = 'T05thread:01;', 'T02thread:01;'
RF = 0x10000                # TCG does not push it for faults


def watched(kind, addr):
    return f"T05thread:01;{ {WRITE: '', READ: 'r', ACCESS: 'a'}[kind] }watch:{addr:016x};"


class Firmware(unittest.TestCase):
    """gdb.asm, and where its labels are."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix='xbt-gdb-')
        cls.image = os.path.join(cls.dir, 'gdb.img')
        subprocess.run(['nasm', '-f', 'bin', '-o', cls.image, os.path.join(HERE, 'gdb.asm')],
                       check=True, cwd=cls.dir)
        with open(os.path.join(cls.dir, 'gdb.map'), encoding='ascii') as file:
            cls.at = {name: int(value, 16)
                      for value, name in re.findall(r'(?m)^ +[0-9A-F]+ +([0-9A-F]+) +(\w+)$', file.read())}
        cls.at['V86'] = 0x9000
        cls.name = {addr: name for name, addr in cls.at.items()}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def machine(self, accel='xbt', *args):
        return Debugged('-m', '64', '-machine', 'pc,smm=off', '-cpu', 'qemu64', '-bios', self.image, *args,
                        accel=accel)

    def run_to(self, r, label):
        """Go on to a label; it is a breakpoint meanwhile."""
        addr = self.at[label]
        r.insert(SOFTWARE, addr)
        self.assertEqual(r.go(), TRAP, label)
        r.remove(SOFTWARE, addr)


class Gdb(Firmware):
    def both(self, session, *args, modes=('',)):
        """The session's records under TCG; those under xbt are the same."""
        def record(accel):
            with self.machine(accel, *args) as m:
                return session(m.remote)
        want = record('tcg')
        for mode in modes:
            got = record('xbt' + mode)
            for i, (one, other) in enumerate(zip(want, got)):
                self.assertEqual(other, one, f'record {i} of {len(want)}{mode}; before: {want[i - 1]}')
            self.assertEqual(len(got), len(want))
        return want


def state(r):
    """All registers as a record that can be compared."""
    g = r.registers()
    g['eflags'] &= ~RF
    return {name: hex(value) for name, value in g.items()}


def place(r):
    g = r.registers()
    return hex(g['cs']), hex(g['rip']), hex(g['eflags'] & ~RF), hex(g['rcx'])


MODES = ('', ',one-insn=on', ',tlb=tagged', ',hostmap-heat=0', ',opt=off')


class Steps(Gdb):
    def test_from_the_reset_vector(self):
        """SeaBIOS: the same places and registers, three thousand instructions long."""
        def session(r):
            seen = [r.say('?'), state(r)]
            for _ in range(3000):
                seen.append((r.step(), *place(r)))
            seen.append(state(r))
            return seen
        records = []
        for accel in ('tcg', 'xbt'):
            with Debugged('-m', '64', '-machine', 'pc,smm=off', '-cpu', 'qemu64,tcg-cpuid=off',
                          accel=accel) as m:
                records.append(session(m.remote))
        self.assertEqual(records[1], records[0])
        self.assertEqual(records[1][1]['rip'], '0xfff0')
        self.assertGreater(len({line[2] for line in records[1][2:-1]}), 100, 'a small loop proves little')

    def test_all_modes(self):
        """Every instruction of the guest, from real mode to the last data access, with all registers."""
        def session(r):
            seen = []
            for first, last in ((None, 'real_done'), ('real_done', 'start32'), ('fill_ret', 'v86_gp'),
                                ('long_mode', 'data_end')):
                if first:
                    self.run_to(r, first)
                while r.get('rip') & 0xffff != self.at[last] & 0xffff:
                    seen.append((r.step(), state(r)))
            return seen
        seen = self.both(session)
        self.assertEqual({answer for answer, _ in seen}, {TRAP})
        self.assertLessEqual({'0xf000', '0x8', '0x18', '0x20', '0x900'}, {s['cs'] for _, s in seen})

    def test_string_instruction(self):
        """One step is one turn."""
        def session(r):
            self.run_to(r, 'at_15')
            seen = [place(r)]
            for _ in range(40):
                seen.append((r.step(), place(r)))
            return seen
        seen = self.both(session)
        turns = [p[3] for _, p in seen[1:] if int(p[1], 16) == int(seen[4][1][1], 16)]
        self.assertEqual(turns[:3], ['0x8', '0x7', '0x6'])

    def test_debug_exception_is_a_step(self):
        """TF, DR0, DR1, INT3, UD2 of the guest: a step ends at the handler's first instruction."""
        def session(r):
            self.run_to(r, 'dr_after')
            seen = []
            while r.get('rip') != self.at['interrupts']:
                seen.append((r.step(), state(r)))
            return seen
        self.both(session)

    def test_interrupts_only_where_asked_for(self):
        with self.machine() as m:
            r = m.remote
            self.assertEqual(r.say('qqemu.sstepbits'), 'ENABLE=1,NOIRQ=2,NOTIMER=4')
            self.assertEqual(r.say('qqemu.sstep'), '0x7')
            self.run_to(r, 'wait_tick')
            time.sleep(0.01)
            for _ in range(50):
                self.assertEqual(r.step(), TRAP)
                self.assertLess(r.get('rip') - self.at['wait_tick'], 8)
            self.assertEqual(r.get('rbp'), 0)
            r.steps(1)
            for _ in range(1000):
                time.sleep(0.001)
                self.assertEqual(r.step(), TRAP)
                if r.get('rip') == self.at['tick_handler']:
                    break
            self.assertEqual(r.get('rip'), self.at['tick_handler'], 'the first instruction of the handler')
            self.assertEqual(r.step(), TRAP)
            self.assertEqual(r.get('rbp'), 1)

    def test_over_hlt(self):
        """HLT waits for its interrupt; the step ends behind the instruction after it (as under TCG)."""
        for accel in ('tcg', 'xbt'):
            with self.subTest(accel=accel), self.machine(accel) as m:
                r = m.remote
                self.run_to(r, 'steps')
                r.set('rip', self.at['halting'])
                self.assertEqual(r.step(), TRAP)
                self.assertEqual(r.get('rip'), self.at['halted'] + 1)


class Breakpoints(Gdb):
    PLACES = ('real_store', 'real_back', 'real_loop', 'real_done', 'start32', 'to_payload', 'payload', 'fill_ret',
              'loop32', 'loop32b', 'after32', 'code16', 'in16', 'back32', 'v86_gp', 'pages', 'paging', 'code64',
              'loop64', 'after64', 'sub64b', 'later', 'later2', 'compat', 'data', 'at_1', 'data_end', 'store_loop',
              'store_done', 'patch_done', 'dr_before')
    # TCG gives the guest a #DB instead of gdb a stop while DR7 is set, for ever.
    GUEST_DR = ('dr_target', 'db_handler', 'db_iret', 'dr_after', 'tf_1', 'tf_off', 'after_int3', 'after_ud2')

    def test_in_turn(self):
        """One at a time, set before the code is there, in ROM, RAM and each mode; the whole state at each."""
        def session(r):
            seen = []
            for name in self.PLACES:
                r.insert(HARDWARE if len(seen) & 1 else SOFTWARE, self.at[name])
                seen.append((name, r.go(), state(r)))
                r.remove(HARDWARE if len(seen) & 1 == 0 else SOFTWARE, self.at[name])
            return seen
        for name, answer, _ in self.both(session, modes=MODES):
            self.assertEqual(answer, TRAP, name)

    def test_in_turn_while_dr7_is_set(self):
        with self.machine() as m:
            for name in self.GUEST_DR:
                self.run_to(m.remote, name)
                self.assertEqual(m.remote.get('rip'), self.at[name])

    def test_all_at_once(self):
        """Set before the first instruction, in memory that is still empty; left by a step, as gdb does."""
        def session(r):
            for name in self.PLACES + ('sub64', 'patched'):
                r.insert(SOFTWARE, self.at[name])
            seen = []
            for _ in range(90):
                seen.append((r.go(), place(r)))
                seen.append((r.step(), place(r)))
            return seen
        seen = self.both(session, modes=MODES)
        loops = [p for a, p in seen[::2] if int(p[1], 16) == self.at['loop32']]
        self.assertEqual([p[3] for p in loops], ['0x5', '0x4', '0x3', '0x2', '0x1'])

    def test_continue_from_one(self):
        """Without a step the same breakpoint stops again, before anything was executed."""
        def session(r):
            self.run_to(r, 'payload')
            r.insert(SOFTWARE, self.at['loop32'])
            seen = [(r.go(), state(r)), (r.go(), state(r)), (r.go(), state(r))]
            r.remove(SOFTWARE, self.at['loop32'])
            r.insert(SOFTWARE, self.at['after32'])
            return seen + [(r.go(), state(r))]
        seen = self.both(session)
        self.assertEqual(seen[0], seen[2])

    def test_at_a_string_instruction(self):
        """Each turn comes there again."""
        def session(r):
            stosb = self.at['at_16'] - 2
            r.insert(SOFTWARE, stosb)
            seen = []
            for _ in range(8):
                seen += [(r.go(), place(r)), (r.step(), place(r))]
            self.run_to(r, 'at_17')
            return seen + [r.read(0x20300c, 8)]
        seen = self.both(session, modes=MODES)
        self.assertEqual([p[3] for _, p in seen[:-1:2]], [hex(8 - i) for i in range(8)])

    def test_nothing_is_left_behind(self):
        """Removed ones do not stop, and the blocks are whole again."""
        with self.machine() as m:
            r = m.remote
            self.run_to(r, 'busy')
            for _ in range(3):
                r.insert(SOFTWARE, self.at['busy'] + 3)
                self.assertEqual(r.go(), TRAP)
                self.assertEqual(r.get('rip'), self.at['busy'] + 3)
                r.remove(SOFTWARE, self.at['busy'] + 3)
                self.assertEqual(r.say('z0,%x,1' % self.at['busy']), 'E22')
                before = r.get('rax')
                r.send('c')
                until(lambda: m.counters(), 5, 'no answer')
                time.sleep(0.05)
                self.assertEqual(r.stop(), INTERRUPTED)
                self.assertGreater(r.get('rax') - before, 1000)
            r.set('rip', self.at['busy'])
            entered = m.counters()['enters']
            r.send('c')
            time.sleep(0.1)
            r.stop()
            self.assertLess(m.counters()['enters'] - entered, 500, 'the loop leaves generated code')

    def test_set_while_it_runs(self):
        def session(r):
            self.run_to(r, 'busy')
            seen = []
            for addr in (self.at['busy'], self.at['busy'] + 7, self.at['busy'] + 3):
                r.send('c')
                time.sleep(0.02)
                seen.append(r.stop())
                r.insert(SOFTWARE, addr)
                seen.append((r.go(), r.get('rip') - addr))
                g = r.registers()
                seen.append(g['rcx'] - g['rax'])
                r.remove(SOFTWARE, addr)
                seen.append(r.step())
            return seen
        seen = self.both(session, modes=MODES)
        self.assertEqual(seen[:2], [INTERRUPTED, (TRAP, 0)])

    def test_unknown_kinds(self):
        def session(r):
            return [r.say(text) for text in ('Z5,1000,1', 'z5,1000,1', 'z0,1234,1', 'z2,1234,1', 'Z2,1234,0',
                                             'Z2,fffffffffffffffe,4')]
        self.assertEqual(self.both(session), ['', '', 'E22', 'E22', 'E22', 'E22'])


# What the instructions between `data` and `data_end` access, in order: (name of the place behind, accesses); an
# access is (read or write, offset, bytes).  Instructions that repeat have some for each turn.
R, W = ('r',), ('w',)
RW = ('r', 'w')
ACCESSES = [
    ('at_1', (W, 0x10, 4)), ('at_2', (R, 0x10, 4)), ('at_3', (RW, 0x10, 4)), ('at_4', (W, 0x13, 1)),
    ('at_5', (W, 0xe, 8)), ('at_6', (W, 0xc, 16)), ('at_7', (R, 1, 16)), ('at_8', (W, 8, 10)),
    ('at_9', (RW, 0x10, 4)), ('at_10', (RW, 0x10, 4)),
    ('at_11', (R, 0x10, 4)), ('at_12', (R, 8, 4)), ('at_14', (W, 0xffe, 4)), ('at_15', (R, 0xffc, 8)),
    ('at_16', *[(W, 0xc + i, 1) for i in range(8)]),
    ('at_17', *[((R, 0xc + i, 1), (W, 0x40 + i, 1)) for i in range(8)]),
    ('at_18', *[((R, 8 * i, 8), (W, 0xff0 + 8 * i, 8)) for i in range(3)]),
    ('at_19', (W, 0x10, 8)), ('at_20', (R, 0x10, 8)), ('sub64', (W, 0x10, 8)), ('at_21', (R, 0x10, 8)),
    ('at_22', (RW, 0xffc, 8)), ('at_24', (W, 0x200, 416)), ('at_25', (RW, 0x10, 16)), ('at_26', (W, 0x10, 4)),
    ('at_27', (W, 0x10, 4)), ('at_28', (W, 0x10, 10)), ('at_29', (RW, 0x11, 1)),
]


def expected_stops(kind, offset, length):
    """(place, turns left) of each stop."""
    def hits(access):
        how, at, size = access
        wanted = {WRITE: 'w', READ: 'r', ACCESS: 'rw'}[kind]
        return any(h in wanted for h in how) and at < offset + length and offset < at + size

    stops = []
    for name, *turns in ACCESSES:
        for i, accesses in enumerate(turns):
            if isinstance(accesses[1], int):
                accesses = (accesses,)
            if any(hits(a) for a in accesses):
                stops.append((name, len(turns) - 1 - i))
    return stops


class Watchpoints(Gdb):
    DATA = 0x203000
    RANGES = [(0x10, 1), (0x10, 2), (0x10, 4), (0x10, 8), (0x11, 1), (0xf, 2), (0x13, 4), (0x8, 8), (0x0, 8),
              (0x40, 3), (0xffe, 4), (0x1000, 8), (0xfff, 1), (0xfff, 2), (0x1000, 1), (0, 0x1100),
              (0x800, 0x1000), (0x390, 8), (0x12, 0x20), (0x1003, 1), (0x1008, 1), (0x2000, 8)]

    def run_to_end(self, r):
        for _ in range(3):
            r.set('rip', self.at['data'])
            r.set('rsp', 0x320000)
            self.assertEqual(r.go(), TRAP)
            self.assertEqual(r.get('rip'), self.at['data_end'])

    def watch(self, r, kind, offset, length):
        """Every stop between `data` and `data_end`."""
        r.set('rip', self.at['data'])
        r.set('rsp', 0x320000)
        r.insert(kind, self.DATA + offset, length)
        seen = []
        while True:
            answer = r.go()
            g = r.registers()
            if answer == TRAP and g['rip'] == self.at['data_end']:
                break
            self.assertEqual(answer, watched(kind, self.DATA + offset))
            left = 0
            for name in ('at_16', 'at_17', 'at_18'):
                if self.at[name] - 3 <= g['rip'] < self.at[name]:
                    left, g['rip'] = g['rcx'], self.at[name]
            seen.append((self.name[g['rip']], left))
        r.remove(kind, self.DATA + offset, length)
        return seen

    def all_stops(self, accel, ranges, user=False):
        with self.machine(accel) as m:
            r = m.remote
            self.run_to(r, 'data')
            r.insert(SOFTWARE, self.at['data_end'])
            if user:
                r.set('cs', 0x3b)
                r.set('ss', 0x43)
                self.run_to_end(r)
                self.assertGreater(m.counters()['hostmap-pages'], 0)
            return {(kind, *area): self.watch(r, kind, *area)
                    for kind in (WRITE, READ, ACCESS) for area in ranges}

    def test_each_access(self):
        """29 instructions: aligned, unaligned, over two pages, twice in one, repeated, by another address."""
        for mode in MODES:
            for key, stops in self.all_stops('xbt' + mode, self.RANGES).items():
                self.assertEqual(stops, expected_stops(*key), f'{key}{mode}')

    def test_each_access_of_a_user(self):
        """The same with the pages mapped into the host."""
        for key, stops in self.all_stops('xbt,hostmap-heat=0', self.RANGES, user=True).items():
            self.assertEqual(stops, expected_stops(*key), key)

    def test_beside_tcg(self):
        """TCG stops there, too; for an access that is not aligned also when its neighbours are watched."""
        for key, stops in self.all_stops('tcg', self.RANGES).items():
            self.assertLessEqual(set(expected_stops(*key)), set(stops), key)
            if key[1] in (0x40, 0x1003, 0x2000, 0x390):
                self.assertEqual(stops, expected_stops(*key), key)

    def test_in_a_loop(self):
        """A block that is a loop; the state behind each store; nothing is left behind."""
        def session(r):
            self.run_to(r, 'store_loop')
            r.insert(WRITE, self.DATA + 400 - 80, 4)
            r.insert(WRITE, self.DATA + 400 - 84, 2)
            seen = [(r.go(), state(r)), (r.go(), state(r))]
            r.remove(WRITE, self.DATA + 400 - 80, 4)
            r.remove(WRITE, self.DATA + 400 - 84, 2)
            self.run_to(r, 'store_done')
            return seen + [state(r)]
        seen = self.both(session, modes=MODES)
        self.assertEqual([s['rcx'] for _, s in seen[:2]], ['0x50', '0x4f'])

    def test_two_are_met(self):
        """One stop for an access that meets two: the newer one is named."""
        def session(r):
            self.run_to(r, 'data')
            r.insert(ACCESS, self.DATA + 0x10, 8)
            r.insert(WRITE, self.DATA + 0x12, 1)
            return [(r.go(), r.get('rip')) for _ in range(4)]
        seen = self.both(session)
        self.assertEqual([a for a, _ in seen[:2]],
                         [watched(WRITE, self.DATA + 0x12), watched(ACCESS, self.DATA + 0x10)])

    def test_exception_frame(self):
        """What the processor itself pushes.  (TCG aborts.)"""
        for mode in MODES:
            with self.machine('xbt' + mode) as m:
                r = m.remote
                self.run_to(r, 'tf_off')
                r.insert(WRITE, r.get('rsp') - 24, 8)
                self.assertEqual(r.go(), watched(WRITE, r.get('rsp') + 16))
                self.assertEqual(r.get('rip'), self.at['bp_handler'])


class Registers(Gdb):
    """Written by the debugger, used by the guest."""

    def test_general(self):
        """In each mode: all registers, then two instructions."""
        def session(r):
            seen = []
            for label in ('real_back', 'after32', 'in16', 'V86', 'code64', 'loop64', 'compat'):
                self.run_to(r, label)
                for i, name in enumerate('rax rbx rcx rdx rsi rdi rbp'.split()):
                    r.set(name, (0x5a6b7c8d01000000 if label.endswith('64') else 0) + 0x00200300 + 0x1110 * i)
                if label.endswith('64'):
                    for i in range(8, 16):
                        r.set(f'r{i}', 0x1112131415161700 + i)
                if label == 'loop64':
                    r.set('rcx', 3)
                r.set('eflags', r.get('eflags') & ~RF ^ 0x8d5)
                seen += [(label, state(r)), (r.step(), state(r)), (r.step(), state(r))]
            return seen
        self.both(session)

    def test_segments(self):
        def session(r):
            seen = []
            self.run_to(r, 'real_loop')
            r.set('ds', 0x456)
            r.set('es', 0x789)
            seen += [state(r), r.step(), state(r), r.read(0x4570, 2)]
            self.run_to(r, 'in16')
            r.set('ds', 0x10)
            r.set('rbx', 0x3010)
            seen += [state(r), r.step(), state(r)]
            self.run_to(r, 'V86')
            r.set('ds', 0xa00)
            seen += [r.step(), r.step(), state(r), r.read(0xa020, 2)]
            self.run_to(r, 'after64')
            r.set('fs_base', 0x203000)
            r.set('gs_base', 0x203008)
            seen += [state(r)]
            r.set('cs', 8)
            r.set('rip', self.at['compat'])
            for _ in range(3):
                seen += [r.step(), state(r)]
            return seen
        self.both(session)

    def test_control(self):
        """CR3, CR0.TS, CR4.OSFXSR, EFER.NXE."""
        def session(r):
            seen = []
            self.run_to(r, 'later2')
            for addr in range(0, 0x6000, 0x400):
                self.assertEqual(r.write(0x330000 + addr, r.read(0x300000 + addr, 0x400)), 'OK')
            r.write(0x330000, (0x331007).to_bytes(8, 'little'))
            r.write(0x331000, (0x332007).to_bytes(8, 'little') + (0x333007).to_bytes(8, 'little'))
            r.write(0x333000, (0x334007).to_bytes(8, 'little'))
            r.write(0x334018, (0x240007).to_bytes(8, 'little'))     # VIRT + 3000h
            r.write(0x240010, bytes(range(8)))
            seen.append(r.read(0x40003010, 8))
            r.set('cr3', 0x330000)
            seen.append(r.read(0x40003010, 8))
            self.run_to(r, 'at_23')
            seen += [r.read(0x40003010, 8), r.read(0x203010, 8), state(r)]
            r.set('cr3', 0x300000)
            seen += [r.read(0x40003010, 8), state(r)]
            r.set('rip', self.at['at_5'])
            r.set('cr4', r.get('cr4') & ~0x200)
            seen += [r.step(), state(r)]                            # #UD
            r.set('rip', self.at['at_5'])
            r.set('cr4', r.get('cr4') | 0x200)
            r.set('efer', r.get('efer') | 0x801)
            seen += [r.step(), state(r)]
            r.set('cr0', r.get('cr0') | 8)
            seen += [state(r)]
            return seen
        self.both(session)

    def test_floating_point(self):
        def session(r):
            self.run_to(r, 'data')
            r.set('st0', 0x4001c90fdaa22168c000)
            r.set('fctrl', 0x27f)
            r.set('mxcsr', 0x1fa0)
            r.set('xmm0', 0x0102030405060708090a0b0c0d0e0f10)
            r.set('xmm15', 1 << 127)
            seen = [state(r)]
            self.run_to(r, 'at_6')
            seen.append(r.read(0x20300c, 16))
            self.run_to(r, 'at_8')
            seen.append(r.read(0x203008, 10))
            self.run_to(r, 'at_27')
            seen.append(r.read(0x203010, 4))
            return seen + [state(r)]
        self.assertEqual(self.both(session)[1], bytes(range(16, 0, -1)))

    def test_all_together(self):
        """The G packet: what was read with g, changed."""
        def session(r):
            self.run_to(r, 'after64')
            data = bytearray.fromhex(r.say('g'))
            data[0:8] = b'\x11\x22\x33\x44\x55\x66\x77\x88'
            data[8 * 16:8 * 17] = self.at['at_1'].to_bytes(8, 'little')
            r.check('G' + data.hex())
            return [state(r), r.step(), state(r)]
        self.both(session)


class Memory(Gdb):
    def test_read(self):
        """By linear addresses, in every mode; what is not there is an error."""
        def session(r):
            seen = []
            for label in ('real_back', 'code16', 'in16', 'back32', 'V86', 'paging', 'code64', 'later2',
                          'compat'):
                self.run_to(r, label)
                for addr in (0x1230, self.at['payload'], 0xffff0, 0x203000, 0x40000010, 0x40001010, 0x50000000,
                             0xfffffff0, 0x7fffff0, 0xffffffff80000000):
                    seen.append((label, hex(addr), r.read(addr, 16)))
                seen.append(r.read(0x40000ff8, 16))     # into the page that is not present at first
            return seen
        seen = self.both(session)
        self.assertIn('E14', [s[2] for s in seen if s[0] == 'code64'])

    def patch(self, r, addr, *, linear=None):
        """ADD EAX, 1 becomes ADD EAX, 16 before the second of three calls."""
        self.run_to(r, 'patched')
        r.insert(SOFTWARE, self.at['patched'])
        r.step()
        self.assertEqual(r.go(), TRAP)
        r.remove(SOFTWARE, self.at['patched'])
        answer = r.write(addr + 2, b'\x10')
        self.run_to(r, 'patch_done')
        return answer, state(r)

    def test_write_to_code(self):
        for mode in ('RAM', 'ROM'):
            with self.subTest(mode):
                def session(r):
                    if mode == 'RAM':
                        return [self.patch(r, self.at['patched'])]
                    # In real mode the loop is in the ROM: INC becomes DEC before the second turn.
                    self.run_to(r, 'real_loop')
                    seen = [r.step(), r.step(), r.write(self.at['real_loop'] + 1, b'\x0e')]
                    self.run_to(r, 'real_done')
                    return seen + [r.read(0x1240, 2), state(r)]
                seen = self.both(session, modes=MODES)
                if mode == 'RAM':
                    self.assertEqual(seen[0][1]['rax'], hex(1 + 16 + 16))
                else:
                    self.assertEqual(seen[3], b'\xa9\x55')

    def test_write_by_another_address(self):
        """The code runs at VIRT + 1010h; written there, at 201010h, and by the physical address."""
        def session(r):
            seen = []
            self.run_to(r, 'later2')
            for target, physical in ((0x201010, 0), (0x40001010, 0), (0x201010, 1)):
                r.check(f'Qqemu.PhyMemMode:{physical}')
                for code in (b'\x48\xff\xc0', b'\x48\xff\xc8', b'\x90\x90\x90'):
                    seen.append(r.write(target, code))
                    r.set('rip', self.at['later2'] - 2)
                    self.run_to(r, 'later2')
                    seen.append(r.get('rax'))
            return seen
        seen = self.both(session, modes=MODES)
        self.assertEqual([v & 0xffffffff for v in seen[1::2]], [1, 0, 0] * 3)

    def test_write_device_and_nothing(self):
        def session(r):
            self.run_to(r, 'code64')
            return [r.write(0x50000000, b'1234'), r.write(0x40000ffe, b'1234'), r.read(0x40000ffc, 4),
                    r.write(0xfffffff0, b'1234'), r.read(0xfffffff0, 4)]
        self.both(session)


class Stops(Gdb):
    def test_busy_loop(self):
        """The registers are those between two instructions."""
        with self.machine() as m:
            r = m.remote
            self.run_to(r, 'busy')
            last = 0
            for _ in range(30):
                r.send('c')
                time.sleep(0.005)
                self.assertEqual(r.stop(), INTERRUPTED)
                g = r.registers()
                self.assertGreater(g['rax'], last)
                last = g['rax']
                want = {0: 2, 3: 1, 7: 1, 10: 2}
                self.assertEqual(g['rcx'] - g['rax'], want[g['rip'] - self.at['busy']])
            self.assertEqual(r.step(), TRAP)

    def test_halted(self):
        for accel in ('tcg', 'xbt'):
            with self.subTest(accel), self.machine(accel) as m:
                r = m.remote
                self.run_to(r, 'busy')
                r.set('rip', self.at['sleep'])
                for _ in range(3):
                    r.send('c')
                    time.sleep(0.02)
                    self.assertEqual(r.stop(), INTERRUPTED)
                    self.assertEqual(r.get('rip'), self.at['asleep'])
                self.assertIn('HLT=1', m.hmp('info registers'))

    def test_detach_leaves_nothing(self):
        with self.machine() as m:
            r = m.remote
            self.run_to(r, 'busy')
            r.insert(SOFTWARE, self.at['busy'] + 3)
            r.insert(WRITE, 0x203000, 8)
            r.check('D')
            time.sleep(0.1)
            self.assertEqual(m.cmd('query-status')['status'], 'running')
            m.cmd('stop')
            first = int(re.search('RAX=([0-9a-f]+)', m.hmp('info registers'))[1], 16)
            self.assertGreater(first, 1000)

    def test_monitor_stop_and_reset(self):
        def session(r):
            self.run_to(r, 'data')
            return [r.say('qRcmd,' + b'stop'.hex()), state(r)]
        self.both(session)
        with self.machine() as m:
            r = m.remote
            self.run_to(r, 'data')
            r.insert(SOFTWARE, self.at['real_done'])
            m.cmd('system_reset')
            self.assertEqual(r.go(), TRAP)
            self.assertEqual(r.get('rip') & 0xffff, self.at['real_done'] & 0xffff)


class GuestDebugging(Gdb):
    """The guest's debug registers and TF are its own, whatever gdb has set."""

    def finish(self, r):
        self.run_to(r, 'interrupts')
        return r.get('r13'), r.get('r14')

    def test_count(self):
        def session(r):
            return [self.finish(r)]
        self.assertEqual(self.both(session)[0], (8, 2))

    def test_breakpoint_at_the_same_place(self):
        """gdb stops first; its step over the place ends in the guest's handler.  (TCG never gets there.)"""
        with self.machine() as m:
            r = m.remote
            r.insert(SOFTWARE, self.at['dr_target'])
            self.assertEqual(r.go(), TRAP)
            self.assertEqual((r.get('rip'), r.get('r13')), (self.at['dr_target'], 0))
            self.assertEqual(r.step(), TRAP)
            self.assertEqual(r.get('rip'), self.at['db_handler'])
            self.assertEqual(r.go(), TRAP)      # the handler returned with RF: only gdb's counts
            self.assertEqual((r.get('rip'), r.get('r13')), (self.at['dr_target'], 1))
            r.remove(SOFTWARE, self.at['dr_target'])
            self.assertEqual(self.finish(r), (8, 2))

    def test_watchpoint_at_the_same_place(self):
        with self.machine() as m:
            r = m.remote
            self.run_to(r, 'dr_before')
            r.insert(WRITE, self.at['dr_data'], 4)
            self.assertEqual(r.go(), watched(WRITE, self.at['dr_data']))
            self.assertEqual((r.get('rip'), r.get('r13')), (self.at['db_handler'], 1), 'the guest got its #DB')
            self.assertEqual(self.finish(r), (8, 2))

    def test_trap_behind_mov_ss(self):
        """A #DB that waits for the instruction after MOV SS survives stops, steps and looks at the registers."""
        with self.machine() as m:
            r = m.remote
            self.run_to(r, 'dr_ss')
            for name in ('dr_ss2', 'db_handler'):
                self.assertEqual(r.step(), TRAP)
                self.assertEqual(self.name[r.registers()['rip']], name)
            self.assertEqual(r.read(r.get('rsp'), 8), self.at['dr_ss3'].to_bytes(8, 'little'))
            self.assertEqual(self.finish(r), (8, 2))

    def test_steps_and_tf(self):
        """Breakpoints between single-stepped instructions."""
        def session(r):
            for name in ('tf_1', 'tf_2', 'tf_off', 'db_handler'):
                r.insert(SOFTWARE, self.at[name])
            self.run_to(r, 'dr_after')
            seen = []
            for _ in range(8):
                seen += [(r.go(), state(r)), r.step()]
            return seen
        self.both(session, modes=MODES)


class Monitor(Gdb):
    """The monitor's view of the CPU, as TCG's."""

    COMMANDS = ('info registers', 'info registers -a', 'info mem', 'info tlb', 'info lapic', 'info pic', 'info roms',
                'x /8xw 0x203000', 'x /2xg 0x40001010', 'x /4i $pc', 'xp /4xw 0x203000', 'p $rax', 'p/x $pc', 'p $cs',
                'p $rip+4', 'p $cr3', 'p $eflags', 'p $xmm0', 'gva2gpa 0x40000010', 'gva2gpa 0x40001010')

    def test_texts(self):
        """RF is pushed by faults and a task register's TSS is busy, as on processors and unlike TCG."""
        def session(r, m):
            seen = []
            for label in ('real_back', 'after32', 'in16', 'V86', 'paging', 'code64', 'later2', 'compat', 'data_end',
                          'interrupts'):
                self.run_to(r, label)
                if label == 'interrupts':
                    r.set('eflags', r.get('eflags') & ~RF)
                for command in self.COMMANDS:
                    try:
                        text = m.hmp(command)
                    except QmpError as error:
                        text = str(error)
                    text = re.sub(r'(TR =.*) 0000(89|8b)00 (DPL=0 TSS\d\d)-(avl|busy)', r'\1 \3', text)
                    seen.append((label, command, text))
                path = os.path.join(m.dir, 'memory')
                m.hmp(f'memsave 0x203000 64 "{path}"')
                with open(path, 'rb') as file:
                    seen.append(file.read())
            return seen
        want, got = [], []
        for accel, seen in (('tcg', want), ('xbt', got)):
            with self.machine(accel) as m:
                seen += session(m.remote, m)
        for one, other in zip(want, got):
            self.assertEqual(other, one)


if __name__ == '__main__':
    main()
