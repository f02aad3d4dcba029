# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/guests.md's tables: one row per row of the matrix, one column per accelerator."""

BEGIN, END = '<!-- matrix: written by scripts/guest-matrix --table -->', '<!-- end of matrix -->'


def cell(result):
    if result is None:
        return 'not run'
    runs, passes = result.get('runs', 1), result.get('passes', int(result['ok']))
    if not passes:
        return 'fails'
    return f'{result["seconds"]:.0f} s' + (f', {passes} of {runs} runs' if passes < runs else '')


def pictures(row, xbt, tcg):
    got, want = ((r or {}).get('pictures', {}) for r in (xbt, tcg))
    both = [name for name in got if name in want]
    if not both:
        return ''
    same = all(set(got[name]) & set(want[name]) for name in both)
    return ', same picture' if same else ', **pictures differ**'


def lines(rows, xbt, tcg):
    group = None
    for row in rows:
        if row['group'] != group:
            group = row['group']
            yield f'\n## {group}\n'
            if row.get('about'):
                yield row['about'] + '\n'
            if row.get('common'):
                yield f'Each command also has `{row["common"]}`.\n'
            yield '| row | command | xbt | TCG | |'
            yield '|---|---|---|---|---|'
        mine, theirs = xbt.get(row['name']), tcg.get(row['name'])
        args = (row['own'] or '(nothing)').replace('|', '\\|')
        if row.get('xbt'):
            args = f'-accel xbt,{row["xbt"]} {args}'
        note = (row.get('note', '') + pictures(row, mine, theirs)).lstrip(', ')
        yield f'| {row["name"]} | `{args}` | {cell(mine)} | {cell(theirs)} | {note} |'


def write(rows, xbt, tcg, path):
    with open(path, encoding='utf-8') as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with open(path, 'w', encoding='utf-8') as file:
        file.write(before + BEGIN + '\n' + '\n'.join(lines(rows, xbt, tcg)) + '\n\n' + END + after)
