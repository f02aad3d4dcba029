# SPDX-License-Identifier: GPL-2.0-or-later
"""Python workload: objects, dictionaries, strings, integers, floats.  The argument: how often (1)."""
import hashlib
import json
import re
import sys


class Node:
    __slots__ = ('key', 'left', 'right')

    def __init__(self, key):
        self.key, self.left, self.right = key, None, None


def insert(root, key):
    node = root
    while True:
        side = 'left' if key < node.key else 'right'
        child = getattr(node, side)
        if child is None:
            setattr(node, side, Node(key))
            return
        node = child


def depth(node):
    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))


def tree():
    x, root = 1, Node(1 << 30)
    for _ in range(6000):
        x = (x * 1103515245 + 12345) % 2**31
        insert(root, x)
    return depth(root)


def words():
    text = ' '.join(f'w{i * i % 997}:{i % 13}' for i in range(15000))
    count = {}
    for match in re.finditer(r'w(\d+):(\d)', text):
        key = match.group(1)
        count[key] = count.get(key, 0) + int(match.group(2))
    return sorted(count.items(), key=lambda item: (-item[1], item[0]))[:5]


def numbers():
    total, series = 0.0, 0
    for i in range(1, 60000):
        total += 1.0 / (i * i) if i & 1 else -1.0 / i
        series = (series * 31 + i) % 1000000007
    return f'{total:.12f}', series


def text():
    data = [{'id': i, 'name': 'n' * (i % 9), 'v': [i / 4, i % 3]}
            for i in range(1500)]
    dump = json.dumps(data, sort_keys=True)
    return hashlib.md5(json.dumps(json.loads(dump)[::-1]).encode()).hexdigest()


for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
    for function in (tree, words, numbers, text):
        print(function.__name__, function())
print(3 ** 2000 % 10 ** 30, sum(divmod(10 ** 60, 7 ** i)[1] for i in range(1, 40)))
