# SPDX-License-Identifier: GPL-2.0-or-later
"""A fixed 2048-bit RSA key for measuring, computed from a seed.

It protects nothing: everybody can compute it.  (PKCS#1 as of RFC 8017.)
"""

import base64


def is_prime(n, random):
    if any(n % p == 0 for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return False
    odd, shift = n - 1, 0
    while odd % 2 == 0:
        odd, shift = odd // 2, shift + 1
    for _ in range(8):
        x = pow(next(random) + 2, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(shift - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def prime(bits, random, exponent):
    while True:
        n = 0
        for _ in range(0, bits + 31, 31):
            n = n << 31 | next(random)
        n = n % (1 << bits) | 3 << (bits - 2) | 1
        if (n - 1) % exponent and is_prime(n, random):
            return n


def der(tag, body):
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, 'big')
    return bytes([tag, 0x80 | len(length)]) + length + body


def der_integer(n):
    return der(2, n.to_bytes(n.bit_length() // 8 + 1, 'big'))


def make_pem(random):
    e = 65537
    p, q = prime(1024, random, e), prime(1024, random, e)
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = (0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    body = base64.b64encode(der(0x30, b''.join(map(der_integer, numbers))))
    lines = [body[i:i + 64].decode() for i in range(0, len(body), 64)]
    kind = 'RSA PRIVATE KEY'
    return '\n'.join([f'-----BEGIN {kind}-----', *lines,
                      f'-----END {kind}-----', ''])
