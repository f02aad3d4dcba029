/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smporder64.c - the order in which CPUs see each other's loads and stores: what the memory model forbids never happens
 * (SDM vol. 3, 8.2.2; the tests' names are those of the literature on x86-TSO), and no access is torn that must not be.
 *
 * One round is one instance of a test with variables of its own.  A batch of rounds runs without meeting, so that the
 * CPUs really are beside each other; then CPU 0 looks at all results.
 */
/* with: smpap.S */
/* smp: 4 */
#define SYS_MAIN
#include "smp64.h"

#define CPUS    4u
#define ROUNDS  4096u                   /* in one batch, at most */
#define STRIDE  256u
#define PLAIN   0x800000ull
#define CODE    0x300000ull             /* small pages */
#define CODE_ROUNDS 2048u

struct vars {
    volatile u32 x;
    u32 gap[15];
    volatile u32 y;
    u32 gap2[15];
    volatile u32 lock[CPUS];
};
_Static_assert(sizeof(struct vars) <= STRIDE, "");

static volatile u8 result[CPUS][ROUNDS][2];
static volatile u32 progress[CPUS][16];
static volatile u64 where;
static volatile u32 rounds, batches, n_cpus;

static struct vars *vars(u32 i) { return (struct vars *)(where + (u64)i * STRIDE); }

#define R(cpu, k) result[cpu][i][k]
#define MFENCE() __asm__ volatile("mfence" : : : "memory")
/* Serialising instructions wait until all stores are done (SDM vol. 3, 8.3). */
#define CPUID() do { u32 a_ = 0, b_, c_, d_; \
    __asm__ volatile("cpuid" : "+a"(a_), "=b"(b_), "=c"(c_), "=d"(d_) : : "memory"); } while (0)
#define CR3() do { u64 r_; __asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=r"(r_) : : "memory"); } while (0)
#define LOCKED() __asm__ volatile("lock addl $0, %0" : "+m"(v->lock[cpu]) : : "memory", "cc")
#define XCHG(var, val) do { u32 t_ = (val); __asm__ volatile("xchgl %0, %1" : "+r"(t_), "+m"(var) : : "memory"); } while (0)

/* TEST(name, cpus, what each CPU does, what must not be) */
#define TEST(name, cpus, body, bad)                                                     \
    static inline void name##_run(u32 cpu, u32 i, struct vars *v) { (void)i; (void)v; body }  \
    static u32 name##_bad(u32 i, struct vars *v) { (void)i; (void)v; return bad; }      \
    static void name(u32 cpu) { batch(cpu, cpus, name##_run, name##_bad); }
typedef void run_fn(u32 cpu, u32 i, struct vars *v);
typedef u32 bad_fn(u32 i, struct vars *v);

static volatile u32 bad_seen;

/* Not ahead of the others by much; a CPU that does not run is not waited for. */
static inline void keep_step(u32 cpu, u32 cpus, u32 i)
{
    progress[cpu][0] = i;
    for (u32 k = 0; k < cpus; k++) {
        for (u32 n = 0; n < 40 && (int)(progress[k][0] - i) < 0; n++) {
            pause();
        }
    }
}

static inline __attribute__((always_inline)) void batch(u32 cpu, u32 cpus, run_fn *run, bad_fn *bad)
{
    for (u32 b = 0; b < batches; b++) {
        if (cpu == 0) {
            for (u32 i = 0; i < rounds; i++) {
                vars(i)->x = vars(i)->y = 0;
            }
        }
        progress[cpu][0] = 0;
        meet(cpus);
        for (u32 i = 0; i < rounds; i++) {
            if (i % 8 == 0) {
                keep_step(cpu, cpus, i);
            }
            run(cpu, i, vars(i));
        }
        meet(cpus);
        for (u32 i = 0; cpu == 0 && i < rounds; i++) {
            bad_seen += bad(i, vars(i));
        }
    }
}

TEST(mp, 2, {
    if (cpu == 0) {
        v->x = 1;
        v->y = 1;
    } else {
        R(1, 0) = (u8)v->y;
        R(1, 1) = (u8)v->x;
    }
}, R(1, 0) == 1 && R(1, 1) == 0)

TEST(sb_mfence, 2, {
    if (cpu == 0) {
        v->x = 1;
        MFENCE();
        R(0, 0) = (u8)v->y;
    } else {
        v->y = 1;
        MFENCE();
        R(1, 0) = (u8)v->x;
    }
}, R(0, 0) == 0 && R(1, 0) == 0)

TEST(sb_cpuid, 2, {
    if (cpu == 0) {
        v->x = 1;
        CPUID();
        R(0, 0) = (u8)v->y;
    } else {
        v->y = 1;
        CPUID();
        R(1, 0) = (u8)v->x;
    }
}, R(0, 0) == 0 && R(1, 0) == 0)

TEST(sb_cr3, 2, {
    if (cpu == 0) {
        v->x = 1;
        CR3();
        R(0, 0) = (u8)v->y;
    } else {
        v->y = 1;
        CR3();
        R(1, 0) = (u8)v->x;
    }
}, R(0, 0) == 0 && R(1, 0) == 0)

TEST(sb_lock, 2, {
    if (cpu == 0) {
        v->x = 1;
        LOCKED();
        R(0, 0) = (u8)v->y;
    } else {
        v->y = 1;
        LOCKED();
        R(1, 0) = (u8)v->x;
    }
}, R(0, 0) == 0 && R(1, 0) == 0)

TEST(sb_xchg, 2, {
    if (cpu == 0) {
        XCHG(v->x, 1);
        R(0, 0) = (u8)v->y;
    } else {
        XCHG(v->y, 1);
        R(1, 0) = (u8)v->x;
    }
}, R(0, 0) == 0 && R(1, 0) == 0)

/* Both zero is allowed here; a CPU's own store is not. */
TEST(sb, 2, {
    if (cpu == 0) {
        v->x = 1;
        R(0, 1) = (u8)v->x;
        R(0, 0) = (u8)v->y;
    } else {
        v->y = 1;
        R(1, 1) = (u8)v->y;
        R(1, 0) = (u8)v->x;
    }
}, R(0, 1) != 1 || R(1, 1) != 1 || R(0, 0) > 1 || R(1, 0) > 1)

TEST(lb, 2, {
    if (cpu == 0) {
        R(0, 0) = (u8)v->x;
        v->y = 1;
    } else {
        R(1, 0) = (u8)v->y;
        v->x = 1;
    }
}, R(0, 0) == 1 && R(1, 0) == 1)

TEST(two_two_w, 2, {
    if (cpu == 0) {
        v->x = 1;
        v->y = 2;
    } else {
        v->y = 1;
        v->x = 2;
    }
}, v->x == 1 && v->y == 1)

TEST(corr, 2, {
    if (cpu == 0) {
        v->x = 1;
    } else {
        R(1, 0) = (u8)v->x;
        R(1, 1) = (u8)v->x;
    }
}, R(1, 0) == 1 && R(1, 1) == 0)

TEST(n5, 2, {
    v->x = cpu + 1;
    R(cpu, 0) = (u8)v->x;
}, R(0, 0) == 2 && R(1, 0) == 1)

/* r0 = 1, r1 = 0, x = 1 in the end is allowed; not seeing one's own store is not, nor y before x. */
TEST(n6, 2, {
    if (cpu == 0) {
        v->x = 1;
        R(0, 0) = (u8)v->x;
        R(0, 1) = (u8)v->y;
    } else {
        v->y = 2;
        v->x = 2;
    }
}, R(0, 0) == 0 || (R(0, 0) == 2 && R(0, 1) == 0) || v->y != 2)

TEST(iriw, 4, {
    switch (cpu) {
    case 0: v->x = 1; break;
    case 1: v->y = 1; break;
    case 2: R(2, 0) = (u8)v->x; R(2, 1) = (u8)v->y; break;
    default: R(3, 0) = (u8)v->y; R(3, 1) = (u8)v->x;
    }
}, R(2, 0) == 1 && R(2, 1) == 0 && R(3, 0) == 1 && R(3, 1) == 0)

TEST(wrc, 3, {
    switch (cpu) {
    case 0: v->x = 1; break;
    case 1: R(1, 0) = (u8)v->x; v->y = 1; break;
    default: R(2, 0) = (u8)v->y; R(2, 1) = (u8)v->x;
    }
}, R(1, 0) == 1 && R(2, 0) == 1 && R(2, 1) == 0)

/* ---- accesses in one piece ---- */
static volatile u32 torn[CPUS], shift, size, times;

#define WRITE8(p, v) __asm__ volatile("movq %1, %0" : "=m"(*(volatile u64 *)(p)) : "r"(v) : "memory")
#define READ8(p, v) __asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(volatile u64 *)(p)) : "memory")

/* Two CPUs write all zeros or all ones, two look. */
static void pieces(u32 cpu)
{
    u64 p = where + shift, a = 0, b = 0, ones = ~0ull;

    meet(CPUS);
    for (u32 i = 0; i < times; i++) {
        if (cpu < 2) {
            u64 w = (i ^ cpu) & 1 ? ones : 0;

            switch (size) {
            case 2: __asm__ volatile("movw %w1, %0" : "=m"(*(volatile u16 *)p) : "r"(w) : "memory"); break;
            case 4: __asm__ volatile("movl %k1, %0" : "=m"(*(volatile u32 *)p) : "r"(w) : "memory"); break;
            case 8: WRITE8(p, w); break;
            default:
                __asm__ volatile("movq %1, %%xmm1; punpcklqdq %%xmm1, %%xmm1; movdqa %%xmm1, %0"
                                 : "=m"(*(volatile __int128 *)p) : "r"(w) : "memory");
            }
            continue;
        }
        switch (size) {
        case 2: a = (u64)(long long)*(volatile short *)p; b = a; break;
        case 4: a = (u64)(long long)*(volatile int *)p; b = a; break;
        case 8: READ8(p, a); b = a; break;
        default:
            __asm__ volatile("movaps %2, %%xmm2; movq %%xmm2, %0; psrldq $8, %%xmm2; movq %%xmm2, %1"
                             : "=r"(a), "=r"(b) : "m"(*(volatile __int128 *)p) : "memory");
        }
        torn[cpu] += a != b || (a + 1) > 1;
    }
}

static void test_pieces(u32 user)
{
    static const struct { u32 size, shift; } t[] = {{2, 0}, {4, 0}, {8, 0}, {2, 1}, {4, 1}, {8, 3}, {8, 51}, {16, 0}};

    for (u32 i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        u32 sum = 0;

        size = t[i].size;
        shift = t[i].shift;
        for (u32 k = 0; k < 64; k++) {
            ((volatile u8 *)where)[k] = 0;
        }
        if (user) {
            user_on_cpus(CPUS, pieces);
        } else {
            on_cpus(CPUS, pieces);
        }
        for (u32 k = 0; k < CPUS; k++) {
            sum += torn[k];
            torn[k] = 0;
        }
        if (sum) {
            put("WRONG torn ");
            put_hex(size);
            line(" at", shift);
        }
    }
}

static void try(const char *name, u32 cpus, job_fn *fn, u32 user)
{
    bad_seen = 0;
    if (user) {
        user_on_cpus(cpus, fn);
    } else {
        on_cpus(cpus, fn);
    }
    check(name, bad_seen, 0);
}

static void all(const char *name, u64 at, u32 n, u32 times_n, u32 user)
{
    put(name);
    put("\n");
    where = at;
    rounds = n;
    batches = times_n * SCALE;
    try("mp", 2, mp, user);
    try("sb mfence", 2, sb_mfence, user);
    try("sb lock", 2, sb_lock, user);
    batches = (batches + 3) / 4;    /* these take their time */
    try("sb cpuid", 2, sb_cpuid, user);
    if (!user) {
        try("sb cr3", 2, sb_cr3, user);
    }
    batches = times_n * SCALE;
    try("sb xchg", 2, sb_xchg, user);
    try("sb", 2, sb, user);
    try("lb", 2, lb, user);
    try("2+2w", 2, two_two_w, user);
    try("corr", 2, corr, user);
    try("n5", 2, n5, user);
    try("n6", 2, n6, user);
    try("iriw", 4, iriw, user);
    try("wrc", 3, wrc, user);
    times = n * batches / 4;
    test_pieces(user);
}

/* Code at the end of each page, run once: stores beside it take another way. */
static void make_code_pages(void)
{
    for (u64 p = CODE; p < CODE + CODE_ROUNDS * STRIDE; p += 0x1000) {
        *(volatile u8 *)(p + 0xfff) = 0xc3;
        ((void (*)(void))(p + 0xfff))();
    }
}

__attribute__((used)) void test_main(void)
{
    smp_start(CPUS);
    all("plain", PLAIN, ROUNDS, 8, 0);
    make_code_pages();
    all("pages with code", CODE, CODE_ROUNDS, 4, 0);
    all("user", PLAIN, ROUNDS, 8, 1);
    all("user, pages with code", CODE, CODE_ROUNDS, 4, 1);
}
