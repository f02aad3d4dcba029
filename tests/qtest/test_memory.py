# SPDX-License-Identifier: GPL-2.0-or-later
"""Where guest memory comes from: backends of all kinds, far more of it than the host has, memory that is plugged and
taken away, flash.  Each kind holds data and code, and code that changes."""

import glob
import os
import resource
import time
import unittest

from machine import Firmware, main, until
from remote import ACCEL, CODE, Remote, image

MIB = 1 << 20
GIB = 1 << 30
HUGE_PAGES = '/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages'


def free_huge_pages():
    with open(HUGE_PAGES, encoding='ascii') as file:
        return int(file.read())


def link(path):
    """What it points to; nothing when it is gone by now."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ''


class Backend(unittest.TestCase):
    def check(self, m, base=CODE):
        """Data, code, other code at the same place, code across a page."""
        m.ask('f', base + 0x10000, MIB, 5)
        first = m.ask('s', base + 0x10000, MIB)
        m.ask('f', base + 0x10000, MIB, 6)
        self.assertNotEqual(m.ask('s', base + 0x10000, MIB), first)
        m.ask('f', base + 0x10000, MIB, 5)
        self.assertEqual(m.ask('s', base + 0x10000, MIB), first)
        for at in (base, base + 0x2ffd):
            for value in (1, 2, 3):
                m.put_code(at, value)
                self.assertEqual(m.run(at), value)
        self.assertEqual(m.output(), '')

    def backend(self, kind, *args, check=None, **job):
        with Remote('-object', f'{kind},id=m,size=32M', '-machine', 'memory-backend=m', *args, **job) as m:
            m.wait_up()
            self.check(m)
            if check:
                check(m)

    def temporary(self, folder='/tmp'):
        path = f'{folder}/xbt-memory-{os.getpid()}'
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return path

    def test_ram(self):
        for more in ('', ',share=on', ',prealloc=on', ',reserve=off', ',merge=off,dump=off'):
            with self.subTest(more):
                self.backend('memory-backend-ram' + more)

    def test_memfd(self):
        for more in (',share=on', ',share=off', ',seal=off', ',prealloc=on,prealloc-threads=2'):
            with self.subTest(more):
                self.backend('memory-backend-memfd' + more)

    def test_shared_file(self):
        """The file has what the guest wrote, and the guest sees what is written to the file."""
        for folder in ('/tmp', '/dev/shm'):
            path = self.temporary(folder)

            def both_see(m, path=path):
                with open(path, 'r+b', buffering=0) as file:
                    file.seek(CODE)
                    self.assertEqual(file.read(6), bytes.fromhex('b803000000c3'))
                    file.seek(CODE + 0x200000)
                    file.write(b'\x12\x34')
                self.assertEqual(m.read(CODE + 0x200000) & 0xffff, 0x3412)

            with self.subTest(folder):
                self.backend(f'memory-backend-file,mem-path={path},share=on', check=both_see)
                self.assertEqual(os.path.getsize(path), 32 * MIB)
                os.unlink(path)

    def test_private_file(self):
        """Read, never written."""
        path = self.temporary()
        with open(path, 'wb') as file:
            file.truncate(32 * MIB)
            file.seek(CODE + 0x200000)
            file.write(b'\x56\x78')
        self.backend(f'memory-backend-file,mem-path={path},share=off',
                     check=lambda m: self.assertEqual(m.read(CODE + 0x200000) & 0xffff, 0x7856))
        with open(path, 'rb') as file:
            file.seek(CODE)
            self.assertEqual(file.read(6), bytes(6))

    def test_huge_pages(self):
        if not os.path.exists(HUGE_PAGES) or free_huge_pages() < 32:
            self.skipTest('the host has no 32 free huge pages: vm.nr_hugepages')
        before = free_huge_pages()
        for more in (',hugetlb=on', ',hugetlb=on,share=off', ',hugetlb=on,hugetlbsize=2M,prealloc=on'):
            with self.subTest(more):
                self.backend('memory-backend-memfd' + more,
                             check=lambda m: self.assertLess(free_huge_pages(), before))
                until(lambda: free_huge_pages() == before, 5, 'huge pages are not given back')

    def test_mem_path(self):
        """-mem-path: a file that has no name."""
        with Remote('-mem-path', '/tmp', '-mem-prealloc') as m:
            m.wait_up()
            self.check(m)
        self.assertEqual(glob.glob('/tmp/qemu_back_mem*'), [])

    def test_numa(self):
        """Two nodes: the second one's memory is a file of its own."""
        path = self.temporary()
        with Remote('-object', 'memory-backend-ram,id=a,size=16M', '-object',
                    f'memory-backend-file,id=b,size=16M,mem-path={path},share=on',
                    '-numa', 'node,memdev=a,cpus=0', '-numa', 'node,memdev=b') as m:
            m.wait_up()
            self.check(m)
            self.check(m, 20 * MIB)
            with open(path, 'rb') as file:
                file.seek(4 * MIB)
                self.assertEqual(file.read(6), bytes.fromhex('b803000000c3'))
            # One stream of stores and one function across the border.
            m.ask('f', 16 * MIB - 0x8000, 0x10000, 9)
            first = m.ask('s', 16 * MIB - 0x8000, 0x10000)
            for value in (4, 5):
                m.put_code(16 * MIB - 3, value)
                self.assertEqual(m.run(16 * MIB - 3), value)
            m.ask('f', 16 * MIB - 0x8000, 0x10000, 9)
            self.assertEqual(m.ask('s', 16 * MIB - 0x8000, 0x10000), first)

    def test_locked(self):
        """-overcommit mem-lock=on locks all that is mapped: not the 3 TiB of the flat tables."""
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if soft != resource.RLIM_INFINITY and soft < 2 * GIB and os.getuid():
            self.skipTest('not allowed to lock memory (RLIMIT_MEMLOCK)')
        with Remote('-overcommit', 'mem-lock=on', options=',tb-size=16') as m:
            m.wait_up()
            self.check(m)
            locked = int(m.proc('status').split('VmLck:')[1].split()[0]) // 1024
            self.assertGreater(locked, 32)
            self.assertLess(m.rss_mib(), 700)
            if ACCEL == 'xbt':
                self.assertEqual(m.cmd('query-xbt')['tlb'], 'tagged')


class Large(unittest.TestCase):
    """64 GiB on a host with less."""

    TOP = 65 * GIB              # 1 GiB of them is below the hole

    def far(self, kind):
        began = time.monotonic()
        with Remote('-object', f'{kind},id=m,size=64G', '-machine', 'memory-backend=m', memory='64G') as m:
            m.wait_up()
            seconds = time.monotonic() - began
            rss = m.rss_mib()
            print(f'{kind}: up after {seconds:.1f} s, {rss:.0f} MiB', flush=True)
            self.assertLess(rss, 300)
            places = list(range(4 * GIB, self.TOP, GIB)) + [self.TOP - 8]
            for at in places:
                m.write(at, at ^ 0x1234567)
            for at in places:
                self.assertEqual(m.read(at), at ^ 0x1234567)
            self.assertEqual(m.read(self.TOP), 0)       # nothing there
            for at in (self.TOP - 0x1000, 33 * GIB - 3):
                for value in (7, 8):
                    m.put_code(at, value)
                    self.assertEqual(m.run(at), value)
            self.assertLess(m.rss_mib(), rss + 100)
            m.cmd('system_reset')
            m.at = m.console.wait('up 2\n', 60, m.at)
            self.assertEqual(m.run(self.TOP - 0x1000), 8)

    def test_ram(self):
        self.far('memory-backend-ram,reserve=off')

    def test_memfd(self):
        self.far('memory-backend-memfd,reserve=off')


class Plug(unittest.TestCase):
    """pc-dimm: memory that comes while the guest runs, goes when it says so, and comes again empty."""

    BASE = 5 * GIB

    def start(self, *args):
        m = Remote('-m', '32M,slots=3,maxmem=4G', *args)
        self.addCleanup(m.close)
        return m.wait_up()

    def plug(self, m, kind, name, address, **more):
        m.cmd('object-add', qom_type=kind, id='mem' + name, size=256 * MIB, **more)
        m.cmd('device_add', driver='pc-dimm', id=name, memdev='mem' + name, addr=address)

    def unplug(self, m, name, slot):
        m.cmd('device_del', id=name)
        m.port_out(0xa00, 4, slot)
        self.assertEqual(m.port_in(0xa14, 1) & 5, 5)        # enabled, to be removed
        m.port_out(0xa14, 1, 8)
        event = m.qmp.wait_event('DEVICE_DELETED')
        self.assertEqual(event['data'].get('device'), name)
        m.cmd('object-del', id='mem' + name)

    def use(self, m, at, value):
        self.assertEqual(m.read(at), 0)
        self.assertEqual(m.read(at + 256 * MIB - 8), 0)
        m.ask('f', at + 0x1000, 64 * 0x1000, value)
        m.put_code(at + 0x800, value)
        m.put_code(at + 256 * MIB - 8, value + 1)
        for _ in range(3):
            self.assertEqual(m.run(at + 0x800), value)
            self.assertEqual(m.run(at + 256 * MIB - 8), value + 1)
        m.put_code(at + 0x800, value + 2)
        self.assertEqual(m.run(at + 0x800), value + 2)

    def gone(self, m, at):
        self.assertEqual(m.read(at), 0)
        m.write(at, 5)
        self.assertEqual(m.read(at), 0)

    def files_of_memory(self, m):
        names = [link(path) for path in glob.glob(f'/proc/{m.pid}/fd/*')]
        return sum('memfd:xbt-ram' in name or 'memory-backend' in name for name in names)

    def test_again_and_again(self):
        m = self.start()
        address = 4 * GIB
        for number, (kind, more) in enumerate((
                ('memory-backend-ram', {}), ('memory-backend-memfd', {}),
                ('memory-backend-ram', {'share': True}), ('memory-backend-memfd', {'share': False}),
                ('memory-backend-ram', {}), ('memory-backend-ram', {}))):
            self.plug(m, kind, f'd{number}', address, **more)
            self.use(m, address, 16 + number)
            self.unplug(m, f'd{number}', 0)
            self.gone(m, address + 0x800)
        self.assertEqual(m.output(), '')
        # QEMU frees memory a moment later; what is left is that of -m.
        until(lambda: self.files_of_memory(m) <= 1, 10, 'files of memory that is gone are open')

    def test_two_and_a_reset(self):
        m = self.start()
        self.plug(m, 'memory-backend-ram', 'a', 4 * GIB)
        self.plug(m, 'memory-backend-ram', 'b', 4 * GIB + 256 * MIB)
        self.use(m, 4 * GIB, 3)
        self.use(m, 4 * GIB + 256 * MIB, 9)
        m.cmd('system_reset')
        m.wait_up()
        self.assertEqual(m.run(4 * GIB + 0x800), 5)
        self.unplug(m, 'a', 0)
        self.gone(m, 4 * GIB + 0x800)
        self.assertEqual(m.run(4 * GIB + 256 * MIB + 0x800), 11)
        self.unplug(m, 'b', 1)
        self.gone(m, 4 * GIB + 256 * MIB + 0x800)


class Flash(unittest.TestCase):
    """Two units: the firmware, which cannot be written, and one that the guest programs and executes."""

    SIZE = 256 * 1024
    BASE = 4 * GIB - 128 * 1024 - SIZE
    BLOCK = 4096

    def command(self, m, at, *values):
        for value in values:
            m.ask('L', at, value)

    def program(self, m, at, text):
        for i in range(0, len(text), 4):
            self.command(m, at + i, 0x40, int.from_bytes(text[i:i + 4].ljust(4, b'\xff'), 'little'))
        m.ask('L', at, 0xff)            # back to reading

    def test_programmed_code(self):
        path = f'/tmp/xbt-flash-{os.getpid()}'
        with open(path, 'wb') as file:
            file.write(b'\xff' * self.SIZE)
        self.addCleanup(os.unlink, path)
        with Remote('-drive', f'if=pflash,format=raw,unit=0,readonly=on,file={image()}',
                    '-drive', f'if=pflash,format=raw,unit=1,file={path}', firmware=False) as m:
            m.wait_up()
            at = self.BASE + self.BLOCK
            for value in (0x77, 0x33, 0x11):        # bits go from 1 to 0
                self.program(m, at, bytes((0xb8, value, 0, 0, 0, 0xc3)))
                for _ in range(2):
                    self.assertEqual(m.run(at), value)
            self.command(m, at, 0x20, 0xd0, 0xff)   # erase the block
            self.assertEqual(m.read(at), 2 ** 64 - 1)
            self.program(m, at, bytes((0xb8, 0xee, 0, 0, 0, 0xc3)))
            self.assertEqual(m.run(at), 0xee)
            m.ask('L', 4 * GIB - 128 * 1024, 0x40)  # the other unit
            m.ask('L', 4 * GIB - 128 * 1024, 0xff)
            m.cmd('system_reset')
            m.wait_up()
            self.assertEqual(m.run(at), 0xee)
            m.cmd('quit')
            self.assertEqual(m.wait_exit(10), 0)
        with open(path, 'rb') as file:
            file.seek(self.BLOCK)
            self.assertEqual(file.read(6), bytes((0xb8, 0xee, 0, 0, 0, 0xc3)))

    def test_rom_is_not_written(self):
        with Remote() as m:
            m.wait_up()
            at = 4 * GIB - 16
            before = m.read(at)
            m.write(at, 0)
            self.assertEqual(m.read(at), before)
            m.cmd('system_reset')
            m.wait_up()


class Display(unittest.TestCase):
    def test_text_mode_beside_code(self):
        """With this much memory the marks of the display's writes are in one page with those of code: each is a trap,
        which must not be a slow one."""
        seconds = {}
        for memory in ('128', '200'):
            with Firmware('-m', memory) as m:
                m.wait_end()
                seconds[memory] = m.cpu_seconds()
        self.assertLess(seconds['200'], seconds['128'] + 0.6, seconds)


if __name__ == '__main__':
    main()
