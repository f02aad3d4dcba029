/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * code.c - what execution needs of the MMU: code pages, cross-page ids, jump caches.
 *
 * Does:    the cached executable mapping of a page, ids for the cross-page check, jump-cache entries and
 *          their clearing in proportion to what was entered.
 * Leaves:  finding and making blocks to tb-store/ and the translator; when to flush to flush.c and tlb.c.
 *
 * A context serves CPL 3 of one address space, or CPL < 3 of the vCPU.  Supervisor mappings that are global
 * survive CR3 writes; each of the three caches remembers whether it holds anything else.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "tlb/tlb_int.h"

static struct jc_entry jc_none[1u << JC_BITS] __attribute__((aligned(32)));

struct jc_entry *tlb_jc_none(void) { return jc_none; }

/* An empty slot holds an address that belongs into another one, so that no lookup there can match: a guest may jump to
 * any address, ~0 included. */
static inline uint64_t jc_empty(unsigned slot)
{
    return slot / 2 == jc_hash(~0ull) / 2 ? ~0ull - 2 : ~0ull;
}

static void jc_fill_empty(struct jc_entry *jc)
{
    for (unsigned i = 0; i < 1u << JC_BITS; i++) {
        jc[i].lip = jc_empty(i);
    }
}

void tlb_cc_init(struct tlb_cc *cc, struct jc_entry *jc)
{
    if (jc_none[0].lip != jc_empty(0)) {
        jc_fill_empty(jc_none);
    }
    xbt_zero(cc, sizeof(*cc));
    cc->jc = jc;
    jc_fill_empty(jc);
}

/* ---- jump cache ---- */
static inline unsigned jc_page_bit(uint64_t lip)
{
    return (unsigned)(lip >> 12 ^ lip >> 22) & (JC_PAGES - 1);
}
static inline void jc_page_add(struct tlb_cc *cc, uint64_t lip)
{
    cc->jc_pages[jc_page_bit(lip) / 64] |= 1ull << (jc_page_bit(lip) % 64);
}
static inline bool jc_page_has(const struct tlb_cc *cc, uint64_t lip)
{
    return cc->jc_pages[jc_page_bit(lip) / 64] >> (jc_page_bit(lip) % 64) & 1;
}

void tlb_cc_jc_clear(struct tlb_cc *cc)
{
    if (!cc->jc_count) {
        return;
    }
    if (cc->jc_count <= JC_LIST) {
        for (uint32_t i = 0; i < cc->jc_count; i++) {
            cc->jc[cc->jc_list[i]].lip = jc_empty(cc->jc_list[i]);
        }
    } else {
        jc_fill_empty(cc->jc);
    }
    xbt_zero(cc->jc_pages, sizeof(cc->jc_pages));
    cc->jc_count = 0;
    cc->jc_nonglobal = false;
}

static inline unsigned code_slot(uint64_t lin) { return (unsigned)(lin >> 12 ^ lin >> 24) & (CODE_ENTRIES - 1); }
static inline uint64_t code_key(uint64_t lin) { return (lin & PAGE_MASK) | 1; }

static const struct code_entry *code_find(const struct tlb_cc *cc, uint64_t lin)
{
    const struct code_entry *e = &cc->code[code_slot(lin)];
    return e->key == code_key(lin) ? e : NULL;
}

/* Where lip goes: where it is, where nothing is, or in turn.  Entries are never moved: another vCPU may be about to take
 * one out. */
static unsigned jc_slot(struct tlb_cc *cc, const struct xbt_options *opt, uint64_t lip)
{
    unsigned first = jc_hash(lip), other = jc_other(first);

    if (opt->no_jc_ways || cc->jc[first].lip == lip) {
        return first;
    }
    if (cc->jc[other].lip == lip) {
        return other;
    }
    if (cc->jc[first].lip == jc_empty(first)) {
        return first;
    }
    if (cc->jc[other].lip == jc_empty(other)) {
        return other;
    }
    cc->jc_turn = !cc->jc_turn;
    return cc->jc_turn ? other : first;
}

void tlb_jc_insert(struct guest_cpu *c, uint64_t lip, void *host)
{
    struct tlb_cc *cc = c->tlb->cc;

    if (c->jc != cc->jc || c->vm->opt.no_jc) {
        return;
    }
    unsigned slot = jc_slot(cc, &c->vm->opt, lip);
    const struct code_entry *a = code_find(cc, lip), *b = code_find(cc, lip + PAGE_SIZE);
    if (!a || !a->page.global || (b && !b->page.global)) {
        cc->jc_nonglobal = true;
    }
    if (cc->jc[slot].lip == jc_empty(slot)) {
        if (cc->jc_count < JC_LIST) {
            cc->jc_list[cc->jc_count++] = (uint16_t)slot;
        } else {
            cc->jc_count = JC_LIST + 1;
        }
    }
    jc_page_add(cc, lip);
    jc_page_add(cc, lip + PAGE_SIZE); /* the block may end there */
    cc->jc[slot].host = host;
    __atomic_store_n(&cc->jc[slot].lip, lip, __ATOMIC_RELEASE);
}

static void jc_drop_slot(struct tlb_cc *cc, unsigned slot, uint64_t lip, const void *host)
{
    struct jc_entry *e = &cc->jc[slot];

    /* The emptied slot stays on the list, and may get there once more. */
    if (__atomic_load_n(&e->lip, __ATOMIC_ACQUIRE) == lip && __atomic_load_n(&e->host, __ATOMIC_RELAXED) == host) {
        __atomic_store_n(&e->lip, jc_empty(slot), __ATOMIC_RELEASE);
    }
}

static void jc_drop(struct tlb_cc *cc, uint64_t lip, const void *host)
{
    jc_drop_slot(cc, jc_hash(lip), lip, host);
    jc_drop_slot(cc, jc_other(jc_hash(lip)), lip, host);
}

void tlb_jc_remove(struct guest_cpu *c, uint64_t lip, void *host)
{
    struct tlb_vcpu *v = c->tlb;

    for (unsigned i = 0; v && i < v->max_spaces; i++) {
        if (v->space[i].mapped) {
            jc_drop(&v->space[i].user[0], lip, host);
            jc_drop(&v->space[i].user[1], lip, host);
        }
    }
    if (v) {
        jc_drop(&v->kernel, lip, host);
        if (unlikely(v->guest.jc != NULL)) {
            jc_drop(&v->guest, lip, host);
        }
    }
}

void tlb_jc_clear(struct guest_cpu *c)
{
    struct tlb_vcpu *v = c->tlb;

    for (unsigned i = 0; v && i < v->max_spaces; i++) {
        if (v->space[i].mapped) {
            tlb_cc_jc_clear(&v->space[i].user[0]);
            tlb_cc_jc_clear(&v->space[i].user[1]);
        }
    }
    if (v) {
        tlb_cc_jc_clear(&v->kernel);
        tlb_cc_jc_clear(&v->guest);
    }
}

/* ---- clearing a context ---- */
void tlb_cp_revoke(struct guest_cpu *c)
{
    uint32_t *cp = __atomic_load_n(&c->cp, __ATOMIC_RELAXED);

    for (unsigned i = 0; cp && i < CP_SLOTS; i++) {
        __atomic_store_n(&cp[i], 0, __ATOMIC_RELAXED);
    }
}

static void cp_clear(struct tlb_cc *cc)
{
    if (cc->cp_dirty.n <= DIRTY_LIST) {
        for (uint32_t i = 0; i < cc->cp_dirty.n; i++) {
            cc->cp[cc->cp_dirty.slot[i]] = 0;
        }
    } else {
        xbt_zero(cc->cp, sizeof(cc->cp));
    }
    cc->cp_dirty.n = 0;
    cc->cp_nonglobal = false;
}

static void code_clear(struct tlb_cc *cc)
{
    bool few = cc->code_dirty.n <= DIRTY_LIST;

    for (uint32_t i = 0; i < (few ? cc->code_dirty.n : CODE_ENTRIES); i++) {
        cc->code[few ? cc->code_dirty.slot[i] : i].key = 0;
    }
    cc->code_dirty.n = 0;
    cc->code_nonglobal = false;
}

void tlb_cc_clear(struct tlb_cc *cc)
{
    tlb_cc_jc_clear(cc);
    cp_clear(cc);
    code_clear(cc);
    large_clear(&cc->large);
}

void tlb_cc_clear_nonglobal(struct tlb_cc *cc)
{
    if (cc->jc_nonglobal) {
        tlb_cc_jc_clear(cc);
    }
    if (cc->cp_nonglobal) {
        cp_clear(cc);
    }
    if (cc->code_nonglobal) {
        for (unsigned i = 0; i < CODE_ENTRIES; i++) {
            if (!cc->code[i].page.global) {
                cc->code[i].key = 0;
            }
        }
        cc->code_nonglobal = false;
    }
}

/* The entries of one page share the hash's upper bits: 4096 slots hold all of them. */
static void jc_drop_page(struct tlb_cc *cc, uint64_t page)
{
    unsigned first = jc_hash(page) & ~0xfffu;
    struct jc_entry *e = &cc->jc[first];

    for (unsigned i = 0; i < 4096; i++) {
        if ((e[i].lip & PAGE_MASK) == page) {
            e[i].lip = jc_empty(first + i);
        }
    }
}

void tlb_cc_clear_page(struct tlb_cc *cc, uint64_t lin)
{
    struct code_entry *e = &cc->code[code_slot(lin)];

    if (unlikely(tlb_large_near(&cc->large, lin))) {
        tlb_cc_clear(cc);
        return;
    }
    if (e->key == code_key(lin)) {
        e->key = 0;
    }
    cc->cp[cp_slot(lin)] = 0;
    if (jc_page_has(cc, lin)) {
        jc_drop_page(cc, lin & PAGE_MASK);
        jc_drop_page(cc, (lin & PAGE_MASK) - 0x1000);   /* a block may run on into this page */
    }
}

/* ---- ids of (linear page, RAM page) ---- */
/*
 * Process wide, because blocks are shared by vCPUs.  Ids are handed out once and never again: when the table
 * is full it starts empty and its pairs get new ids; blocks that hold old ones take the slow exit until they
 * are linked anew, and blocks of two pages are made anew.
 */
struct cp_pair {
    uint64_t lin, ram;
    uint32_t id;
};
#define CP_PAIRS_MIN 4096u
#define CP_PAIRS_MAX (1u << 18)
static struct {
    uint32_t lock;
    struct cp_pair *slot;
    uint32_t size, used, next;
} cp_table;

static void *cp_memory(size_t n)
{
    void *p =
        mmap(NULL, n * sizeof(struct cp_pair), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static struct cp_pair *cp_find(uint64_t lin, uint64_t ram)
{
    uint64_t h = (lin * 0x9e3779b97f4a7c15ull) ^ (ram * 0xc2b2ae3d27d4eb4full);
    uint32_t i = (uint32_t)(h >> 32) & (cp_table.size - 1);

    while (cp_table.slot[i].id && (cp_table.slot[i].lin != lin || cp_table.slot[i].ram != ram)) {
        i = (i + 1) & (cp_table.size - 1);
    }
    return &cp_table.slot[i];
}

static void cp_empty(void)
{
    xbt_zero(cp_table.slot, cp_table.size * sizeof(*cp_table.slot));
    cp_table.used = 0;
}

void tlb_cp_new_ids(void)
{
    while (__atomic_exchange_n(&cp_table.lock, 1, __ATOMIC_ACQUIRE)) {
        __builtin_ia32_pause();
    }
    if (cp_table.slot) {
        cp_empty();
    }
    __atomic_store_n(&cp_table.lock, 0, __ATOMIC_RELEASE);
}

/* Room for one more pair: double the table, or empty it when it may not grow. */
static bool cp_room(struct guest_cpu *c)
{
    uint32_t old_size = cp_table.size;
    struct cp_pair *old = cp_table.slot, *fresh = NULL;

    if (old && cp_table.used < old_size / 4 * 3) {
        return true;
    }
    fpu_park(c);
    if (old_size < CP_PAIRS_MAX) {
        fresh = cp_memory(old ? old_size * 2 : CP_PAIRS_MIN);
    }
    if (!fresh) {
        if (!old) {
            return false;
        }
        cp_empty();
        return true;
    }
    cp_table.slot = fresh;
    cp_table.size = old ? old_size * 2 : CP_PAIRS_MIN;
    for (uint32_t i = 0; i < old_size; i++) {
        if (old[i].id) {
            *cp_find(old[i].lin, old[i].ram) = old[i];
        }
    }
    if (old) {
        munmap(old, old_size * sizeof(*old));
    }
    return true;
}

static uint32_t cp_id(struct guest_cpu *c, uint64_t lin, uint64_t ram)
{
    uint32_t id = ~0u;

    while (__atomic_exchange_n(&cp_table.lock, 1, __ATOMIC_ACQUIRE)) {
        __builtin_ia32_pause();
    }
    if (cp_room(c)) {
        struct cp_pair *p = cp_find(lin, ram);
        if (!p->id && cp_table.next < ~0u - 1) {
            *p = (struct cp_pair){ lin, ram, ++cp_table.next };
            cp_table.used++;
        }
        id = p->id ? p->id : ~0u;
    }
    __atomic_store_n(&cp_table.lock, 0, __ATOMIC_RELEASE);
    return id;
}

/* ---- code pages ---- */
struct code_page tlb_code_page(struct guest_cpu *c, uint64_t lin)
{
    struct tlb_cc *cc = c->tlb->cc;
    struct code_entry *e = &cc->code[code_slot(lin)];

    if (likely(e->key == code_key(lin))) {
        return e->page;
    }
    lin = tlb_lin(c, lin);
    if (!tlb_canonical(c, lin)) {
        c->slow_flags = 0;
        tlb_raise_noncanonical(c);
    }
    c->stat[ST_TLB_FILL_CODE]++;
    enum mmu_mode mode = (c->hflags & HF_CPL_MASK) == 3 ? MMU_USER : MMU_KERNEL;
    struct walk_result w = tlb_walk(c, lin, ACC_EXEC, mode, true);
    if (!w.ok) {
        tlb_raise_walk(c, lin, &w);
    }
    struct phys_page pg = physmap_lookup(c->vm->phys, w.gpa);
    e = &cc->code[code_slot(lin)];
    if (!e->key) {
        dirty_add(&cc->code_dirty, code_slot(lin));
    }
    e->key = code_key(lin);
    e->page = (struct code_page){
        .host = pg.host, .ram_addr = pg.ram_addr, .gpa = w.gpa & PAGE_MASK, .global = w.global
    };
    e->page.cp_id = cp_id(c, lin & PAGE_MASK, pg.host ? pg.ram_addr : ~w.gpa);
    cc->code_nonglobal |= !w.global;
    tlb_note_size(&cc->large, lin, w.page_size);
    return e->page;
}

void tlb_cp_note(struct guest_cpu *c, uint64_t lin, const struct code_page *p)
{
    struct tlb_cc *cc = c->tlb->cc;

    /* Out of ids: such a page is never noted, its links always take the slow exit. */
    if (p->cp_id == ~0u) {
        return;
    }
    if (!cc->cp[cp_slot(lin)]) {
        dirty_add(&cc->cp_dirty, cp_slot(lin));
    }
    cc->cp[cp_slot(lin)] = p->cp_id;
    cc->cp_nonglobal |= !p->global;
}
