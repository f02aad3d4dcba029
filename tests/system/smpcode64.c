/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smpcode64.c - code that one CPU writes and others run (SDM vol. 3, 8.1.3): with IPIs and serialising, by INT3 first as
 * Linux patches its text, by single aligned stores without any agreement, in pages used again for other code, new code
 * that all run at once, and data beside running code.
 */
/* with: smpap.S */
/* smp: 3 */
#define SYS_MAIN
#include "smp64.h"

#define CPUS  3u
#define CODE  0x300000ull
#define SYNC  0x52u

typedef u32 code_fn(void);

static volatile u32 acks, stop, epoch, wrong[CPUS], done_rounds[CPUS];

static inline void serialize(void)
{
    u32 r[4];

    cpuid(0, 0, r);
}

/* ---- the others are told, and serialise ---- */
static volatile u64 bp_at;              /* text_poke: where INT3 is */
static volatile u32 bp_value, bp_hits[CPUS];

static int on_sync(struct frame *f, u32 cpu)
{
    if (f->vector == SYNC) {
        serialize();
        APIC(0xb0) = 0;
        if (__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST) == CPUS - 1) {
            ipi(0, WAKE);
        }
        return 1;
    }
    if (f->vector == 3 && f->ip == bp_at + 1) {     /* instead of MOV EAX, imm32 */
        bp_hits[cpu]++;
        f->rax = bp_value;
        f->ip = bp_at + 5;
        return 1;
    }
    return 0;
}

static void sync_others(void)
{
    acks = 0;
    __asm__ volatile("cli" : : : "memory");
    icr(0, 0xc4000 | SYNC);
    while (acks != CPUS - 1) {
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    }
    __asm__ volatile("sti" : : : "memory");
    serialize();
}

/* mov eax, v; ret.  Byte by byte: also the torn state in between is there to be seen. */
static void write_fn(u64 at, u32 v)
{
    volatile u8 *p = (volatile u8 *)at;

    p[0] = 0xb8;
    for (u32 i = 0; i < 4; i++) {
        p[1 + i] = (u8)(v >> 8 * i);
    }
    p[5] = 0xc3;
}

static u32 call(u64 at) { return ((code_fn *)at)(); }

static void begin(job_fn *fn, u32 user)
{
    stop = 0;
    user_fn = fn;
    for (u32 i = 1; i < CPUS; i++) {
        done_rounds[i] = 0;
        start_job(i, user ? user_job : fn);
    }
    for (u32 i = 1; i < CPUS; i++) {
        while (!done_rounds[i]) {
            pause();
        }
    }
}

static void finish(const char *name)
{
    stop = 1;
    for (u32 i = 1; i < CPUS; i++) {
        wait_job(i);
        check(name, wrong[i], 0);
        wrong[i] = 0;
    }
}

static void work(u32 n)
{
    while (n--) {
        pause();
    }
}

/* One round of a runner; with thread=single a PAUSE gives the others their turn. */
static inline void ran(u32 cpu)
{
    if (++done_rounds[cpu] % 16 == 0) {
        pause();
    }
}

/* ---- 1: text_poke.  The function never stops being called. ---- */
static void pokers(u32 cpu)
{
    u32 last = 0;

    while (!stop) {
        u32 e = epoch, v = call(CODE + 3);

        wrong[cpu] += v < e || v < last || (v ^ v >> 8) & 0xff || (v ^ v >> 16) & 0xffff;   /* the byte, four times */
        last = v;
        ran(cpu);
    }
}

static void test_poke(u32 user)
{
    volatile u8 *p = (volatile u8 *)(CODE + 3);

    epoch = 0;
    write_fn(CODE + 3, 0);
    sync_others();
    begin(pokers, user);
    for (u32 i = 1; i <= 20 * SCALE && i < 256; i++) {
        bp_value = i * 0x1010101;               /* no CPU is between the two: all have seen the last sync */
        bp_at = CODE + 3;
        p[0] = 0xcc;
        sync_others();
        for (u32 k = 1; k < 5; k++) {
            p[k] = (u8)i;
            if (k & 1) {
                work(50);
            }
        }
        sync_others();
        p[0] = 0xb8;
        sync_others();
        epoch = i * 0x1010101;
        work(200);
    }
    finish("poke");
}

/* ---- 2: an aligned immediate, and an aligned rel32, without telling anybody ---- */
#define IMM_FN  (CODE + 0x107)          /* immediate at 108h */
#define JMP_FN  (CODE + 0x20b)          /* rel32 at 20ch; targets 240h and 280h, and one in another page */

static void runs_changed(u32 cpu)
{
    while (!stop) {
        u32 v = call(IMM_FN), w = call(JMP_FN);

        wrong[cpu] += v % 0x01010101 != 0 || (w != 0x11 && w != 0x22 && w != 0x33);
        ran(cpu);
    }
    serialize();
    wrong[cpu] += call(IMM_FN) != 0x7f7f7f7f || call(JMP_FN) != 0x33;   /* the last are seen in the end */
}

static void test_unsynchronised(u32 user)
{
    static const u32 target[] = {0x240, 0x280, 0x1010};

    write_fn(IMM_FN, 0);
    write_fn(CODE + 0x240, 0x11);
    write_fn(CODE + 0x280, 0x22);
    write_fn(CODE + 0x1010, 0x33);
    *(volatile u8 *)JMP_FN = 0xe9;
    *(volatile u32 *)(JMP_FN + 1) = 0x240 - 0x210;
    sync_others();
    begin(runs_changed, user);
    for (u32 i = 0; i < 3000 * SCALE; i++) {
        *(volatile u32 *)(IMM_FN + 1) = i % 255 * 0x01010101;
        *(volatile u32 *)(JMP_FN + 1) = target[i % 3] - 0x210;
        work(i % 64);
    }
    *(volatile u32 *)(IMM_FN + 1) = 0x7f7f7f7f;
    *(volatile u32 *)(JMP_FN + 1) = 0x1010 - 0x210;
    finish("unsynchronised");
}

/* ---- 3: a page of functions, used again for others after all agreed ---- */
#define FNS 32u

static void reuse(u32 cpu)
{
    meet(CPUS);
    for (u32 r = 0; r < 16 * SCALE; r++) {
        u64 page = CODE + 0x2000 + 0x1000 * (r & 1);

        if (cpu == r % CPUS) {                  /* its turn to write */
            for (u32 i = 0; i < 4096; i += 8) {
                *(volatile u64 *)(page + i) = 0xccccccccccccccccull;
            }
            for (u32 i = 0; i < FNS; i++) {
                write_fn(page + 100 * i + r % 7, r << 8 | i);
            }
        }
        meet(CPUS);
        serialize();
        for (u32 k = 0; k < 3; k++) {
            for (u32 i = 0; i < FNS; i++) {     /* all at once: all translate the same code */
                wrong[cpu] += call(page + 100 * i + r % 7) != (r << 8 | i);
            }
        }
        meet(CPUS);
    }
}

/* ---- 4: each writes the code that its neighbour runs, all at the same time ---- */
static void neighbours(u32 cpu)
{
    u32 next = (cpu + 1) % CPUS;

    meet(CPUS);
    for (u32 r = 0; r < 16 * SCALE; r++) {
        /* All in one page, 64 bytes each, then a page each. */
        u64 base = r & 1 ? CODE + 0x4000 : CODE + 0x5000, step = r & 1 ? 64 : 0x1000;

        write_fn(base + step * next, r * 16 + cpu);
        meet(CPUS);
        serialize();
        wrong[cpu] += call(base + step * cpu) != r * 16 + (cpu + CPUS - 1) % CPUS;
        meet(CPUS);
    }
}

/* ---- 5: data beside code that runs ---- */
#define SPIN_FN   (CODE + 0x8000)
#define SPIN_FLAG (CODE + 0x8800)
#define SPIN_DATA (CODE + 0x8804)

/* while (*flag == edi) pause; ret */
extern u8 spin_code[], spin_code_end[];
__asm__("spin_code: 1: pause; cmp %edi, 0x308800; je 1b; lock incl 0x308804; ret; spin_code_end:");

static void spin(u32 cpu)
{
    done_rounds[cpu]++;
    for (u32 i = 0; i < 100 * SCALE; i++) {
        ((void (*)(u32))SPIN_FN)(i);            /* until CPU 0 has made it another */
        done_rounds[cpu]++;
    }
}

static void test_spin(u32 user)
{
    u32 n = 100 * SCALE;

    user_copy(SPIN_FN, spin_code, spin_code_end);
    *(volatile u32 *)SPIN_FLAG = 0;
    *(volatile u32 *)SPIN_DATA = 0;
    begin(spin, user);
    for (u32 i = 1; i <= n; i++) {
        *(volatile u32 *)SPIN_FLAG = i;
        while (*(volatile u32 *)SPIN_DATA != i * (CPUS - 1)) {
            pause();
        }
    }
    finish("spin");
    check("passed", *(volatile u32 *)SPIN_DATA, n * (CPUS - 1));
}

static void all(const char *name, job_fn *fn, u32 user)
{
    if (user) {
        user_on_cpus(CPUS, fn);
    } else {
        on_cpus(CPUS, fn);
    }
    for (u32 i = 0; i < CPUS; i++) {
        check(name, wrong[i], 0);
        wrong[i] = 0;
    }
}

__attribute__((used)) void test_main(void)
{
    smp_start(CPUS);
    on_smp_trap = on_sync;
    for (u32 user = 0; user < 2; user++) {
        put(user ? "user\n" : "kernel\n");
        test_poke(user);
        test_unsynchronised(user);
        all("reuse", reuse, user);
        all("neighbours", neighbours, user);
        test_spin(user);
    }
}
