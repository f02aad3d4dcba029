# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine shows: the VGA text buffer and the picture."""

import os

from machine import Failure

TEXT_BUFFER, COLUMNS, ROWS = 0xb8000, 80, 25


def screen_text(m):
    """The characters in the VGA text buffer."""
    path = os.path.join(m.dir, 'text')
    m.cmd('pmemsave', val=TEXT_BUFFER, size=COLUMNS * ROWS * 2, filename=path)
    with open(path, 'rb') as file:
        cells = file.read()[::2].decode('cp437')
    return '\n'.join(cells[i:i + COLUMNS].rstrip()
                     for i in range(0, len(cells), COLUMNS))


def picture(m):
    """(width, height, pixels) of a PPM screendump."""
    path = os.path.join(m.dir, 'screen.ppm')
    m.cmd('screendump', filename=path)
    with open(path, 'rb') as file:
        data = file.read()
    kind, width, height, top, pixels = data.split(maxsplit=4)
    # split() may eat black pixels only if they were white space: take from the end.
    size = int(width) * int(height) * 3
    if kind != b'P6' or top != b'255' or len(data) < size:
        raise Failure(f'no picture in the screendump: {data[:30]!r}, {len(pixels)} bytes')
    return int(width), int(height), data[-size:]
