# SPDX-License-Identifier: GPL-2.0-or-later
"""The launcher and the preload object against the stock QEMU binary."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

LAUNCHER = os.environ['XBT_LAUNCHER']
PRELOAD = os.environ['XBT_PRELOAD']
PROBE = os.environ['XBT_PROBE_MODULE']
SHOW = os.environ['XBT_SHOW_ENVIRONMENT']
MODULE = 'accel-xbt-x86_64.so'

LOADED = 42      # the probe module's exit status
HEADLESS = ['-display', 'none', '-nodefaults']


def environment(**changes):
    env = {k: v for k, v in os.environ.items()
           if k not in ('QEMU', 'QEMU_MODULE_DIR', 'LD_PRELOAD')}
    env.update(changes)
    return {k: v for k, v in env.items() if v is not None}


def run(*args, launcher=LAUNCHER, cwd='/', **env):
    return subprocess.run([launcher, *args], cwd=cwd, env=environment(**env),
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)


class Loader(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='xbt-loader-')
        self.addCleanup(shutil.rmtree, self.dir)
        os.chmod(self.dir, 0o755)

    def tree(self, name):
        """A copy of an in-tree build, with the probe as the module."""
        top = os.path.join(self.dir, name)
        os.makedirs(os.path.join(top, 'loader'))
        shutil.copy(LAUNCHER, os.path.join(top, 'loader', 'qemu-xbt'))
        shutil.copy(PRELOAD, os.path.join(top, 'loader'))
        shutil.copy(PROBE, os.path.join(top, MODULE))
        return os.path.join(top, 'loader', 'qemu-xbt')

    def other_build(self):
        """A directory with the module stamped for another build."""
        with open(PROBE, 'rb') as file:
            data = file.read()
        stamp = re.search(rb'qemu_stamp_([0-9a-f]{40})', data).group(1)
        other = stamp[::-1]
        path = os.path.join(self.dir, 'other')
        os.makedirs(path)
        with open(os.path.join(path, MODULE), 'wb') as file:
            file.write(data.replace(stamp, other))
        return path, stamp.decode(), other.decode()

    def assert_one_line(self, result, *parts):
        lines = result.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        for part in parts:
            self.assertIn(part, lines[0])

    # ---- loading ----------------------------------------------------------

    def test_accel_option_loads_module(self):
        launcher = self.tree('plain')
        for args in (['-accel', 'xbt'], ['--accel', 'xbt'],
                     ['-accel', 'accel=xbt'], ['-machine', 'accel=xbt'],
                     ['-M', 'pc,accel=xbt'], ['-machine', 'q35,accel=xbt']):
            with self.subTest(args=args):
                result = run(*args, *HEADLESS, launcher=launcher)
                self.assertEqual(result.returncode, LOADED, result.stderr)
                self.assertIn('probe module loaded', result.stdout)

    def test_path_with_spaces_and_colon(self):
        for name in ('with space', 'a:b', "it's 'quoted' $HOME"):
            with self.subTest(name=name):
                result = run('-accel', 'xbt', *HEADLESS,
                             launcher=self.tree(name))
                self.assertEqual(result.returncode, LOADED, result.stderr)

    def test_through_symlink_from_other_directory(self):
        link = os.path.join(self.dir, 'link')
        os.symlink(self.tree('real'), link)
        result = run('-accel', 'xbt', *HEADLESS, launcher='./link',
                     cwd=self.dir)
        self.assertEqual(result.returncode, LOADED, result.stderr)

    @unittest.skipUnless(os.getuid() == 0, 'needs root to become another')
    def test_ordinary_user(self):
        launcher = self.tree('user')
        result = subprocess.run(
            [launcher, '-accel', 'xbt', *HEADLESS], cwd='/',
            env=environment(HOME='/'), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60,
            user=65534, group=65534, extra_groups=[])
        self.assertEqual(result.returncode, LOADED, result.stderr)

    def test_module_dir_of_the_user_wins(self):
        directory = os.path.join(self.dir, 'mine')
        os.makedirs(directory)
        shutil.copy(PROBE, os.path.join(directory, MODULE))
        result = run('-accel', 'xbt', *HEADLESS, QEMU_MODULE_DIR=directory)
        self.assertEqual(result.returncode, LOADED, result.stderr)

    # ---- the environment --------------------------------------------------

    def test_arguments_and_environment(self):
        launcher = self.tree('args')
        args = ['-name', 'a b', '', '*', "it's", '-accel', 'xbt']
        result = run(*args, launcher=launcher, QEMU=SHOW)
        self.assertEqual(result.returncode, 7, result.stderr)
        top = os.path.dirname(os.path.dirname(os.path.realpath(launcher)))
        self.assertEqual(result.stdout.splitlines(),
                         [f'arg {a}' for a in args] +
                         [f'LD_PRELOAD={top}/loader/xbt-preload.so',
                          f'QEMU_MODULE_DIR={top}'])

    def test_preload_is_appended(self):
        other = os.path.join(self.dir, 'other-preload.so')
        shutil.copy(PRELOAD, other)
        result = run(QEMU=SHOW, LD_PRELOAD=other)
        self.assertIn(f'LD_PRELOAD={other}:/', result.stdout)

    def test_harmless_in_other_programs(self):
        result = run('-accel', 'xbt', QEMU='/bin/echo',
                     QEMU_MODULE_DIR='/nonexistent')
        self.assertEqual((result.returncode, result.stdout, result.stderr),
                         (0, '-accel xbt\n', ''))

    def test_children_of_qemu_do_not_inherit_preload(self):
        for name in ('child', 'child with space'):
            launcher = self.tree(name)
            with self.subTest(name=name):
                result = run('-accel', 'xbt', *HEADLESS, launcher=launcher,
                             XBT_PROBE_CHILD='echo "[$LD_PRELOAD]"')
                self.assertEqual(result.returncode, LOADED, result.stderr)
                self.assertTrue(result.stdout.startswith('[]\n'),
                                result.stdout)

    def test_other_preloads_stay_for_children(self):
        other = os.path.join(self.dir, 'other-preload.so')
        shutil.copy(SHOW, other)
        subprocess.run(['cc', '-shared', '-fPIC', '-x', 'c', '/dev/null',
                        '-o', other], check=True)
        result = run('-accel', 'xbt', *HEADLESS, launcher=self.tree('both'),
                     LD_PRELOAD=other,
                     XBT_PROBE_CHILD='echo "[$LD_PRELOAD]"')
        self.assertTrue(result.stdout.startswith(f'[{other}]\n'),
                        result.stdout)

    # ---- errors -----------------------------------------------------------

    def test_module_missing(self):
        for args in (['-accel', 'xbt'], ['-machine', 'accel=xbt']):
            with self.subTest(args=args):
                result = run(*args, *HEADLESS, QEMU_MODULE_DIR=self.dir)
                self.assertEqual(result.returncode, 1)
                self.assert_one_line(result, MODULE, 'not found', self.dir)

    def test_module_of_another_build(self):
        path, stamp, other = self.other_build()
        result = run('-accel', 'xbt', *HEADLESS, QEMU_MODULE_DIR=path)
        self.assertEqual(result.returncode, 1)
        self.assert_one_line(result, path, 'built for', stamp, other,
                             'Debian')

    def test_file_that_is_no_module(self):
        with open(os.path.join(self.dir, MODULE), 'w', encoding='utf-8') as f:
            f.write('text')
        result = run('-accel', 'xbt', *HEADLESS, QEMU_MODULE_DIR=self.dir)
        self.assertEqual(result.returncode, 1)
        self.assert_one_line(result, 'not a QEMU module')

    def test_missing_module_is_no_error_when_not_asked_for(self):
        for args in (['-version'], ['-machine', 'help'],
                     ['-accel', 'tcg', '-version'],
                     ['-append', 'accel=xbt', '-version']):
            with self.subTest(args=args):
                result = run(*args, QEMU_MODULE_DIR=self.dir)
                self.assertEqual((result.returncode, result.stderr), (0, ''))

    def test_missing_module_with_a_second_choice_is_a_warning(self):
        result = run('-accel', 'xbt', '-accel', 'tcg', '-version',
                     QEMU_MODULE_DIR=self.dir)
        self.assertEqual(result.returncode, 0)
        self.assert_one_line(result, 'warning', 'not found')

    def test_qemu_binary_missing(self):
        for qemu in ('/nonexistent/qemu', 'no-such-qemu', self.dir):
            with self.subTest(qemu=qemu):
                result = run('-accel', 'xbt', QEMU=qemu)
                self.assertNotEqual(result.returncode, 0)
                self.assert_one_line(result, qemu)


if __name__ == '__main__':
    unittest.main()
