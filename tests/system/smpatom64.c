/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smpatom64.c - read-modify-write instructions of four CPUs on the same bytes: nothing is lost (SDM vol. 3, 8.1).
 *
 * Every instruction has, for each operand size, a cell of its own at each of five places: aligned, misaligned, across a
 * cache line, across a page, and across a page where the two pages have other neighbours elsewhere.  All CPUs go through
 * all cells again and again; what the cells hold in the end follows from how often.
 */
/* with: smpap.S */
/* smp: 4 */
#define SYS_MAIN
#include "smp64.h"

#define CPUS   4u
#define ROUNDS (3u * SCALE)
#define TIMES(place) ((place) < 3 ? 80u : 8u)
#define CELLS  0x300000ull             /* identity mapped; once more at ALIAS */
#define ALIAS  0x40300000ull
#define MIXED  0x60300000ull           /* page 2 n is page 2 n + 1 of CELLS, page 2 n + 1 is known here only */

typedef void op_fn(volatile void *p, u32 n, u32 cpu);

static volatile u32 wrong[CPUS];
static volatile u64 taken[CPUS][8];

#define SIZES(make) make(b, 8, u8) make(w, 16, u16) make(l, 32, u32) make(q, 64, u64)

/* Plain counting: `insn` adds one to, or takes one from, the cell. */
#define COUNT(name, size, type, ...)                                                              \
    static void name##size(volatile void *p, u32 n, u32 cpu)                                      \
    {                                                                                             \
        volatile type *m = p;                                                                     \
        type one = 1;                                                                             \
        (void)cpu;                                                                                \
        for (; n; n--) {                                                                          \
            __asm__ volatile(__VA_ARGS__ : "+m"(*m), "+q"(one) : : "memory", "cc", "rdx");        \
            one = 1;                                                                              \
        }                                                                                         \
    }
#define COUNTS(s, size, type)                                          \
    COUNT(add, size, type, "lock add" #s " %1, %0")                    \
    COUNT(addi, size, type, "lock add" #s " $1, %0")                   \
    COUNT(sub, size, type, "lock sub" #s " %1, %0")                    \
    COUNT(inc, size, type, "lock inc" #s " %0")                        \
    COUNT(dec, size, type, "lock dec" #s " %0")                        \
    COUNT(adc, size, type, "stc; lock adc" #s " $0, %0")               \
    COUNT(sbb, size, type, "stc; lock sbb" #s " $0, %0")               \
    COUNT(xadd, size, type, "lock xadd" #s " %1, %0")                  \
    COUNT(not, size, type, "lock not" #s " %0")                        \
    COUNT(neg, size, type, "lock neg" #s " %0")
SIZES(COUNTS)

/* The CPU's own bits: what it has put there stays until it changes it. */
#define OWN(s, size, type)                                                                        \
    static void own##size(volatile void *p, u32 n, u32 cpu)                                       \
    {                                                                                             \
        volatile type *m = p;                                                                     \
        type bit = (type)1 << cpu, top = (type)1 << (sizeof(type) * 8 - 1 - cpu);                 \
        for (; n; n--) {                                                                          \
            __asm__ volatile("lock or" #s " %1, %0" : "+m"(*m) : "q"(bit) : "memory", "cc");      \
            wrong[cpu] += !(*m & bit);                                                            \
            __asm__ volatile("lock xor" #s " %1, %0" : "+m"(*m) : "q"(top) : "memory", "cc");     \
            __asm__ volatile("lock and" #s " %1, %0" : "+m"(*m) : "q"((type)~bit) : "memory", "cc"); \
            wrong[cpu] += !!(*m & bit);                                                           \
        }                                                                                         \
    }
SIZES(OWN)

#define BT1(insn, reg, was)                                                                       \
    __asm__ volatile("lock " insn " %2, %1; setc %0" : "=q"(c), "+m"(*m) : reg : "memory", "cc"); \
    wrong[cpu] += c != (was)
#define BITS(s, size, type)                                                                       \
    static void bit##size(volatile void *p, u32 n, u32 cpu)                                       \
    {                                                                                             \
        volatile type *m = p;                                                                     \
        type b = (type)cpu, t = (type)(sizeof(type) * 8 - 1 - cpu);                               \
        u8 c;                                                                                     \
        for (; n; n--) {                                                                          \
            BT1("bts" #s, "r"(b), 0);                                                             \
            BT1("btc" #s, "r"(t), 0);                                                             \
            BT1("btr" #s, "r"(b), 1);                                                             \
            BT1("btc" #s, "r"(t), 1);                                                             \
        }                                                                                         \
    }
BITS(w, 16, u16) BITS(l, 32, u32) BITS(q, 64, u64)

/* Everything that was put in came out once, or is still there. */
#define XCHG(s, size, type)                                                                       \
    static void xchg##size(volatile void *p, u32 n, u32 cpu)                                      \
    {                                                                                             \
        volatile type *m = p;                                                                     \
        type v;                                                                                   \
        for (; n; n--) {                                                                          \
            v = (type)((cpu + 1) * 0x0507090b0d0f1113ull * n);                                    \
            taken[cpu][size / 8 - 1] -= v;                                                        \
            __asm__ volatile("xchg" #s " %1, %0" : "+m"(*m), "+q"(v) : : "memory");               \
            taken[cpu][size / 8 - 1] += v;                                                        \
        }                                                                                         \
    }                                                                                             \
    static void cas##size(volatile void *p, u32 n, u32 cpu)                                       \
    {                                                                                             \
        volatile type *m = p;                                                                     \
        (void)cpu;                                                                                \
        while (n) {                                                                               \
            type old = *m, now = (type)(old + 1);                                                 \
            u8 ok;                                                                                \
            __asm__ volatile("lock cmpxchg" #s " %3, %1; setz %0"                                 \
                             : "=q"(ok), "+m"(*m), "+a"(old) : "q"(now) : "memory", "cc");        \
            n -= ok;                                                                              \
        }                                                                                         \
    }
SIZES(XCHG)

/* Both halves count together. */
static void cas8b(volatile void *p, u32 n, u32 cpu)
{
    while (n) {
        u32 lo = *(volatile u32 *)p, hi = lo ^ 0x5a5a5a5a;
        u8 ok;

        __asm__ volatile("lock cmpxchg8b %1; setz %0"
                         : "=q"(ok), "+m"(*(volatile u64 *)p), "+a"(lo), "+d"(hi)
                         : "b"(lo + 1), "c"((lo + 1) ^ 0x5a5a5a5a) : "memory", "cc");
        wrong[cpu] += !ok && (lo ^ hi) != 0x5a5a5a5a;
        n -= ok;
    }
}

static void cas16b(volatile void *p, u32 n, u32 cpu)
{
    while (n) {
        u64 lo = *(volatile u64 *)p, hi = ~lo;
        u8 ok;

        __asm__ volatile("lock cmpxchg16b %1; setz %0"
                         : "=q"(ok), "+m"(*(volatile __int128 *)p), "+a"(lo), "+d"(hi)
                         : "b"(lo + 1), "c"(~(lo + 1)) : "memory", "cc");
        wrong[cpu] += !ok && (lo ^ hi) != ~0ull;
        n -= ok;
    }
}

enum end { UP, DOWN, SAME, BACK, ANY, UP8B, UP16B };
static const struct op {
    const char *name;
    u32 size;
    enum end end;
    op_fn *fn;
} ops[] = {
#define ROWS(s, z, type)                                                                                      \
    {"add", z / 8, UP, add##z}, {"addi", z / 8, UP, addi##z}, {"sub", z / 8, DOWN, sub##z},                   \
    {"inc", z / 8, UP, inc##z}, {"dec", z / 8, DOWN, dec##z}, {"adc", z / 8, UP, adc##z},                     \
    {"sbb", z / 8, DOWN, sbb##z}, {"xadd", z / 8, UP, xadd##z}, {"not", z / 8, SAME, not##z},                 \
    {"neg", z / 8, SAME, neg##z}, {"own", z / 8, BACK, own##z}, {"xchg", z / 8, ANY, xchg##z},                \
    {"cmpxchg", z / 8, UP, cas##z},
    SIZES(ROWS)
    {"bit", 2, BACK, bit16}, {"bit", 4, BACK, bit32}, {"bit", 8, BACK, bit64},
    {"cmpxchg8b", 8, UP8B, cas8b}, {"cmpxchg16b", 16, UP16B, cas16b},
};
#define OPS (sizeof(ops) / sizeof(ops[0]))

/* Place 0 aligned, 1 misaligned, 2 across a line, 3 and 4 across a page; 0: there is no such cell.  Two pages each. */
static u64 cell(u32 op, u32 place)
{
    u32 size = ops[op].size;
    u64 page = CELLS + 0x2000ull * op;
    static const u16 at[] = {0x100, 0x200, 0x300, 0x1000, 0x1000};

    if (place && (size == 1 || size == 16)) {
        return 0;
    }
    return page + at[place] + (place == 1 ? size == 2 ? 4 + 1 : 1 : 0) - (place > 1 ? size / 2 : 0);
}

static u64 start_value(u32 op) { return ops[op].end == SAME ? 0x5a5a5a5a5a5a5a5aull : 0; }

static u64 as_seen(u64 p, u32 place, u32 cpu)
{
    return place == 4 ? p - CELLS + MIXED : cpu & 1 ? p - CELLS + ALIAS : p;
}

static volatile u32 with_code, places_from, places_to;

static void all_cells(u32 cpu)
{
    meet(CPUS);
    for (u32 r = 0; r < ROUNDS; r++) {
        for (u32 i = 0; i < OPS; i++) {
            for (u32 place = places_from; place < places_to; place++) {
                u64 p = cell(i, place);

                if (with_code && place == places_from) {
                    ((void (*)(void))(CELLS + 0x2000ull * i + 0x800))();
                    ((void (*)(void))(CELLS + 0x2000ull * i + 0x1800))();
                }
                if (p) {
                    ops[i].fn((volatile void *)as_seen(p, place, cpu), TIMES(place), cpu);
                }
            }
        }
    }
}

static void put_value(u64 p, u32 size, u64 v)
{
    for (u32 i = 0; i < size; i++) {
        ((volatile u8 *)p)[i] = (u8)(v >> 8 * (i & 7));
    }
}

static u64 value(u64 p, u32 size)
{
    u64 v = 0;

    for (u32 i = 0; i < (size < 8 ? size : 8); i++) {
        v |= (u64)((volatile u8 *)p)[i] << 8 * i;
    }
    return v;
}

static void prepare(void)
{
    for (u32 i = 0; i < OPS; i++) {
        for (u32 place = places_from; place < places_to; place++) {
            u64 p = cell(i, place), v = start_value(i);

            if (p) {
                put_value(as_seen(p, place, 0), ops[i].size, v);
                if (ops[i].end == UP8B) {
                    put_value(as_seen(p + 4, place, 0) , 4, 0x5a5a5a5a);
                } else if (ops[i].end == UP16B) {
                    put_value(p + 8, 8, ~0ull);
                }
            }
        }
        ((volatile u8 *)CELLS)[0x2000 * i + 0x800] = ((volatile u8 *)CELLS)[0x2000 * i + 0x1800] = 0xc3;
    }
    for (u32 i = 0; i < CPUS; i++) {
        wrong[i] = 0;
        for (u32 k = 0; k < 8; k++) {
            taken[i][k] = 0;
        }
    }
}

static void complain(u32 op, u32 place, u64 is, u64 want)
{
    put("WRONG ");
    put(ops[op].name);
    put_hex(ops[op].size);
    line(" place", place);
    line(" is", is);
    line(" want", want);
}

static void look(void)
{
    u64 n, left[8] = {0};

    for (u32 i = 0; i < OPS; i++) {
        for (u32 place = places_from; place < places_to; place++) {
            u32 size = ops[i].end == UP8B ? 4 : ops[i].size;
            u64 p = cell(i, place), is, want, mask = size >= 8 ? ~0ull : (1ull << 8 * size) - 1;

            if (!p) {
                continue;
            }
            n = (u64)ROUNDS * TIMES(place) * CPUS;
            is = value(as_seen(p, place, 0), size);
            want = ops[i].end == SAME || ops[i].end == BACK ? start_value(i) : ops[i].end == DOWN ? -n : n;
            if (ops[i].end == ANY) {
                left[size - 1] += is;
            } else if (is != (want & mask)) {
                complain(i, place, is, want & mask);
            }
        }
    }
    for (u32 i = 0; i < CPUS; i++) {
        check("own bits", wrong[i], 0);
        for (u32 k = 0; k < 8; k++) {
            left[k] += taken[i][k];
        }
    }
    for (u32 k = 1; k <= 8; k *= 2) {
        check("exchanged", left[k - 1] & (k == 8 ? ~0ull : (1ull << 8 * k) - 1), 0);
    }
}

/* ---- pages ---- */
static volatile u64 *const identity = (volatile u64 *)0x203000, *const alias_pt = (volatile u64 *)0x20a000,
                    *const mixed_pt = (volatile u64 *)0x20b000;

static void map_aliases(void)
{
    volatile u64 *pdpt = (volatile u64 *)0x201000, *pd = (volatile u64 *)0x20c000;

    pdpt[1] = 0x20c007;
    pd[1] = 0x20a007;                           /* 40200000 */
    pd[0x101] = 0x20b007;                       /* 60200000 */
    for (u32 i = 0x100; i < 0x200; i++) {
        alias_pt[i] = 0x200007 + 0x1000ull * i;
        mixed_pt[i] = i & 1 ? 0x800007 + 0x1000ull * i : 0x200007 + 0x1000ull * (i + 1);
    }
    set_cr3(get_cr3());
}

static void reload(u32 cpu)
{
    (void)cpu;
    set_cr3(get_cr3());
}

/* Accessed and dirty bits gone: every CPU's first access sets them while others use the page. */
static void untouch(void)
{
    for (u32 i = 0x300; i < 0x400; i++) {
        identity[i] &= ~0x60ull;
        alias_pt[i - 0x200] &= ~0x60ull;
        mixed_pt[i - 0x200] &= ~0x60ull;
    }
    on_cpus(CPUS, reload);
}

static u32 touched(void)
{
    u32 bad = 0;

    for (u32 i = 0; i < OPS; i++) {
        u32 page = 0x100 + 2 * i, one = ops[i].size == 1 || ops[i].size == 16;

        bad += (identity[0x200 + page] & 0x60) != 0x60 || (alias_pt[page] & 0x60) != 0x60;
        bad += !one && ((identity[0x200 + page + 1] & 0x60) != 0x60 || (alias_pt[page + 1] & 0x60) != 0x60);
        bad += !one && ((mixed_pt[page] & 0x60) != 0x60 || (mixed_pt[page + 1] & 0x60) != 0x60);
    }
    return bad;
}

static void go(const char *name, u32 from, u32 to, u32 code, u32 user)
{
    put(name);
    put("\n");
    places_from = from;
    places_to = to;
    with_code = code;
    prepare();
    if (user) {
        user_on_cpus(CPUS, all_cells);
    } else {
        on_cpus(CPUS, all_cells);
    }
    look();
}

__attribute__((used)) void test_main(void)
{
    smp_start(CPUS);
    map_aliases();
    go("aligned", 0, 1, 0, 0);
    go("all places", 0, 5, 0, 0);
    go("in pages with code", 0, 5, 1, 0);
    places_from = 0;
    places_to = 5;
    prepare();
    untouch();
    with_code = 0;
    put("first touch\n");
    on_cpus(CPUS, all_cells);
    check("accessed and dirty", touched(), 0);
    look();
    go("user", 0, 5, 0, 1);
    go("user, with code", 0, 5, 1, 1);
}
