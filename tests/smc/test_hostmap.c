/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_hostmap.c - pages that are mapped into the host (tlb/hostmap.h) follow the guest's page tables.
 *
 * A load and a store at CPL 3, each in a block of its own, use a page until it is mapped.  Then its page-table entry
 * changes, the TLB is flushed in every way the architecture has for it, and the next access must see the change: another
 * page, no page, no right to write, accessed and dirty bits that are to be set again.  Flushes without a change keep the
 * mapping.  Addresses at the edges of what a register and a displacement can reach fault as on a processor.
 */
#include <stdio.h>
#include <string.h>

#include "tests/insn/machine.h"
#include "tb-store/stats.h"
#include "tb-store/tb.h"
#include "translator/guest_cpu.h"

#define PAGE_A (LIN_DATA)
#define PAGE_B (LIN_DATA + 0x1000)
#define P 1u
#define W 2u
#define A 0x20u
#define D 0x40u

static int failures;
#define CHECK(cond, ...)                                  \
    do {                                                  \
        if (!(cond)) {                                    \
            failures++;                                   \
            printf("line %d: %s: ", __LINE__, #cond);     \
            printf(__VA_ARGS__);                          \
            printf("\n");                                 \
        }                                                 \
    } while (0)

static const uint8_t load_code[] = { 0x48, 0x8b, 0x03, 0xcc };          /* mov rax, [rbx]; int3 */
static const uint8_t store_code[] = { 0x48, 0x89, 0x0b, 0xcc };         /* mov [rbx], rcx; int3 */
static const uint8_t far_code[] = { 0x48, 0x8b, 0x83, 0, 0, 0, 0x80, 0xcc };   /* mov rax, [rbx - 0x80000000]; int3 */
static const uint8_t push_code[] = { 0x50, 0xcc };                       /* push rax; int3 */
enum { LOAD_AT = 0x100, STORE_AT = 0x1100, FAR_AT = 0x2100, PUSH_AT = 0x3100 };

static uint64_t *entry(struct machine *m, uint64_t lin)
{
    uint64_t table = m->c->cr[3] & ~0xfffull;

    for (unsigned shift = 39;; shift -= 9) {
        uint64_t *e = (uint64_t *)(void *)(m->ram + table) + (lin >> shift & 511);
        if (shift == 12) {
            return e;
        }
        table = *e & 0xffffffffff000ull;
    }
}

static uint64_t run(struct machine *m, unsigned at, uint64_t rbx, uint64_t rcx, struct snip_state *out)
{
    struct snip_state in;

    memset(&in, 0, sizeof(in));
    ximg_init(in.ximg);
    in.gpr[R_RSP] = at == PUSH_AT ? rbx : LIN_STACK + 0x2000;
    in.gpr[R_RBX] = rbx;
    in.gpr[R_RCX] = rcx;
    in.rflags = 0x202;
    in.rip = LIN_CODE + at;
    machine_run(m, SM_64, &in, out);
    return out->gpr[R_RAX];
}

static uint64_t load(struct machine *m, uint64_t lin)
{
    struct snip_state out;
    uint64_t v = run(m, LOAD_AT, lin, 0, &out);

    return out.vector == TRAP_END ? v : 0xf0000000u + (unsigned)out.vector;
}

static int store(struct machine *m, uint64_t lin, uint64_t v)
{
    struct snip_state out;

    run(m, STORE_AT, lin, v, &out);
    return out.vector;
}

static uint64_t stat_of(struct machine *m, unsigned st) { return m->c->stat[st]; }

/* ---- the ways to flush ---- */
static void by_page(struct machine *m, uint64_t lin) { tlb_flush_page(m->c, lin); }
static void by_pcid_page(struct machine *m, uint64_t lin) { tlb_flush_pcid_page(m->c, 0, lin); }
static void by_pcid(struct machine *m, uint64_t lin) { tlb_flush_pcid(m->c, 0); }
static void by_cr3(struct machine *m, uint64_t lin) { tlb_cr3_written(m->c, false); }
static void by_nonglobal(struct machine *m, uint64_t lin) { tlb_flush_nonglobal(m->c, TLBF_INVPCID); }
static void by_cr4(struct machine *m, uint64_t lin) { tlb_flush_all(m->c, TLBF_CR4); }
static void by_memory_map(struct machine *m, uint64_t lin) { tlb_flush_all(m->c, TLBF_MEMMAP); }

static const struct {
    const char *name;
    void (*flush)(struct machine *, uint64_t);
    bool keeps;                 /* what has not changed stays mapped */
} way[] = {
    { "INVLPG", by_page, false },          { "INVPCID page", by_pcid_page, false },
    { "INVPCID context", by_pcid, true },  { "CR3", by_cr3, true },
    { "nonglobal", by_nonglobal, true },   { "CR4", by_cr4, true },
    { "memory map", by_memory_map, false },
};

/* Page A is used until it is mapped for both. */
static void warm(struct machine *m)
{
    uint64_t *e = entry(m, PAGE_A);

    *e |= P | W | A | D;
    tlb_flush_page(m->c, PAGE_A);
    for (unsigned i = 0; i < 3; i++) {
        CHECK(store(m, PAGE_A, 0x1111) == TRAP_END, "store");
        CHECK(load(m, PAGE_A) == 0x1111, "load");
    }
    uint64_t faults = stat_of(m, ST_HM_FAULTS);
    store(m, PAGE_A + 8, 1);
    load(m, PAGE_A);
    CHECK(stat_of(m, ST_HM_FAULTS) == faults, "not mapped after three uses");
}

static void changes(struct machine *m, unsigned w)
{
    uint64_t *a = entry(m, PAGE_A), *b = entry(m, PAGE_B), old;

    printf("%s\n", way[w].name);
    *b |= A | D;
    warm(m);
    CHECK(store(m, PAGE_B, 0x2222) == TRAP_END, "store");

    old = *a;                                           /* another page */
    *a = *b;
    way[w].flush(m, PAGE_A);
    CHECK(load(m, PAGE_A) == 0x2222, "%llx", (unsigned long long)load(m, PAGE_A));
    CHECK(store(m, PAGE_A, 0x3333) == TRAP_END && load(m, PAGE_B) == 0x3333, "store went elsewhere");
    *a = old;
    way[w].flush(m, PAGE_A);
    CHECK(load(m, PAGE_A) == 0x1111, "back");

    warm(m);                                            /* no right to write */
    *a &= ~(uint64_t)W;
    way[w].flush(m, PAGE_A);
    CHECK(store(m, PAGE_A, 5) == 14 && load(m, PAGE_A) == 0x1111, "stored to a read-only page");

    warm(m);                                            /* not there */
    *a &= ~(uint64_t)P;
    way[w].flush(m, PAGE_A);
    CHECK(load(m, PAGE_A) == 0xf000000e, "loaded from no page");
    CHECK(store(m, PAGE_A, 5) == 14, "stored to no page");
    *a |= P;

    warm(m);                                            /* accessed and dirty again */
    *a &= ~(uint64_t)(A | D);
    way[w].flush(m, PAGE_A);
    CHECK(load(m, PAGE_A) == 0x1111 && (*a & (A | D)) == A, "entry %llx", (unsigned long long)*a);
    CHECK(store(m, PAGE_A, 0x1111) == TRAP_END && (*a & (A | D)) == (A | D), "entry %llx", (unsigned long long)*a);

    warm(m);                                            /* dirty again, accessed still */
    *a &= ~(uint64_t)D;
    way[w].flush(m, PAGE_A);
    CHECK(store(m, PAGE_A, 0x1111) == TRAP_END && (*a & D), "dirty bit");

    warm(m);                                            /* nothing */
    uint64_t pages = stat_of(m, ST_HM_PAGES);
    way[w].flush(m, PAGE_A);
    CHECK(load(m, PAGE_A) == 0x1111, "load");
    CHECK(!way[w].keeps || stat_of(m, ST_HM_PAGES) == pages, "mapped once more");
}

/* The page's stores need notice for a while. */
static void unwrite(struct machine *m)
{
    struct phys_page pg;

    warm(m);
    pg = physmap_lookup(m->vm.phys, *entry(m, PAGE_A) & 0xffffffffff000ull);
    uint64_t faults = stat_of(m, ST_HM_FAULTS);
    tlb_unwrite_page(m->c, pg.ram_addr);
    CHECK(load(m, PAGE_A) == 0x1111 && stat_of(m, ST_HM_FAULTS) == faults, "loads go on");
    CHECK(store(m, PAGE_A, 0x1111) == TRAP_END && stat_of(m, ST_HM_FAULTS) > faults, "the store was not noticed");
    warm(m);
    CHECK(tb_watch_code(m->c, pg.ram_addr), "watch");
    faults = stat_of(m, ST_HM_FAULTS);
    CHECK(store(m, PAGE_A, 0x1111) == TRAP_END && stat_of(m, ST_HM_FAULTS) > faults, "a page with code is writable");
}

/* Registers that point elsewhere than the operand. */
static void edges(struct machine *m)
{
    struct snip_state out;

    warm(m);
    CHECK(run(m, FAR_AT, PAGE_A + 0x80000000ull, 0, &out) == 0x1111 && out.vector == TRAP_END, "%d", out.vector);
    CHECK(run(m, FAR_AT, 0x7fffffffull, 0, &out) != 1 && out.vector == 14 && m->c->cr[2] == ~0ull, "%d", out.vector);
    static const struct { uint64_t at; int load, push; } t[] = {
        { 0, 14, 14 },                       { 0x7ffffffffff8, 14, 14 },          { 0x7fffffffffff, 13, 14 },
        { 0x800000000000, 13, 14 },          { 0x800000000008, 13, 12 },          { 0x8000400000000000ull + PAGE_A, 13, 12 },
        { 0x1000000000000ull + PAGE_A, 13, 12 }, { 0xffff800000000000, 14, 12 },  { 0xffff7ffffffffff8, 13, 12 },
        { 0xffffffffff600000, 14, 14 },      { 0xffffffffffffffff, 14, 14 },
    };
    for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        for (unsigned again = 0; again < 2; again++) {
            run(m, LOAD_AT, t[i].at, 0, &out);
            CHECK(out.vector == t[i].load, "load at %llx: %d", (unsigned long long)t[i].at, out.vector);
            run(m, PUSH_AT, t[i].at, 0, &out);
            CHECK(out.vector == t[i].push, "push at %llx: %d", (unsigned long long)t[i].at, out.vector);
        }
    }
}

int main(void)
{
    struct machine *m = machine_new(machine_opts_find("default"));

    machine_set_mode(m, SM_64);
    machine_write_code(m, CODE_OFF + LOAD_AT, load_code, sizeof(load_code));
    machine_write_code(m, CODE_OFF + STORE_AT, store_code, sizeof(store_code));
    machine_write_code(m, CODE_OFF + FAR_AT, far_code, sizeof(far_code));
    machine_write_code(m, CODE_OFF + PUSH_AT, push_code, sizeof(push_code));
    for (unsigned w = 0; w < sizeof(way) / sizeof(way[0]); w++) {
        changes(m, w);
    }
    unwrite(m);
    edges(m);
    printf("%d failures\n", failures);
    return failures != 0;
}
