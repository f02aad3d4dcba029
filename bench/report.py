# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks found: as data, as a text table, as an SVG chart."""

import math
import os
import statistics
import subprocess

import workloads

COLOURS = {'native': '#888888', 'tcg': '#c0504d', 'xbt': '#2e7d5b', 'kvm': '#4f81bd'}


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ''
    return (done.stdout.splitlines() or [''])[0]


def host_cpu():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        for line in file:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return 'unknown CPU'


def collect(bench, sides, selected, args, notes, started):
    top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    rows = []
    for group, names in selected.items():
        for name in names:
            row = {'name': name, 'group': group, 'sides': {}}
            for side in sides:
                samples = bench.samples.get(name, {}).get(side, [])
                entry = {'samples_ns': samples}
                if samples:
                    entry['median_ns'] = statistics.median(samples)
                    entry['spread'] = ((max(samples) - min(samples))
                                       / entry['median_ns'])
                why = bench.failures.get(name, {}).get(side)
                if why:
                    entry['failure'] = why
                entry['results'] = sorted(bench.sums.get(name, {}).get(side, []))
                if samples or why:
                    row['sides'][side] = entry
            rows.append(row)
    return {
        'started': started,
        'host': {'cpu': host_cpu(), 'cpus': os.cpu_count(),
                 'kernel': os.uname().release,
                 'load': os.getloadavg()},
        'qemu': first_line([os.environ.get('QEMU', 'qemu-system-x86_64'),
                            '--version']),
        'revision': first_line(['git', '-C', top, 'describe', '--always', '--dirty']),
        'rounds': args.rounds, 'clock': args.clock, 'cpu': args.cpu, 'percent': args.percent,
        'xbt_options': args.xbt_options, 'sides': sides, 'notes': notes,
        'boot_peak_kib': bench.peak_kib, 'rows': rows,
        'once_instructions': (workloads.once_instructions(bench.programs['translate']) * workloads.ONCE_ROUNDS
                              if 'translate' in selected else 0),
        'density': {name: {'guest_bytes': guest, 'host_bytes': host}
                    for name, (guest, host) in bench.density.items()},
    }


def median(row, side):
    entry = row['sides'].get(side, {})
    if 'failure' in entry:
        return None
    return entry.get('median_ns')


def ratio(row, upper, lower):
    a, b = median(row, upper), median(row, lower)
    return a / b if a and b else None


def ratios_of(sides):
    pairs = [('tcg', 'native'), ('xbt', 'native'), ('kvm', 'native'), ('tcg', 'xbt')]
    return [(a, b) for a, b in pairs if a in sides and b in sides]


def geometric_mean(values):
    values = [value for value in values if value]
    if not values:
        return None
    return math.exp(sum(map(math.log, values)) / len(values))


def number(value, digits=1):
    return '-' if value is None else f'{value:.{digits}f}'


def growth_lines(data):
    """What the same work costs with ten times as much, over what it costs with as much."""
    rows = {row['name']: row for row in data['rows']}
    lines = []
    for name, what in workloads.GROWTH.items():
        one, ten = rows.get(name + '-1x'), rows.get(name + '-10x')
        found = [(side, median(ten, side) / median(one, side)) for side in data['sides']
                 if one and ten and median(one, side) and median(ten, side)]
        if found:
            lines.append(f'10 times the {what}, cost per unit: '
                         + ', '.join(f'{side} {value:.2f}' for side, value in found))
    return lines


def translation_lines(data):
    lines = []
    for row in data['rows']:
        if row['name'] == 'translate' and data['once_instructions']:
            lines.append(f"{data['once_instructions']} instructions executed once, ns for each: "
                         + ', '.join(f"{side} {median(row, side) / data['once_instructions']:.0f}"
                                     for side in data['sides'] if median(row, side)))
    for name, entry in data['density'].items():
        if entry['guest_bytes']:
            factor = entry['host_bytes'] / entry['guest_bytes']
            lines.append(f"hot code of {name}: {factor:.1f} host bytes per guest byte "
                         f"({entry['guest_bytes']} guest bytes)")
    return lines


def table(data):
    sides, pairs = data['sides'], ratios_of(data['sides'])
    head = ['workload'] + [f'{side} ms' for side in sides] + \
           [f'{a}/{b}' for a, b in pairs] + ['spread']
    lines = []
    for row in data['rows']:
        cells = [row['name']]
        for side in sides:
            entry = row['sides'].get(side, {})
            if 'failure' in entry:
                cells.append('FAILED')
            else:
                value = median(row, side)
                cells.append(number(value and value / 1e6))
        cells += [number(ratio(row, a, b), 2) for a, b in pairs]
        spreads = [entry['spread'] for entry in row['sides'].values()
                   if 'spread' in entry]
        cells.append(f'{max(spreads) * 100:.0f} %' if spreads else '-')
        lines.append((row['group'], cells))
    for group in dict.fromkeys(group for group, _ in lines):
        rows = [row for row in data['rows'] if row['group'] == group]
        if len(rows) > 1:
            means = [geometric_mean([ratio(row, a, b) for row in rows])
                     for a, b in pairs]
            lines.append((group, [f'geomean {group}'] + [''] * len(sides)
                          + [number(mean, 2) for mean in means] + ['']))
    widths = [max(len(cells[i]) for cells in [head] + [c for _, c in lines])
              for i in range(len(head))]

    def render(cells):
        return '  '.join(cell.ljust(width) if i == 0 else cell.rjust(width)
                         for i, (cell, width) in enumerate(zip(cells, widths))).rstrip()

    text = [f"{data['started']}  {data['qemu']}  xbt {data['revision']}",
            f"{data['host']['cpus']} x {data['host']['cpu']}, Linux "
            f"{data['host']['kernel']}; -cpu {data['cpu']}, {data['rounds']} rounds, "
            f"medians of {'processor' if data['clock'] == 'cpu' else 'elapsed'} time; "
            'spread is (max - min) / median of the worst side', '',
            render(head), '-' * (sum(widths) + 2 * len(widths) - 2)]
    text += [render(cells) for _, cells in lines]
    if data['boot_peak_kib']:
        text.append('')
        text.append('QEMU resident after boot: ' + ', '.join(
            f'{side} {kib / 1024:.0f} MiB'
            for side, kib in data['boot_peak_kib'].items()))
    more = growth_lines(data) + translation_lines(data)
    text += [''] * bool(more) + more
    text += [''] * bool(data['notes']) + data['notes']
    for row in data['rows']:
        for side, entry in row['sides'].items():
            if 'failure' in entry:
                text.append(f"FAILED {row['name']} under {side}: {entry['failure']}")
    return '\n'.join(text)


# ---- the chart: time over native's, one group of bars per workload ----------

def chart(data):
    base = 'native' if 'native' in data['sides'] else data['sides'][0]
    sides = [side for side in data['sides'] if side != base]
    bars = []
    for row in data['rows']:
        lower = base
        if median(row, base) is None:       # the boot has no native side
            lower = next((s for s in ('xbt', 'tcg', 'kvm') if median(row, s)), None)
        values = [(side, ratio(row, side, lower)) for side in sides] if lower else []
        bars.append((row['name'], lower, [v for v in values if v[1]]))
    top = max([value for _, _, values in bars for _, value in values], default=1)
    decades = max(1, math.ceil(math.log10(max(top, 1.01))))
    left, width, bar, gap = 130, 620, 11, 9

    def x(value):
        return left + width * max(0.0, math.log10(max(value, 0.5)) + 0.302) / (decades + 0.302)

    y, parts = 54, []
    for name, lower, values in bars:
        label = name if lower in (base, None) else f'{name} (/{lower})'
        parts.append(f'<text x="{left - 8}" y="{y + bar}" text-anchor="end">{label}</text>')
        for side, value in values:
            parts.append(
                f'<rect x="{left}" y="{y}" width="{max(1, x(value) - left):.1f}" '
                f'height="{bar - 1}" fill="{COLOURS[side]}"/>'
                f'<text x="{x(value) + 4:.1f}" y="{y + bar - 2}" font-size="9">'
                f'{value:.2f}</text>')
            y += bar
        y += gap + (bar if not values else 0)
    height = y + 12
    grid = []
    for decade in range(decades + 1):
        for step in (1, 2, 5):
            value = step * 10 ** decade
            if value <= 10 ** decades:
                grid.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="46" '
                            f'y2="{height - 10}" stroke="#ddd"/><text x="{x(value):.1f}" '
                            f'y="42" text-anchor="middle" font-size="9">{value}x</text>')
    legend = ''.join(
        f'<rect x="{left + 330 + i * 70}" y="10" width="10" height="10" '
        f'fill="{COLOURS[side]}"/><text x="{left + 345 + i * 70}" y="19">{side}</text>'
        for i, side in enumerate(sides))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" '
            f'height="{height}" font-family="sans-serif" font-size="11">'
            f'<rect width="100%" height="100%" fill="white"/>'
            f'<text x="{left}" y="19" font-size="13">time over {base}, log scale '
            f'(shorter is better)</text>{legend}{"".join(grid)}{"".join(parts)}</svg>\n')
