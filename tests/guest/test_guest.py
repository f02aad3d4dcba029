# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux guests on the stock QEMU binary with -accel xbt.

Each class is one test of the suite; a failure shows the end of the guest's
console and the command that repeats it.  XBT_TEST_ACCEL=tcg checks the tests
themselves (what only xbt has is skipped then).
"""

import hashlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(TOP, 'scripts'), os.path.join(TOP, 'bench')]

import guest_run  # noqa: E402
import workloads  # noqa: E402

ACCEL = os.environ.get('XBT_TEST_ACCEL', 'xbt')
OPTIONS = os.environ.get('XBT_TEST_OPTIONS', '')     # for every guest: scripts/check-options
SKIPPED = 77            # meson's "test skipped"


def host_khz():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        for line in file:
            if line.startswith('cpu MHz'):
                return int(float(line.split(':')[1]) * 1000)
    return 2000000


class GuestTest(unittest.TestCase):
    def accel(self, options=''):
        if ACCEL == 'xbt' and (options or OPTIONS):
            return ','.join(filter(None, ('xbt', OPTIONS, options)))
        if options:
            self.skipTest(f'{ACCEL} has no {options}')
        return ACCEL

    def run_guest(self, options='', **job):
        job.setdefault('timeout', 120)
        return guest_run.Job(self.accel(options), **job).run()

    def explain(self, result, what):
        end = 'had to be ended' if result.timed_out else f'status {result.status}'
        return (f'{what}: QEMU {end} after {result.seconds:.0f} s\n'
                f'command: {shlex.join(result.command)}\n'
                f'--- end of its output ---\n{result.tail()}')

    def check_ended(self, result):
        self.assertEqual(result.status, 0, self.explain(result, 'no clean power-off'))

    def check_boot(self, options='', **job):
        """Firmware, kernel, user space, power-off."""
        job['append'] = 'xbt.poweroff ' + job.get('append', '')
        result = self.run_guest(options, **job)
        self.assertIn('XBT-BOOT: userspace', result.output,
                      self.explain(result, 'no user space'))
        self.check_ended(result)
        return result


class Selftest(GuestTest):
    def test_selftest(self):
        result = self.run_guest(append='xbt.selftest', timeout=240)
        self.assertIn('XBT-SELFTEST: PASS', result.output,
                      self.explain(result, 'self-test failed'))
        self.check_ended(result)


class Modes(GuestTest):
    """A boot in each mode for finding bugs, and with each kind of host."""

    def test_default(self):
        self.check_boot()

    def test_tiny_cache(self):
        self.check_boot('tb-size=1')

    def test_tagged_tlb(self):
        self.check_boot('tlb=tagged')

    def test_flat_tlb(self):
        self.check_boot('tlb=flat')

    def test_no_chaining(self):
        self.check_boot('chain=off')

    def test_no_optimisation(self):
        self.check_boot('opt=off')

    def test_no_optimisation_at_all(self):
        with open(os.path.join(TOP, 'translator/optimisations.inc'), encoding='utf-8') as file:
            names = re.findall(r'^OPTIMISATION\(\w+,\s*"([a-z0-9-]+)"', file.read(), re.M)
        self.assertGreater(len(names), 10)
        self.check_boot(','.join(f'{name}=off' for name in names))

    def test_no_jump_cache(self):
        self.check_boot('jump-cache=off')

    def test_one_instruction_blocks(self):
        self.check_boot('one-insn=on')

    def test_flush_often(self):
        self.check_boot('flush-every=2000')

    def test_write_xor_execute(self):
        self.check_boot('wx=on')

    def test_host_without_bmi2(self):
        self.check_boot('host-features=no-bmi2')

    def test_host_without_avx(self):
        self.check_boot('host-features=no-bmi2+no-avx', cpu='max')


class LimitedHost(GuestTest):
    def test_small_address_space(self):
        """ulimit -v 16 GiB: a smaller scheme, not a crash."""
        with tempfile.TemporaryDirectory() as directory:
            job = guest_run.Job(self.accel(), append='xbt.poweroff')
            command = job.command(directory)
            done = subprocess.run(
                ['sh', '-c', 'ulimit -v 16777216; exec "$@"', 'sh', *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])
        self.assertIn('XBT-BOOT: userspace', done.stdout, done.stdout[-2000:])


class Cpus(GuestTest):
    """CPU models of several makers and ages; missing features only warn."""

    def check_cpu(self, cpu):
        self.check_boot(cpu=cpu)

    def test_qemu64(self):
        self.check_cpu('qemu64')

    def test_kvm64(self):
        self.check_cpu('kvm64')

    def test_core2duo(self):
        self.check_cpu('core2duo')

    def test_nehalem(self):
        self.check_cpu('Nehalem')

    def test_haswell(self):
        self.check_cpu('Haswell')

    def test_phenom(self):
        self.check_cpu('phenom')

    def test_epyc(self):
        self.check_cpu('EPYC')

    def test_max(self):
        self.check_cpu('max')

    def test_max_without_pcid(self):
        self.check_cpu('max,-pcid,-smap')


class Machines(GuestTest):
    def test_pc(self):
        self.check_boot(machine='pc')

    def test_q35(self):
        self.check_boot(machine='q35')

    def test_microvm(self):
        """Without HPET and PM timer a kernel that fails to calibrate the TSC
        by the PIT (a busy host, any accelerator) waits forever: tell it."""
        self.check_boot(machine='microvm,acpi=on', append=f'tsc_early_khz={host_khz()}')

    def test_without_hpet(self):
        self.check_boot(machine='pc,hpet=off')

    def test_big_memory(self):
        """Memory above 4 GiB."""
        self.check_boot(memory=5000)


class Smp(GuestTest):
    """Several CPUs: all are there and compute, and the kernel has nothing to complain of."""

    COMPLAINTS = re.compile(r'stall|lockup|hung_task|blocked for more|\bBUG:|\bOops|WARNING: CPU|backwards|skew|'
                            r'not responding|timed out|failed to (?:come|start)', re.I)
    SCRIPT = """
n=$(grep -c ^processor /proc/cpuinfo)
echo XBT-CPUS $n $(cat /sys/devices/system/cpu/online) \
    $(sed -n 's/^cpu cores.*: //p' /proc/cpuinfo | sort -u) $(sed -n 's/^siblings.*: //p' /proc/cpuinfo | sort -u)
for i in $(seq 0 $((2 * n - 1))); do
    (taskset -c $((i % n)) sh -c 'seq 1 4000 | md5sum' | sed 's/^/XBT-SUM /') &
done
wait
for i in $(seq 0 $((n - 1))); do
    echo XBT-RUNS $i $(taskset -c $i cut -d' ' -f39 /proc/self/stat)
done
dmesg | sed 's/^/XBT-DMESG /'
"""

    def check_smp(self, smp, options='', cores=None, siblings=None, **job):
        count = int(smp.split(',')[0])
        result = self.run_guest(options, script=self.SCRIPT, extra=['-smp', smp], timeout=240,
                                **dict({'cpu': 'max'}, **job))
        lines = [line for _, line in result.lines]
        want = hashlib.md5(b''.join(b'%d\n' % i for i in range(1, 4001))).hexdigest()
        cpus = [line.split()[1:] for line in lines if line.startswith('XBT-CPUS')]
        self.assertEqual(cpus[0][:2] if cpus else None, [str(count), f'0-{count - 1}'],
                         self.explain(result, 'CPUs are missing'))
        if cores:
            self.assertEqual(cpus[0][2:], [str(cores), str(siblings)])
        sums = [line.split()[1] for line in lines if line.startswith('XBT-SUM')]
        self.assertEqual(sums, [want] * (2 * count), self.explain(result, 'wrong checksums'))
        runs = [line.split()[1:] for line in lines if line.startswith('XBT-RUNS')]
        self.assertEqual(runs, [[str(i), str(i)] for i in range(count)])
        bad = [line for line in lines if line.startswith('XBT-DMESG') and self.COMPLAINTS.search(line)]
        self.assertFalse(bad, self.explain(result, '\n'.join(['the kernel complains:'] + bad)))
        self.check_ended(result)

    def test_two(self):
        self.check_smp('2')

    def test_four_threads(self):
        self.check_smp('4,sockets=1,cores=2,threads=2', cpu='Haswell', cores=2, siblings=4)

    def test_eight(self):
        self.check_smp('8,sockets=2,cores=4', machine='q35', cpu='EPYC', cores=4, siblings=4)


class ThirtyTwoBit(GuestTest):
    """The kernel of Debian i386 without PAE: two-level page tables, all code 32-bit."""

    flavour = '686'

    def setUp(self):
        for name in ('vmlinuz', 'initrd.img'):
            path = guest_run.guest_file(name, self.flavour)
            self.assertTrue(os.path.exists(path), f'no {path}: run `make guest32`')

    def test_selftest(self):
        result = self.run_guest(append='xbt.selftest', timeout=240, cpu='qemu32',
                                memory=256, flavour=self.flavour)
        self.assertIn('XBT-SELFTEST: PASS', result.output,
                      self.explain(result, 'self-test failed'))
        self.assertIn(' i686 GNU/Linux', result.output)
        self.check_ended(result)

    def test_small_pentium3(self):
        self.check_boot(cpu='pentium3', memory=64, flavour=self.flavour)

    def test_isapc(self):
        """No PCI, no ACPI, no APIC.  There is no way to power off; a reset ends QEMU."""
        result = self.run_guest(
            machine='isapc', cpu='pentium3,-apic', memory=128, flavour=self.flavour,
            script='grep -q XT-PIC /proc/interrupts && echo XBT-PIC: used; reboot -f')
        self.assertIn('XBT-PIC: used', result.output, self.explain(result, 'no user space'))
        self.check_ended(result)

    def test_one_instruction_blocks(self):
        self.check_boot('one-insn=on', cpu='max', memory=256, flavour=self.flavour)


class Programs(GuestTest):
    """The benchmarks' programs compute in the guest what they do natively."""

    percent = 10

    def check_programs(self, options='', **job):
        programs = workloads.build_programs(
            os.path.join(guest_run.build_dir(), 'bench', 'bin'))
        names = workloads.MICRO
        script = workloads.micro_script(names, self.percent)
        native = subprocess.run(
            ['sh', '-c', script, 'sh', os.path.dirname(programs['sieve'])],
            capture_output=True, text=True, check=True).stdout
        result = self.run_guest(options, script=script, timeout=200,
                                files={n: programs[n] for n in names}, **job)
        want = self.checksums(native.splitlines())
        got = self.checksums(line for _, line in result.lines)
        self.assertEqual(sorted(want), sorted(names))
        wrong = [f'{name}: native {want[name]}, guest {got.get(name, "nothing")}'
                 for name in names if want[name] != got.get(name)]
        self.assertFalse(wrong, self.explain(result, '\n'.join(['wrong:'] + wrong)))
        self.check_ended(result)

    @staticmethod
    def checksums(lines):
        words = (line.split() for line in lines)
        return {w[1]: w[3] for w in words if len(w) == 5 and w[0] == 'XBT-BENCH'}

    def test_programs(self):
        self.check_programs(cpu='max')

    def test_programs_sse2_only(self):
        self.check_programs(cpu='qemu64')

    def test_programs_tiny_cache(self):
        self.check_programs('tb-size=1', cpu='max')

    def test_programs_tagged(self):
        self.check_programs('tlb=tagged', cpu='max')


class RootFs(GuestTest):
    """Real programs from the Debian root file system, where it was made."""

    names = ['xz', 'gzip', '7z', 'python3', 'perl', 'sqlite3', 'openssl-rsa',
             'openssl-aes', 'openssl-sha256', 'sysbench']

    def test_programs(self):
        image = guest_run.guest_file('rootfs.img')
        if not os.path.exists(image):
            self.skipTest('no root file system: run scripts/make-rootfs.sh')
        build = os.path.join(guest_run.build_dir(), 'bench')
        programs = workloads.build_programs(os.path.join(build, 'bin'))
        files = workloads.make_inputs(os.path.join(build, 'inputs'))
        result = self.run_guest(
            script=workloads.root_script(self.names), root=image, cpu='max',
            memory=1024, files=dict(files, timed=programs['timed']), timeout=280)
        ended = {line.split()[1]: line.split()[3] for _, line in result.lines
                 if line.startswith('XBT-TIMED ')}
        wrong = [f'{name}: {ended.get(name, "did not end")}' for name in self.names
                 if ended.get(name) != '0']
        self.assertFalse(wrong, self.explain(result, '\n'.join(['wrong:'] + wrong)))
        self.check_ended(result)


def main():
    for name in ('vmlinuz', 'initrd.img'):
        if not os.path.exists(guest_run.guest_file(name)):
            print(f'{guest_run.guest_file(name)} is missing: run make guest')
            sys.exit(SKIPPED)
    program = unittest.main(exit=False, verbosity=2)
    if not program.result.wasSuccessful():
        sys.exit(1)
    if program.result.testsRun == len(program.result.skipped):
        sys.exit(SKIPPED)


if __name__ == '__main__':
    main()
