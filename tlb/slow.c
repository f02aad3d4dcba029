/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * slow.c - accesses that the tables do not answer: miss, page crossing, device memory, stores to code.
 *
 * Does:    translate both pages before anything is changed, fill the tables, split device accesses into
 *          naturally sized pieces, note dirty pages, invalidate overwritten code, stage stores in the bounce
 *          buffer.
 * Leaves:  C helpers' accesses to access.c; rights to walk.c; the store itself to generated code.
 *
 * An access that crosses into another page faults with the address of the byte that failed: the operand's
 * own, or the start of the second page (SDM vol. 3, 4.7).
 *
 * Code: blocks die after the store over them, so that none is made of the old bytes in between.  A store to one page of
 * RAM is done in place by generated code, also when blocks are to die for it: what the host's processor does
 * atomically stays so.  Locked accesses that cross a page or go to devices have the other vCPUs wait.
 */
#include "tlb/tlb_int.h"
#include "translator/debugger.h"
#include "translator/smp.h"
#include "translator/svm.h"

/* CR2 stays as it is when a hypervisor intercepts #PF (APM vol. 2, 15.12.15). */
_Noreturn void tlb_raise_pf(struct guest_cpu *c, uint64_t lin, uint32_t error)
{
    c->slow_flags = 0;
    c->svm.fault_addr = lin;
    if (likely(!c->svm.nested) || !svm_wants(c, VMEXIT_EXCEPTION + EXC_PF)) {
        c->cr[2] = lin;
    }
    cpu_raise_err(c, EXC_PF, error);
}

_Noreturn void tlb_raise_walk(struct guest_cpu *c, uint64_t lin, const struct walk_result *w)
{
    if (unlikely(w->npf)) {
        c->slow_flags = 0;
        svm_npf(c, w->gpa, w->npf_info);
    }
    tlb_raise_pf(c, lin, w->error);
}

/* SDM vol. 1, 3.3.7.1: #SS(0) for stack references, else #GP(0). */
_Noreturn void tlb_raise_noncanonical(struct guest_cpu *c)
{
    bool stack = c->slow_flags & 1;

    c->slow_flags = 0;
    cpu_raise_err(c, stack ? EXC_SS : EXC_GP, 0);
}

/* ---- device memory ---- */
/* The largest power of two up to 8 that divides the address and fits. */
static inline unsigned piece(uint64_t gpa, uint32_t len)
{
    unsigned n = 8;

    while ((gpa & (n - 1)) || n > len) {
        n >>= 1;
    }
    return n;
}

void tlb_mmio_read(struct guest_cpu *c, uint64_t gpa, void *buf, uint32_t len)
{
    uint8_t *b = buf;

    c->stat[ST_SLOW_MMIO]++;
    fpu_park(c);
    unsigned old = smp_rest(c, SMP_PAUSED);
    while (len) {
        unsigned n = piece(gpa, len);
        uint64_t v = ~0ull;
        if (!c->host->mmio_read(c, gpa, n, &v)) {
            v = ~0ull;
        }
        xbt_copy(b, &v, n);
        b += n;
        gpa += n;
        len -= n;
    }
    smp_wake(c, old);
}

void tlb_mmio_write(struct guest_cpu *c, uint64_t gpa, const void *buf, uint32_t len)
{
    const uint8_t *b = buf;

    c->stat[ST_SLOW_MMIO]++;
    fpu_park(c);
    unsigned old = smp_rest(c, SMP_PAUSED);
    while (len) {
        unsigned n = piece(gpa, len);
        uint64_t v = 0;
        xbt_copy(&v, b, n);
        c->host->mmio_write(c, gpa, n, v);
        b += n;
        gpa += n;
        len -= n;
    }
    smp_wake(c, old);
}

/* ---- data breakpoints (SDM vol. 3, 17.2.4) ---- */
static inline bool bp_on(const struct guest_cpu *c, unsigned n)
{
    return (c->dr[7] >> (2 * n) & 3) &&
           (c->dr[7] >> (16 + 4 * n) & 1); /* R/W 01 (write) or 11 (read, write) */
}

bool tlb_watched(const struct guest_cpu *c, uint64_t lin)
{
    for (unsigned n = 0; n < 4; n++) {
        if (bp_on(c, n) && !((c->dr[n] ^ lin) & PAGE_MASK)) {
            return true;
        }
    }
    return c->gdb_watch && debugger_watched(c, lin);
}

bool tlb_watch_hit(struct guest_cpu *c, uint64_t lin, uint32_t size, bool write)
{
    static const uint8_t len_of[4] = { 1, 2, 8, 4 };
    unsigned hits = 0;

    c->stat[ST_SLOW_WATCH]++;
    for (unsigned n = 0; n < 4; n++) {
        unsigned len = len_of[c->dr[7] >> (18 + 4 * n) & 3];
        uint64_t at = c->dr[n] & ~(uint64_t)(len - 1);
        if (bp_on(c, n) && (write || (c->dr[7] >> (17 + 4 * n) & 1)) && at < lin + size && lin < at + len) {
            hits |= 1u << n;
        }
    }
    if (unlikely(hits)) {
        debug_hit(c, hits); /* may start the instruction again */
    }
    return (c->gdb_watch && debugger_watch_hit(c, lin, size, write)) || hits;
}

/* ---- one page ---- */
static inline uint64_t cw_key(uint64_t lin, enum mmu_mode mode)
{
    return (lin & PAGE_MASK) | (uint64_t)mode << 1 | 1;
}

/* Was this store to a page with code resolved since the last flush? */
static bool cw_find(struct guest_cpu *c, enum mmu_mode mode, struct tlb_part *p)
{
    struct tlb_vcpu *v = c->tlb;
    struct cw_entry *e = &v->cw[(p->lin >> 12) & (CW_ENTRIES - 1)];

    if (c->vm->opt.no_code_stores || e->gen != v->gen || e->key != cw_key(p->lin, mode) || !tb_page_has_code(c->vm->store, e->ram_addr)) {
        return false;
    }
    p->host = e->host + (p->lin & 0xfff);
    p->ram_addr = e->ram_addr + (p->lin & 0xfff);
    p->code = true;
    return true;
}

static void cw_enter(struct guest_cpu *c, enum mmu_mode mode, const struct tlb_part *p,
                     const struct phys_page *pg)
{
    struct tlb_vcpu *v = c->tlb;

    v->cw[(p->lin >> 12) & (CW_ENTRIES - 1)] =
        (struct cw_entry){ cw_key(p->lin, mode), pg->ram_addr, pg->host, v->gen };
}

static void part_store(struct guest_cpu *c, enum mmu_mode mode, struct tlb_part *p, struct phys_page *pg,
                       const struct walk_result *w)
{
    if (!(pg->flags & PHYS_RAM)) {
        c->stat[ST_SLOW_WRITE_ROM]++;
        p->rom = p->host; /* the store goes to the device behind it */
        p->host = NULL;
        return;
    }
    if (unlikely(pg->flags & PHYS_LOG)) {
        c->stat[ST_SLOW_WRITE_LOG]++;
        fpu_park(c);
        c->host->mark_dirty(c, pg->ram_addr, PAGE_SIZE);
    }
    tb_note_writer(c, pg->ram_addr);
    p->code = tb_page_has_code(c->vm->store, pg->ram_addr);
    if (unlikely(!w->writable)) {
        return; /* the dirty bit could not be set (page table in ROM) */
    }
    if (unlikely(p->code)) {
        if (!(pg->flags & PHYS_LOG) && !tlb_watched(c, p->lin)) {
            cw_enter(c, mode, p, pg);
        }
    } else if (likely(!tlb_watching(c)) || !tlb_watched(c, p->lin)) {
        if (tlb_hit(c, p->lin, mode, false) != p->host) { /* a read will follow */
            tlb_fill(c, p->lin, tlb_table(mode, false), pg->host, w, pg->ram_addr);
        }
        tlb_fill(c, p->lin, tlb_table(mode, true), pg->host, w, pg->ram_addr);
    }
}

/* Walk for one part and fill.  The walk is known to succeed unless it raises. */
static void part_walk(struct guest_cpu *c, enum access acc, enum mmu_mode mode, struct tlb_part *p)
{
    tlb_touch(c, p->lin, tlb_table(mode, acc == ACC_WRITE));
    struct walk_result w = tlb_walk(c, p->lin, acc, mode, true);

    if (unlikely(!w.ok)) {
        tlb_raise_walk(c, p->lin, &w);
    }
    struct phys_page pg = physmap_lookup(c->vm->phys, w.gpa);
    p->gpa = w.gpa;
    p->ram_addr = pg.ram_addr + (w.gpa & 0xfff);
    p->host = pg.host ? pg.host + (w.gpa & 0xfff) : NULL;
    if (unlikely(!pg.host)) {
        return;
    }
    if (acc == ACC_WRITE) {
        part_store(c, mode, p, &pg, &w);
    } else if (likely(!tlb_watching(c)) || !tlb_watched(c, p->lin)) {
        tlb_fill(c, p->lin, tlb_table(mode, false), pg.host, &w, pg.ram_addr);
    }
}

static void part_get(struct guest_cpu *c, enum access acc, enum mmu_mode mode, struct tlb_part *p)
{
    p->code = false;
    p->rom = NULL;
    p->gpa = 0;
    p->ram_addr = 0;
    p->host = tlb_hit(c, p->lin, mode, acc == ACC_WRITE);
    if (!p->host && !(acc == ACC_WRITE && cw_find(c, mode, p))) {
        part_walk(c, acc, mode, p);
    }
}

unsigned tlb_resolve(struct guest_cpu *c, uint64_t lin, uint32_t size, enum access acc, enum mmu_mode mode,
                     struct tlb_part part[2])
{
    uint32_t room = (uint32_t)(PAGE_SIZE - (lin & 0xfff));
    bool two = size > room;

    if (!tlb_canonical(c, lin)) {
        tlb_touch(c, lin, tlb_table(mode, acc == ACC_WRITE));
        tlb_raise_noncanonical(c);
    }
    part[0].lin = lin;
    part[0].len = two ? room : size;
    if (unlikely(two)) {
        uint64_t next = lin + room;
        c->stat[ST_SLOW_CROSSING]++;
        if (!cpu_code64(c) && lin <= 0xffffffffu) {
            next = (uint32_t)next; /* wraps at 4 GiB */
        }
        if (!tlb_canonical(c, next)) {
            tlb_raise_noncanonical(c);
        }
        part[1].lin = next;
        part[1].len = size - room;
        /* Both pages must be writable before the first is even marked dirty. */
        if (!tlb_hit(c, lin, mode, acc == ACC_WRITE)) {
            tlb_touch(c, lin, tlb_table(mode, acc == ACC_WRITE));
            struct walk_result w = tlb_walk(c, lin, acc, mode, false);
            if (!w.ok) {
                tlb_raise_walk(c, lin, &w);
            }
        }
        part_get(c, acc, mode, &part[1]);
    }
    part_get(c, acc, mode, &part[0]);
    return two ? 2 : 1;
}

/* ---- moving data ---- */
void tlb_part_read(struct guest_cpu *c, const struct tlb_part *p, void *buf)
{
    const uint8_t *h = p->host ? p->host : p->rom;

    if (likely(h != NULL)) {
        xbt_copy(buf, h, p->len);
    } else {
        tlb_mmio_read(c, p->gpa, buf, p->len);
    }
}

static void host_store(uint8_t *to, const void *from, uint32_t len)
{
    switch (len) { /* one access where the guest made one */
    case 1:
        *(volatile uint8_t *)to = *(const uint8_t *)from;
        break;
    case 2:
        *(volatile any16 *)to = *(const any16 *)from;
        break;
    case 4:
        *(volatile any32 *)to = *(const any32 *)from;
        break;
    case 8:
        *(volatile any64 *)to = *(const any64 *)from;
        break;
    default:
        xbt_copy(to, from, len);
    }
}

void tlb_part_write(struct guest_cpu *c, const struct tlb_part *p, const void *buf)
{
    if (likely(p->host != NULL)) {
        host_store(p->host, buf, p->len);
    } else {
        tlb_mmio_write(c, p->gpa, buf, p->len);
    }
}

bool tlb_part_smc(struct guest_cpu *c, const struct tlb_part *p)
{
    if (likely(!p->code)) {
        return false;
    }
    c->stat[ST_SLOW_WRITE_CODE]++;
    return tb_stored(c, p->ram_addr, p->len, c->unwind_pc ? TBD_SMC_SELF : TBD_SMC_OTHER);
}

/* ---- from generated code ---- */
void *tlb_slow_read(struct guest_cpu *c, uint64_t lin, uint32_t size)
{
    struct tlb_part p[2];

    lin = tlb_lin(c, lin);
    unsigned n = tlb_resolve(c, lin, size, ACC_READ, c->mmu_mode, p);
    c->slow_flags = 0;
    if (unlikely(tlb_watching(c))) {
        tlb_watch_hit(c, lin, size, false);
    }
    if (likely(n == 1 && p[0].host)) {
        return p[0].host;
    }
    tlb_part_read(c, &p[0], c->bounce);
    if (n == 2) {
        tlb_part_read(c, &p[1], c->bounce + p[0].len);
    }
    return c->bounce;
}

/* A plain store over code is looked at before blocks die: programs that patch themselves store much that is there
 * already.  Only what one host access can do: another vCPU must not see half of it. */
static bool compare_first(struct guest_cpu *c, const struct tlb_part *p, uint32_t rmw)
{
    return p->code && p->host && !rmw && c->unwind_pc && !c->vm->opt.no_equal_stores &&
           (p->len <= 8 || !smp_on(c->vm)) && tb_range_has_code(c->vm->store, p->ram_addr, p->len);
}

/* The store has been done in place: in generated code, so that the running block is known by commit.pc. */
static bool commit_stored(struct guest_cpu *c, uint32_t first, uint32_t len)
{
    c->unwind_pc = c->commit.pc;
    bool hit = tb_stored(c, c->commit.ram_addr[0] + first, len, c->commit.pc ? TBD_SMC_SELF : TBD_SMC_OTHER);
    c->unwind_pc = 0;
    return hit;
}

/* The bytes that change kill the blocks they belong to.  True: the running one is among them. */
static bool commit_compare(struct guest_cpu *c, const struct tlb_part *p)
{
    uint32_t first = 0, last = c->commit.size;

    while (first < last && c->bounce[first] == p->host[first]) {
        first++;
    }
    while (last > first && c->bounce[last - 1] == p->host[last - 1]) {
        last--;
    }
    tlb_part_write(c, p, c->bounce);
    if (first == last) {
        c->stat[ST_EQUAL_STORES]++;
        return false;
    }
    return commit_stored(c, first, last - first);
}

/* Nobody else may see or change the operand while the instruction works on its copy. */
static unsigned resolve_locked(struct guest_cpu *c, uint64_t lin, uint32_t size, struct tlb_part p[2])
{
    if (!smp_owns(c) && !smp_seize(c, SMP_PAUSED)) {
        c->dbg_restart = c->in_special;
        cpu_exit_loop(c);           /* and again */
    }
    return tlb_resolve(c, lin, size, ACC_WRITE, c->mmu_mode, p);
}

static void commit_bounce(struct guest_cpu *c, const struct tlb_part *p, unsigned n, uint32_t rmw)
{
    if (rmw) {
        tlb_part_read(c, &p[0], c->bounce);
        if (n == 2) {
            tlb_part_read(c, &p[1], c->bounce + p[0].len);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        c->commit.host[i] = i < n ? p[i].host : NULL;
        c->commit.gpa[i] = i < n ? p[i].gpa : 0;
        c->commit.ram_addr[i] = i < n ? p[i].ram_addr : 0;
        c->commit.code[i] = i < n && p[i].code;
    }
    c->commit.first = p[0].len;
}

void *tlb_slow_write(struct guest_cpu *c, uint64_t lin, uint32_t size, uint32_t rmw)
{
    struct tlb_part p[2];
    bool leave = false;

    c->commit.active = 0;
    lin = tlb_lin(c, lin);
    unsigned n = tlb_resolve(c, lin, size, ACC_WRITE, c->mmu_mode, p);
    bool one = n == 1 && p[0].host;
    if (unlikely(!one && rmw == TLB_RMW_LOCKED && smp_on(c->vm))) {
        n = resolve_locked(c, lin, size, p);
    }
    c->slow_flags = 0;
    if (unlikely(tlb_watching(c))) {
        leave = rmw && rmw != TLB_KEEP && tlb_watch_hit(c, lin, size, false);
        leave |= tlb_watch_hit(c, lin, size, true);
    }
    if (likely(one && !leave && !p[0].code)) {
        return p[0].host;
    }
    c->commit.compare = one && compare_first(c, &p[0], rmw);
    c->commit.in_place = one && !c->commit.compare;
    if (c->commit.in_place && !leave && !smp_on(c->vm) && !tb_range_has_code(c->vm->store, p[0].ram_addr, size)) {
        c->stat[ST_SLOW_WRITE_CODE]++;
        return p[0].host;
    }
    commit_bounce(c, p, n, rmw && !c->commit.in_place);
    c->commit.lin = lin;
    c->commit.size = size;
    c->commit.pc = c->unwind_pc;
    c->commit.exit_after = leave;
    c->commit.active = 1;
    return c->commit.in_place ? p[0].host : c->bounce;
}

static bool commit_parts(struct guest_cpu *c)
{
    uint32_t first = c->commit.first, at = 0;
    bool hit = false;

    for (unsigned i = 0; i < 2 && at < c->commit.size; i++) {
        struct tlb_part p = { .gpa = c->commit.gpa[i], .host = c->commit.host[i], .ram_addr = c->commit.ram_addr[i],
                              .code = c->commit.code[i], .len = i ? c->commit.size - first : first };
        tlb_part_write(c, &p, c->bounce + at);
        c->unwind_pc = c->commit.pc;
        hit |= tlb_part_smc(c, &p);
        c->unwind_pc = 0;
        at += p.len;
    }
    return hit;
}

uint32_t tlb_slow_commit(struct guest_cpu *c)
{
    bool device = !c->commit.host[0] || (c->commit.size > c->commit.first && !c->commit.host[1]), hit;

    c->commit.active = 0;
    if (c->commit.compare) {
        struct tlb_part p = { .host = c->commit.host[0], .len = c->commit.size };
        c->stat[ST_SLOW_WRITE_CODE]++;
        hit = commit_compare(c, &p);
    } else if (c->commit.in_place) {
        c->stat[ST_SLOW_WRITE_CODE] += c->commit.code[0];
        hit = c->commit.code[0] && commit_stored(c, 0, c->commit.size);
    } else {
        hit = commit_parts(c);
        if (unlikely(smp_on(c->vm)) && smp_owns(c)) {
            smp_release(c);
        }
    }
    /* What a device requests now is delivered before the next instruction. */
    return c->commit.exit_after || hit || (device && c->exit_request);
}
