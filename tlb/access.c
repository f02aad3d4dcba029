/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * access.c - guest memory for C helpers: loads, stores, copies and probes by linear address.
 *
 * Does:    a table hit inline, everything else through tlb_resolve(); alignment checks of explicit user
 *          accesses.
 * Leaves:  segmentation to the helpers; the outcome of misses to slow.c.
 *
 * A store that overwrites the block whose helper is running sets c->commit.exit_after and kicks the vCPU: the
 * helper's caller must not run on in that block.
 */
#include "tlb/tlb_int.h"
#include "translator/smp.h"

static inline bool in_page(uint64_t lin, uint32_t size) { return (lin & 0xfff) + size <= PAGE_SIZE; }

static void __attribute__((noinline))
read_slow(struct guest_cpu *c, uint64_t lin, void *buf, uint32_t size, enum mmu_mode m)
{
    struct tlb_part p[2];

    c->stat[ST_SLOW_HELPER_READ]++;
    unsigned n = tlb_resolve(c, tlb_lin(c, lin), size, ACC_READ, m, p);

    if (unlikely(tlb_watching(c))) {
        tlb_watch_hit(c, lin, size, false);
    }
    tlb_part_read(c, &p[0], buf);
    if (n == 2) {
        tlb_part_read(c, &p[1], (uint8_t *)buf + p[0].len);
    }
}

static void __attribute__((noinline))
write_slow(struct guest_cpu *c, uint64_t lin, const void *buf, uint32_t size, enum mmu_mode m)
{
    struct tlb_part p[2];

    c->stat[ST_SLOW_HELPER_WRITE]++;
    unsigned n = tlb_resolve(c, tlb_lin(c, lin), size, ACC_WRITE, m, p);
    bool leave = unlikely(tlb_watching(c)) && tlb_watch_hit(c, lin, size, true);

    tlb_part_write(c, &p[0], buf);
    if (n == 2) {
        tlb_part_write(c, &p[1], (const uint8_t *)buf + p[0].len);
    }
    for (unsigned i = 0; i < n; i++) {
        leave |= tlb_part_smc(c, &p[i]);
    }
    if (unlikely(leave)) {
        c->commit.exit_after = 1;
        cpu_kick(c, XREQ_POLL);
    }
}

static inline uint64_t load(struct guest_cpu *c, uint64_t lin, unsigned size, enum mmu_mode m)
{
    const uint8_t *h = likely(in_page(lin, size)) ? tlb_hit(c, lin, m, false) : NULL;
    uint64_t v = 0;

    if (unlikely(!h)) {
        read_slow(c, lin, &v, size, m);
        return v;
    }
    switch (size) {
    case 1:
        return *h;
    case 2:
        return *(const any16 *)h;
    case 4:
        return *(const any32 *)h;
    case 8:
        return *(const any64 *)h;
    }
    xbt_copy(&v, h, size);
    return v;
}

static inline void store(struct guest_cpu *c, uint64_t lin, unsigned size, uint64_t v, enum mmu_mode m)
{
    uint8_t *h = likely(in_page(lin, size)) ? tlb_hit(c, lin, m, true) : NULL;

    if (unlikely(!h)) {
        write_slow(c, lin, &v, size, m);
        return;
    }
    switch (size) {
    case 1:
        *h = (uint8_t)v;
        break;
    case 2:
        *(any16 *)h = (uint16_t)v;
        break;
    case 4:
        *(any32 *)h = (uint32_t)v;
        break;
    case 8:
        *(any64 *)h = v;
        break;
    default:
        xbt_copy(h, &v, size);
    }
}

/* Explicit accesses at CPL 3 with alignment checking on (SDM vol. 3, 6.15, #AC). */
static inline void align_check(struct guest_cpu *c, uint64_t lin, unsigned size)
{
    if (unlikely(c->hflags & HF_AC) && (lin & (size - 1)) && c->mmu_mode == MMU_USER &&
        tlb_canonical(c, lin)) {
        cpu_raise_err(c, EXC_AC, 0);
    }
}

uint8_t guest_ld8(struct guest_cpu *c, uint64_t lin) { return (uint8_t)load(c, lin, 1, c->mmu_mode); }

uint16_t guest_ld16(struct guest_cpu *c, uint64_t lin)
{
    align_check(c, lin, 2);
    return (uint16_t)load(c, lin, 2, c->mmu_mode);
}

uint32_t guest_ld32(struct guest_cpu *c, uint64_t lin)
{
    align_check(c, lin, 4);
    return (uint32_t)load(c, lin, 4, c->mmu_mode);
}

uint64_t guest_ld64(struct guest_cpu *c, uint64_t lin)
{
    align_check(c, lin, 8);
    return load(c, lin, 8, c->mmu_mode);
}

void guest_st8(struct guest_cpu *c, uint64_t lin, uint8_t v) { store(c, lin, 1, v, c->mmu_mode); }

void guest_st16(struct guest_cpu *c, uint64_t lin, uint16_t v)
{
    align_check(c, lin, 2);
    store(c, lin, 2, v, c->mmu_mode);
}

void guest_st32(struct guest_cpu *c, uint64_t lin, uint32_t v)
{
    align_check(c, lin, 4);
    store(c, lin, 4, v, c->mmu_mode);
}

void guest_st64(struct guest_cpu *c, uint64_t lin, uint64_t v)
{
    align_check(c, lin, 8);
    store(c, lin, 8, v, c->mmu_mode);
}

uint64_t guest_ld_mode(struct guest_cpu *c, uint64_t lin, unsigned size, enum mmu_mode m)
{
    return load(c, lin, size, m);
}

void guest_st_mode(struct guest_cpu *c, uint64_t lin, unsigned size, uint64_t v, enum mmu_mode m)
{
    store(c, lin, size, v, m);
}

void guest_read(struct guest_cpu *c, uint64_t lin, void *buf, unsigned size, enum mmu_mode m)
{
    const uint8_t *h = in_page(lin, size) ? tlb_hit(c, lin, m, false) : NULL;

    if (h) {
        xbt_copy(buf, h, size);
    } else if (size) {
        read_slow(c, lin, buf, size, m);
    }
}

void guest_write(struct guest_cpu *c, uint64_t lin, const void *buf, unsigned size, enum mmu_mode m)
{
    uint8_t *h = in_page(lin, size) ? tlb_hit(c, lin, m, true) : NULL;

    if (h) {
        xbt_copy(h, buf, size);
    } else if (size) {
        write_slow(c, lin, buf, size, m);
    }
}

void guest_probe(struct guest_cpu *c, uint64_t lin, unsigned size, enum access acc, enum mmu_mode m)
{
    bool wrap = !cpu_code64(c) && lin <= 0xffffffffu;

    for (uint64_t done = 0; done < size;) {
        uint64_t at = wrap ? (uint32_t)(lin + done) : lin + done;
        if (!tlb_canonical(c, at)) {
            tlb_raise_noncanonical(c);
        }
        if (acc == ACC_EXEC || !tlb_hit(c, at, m, acc == ACC_WRITE)) {
            tlb_touch(c, at, tlb_table(m, acc == ACC_WRITE));
            struct walk_result w = tlb_walk(c, at, acc, m, false);
            if (!w.ok) {
                tlb_raise_walk(c, tlb_lin(c, at), &w);
            }
        }
        done += PAGE_SIZE - (at & 0xfff);
    }
    if (unlikely(tlb_watching(c)) && acc != ACC_EXEC) {
        tlb_watch_hit(c, tlb_lin(c, lin), size, acc == ACC_WRITE);
    }
}

uint8_t *guest_page_ptr(struct guest_cpu *c, uint64_t lin, enum access acc)
{
    struct tlb_part p[2];
    uint8_t *h;

    if (acc == ACC_EXEC) {
        struct code_page pg = tlb_code_page(c, lin);
        return pg.host ? pg.host + (lin & 0xfff) : NULL;
    }
    h = tlb_hit(c, lin, c->mmu_mode, acc == ACC_WRITE);
    if (h) {
        return h;
    }
    lin = tlb_lin(c, lin);
    tlb_resolve(c, lin, 1, acc, c->mmu_mode, p);
    return p[0].code || (unlikely(tlb_watching(c)) && tlb_watched(c, lin)) ? NULL : p[0].host;
}

uint8_t *guest_store_ptr(struct guest_cpu *c, uint64_t lin, uint64_t *code)
{
    struct tlb_part p[2];
    uint8_t *h = tlb_hit(c, lin, c->mmu_mode, true);

    *code = ~0ull;
    if (h) {
        return h;
    }
    lin = tlb_lin(c, lin);
    tlb_resolve(c, lin, 1, ACC_WRITE, c->mmu_mode, p);
    if (!p[0].host || (unlikely(tlb_watching(c)) && tlb_watched(c, lin))) {
        return NULL;
    }
    if (p[0].code) {
        *code = p[0].ram_addr & PAGE_MASK;
    }
    return p[0].host;
}

void guest_stored(struct guest_cpu *c, uint64_t code, uint64_t lin, uint32_t len)
{
    struct tlb_part p = { .ram_addr = code | (lin & 0xfff), .len = len, .code = true };

    if (code != ~0ull && (smp_on(c->vm) || tb_range_has_code(c->vm->store, p.ram_addr, len))) {
        tlb_part_smc(c, &p);
    }
}
