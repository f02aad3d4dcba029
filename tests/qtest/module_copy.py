# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies of the module with something wrong in them.

The module's own tables are patched in the file: the stamp QEMU checks, and
the sizes and offsets the ABI self-check compares (accel-xbt/xbt-abi.c).
"""

import os
import re
import shutil
import struct

from machine import MODULE, module_path

SYMTAB, LOAD = 2, 1


class ModuleCopy:
    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.path = os.path.join(directory, MODULE)
        shutil.copy(module_path(), self.path)
        with open(self.path, 'rb') as file:
            self.data = bytearray(file.read())

    def save(self):
        with open(self.path, 'wb') as file:
            file.write(self.data)
        os.chmod(self.path, 0o755)

    # ---- the stamp --------------------------------------------------------

    def stamp(self):
        return re.search(rb'qemu_stamp_([0-9a-f]{40})', self.data)[1].decode()

    def set_stamp(self, stamp):
        self.data = bytearray(bytes(self.data).replace(
            self.stamp().encode(), stamp.encode()))

    def set_built_for(self, version):
        """Another version text, not longer than the old one."""
        start = self.data.index(b'xbt-built-for: ') + len(b'xbt-built-for: ')
        end = self.data.index(b'\n', start)
        text = version.encode()
        assert len(text) <= end - start
        self.data[start:end + 1] = text + b'\n' + bytes(end - start - len(text))

    # ---- tables -----------------------------------------------------------

    def _headers(self, at, size, count, layout):
        for i in range(count):
            yield struct.unpack_from(layout, self.data, at + i * size)

    def address(self, symbol):
        """The address of a symbol, local ones included; LookupError without."""
        sections = list(self._headers(struct.unpack_from('<Q', self.data, 40)[0],
                                      64, struct.unpack_from('<H', self.data, 60)[0],
                                      '<IIQQQQIIQQ'))
        for kind, offset, size, link in ((s[1], s[4], s[5], s[6]) for s in sections):
            if kind != SYMTAB:
                continue
            names = sections[link][4]
            for name, _, _, _, value, _ in self._headers(
                    offset, 24, size // 24, '<IBBHQQ'):
                end = self.data.index(b'\0', names + name)
                if self.data[names + name:end] == symbol.encode():
                    return value
        raise LookupError(symbol)

    def offset(self, address):
        """Where in the file the byte of an address is."""
        at = struct.unpack_from('<Q', self.data, 32)[0]
        count = struct.unpack_from('<H', self.data, 56)[0]
        for kind, _, offset, base, _, size, _, _ in self._headers(
                at, 56, count, '<IIQQQQQQ'):
            if kind == LOAD and base <= address < base + size:
                return offset + address - base
        raise LookupError(hex(address))

    def change_number(self, table, row, change):
        """Rows are { const char *, size_t }; the number's old and new value."""
        at = self.offset(self.address(table) + 16 * row + 8)
        old = struct.unpack_from('<Q', self.data, at)[0]
        struct.pack_into('<Q', self.data, at, old + change)
        return old, old + change
