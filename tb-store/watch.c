/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch.c - pages with code are watched for writes: by the vCPUs through the write tables, by devices
 * through the machine's own dirty marks.
 *
 * Start: tb_watch_code(), before the page's bytes are read.  The page is out of all write tables and
 * its DMA mark clear before the first byte is translated, so whatever changes a byte afterwards is
 * seen: a store takes the slow path and comes to tb_invalidate_range(), a device sets the mark and
 * tb_check_dma() finds it. End: when a store or an invalidation leaves the page without TBs (pages.c),
 * and at a flush.
 *
 * The watch list has one entry per 64 pages: the machine's mark word and the mask of watched pages in
 * it.  A check of thousands of pages is a walk over a few hundred words, without lock or callback;
 * embedders that cannot give the address of the word are asked page by page.  Entries that become empty
 * are filled with the last one; watch_seq is odd meanwhile, so that a walk on another thread is
 * repeated.
 */
#include "tb-store/store.h"
#include "translator/smp.h"

#include <sched.h>
#include <sys/mman.h>

bool watch_init(struct tb_store *s)
{
    s->watch_chunk = store_reserve(WATCH_CHUNKS * sizeof(*s->watch_chunk));
    return s->watch_chunk != NULL;
}

void watch_free(struct tb_store *s)
{
    if (!s->watch_chunk) {
        return;
    }
    for (unsigned i = 0; i < WATCH_CHUNKS && s->watch_chunk[i]; i++) {
        munmap(s->watch_chunk[i], WATCH_CHUNK * sizeof(struct tb_watch));
    }
    munmap(s->watch_chunk, WATCH_CHUNKS * sizeof(*s->watch_chunk));
    s->watch_chunk = NULL;
}

static inline struct tb_watch *entry(struct tb_store *s, uint32_t i)
{
    return &s->watch_chunk[i / WATCH_CHUNK][i % WATCH_CHUNK];
}

static inline uint64_t page_group(uint64_t page)
{
    return page >> (PAGE_BITS + GROUP_BITS);
}

static inline uint64_t page_bit(uint64_t page)
{
    return 1ull << ((page >> PAGE_BITS) & ((1u << GROUP_BITS) - 1));
}

static inline uint32_t *group_index(struct tb_store *s, uint64_t group)
{
    struct tb_page_node *n = page_node(s, group << (PAGE_BITS + GROUP_BITS));

    return &n->watch_index[group & (GROUPS_PER_NODE - 1)];
}

static inline void set_mask(struct tb_watch *w, uint64_t mask)
{
    __atomic_store_n(&w->mask, mask, __ATOMIC_RELEASE);
}

/* Entries and their indices are read at any time, by word_of() and marked(). */
static inline void set_entry(struct tb_watch *w, const uint64_t *word, uint64_t mask, uint64_t group)
{
    __atomic_store_n(&w->word, word, __ATOMIC_RELAXED);
    set_mask(w, mask);
    __atomic_store_n(&w->group, group, __ATOMIC_RELAXED);
}

static inline void set_index(uint32_t *at, uint32_t i)
{
    __atomic_store_n(at, i, __ATOMIC_RELEASE);
}

/* ---- the list ---- */

bool watch_add_locked(struct guest_cpu *c, struct tb_store *s, uint64_t page, const uint64_t *word)
{
    uint32_t *at = group_index(s, page_group(page));
    struct tb_watch *w;

    xbt_assert_locked(&s->lock);
    if (!*at) {
        uint32_t i = s->n_watch;

        if (!s->watch_chunk[i / WATCH_CHUNK]) {
            struct tb_watch *chunk = store_reserve(WATCH_CHUNK * sizeof(*chunk));

            if (!chunk) {
                return false;
            }
            __atomic_store_n(&s->watch_chunk[i / WATCH_CHUNK], chunk, __ATOMIC_RELEASE);
        }
        set_entry(entry(s, i), word, 0, page_group(page));
        __atomic_store_n(&s->n_watch, i + 1, __ATOMIC_RELEASE);
        set_index(at, i + 1);
    }
    w = entry(s, *at - 1);
    set_mask(w, w->mask | page_bit(page));
    c->stat[ST_PAGES_WATCHED]++;
    return true;
}

void watch_remove_locked(struct tb_store *s, uint64_t page)
{
    uint32_t *at = group_index(s, page_group(page)), i = *at - 1, last = s->n_watch - 1;
    struct tb_watch *w = entry(s, i);

    xbt_assert_locked(&s->lock);
    set_mask(w, w->mask & ~page_bit(page));
    if (w->mask) {
        return;
    }
    __atomic_add_fetch(&s->watch_seq, 1, __ATOMIC_SEQ_CST);
    set_index(at, 0);
    if (i != last) {
        const struct tb_watch *from = entry(s, last);
        set_entry(w, from->word, from->mask, from->group);
        set_index(group_index(s, w->group), i + 1);
    }
    __atomic_store_n(&s->n_watch, last, __ATOMIC_RELEASE);
    __atomic_add_fetch(&s->watch_seq, 1, __ATOMIC_SEQ_CST);
}

/* ---- start and end of a watch ---- */

static void host_watch(struct guest_cpu *c, uint64_t page, bool on)
{
    if (c->host && c->host->code_page_watch) {
        fpu_park(c);
        unsigned old = smp_rest(c, SMP_PAUSED);
        c->host->code_page_watch(c, page, on);
        smp_wake(c, old);
    }
}

static void start_watch(struct guest_cpu *c, struct tb_store *s, uint64_t page)
{
    (void)s;
    host_watch(c, page, true);
    smp_unwrite_page(c, page);
}

/* Stands in for a mark word that the host does not have: every page may have been written, ask. */
static const uint64_t always_ask = ~0ull;

static const uint64_t *mark_word(struct guest_cpu *c, uint64_t page)
{
    const uint64_t *word = NULL;

    if (c->host && c->host->code_page_dma && c->host->code_dma_word) {
        fpu_park(c);
        word = c->host->code_dma_word(c, page);
    }
    return word ? word : &always_ask;
}

/* Remember the page's generation at the first call for it since the last tb_insert(). */
static void note_seen(struct tb_vcpu *v, uint64_t page, const struct tb_page *d)
{
    unsigned i;

    for (i = 0; i < v->n_seen; i++) {
        if (v->seen[i].page == page) {
            return;
        }
    }
    if (i == SEEN_MAX) { /* the oldest are left over from translations given up */
        for (i = 0; i < SEEN_MAX - 1; i++) {
            v->seen[i] = v->seen[i + 1];
        }
    }
    v->seen[i].page = page;
    v->seen[i].gen = __atomic_load_n(&d->gen, __ATOMIC_SEQ_CST);
    v->n_seen = i + 1;
}

/* PW_NONE -> PW_STARTING, or PW_ON found; false when the page cannot be tracked. */
static bool claim(struct guest_cpu *c, struct tb_store *s, uint64_t page, struct tb_page **d, bool *mine)
{
    for (;;) {
        unsigned watch;

        xbt_lock(&s->lock);
        page_node_make_locked(s, page);
        *d = page_get(s, page);
        watch = *d ? (*d)->watch : PW_NONE;
        if (*d && watch == PW_NONE) {
            __atomic_store_n(&(*d)->watch, PW_STARTING, __ATOMIC_RELEASE);
        }
        xbt_unlock(&s->lock);
        *mine = watch == PW_NONE;
        if (watch != PW_STARTING) {
            return *d != NULL;
        }
        /* Another vCPU is in its host callback, or waits for the others. */
        unsigned old = smp_rest(c, SMP_PAUSED);
        sched_yield();
        smp_wake(c, old);
    }
}

bool tb_watch_code(struct guest_cpu *c, uint64_t ram_addr)
{
    struct tb_store *s = c->vm->store;
    uint64_t page = ram_addr & ~(uint64_t)(PAGE_BYTES - 1);
    struct tb_vcpu *v = &s->vcpu[c->index];
    struct tb_page *d = page_get(s, page);
    const uint64_t *word;
    bool mine, ok;

    if (d && __atomic_load_n(&d->watch, __ATOMIC_ACQUIRE) == PW_ON) {
        note_seen(v, page, d);
        return true;
    }
    if (!claim(c, s, page, &d, &mine)) {
        return false;
    }
    if (mine) {
        start_watch(c, s, page);
        word = mark_word(c, page);
        xbt_lock(&s->lock);
        ok = watch_add_locked(c, s, page, word);
        __atomic_store_n(&d->watch, ok ? PW_ON : PW_NONE, __ATOMIC_RELEASE);
        xbt_unlock(&s->lock);
        if (!ok) {
            return false;
        }
    }
    note_seen(v, page, d);
    return true;
}

/* The lock is released: tell the host.  If another vCPU began a new watch meanwhile, our late "off" may
 * have ended that: begin it again and treat the page as written. */
void watch_off(struct guest_cpu *c, struct tb_store *s, const struct tb_offs *offs)
{
    for (unsigned i = 0; i < offs->n; i++) {
        const struct tb_page *d = page_get(s, offs->page[i]);

        if (!c->host || !c->host->code_page_watch) {
            return;
        }
        host_watch(c, offs->page[i], false);
        if (s->vm->n_cpus > 1 && __atomic_load_n(&d->watch, __ATOMIC_ACQUIRE) != PW_NONE) {
            host_watch(c, offs->page[i], true);
            tb_invalidate_range(c, offs->page[i], PAGE_BYTES, TBD_DMA, NULL);
        }
    }
}

/* For tb_flush(): every page list is dropped, in one go with the blocks in it: vCPUs outside of their loops may still
 * invalidate. */
void watch_forget_locked(struct tb_store *s)
{
    xbt_assert_locked(&s->lock);
    for (uint32_t i = 0; i < s->n_watch; i++) {
        for (uint64_t m = entry(s, i)->mask; m; m &= m - 1) {
            uint64_t page = ((entry(s, i)->group << GROUP_BITS) + (unsigned)__builtin_ctzll(m)) << PAGE_BITS;
            struct tb_page *d = page_get(s, page);

            d->first = NULL;
            __atomic_store_n(&d->map, 0, __ATOMIC_RELEASE);
            __atomic_add_fetch(&d->gen, 1, __ATOMIC_RELAXED);
        }
    }
}

/* Then every watch ends. */
void watch_reset(struct guest_cpu *c, struct tb_store *s)
{
    for (;;) {
        uint64_t group, mask;

        xbt_lock(&s->lock);
        if (!s->n_watch) {
            xbt_unlock(&s->lock);
            return;
        }
        group = entry(s, s->n_watch - 1)->group;
        mask = entry(s, s->n_watch - 1)->mask;
        for (uint64_t m = mask; m; m &= m - 1) {
            uint64_t page = ((group << GROUP_BITS) + (unsigned)__builtin_ctzll(m)) << PAGE_BITS;

            watch_remove_locked(s, page);
            __atomic_store_n(&page_get(s, page)->watch, PW_NONE, __ATOMIC_RELEASE);
        }
        xbt_unlock(&s->lock);
        for (; mask; mask &= mask - 1) {
            host_watch(c, ((group << GROUP_BITS) + (unsigned)__builtin_ctzll(mask)) << PAGE_BITS, false);
        }
    }
}

/* ---- device writes ---- */

/* Ask the host about the pages in `bits`; those written lose their TBs and their watch.  True if any. */
static bool collect(struct guest_cpu *c, uint64_t group, uint64_t bits)
{
    bool any = false;

    fpu_park(c);
    __atomic_add_fetch(&c->vm->store->dma_busy, 1, __ATOMIC_SEQ_CST);
    for (; bits; bits &= bits - 1) {
        uint64_t page = ((group << GROUP_BITS) + (unsigned)__builtin_ctzll(bits)) << PAGE_BITS;

        if (c->host->code_page_dma(c, page)) {
            c->stat[ST_DMA_PAGES]++;
            tb_invalidate_range(c, page, PAGE_BYTES, TBD_DMA, NULL);
            any = true;
        }
    }
    __atomic_sub_fetch(&c->vm->store->dma_busy, 1, __ATOMIC_SEQ_CST);
    return any;
}

/* Another vCPU may have taken a mark that this one would have found: what it does about it must be done first. */
static void wait_for_others(struct guest_cpu *c)
{
    while (__atomic_load_n(&c->vm->store->dma_busy, __ATOMIC_ACQUIRE) && !smp_owns(c)) {
        unsigned old = smp_rest(c, SMP_PAUSED);
        sched_yield();
        smp_wake(c, old);
    }
}

static inline uint64_t marked(const struct tb_watch *w)
{
    const uint64_t *word = __atomic_load_n(&w->word, __ATOMIC_RELAXED);

    return __atomic_load_n(word, __ATOMIC_ACQUIRE) & __atomic_load_n(&w->mask, __ATOMIC_ACQUIRE);
}

/* The next entry at or after *i with something to ask about.  This walk is what an uneventful check costs. */
static bool next_marked(struct tb_store *s, uint32_t *i, uint64_t *group, uint64_t *bits)
{
    uint32_t n = __atomic_load_n(&s->n_watch, __ATOMIC_ACQUIRE);

    while (*i < n) {
        const struct tb_watch *w = entry(s, *i);
        uint32_t left = WATCH_CHUNK - *i % WATCH_CHUNK, run = n - *i < left ? n - *i : left, k = 0;

        while (k + 4 <= run && !(marked(w + k) | marked(w + k + 1) | marked(w + k + 2) | marked(w + k + 3))) {
            k += 4;
        }
        while (k < run && !(*bits = marked(w + k))) {
            k++;
        }
        *i += k;
        if (k < run) {
            *group = __atomic_load_n(&w[k].group, __ATOMIC_RELAXED);
            return true;
        }
    }
    return false;
}

void tb_check_dma(struct guest_cpu *c)
{
    struct tb_store *s = c->vm->store;
    uint64_t group, bits;
    uint32_t seq, i;

    if (!c->host || !c->host->code_page_dma) {
        return;
    }
    c->stat[ST_DMA_CHECKS]++;
    do {
        seq = __atomic_load_n(&s->watch_seq, __ATOMIC_SEQ_CST);
        /* An entry may move into slot i while its pages are collected; the changed seq repeats the walk. */
        for (i = 0; next_marked(s, &i, &group, &bits); i++) {
            collect(c, group, bits);
        }
    } while ((seq & 1) || seq != __atomic_load_n(&s->watch_seq, __ATOMIC_SEQ_CST));
    wait_for_others(c);
}

/* The mark word of a page; entries may be moving while it is looked up. */
static const uint64_t *word_of(struct tb_store *s, uint64_t ram_addr)
{
    for (unsigned n = 0; n < 100; n++) {
        uint32_t seq = __atomic_load_n(&s->watch_seq, __ATOMIC_SEQ_CST);
        uint32_t i = __atomic_load_n(group_index(s, page_group(ram_addr)), __ATOMIC_ACQUIRE);
        const uint64_t *word = i ? __atomic_load_n(&entry(s, i - 1)->word, __ATOMIC_RELAXED) : &always_ask;

        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!(seq & 1) && seq == __atomic_load_n(&s->watch_seq, __ATOMIC_SEQ_CST)) {
            return word;
        }
        sched_yield();
    }
    return &always_ask;
}

void tb_check_dma_page(struct guest_cpu *c, uint64_t ram_addr)
{
    struct tb_store *s = c->vm->store;
    const struct tb_page *d = page_get(s, ram_addr);
    uint64_t bits = page_bit(ram_addr);

    if (!d || !c->host || !c->host->code_page_dma || __atomic_load_n(&d->watch, __ATOMIC_ACQUIRE) != PW_ON) {
        return;
    }
    if ((__atomic_load_n(word_of(s, ram_addr), __ATOMIC_ACQUIRE) & bits) != 0) {
        collect(c, page_group(ram_addr), bits);
    }
    wait_for_others(c);
}
