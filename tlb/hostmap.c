/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostmap.c - which pages of hot spaces are mapped into the host, and when they stop being so.
 *
 * Does:    windows, the pages mapped in them and the page-table entries they stand for, mapping runs of pages that are
 *          contiguous in RAM with one call, dropping what a flush finds changed.
 * Leaves:  what is hot, and when, to hostmap_space.c, generated code's side to translator/x86-64/lower_mem.c, faults
 *          that the guest gets to translator/hostfault.c.
 *
 * A flush does not unmap what is unchanged: the architecture lets a processor load an entry again at any time, so a
 * flush followed by loading all entries that are present, accessed and allowed is a flush (SDM vol. 3, 4.10.2.3,
 * 4.10.4).  The entries a page was mapped by are kept for that comparison.
 *
 * System calls only, no libc functions that might use vector registers: the guest's are live.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tlb/hostmap_int.h"

/* ---- RAM that can be mapped again ---- */
#define RAMS 64u
static struct ram { const uint8_t *host; uint64_t size, offset; int fd; } rams[RAMS];

void hm_ram_add(const uint8_t *host, uint64_t size, int fd, uint64_t offset)
{
    for (unsigned i = 0; i < RAMS; i++) {
        if (!rams[i].host) {
            rams[i].size = size;
            rams[i].offset = offset;
            rams[i].fd = fd;
            __atomic_store_n(&rams[i].host, host, __ATOMIC_RELEASE);
            return;
        }
    }
}

void hm_ram_del(const uint8_t *host)
{
    for (unsigned i = 0; i < RAMS; i++) {
        if (rams[i].host == host) {
            __atomic_store_n(&rams[i].host, NULL, __ATOMIC_RELEASE);
        }
    }
}

static const struct ram *ram_of(const uint8_t *host)
{
    for (unsigned i = 0; i < RAMS; i++) {
        const uint8_t *start = __atomic_load_n(&rams[i].host, __ATOMIC_ACQUIRE);
        if (start && (uint64_t)(host - start) < rams[i].size) {
            return &rams[i];
        }
    }
    return NULL;
}

/* ---- host mappings ---- */
static void *map_at(uint64_t at, uint64_t bytes, int prot, int flags, int fd, uint64_t offset)
{
    return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
}

static bool unmap_at(uint64_t at, uint64_t bytes)
{
    return map_at(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

void *hm_reserve(uint64_t bytes, int prot)
{
    void *p = map_at(0, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    syscall(SYS_madvise, p, bytes, MADV_DONTDUMP);
    syscall(SYS_madvise, p, bytes, MADV_DONTFORK);
    return p;
}

/* ---- windows ---- */

void hm_show(struct guest_cpu *c, struct hm_space *s)
{
    struct hostmap *h = c->hm;

    for (unsigned i = 0; i < WINDOWS; i++) {
        const struct hm_window *w = &h->win[i];
        if (w->space && w->space == h->shown) {
            c->hm_add[window_number(w->base)] = hm_no_window(window_number(w->base));
        }
    }
    for (unsigned i = 0; i < WINDOWS; i++) {
        const struct hm_window *w = &h->win[i];
        if (w->space && w->space == s) {
            c->hm_add[window_number(w->base)] = w->host - w->base;
        }
    }
    h->shown = s;
}

static bool window_reserve(struct hm_window *w)
{
    if (w->reservation) {
        return true;
    }
    uint16_t *region = hm_reserve(REGIONS_IN_WINDOW * sizeof(*w->region), PROT_READ | PROT_WRITE);
    uint8_t *p = hm_reserve(WINDOW_BYTES + 2 * GUARD_BYTES, PROT_NONE);

    if (!p || !region) {
        if (p) {
            syscall(SYS_munmap, p, WINDOW_BYTES + 2 * GUARD_BYTES);
        }
        if (region) {
            syscall(SYS_munmap, region, REGIONS_IN_WINDOW * sizeof(*w->region));
        }
        return false;
    }
    w->region = region;
    w->reservation = p;
    w->host = (uint64_t)(uintptr_t)p + GUARD_BYTES;
    return true;
}

struct hm_window *hm_window_of(struct hostmap *h, const struct hm_space *s, uint64_t lin)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        if (h->win[i].space == s && !((h->win[i].base ^ lin) >> WINDOW_BITS)) {
            return &h->win[i];
        }
    }
    return NULL;
}

/* ---- regions ---- */
static inline unsigned rev_slot(uint32_t ram) { return ram & (REV_SLOTS - 1); }

struct hm_region *hm_region_of(const struct hostmap *h, const struct hm_window *w, uint64_t lin)
{
    unsigned n = w->region[(lin - w->base) >> REGION_BITS];

    return n ? &h->region[n - 1] : NULL;
}

static struct hm_region *region_new(struct hostmap *h, struct hm_window *w, uint64_t lin)
{
    unsigned n;

    if (h->free != NO_REGION) {
        n = h->free;
        h->free = h->region[n].next;
    } else if (h->n_regions < REGIONS) {
        n = h->n_regions++;
    } else {
        return NULL;
    }
    struct hm_region *r = &h->region[n];
    r->window = (uint8_t)(w - h->win);
    r->large = false;
    r->index = (uint32_t)((lin - w->base) >> REGION_BITS);
    r->n = 0;
    r->next = w->first;
    w->first = (uint16_t)n;
    w->region[r->index] = (uint16_t)(n + 1);
    return r;
}

static inline uint64_t region_host(const struct hostmap *h, const struct hm_region *r)
{
    return h->win[r->window].host + ((uint64_t)r->index << REGION_BITS);
}

static void page_link(struct hostmap *h, struct hm_region *r, unsigned i, uint32_t ram)
{
    uint32_t *head = &h->rev[rev_slot(ram)];

    r->ram[i] = ram;
    r->chain[i] = *head;
    *head = (uint32_t)(r - h->region) * PAGES + i + 1;
}

static void page_unlink(struct hostmap *h, struct hm_region *r, unsigned i)
{
    uint32_t me = (uint32_t)(r - h->region) * PAGES + i + 1, *at = &h->rev[rev_slot(r->ram[i])];

    while (*at != me) {
        at = &h->region[(*at - 1) / PAGES].chain[(*at - 1) % PAGES];
    }
    *at = r->chain[i];
    bit_clear(r->mapped, i);
    bit_clear(r->written, i);
    r->n--;
}

/* Pages [i, i + n) are forgotten and unmapped; those that were not mapped too. */
static void run_drop(struct hostmap *h, struct hm_region *r, unsigned i, unsigned n)
{
    for (unsigned k = i; k < i + n; k++) {
        if (bit_get(r->mapped, k)) {
            page_unlink(h, r, k);
        }
    }
    unmap_at(region_host(h, r) + ((uint64_t)i << 12), (uint64_t)n << 12);
}

static void window_drop(struct hostmap *h, struct hm_window *w)
{
    if (w->first == NO_REGION) {
        return;
    }
    for (unsigned n = w->first; n != NO_REGION;) {
        struct hm_region *r = &h->region[n];
        unsigned next = r->next;
        for (unsigned i = 0; r->n && i < PAGES; i++) {
            if (bit_get(r->mapped, i)) {
                page_unlink(h, r, i);
            }
        }
        w->region[r->index] = 0;
        r->next = h->free;
        h->free = (uint16_t)n;
        n = next;
    }
    w->first = NO_REGION;
    unmap_at(w->host, WINDOW_BYTES);
}

/* ---- taking windows ---- */
static struct hm_window *window_take(struct guest_cpu *c, struct hm_space *s, uint64_t lin)
{
    struct hostmap *h = c->hm;

    for (unsigned i = 0; i < h->max_windows; i++) {
        struct hm_window *w = &h->win[i];
        if (!w->space && window_reserve(w)) {
            w->base = lin >> WINDOW_BITS << WINDOW_BITS;
            w->first = NO_REGION;
            w->space = s;
            if (h->shown == s) {
                c->hm_add[window_number(lin)] = w->host - w->base;
            }
            return w;
        }
    }
    return NULL;
}

/* Cold again, nothing mapped. */
void hm_cool(struct guest_cpu *c, struct hm_space *s)
{
    struct hostmap *h = c->hm;

    if (h->shown == s) {
        hm_show(c, NULL);
    }
    for (unsigned i = 0; i < WINDOWS; i++) {
        if (h->win[i].space == s) {
            window_drop(h, &h->win[i]);
            h->win[i].space = NULL;
        }
    }
    s->hot = false;
    s->heat = 0;
}

/* A window for s; at need from the space that was not used for longest. */
static struct hm_window *window_new(struct guest_cpu *c, struct hm_space *s, uint64_t lin)
{
    struct hostmap *h = c->hm;
    struct hm_window *w = window_take(c, s, lin);
    struct hm_space *old = NULL;

    for (unsigned i = 0; !w && i < SPACES; i++) {
        struct hm_space *o = &h->space[i];
        if (o != s && o->hot && (!old || o->lru < old->lru)) {
            old = o;
        }
    }
    if (old) {
        hm_cool(c, old);
        w = window_take(c, s, lin);
    }
    return w;
}

/* ---- page tables ---- */
/* What leads to the 512 entries (or the one) of a region. */
struct hm_path {
    uint64_t upper[3];
    const uint64_t *pt;                  /* the page table; NULL: upper[2] is the entry */
    bool writable;
};

static const uint64_t *table_at(struct guest_cpu *c, uint64_t entry)
{
    struct phys_page pg = physmap_lookup(c->vm->phys, entry & PTE_ADDR & c->a20_mask);

    return (const uint64_t *)(const void *)pg.host;
}

static inline uint64_t entry_get(const uint64_t *t, uint64_t lin, unsigned shift)
{
    return __atomic_load_n(&t[lin >> shift & 511], __ATOMIC_RELAXED);
}

static inline uint64_t reserved_bits(const struct guest_cpu *c)
{
    return (PTE_ADDR & ~phys_limit_mask(c)) | (c->efer & EFER_NXE ? 0 : PTE_NX);
}

bool hm_mode_ok(const struct guest_cpu *c)
{
    return cpu_lma(c) && (c->cr[0] & CR0_PG) && !(c->cr[4] & CR4_LA57) && !c->svm.nested;
}

static bool path_get(struct guest_cpu *c, uint64_t cr3, uint64_t lin, struct hm_path *p)
{
    uint64_t rsvd = reserved_bits(c), need = PTE_P | PTE_U | PTE_A, all = ~0ull;
    const uint64_t *t = table_at(c, cr3);

    for (unsigned i = 0; i < 3; i++) {
        if (!t) {
            return false;
        }
        uint64_t e = entry_get(t, lin, 39 - 9 * i);
        p->upper[i] = e;
        all &= e;
        if ((e & need) != need || (e & rsvd) || (i < 2 && (e & PTE_PS))) {
            return false;                /* 1 GiB pages are left to the tables */
        }
        t = table_at(c, e);
    }
    p->pt = t;
    p->writable = all & PTE_W;
    if (p->upper[2] & PTE_PS) {
        p->pt = NULL;
        return !(p->upper[2] & 0x1fe000);
    }
    return t != NULL;
}

static inline uint64_t path_pte(const struct hm_path *p, uint64_t lin)
{
    return p->pt ? entry_get(p->pt, lin, 12) : p->upper[2];
}

static inline uint64_t path_gpa(const struct hm_path *p, uint64_t pte, uint64_t lin)
{
    return p->pt ? pte & PTE_ADDR : (pte & PTE_ADDR & ~0x1fffffull) | (lin & 0x1ff000);
}

/* Protection keys: only pages of key 0, and only while that key denies nothing. */
static inline bool pkey0_ok(const struct guest_cpu *c)
{
    return !(c->cr[4] & CR4_PKE) || !(c->pkru & 3);
}

/* One page as it could be mapped now. */
struct hm_page {
    uint64_t pte, ram_addr;
    uint8_t *host;
    bool writable;
};

static bool page_get(struct guest_cpu *c, const struct hm_path *p, uint64_t lin, bool asked, struct hm_page *out)
{
    uint64_t pte = path_pte(p, lin), need = PTE_P | PTE_U | PTE_A;

    if ((pte & need) != need || (pte & (reserved_bits(c) | PTE_PKEY | PTE_G)) || !pkey0_ok(c) ||
        (tlb_watching(c) && tlb_watched(c, lin))) {
        return false;
    }
    struct phys_page pg = physmap_lookup(c->vm->phys, path_gpa(p, pte, lin) & c->a20_mask);
    if (!pg.host || !(pg.flags & PHYS_RAM)) {
        return false;
    }
    out->pte = pte;
    out->host = pg.host;
    out->ram_addr = pg.ram_addr;
    /* Under dirty logging the first store must be seen; `asked`: it was. */
    out->writable = p->writable && (pte & PTE_W) && (pte & PTE_D) && (asked || !(pg.flags & PHYS_LOG));
    if (out->writable) {
        tb_note_writer(c, pg.ram_addr);
        out->writable = !tb_page_has_code(c->vm->store, pg.ram_addr);
    }
    return true;
}

/* ---- mapping ---- */
/* Too many mappings: begin again. */
static void make_room(struct guest_cpu *c)
{
    struct hostmap *h = c->hm;

    for (unsigned i = 0; i < WINDOWS; i++) {
        window_drop(h, &h->win[i]);
    }
    h->calls = 0;
    c->stat[ST_HM_FULL]++;
}

/* How many pages before or behind lin continue page `at`? */
static unsigned run_length(struct guest_cpu *c, const struct hm_path *p, const struct hm_region *r, uint64_t lin,
                           const struct hm_page *at, int64_t step, unsigned max)
{
    uint64_t region = lin >> REGION_BITS;
    unsigned n = 0;

    for (uint64_t next = lin + step; n < max && next >> REGION_BITS == region; next += step, n++) {
        struct hm_page pg;
        unsigned i = next >> 12 & (PAGES - 1);
        int64_t far = step * (int64_t)(n + 1);

        if (next >> 12 == LAST_32 || (bit_get(r->mapped, i) && (!at->writable || bit_get(r->written, i))) ||
            !page_get(c, p, next, false, &pg) || pg.writable != at->writable || pg.host != at->host + far ||
            pg.ram_addr != at->ram_addr + (uint64_t)far) {
            break;
        }
    }
    return n;
}

static bool region_map(struct guest_cpu *c, struct hm_region *r, const struct hm_path *p, uint64_t lin,
                       const struct hm_page *pg)
{
    struct hostmap *h = c->hm;
    const struct ram *ram = ram_of(pg->host);
    unsigned max = p->pt ? RUN_MAX : PAGES;

    if (!ram) {
        return false;
    }
    unsigned after = run_length(c, p, r, lin, pg, PAGE_SIZE, max);
    unsigned before = run_length(c, p, r, lin, pg, -(int64_t)PAGE_SIZE, max - (after < max ? after : max));
    unsigned first = (lin >> 12 & (PAGES - 1)) - before, n = before + 1 + after;
    const uint8_t *host = pg->host - (uint64_t)before * PAGE_SIZE;

    if (host < ram->host) {                                   /* blocks that happen to lie side by side */
        return false;
    }
    if ((uint64_t)(host - ram->host) + n * PAGE_SIZE > ram->size) {
        n = (unsigned)((ram->size - (uint64_t)(host - ram->host)) / PAGE_SIZE);
    }
    if (map_at(region_host(h, r) + ((uint64_t)first << 12), (uint64_t)n << 12,
               PROT_READ | (pg->writable ? PROT_WRITE : 0),
               MAP_SHARED | MAP_FIXED | (n <= RUN_MAX + 1 ? MAP_POPULATE : 0), ram->fd,
               ram->offset + (uint64_t)(host - ram->host)) == MAP_FAILED) {
        return false;
    }
    h->calls++;
    c->stat[ST_HM_CALLS]++;
    c->stat[ST_HM_PAGES] += n;
    uint64_t start = (lin >> REGION_BITS << REGION_BITS) + ((uint64_t)first << 12);
    for (unsigned k = 0; k < n; k++) {
        unsigned i = first + k;
        if (bit_get(r->mapped, i)) {
            page_unlink(h, r, i);
        }
        page_link(h, r, i, (uint32_t)((pg->ram_addr >> 12) - before + k));
        r->pte[i] = path_pte(p, start + ((uint64_t)k << 12));
        bit_set(r->mapped, i);
        r->n++;
        if (pg->writable) {
            bit_set(r->written, i);
        }
    }
    return true;
}

bool hm_map(struct guest_cpu *c, uint64_t lin, bool write, bool asked)
{
    struct hostmap *h = c->hm;
    struct hm_space *s = c->space->hm;
    struct hm_path p;
    struct hm_page pg;

    if (!h || !s || !s->hot || h->shown != s || lin >> 47 || lin >> 12 == LAST_32 ||
        !hm_mode_ok(c) || !path_get(c, c->cr[3], lin, &p) ||
        !page_get(c, &p, lin, asked, &pg) || (write && !pg.writable)) {
        return false;
    }
    if (h->calls >= h->max_calls) {
        make_room(c);
    }
    struct hm_window *w = hm_window_of(h, s, lin);
    if (!w) {
        w = window_new(c, s, lin);
    }
    struct hm_region *r = w ? hm_region_of(h, w, lin) : NULL;
    if (w && !r) {
        r = region_new(h, w, lin);
    }
    if (!r) {
        return false;
    }
    if (!r->n || r->large == (p.pt != NULL) || r->upper[0] != p.upper[0] || r->upper[1] != p.upper[1] ||
        r->upper[2] != p.upper[2]) {
        if (r->n) {
            run_drop(h, r, 0, PAGES);
        }
        r->large = !p.pt;
        for (unsigned i = 0; i < 3; i++) {
            r->upper[i] = p.upper[i];
        }
    }
    return region_map(c, r, &p, lin, &pg);
}

bool hm_fault(struct guest_cpu *c, uint64_t addr, uint64_t *addend, bool write)
{
    struct hostmap *h = c->hm;

    c->hm_lin = ~0ull;
    c->hm_write = write;
    c->hm_guard = 0;
    if (!h) {
        return false;
    }
    c->stat[ST_HM_FAULTS]++;
    if (c->space->hm && ++c->space->hm->faults > FAULTS_MAX && c->vm->opt.hostmap_heat) {
        c->hm_on = 0;
        return false;
    }
    for (unsigned i = 0; i < WINDOWS; i++) {
        const struct hm_window *w = &h->win[i];
        if (w->space && addr - (w->host - GUARD_BYTES) < WINDOW_BYTES + 2 * GUARD_BYTES) {
            c->hm_lin = addr - w->host + w->base;
            /* In the guard, as seen from another window: not to be had through this one. */
            if ((c->hm_lin ^ w->base) >> WINDOW_BITS) {
                c->hm_guard = 1;
                return false;
            }
            return hm_map(c, c->hm_lin, write, false);
        }
    }
    if (!is_no_window(*addend)) {
        return false;
    }
    c->hm_lin = addr - *addend;
    c->hm_guard = c->hm_lin >> 47 != 0;
    if (c->hm_guard || !hm_map(c, c->hm_lin, write, false)) {
        return false;
    }
    *addend = c->hm_add[window_number(c->hm_lin)];           /* the window is newer than the addend */
    return true;
}

/* ---- invalidation ---- */
/* Same translation as when the page was mapped, A still set, D still set if it is writable? */
static inline bool pte_same(uint64_t old, uint64_t now, bool written)
{
    return !((old ^ now) & ~PTE_D) && (!written || (now & PTE_D));
}

static void region_check(struct guest_cpu *c, uint64_t cr3, struct hm_region *r)
{
    struct hostmap *h = c->hm;
    uint64_t lin = h->win[r->window].base + ((uint64_t)r->index << REGION_BITS);
    struct hm_path p;

    if (!r->n) {
        return;
    }
    if (!hm_mode_ok(c) || !path_get(c, cr3, lin, &p) || p.upper[0] != r->upper[0] || p.upper[1] != r->upper[1] ||
        !pte_same(r->upper[2], p.upper[2], r->large) || !pkey0_ok(c)) {
        run_drop(h, r, 0, PAGES);
        return;
    }
    for (unsigned i = 0; i < PAGES; i++) {
        unsigned n = 0;
        while (i + n < PAGES && bit_get(r->mapped, i + n) &&
               !pte_same(r->pte[i + n], p.pt ? p.pt[i + n] : p.upper[2], bit_get(r->written, i + n))) {
            n++;
        }
        if (n) {
            run_drop(h, r, i, n);
            h->calls++;
            i += n;
        }
        if (!(i % 64) && !r->mapped[i / 64 % (PAGES / 64)]) {
            i += 63;
        }
    }
}

void hm_compare(struct guest_cpu *c, const struct hm_space *s)
{
    struct hostmap *h = c->hm;

    c->stat[ST_HM_FLUSHES]++;
    for (unsigned i = 0; i < WINDOWS; i++) {
        struct hm_window *w = &h->win[i];
        for (unsigned n = w->space == s ? w->first : NO_REGION; n != NO_REGION; n = h->region[n].next) {
            region_check(c, s->cr3, &h->region[n]);
        }
    }
}

void hm_flush(struct guest_cpu *c, struct tlb_space *s)
{
    if (s->hm && s->hm->hot) {
        hm_compare(c, s->hm);
    }
}

void hm_flush_page(struct guest_cpu *c, struct tlb_space *s, uint64_t lin)
{
    struct hostmap *h = c->hm;

    if (!s->hm || !s->hm->hot) {
        return;
    }
    struct hm_window *w = hm_window_of(h, s->hm, lin);
    struct hm_region *r = w ? hm_region_of(h, w, lin) : NULL;
    if (!r || !r->n) {
        return;
    }
    if (r->large) {
        run_drop(h, r, 0, PAGES);
        return;
    }
    unsigned i = lin >> 12 & (PAGES - 1);
    if (bit_get(r->mapped, i)) {
        run_drop(h, r, i, 1);
        h->calls++;
    }
}

void hm_unwrite_page(struct guest_cpu *c, uint64_t ram_addr)
{
    struct hostmap *h = c->hm;
    uint32_t ram = (uint32_t)(ram_addr >> 12);

    if (!h) {
        return;
    }
    for (uint32_t at = h->rev[rev_slot(ram)]; at;) {
        struct hm_region *r = &h->region[(at - 1) / PAGES];
        unsigned i = (at - 1) % PAGES;
        at = r->chain[i];
        if (r->ram[i] == ram && bit_get(r->written, i)) {
            if (syscall(SYS_mprotect, region_host(h, r) + ((uint64_t)i << 12), PAGE_SIZE, PROT_READ)) {
                run_drop(h, r, i, 1);
            } else {
                bit_clear(r->written, i);
            }
            h->calls++;
        }
    }
}

void hm_reset(struct guest_cpu *c)
{
    struct hostmap *h = c->hm;

    for (unsigned i = 0; h && i < SPACES; i++) {
        if (h->space[i].hot) {
            hm_cool(c, &h->space[i]);
        }
    }
    c->hm_on = 0;
}

void hm_windows_free(struct hostmap *h)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        if (h->win[i].reservation) {
            syscall(SYS_munmap, h->win[i].reservation, WINDOW_BYTES + 2 * GUARD_BYTES);
            syscall(SYS_munmap, h->win[i].region, REGIONS_IN_WINDOW * sizeof(uint16_t));
        }
    }
}
