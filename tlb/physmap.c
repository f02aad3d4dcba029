/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * physmap.c - guest-physical page -> host memory, as a radix tree.
 *
 * Does:    the tree, one writer at a time (internal mutex), readers without locks.
 * Leaves:  what is mapped where to the embedder; TLB flushes to its caller.
 *
 * 52-bit addresses, four levels of 10 bits.  A slot is one 64-bit word, so a reader sees the old or the new
 * value:
 *     0                                        nothing mapped
 *     bit 0 = 0: pointer to a struct node      next level
 *     bit 0 = 1: leaf                          flags << 1 | delta index << 4 | RAM page number << 16
 * A leaf above the lowest level maps its whole range (4 MiB, 4 GiB...), contiguous in RAM-address space.
 * The host address is RAM address + delta[index]; there are as many deltas as RAM blocks.
 *
 * Memory of nodes is type stable: an emptied node goes to a free list and may become another node, never
 * anything else.  `gen` changes before a node is reused; a reader that saw it change starts again.
 */
#include <pthread.h>
#include <stdlib.h>

#include "tlb/tlb.h"

#define BITS 10
#define FAN (1u << BITS)
#define LEVELS 4
#define PAGES_TOTAL (1ull << (BITS * LEVELS))
#define DELTAS 4096u

struct node {
    uint64_t slot[FAN];
    uint32_t used;     /* writer only */
    struct node *next; /* free list, writer only */
    struct node *all;  /* list of all nodes, for physmap_free() */
};

struct physmap {
    struct node *root;
    uint64_t gen;
    pthread_mutex_t lock;
    struct node *free, *all;
    uint32_t n_deltas;
    uint64_t delta[DELTAS];
};

static inline uint64_t slot_get(const uint64_t *s) { return __atomic_load_n(s, __ATOMIC_ACQUIRE); }
static inline void slot_put(uint64_t *s, uint64_t v) { __atomic_store_n(s, v, __ATOMIC_RELEASE); }
static inline bool is_leaf(uint64_t v) { return v & 1; }
static inline struct node *to_node(uint64_t v) { return (struct node *)(uintptr_t)v; }

/* The leaf for `pages` further on. */
static inline uint64_t leaf_at(uint64_t leaf, uint64_t pages) { return leaf ? leaf + (pages << 16) : 0; }

static struct node *node_new(struct physmap *m)
{
    struct node *n = m->free;

    if (n) {
        m->free = n->next;
        __atomic_fetch_add(&m->gen, 1, __ATOMIC_SEQ_CST);
        for (unsigned i = 0; i < FAN; i++) {
            slot_put(&n->slot[i], 0);
        }
        n->used = 0;
        return n;
    }
    n = calloc(1, sizeof(*n));
    if (!n) {
        abort(); /* embedder's thread, as any other failed allocation there */
    }
    n->all = m->all;
    m->all = n;
    return n;
}

static void node_retire(struct physmap *m, struct node *n, unsigned level)
{
    for (unsigned i = 0; level && i < FAN; i++) {
        if (n->slot[i] && !is_leaf(n->slot[i])) {
            node_retire(m, to_node(n->slot[i]), level - 1);
        }
    }
    n->next = m->free;
    m->free = n;
}

struct physmap *physmap_new(void)
{
    struct physmap *m = calloc(1, sizeof(*m));

    if (m) {
        pthread_mutex_init(&m->lock, NULL);
        m->root = node_new(m);
    }
    return m;
}

void physmap_free(struct physmap *m)
{
    if (!m) {
        return;
    }
    for (struct node *n = m->all, *next; n; n = next) {
        next = n->all;
        free(n);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* Pages [lo, hi) of the range of `n`, which starts at page `base`; leaf is the value for page `lo`, or 0. */
static void set_range(struct physmap *m, struct node *n, unsigned level, uint64_t base, uint64_t lo,
                      uint64_t hi, uint64_t leaf)
{
    uint64_t span = 1ull << (BITS * level);

    for (uint64_t at = lo; at < hi;) {
        unsigned i = (unsigned)((at - base) / span);
        uint64_t first = base + i * span;
        uint64_t end = first + span < hi ? first + span : hi;
        uint64_t old = n->slot[i], val = leaf_at(leaf, at - lo);

        if (at == first && end == first + span) {
            n->used += !!val - !!old;
            slot_put(&n->slot[i], val);
            if (old && !is_leaf(old)) {
                node_retire(m, to_node(old), level - 1);
            }
        } else if (val || old) {
            struct node *ch = old && !is_leaf(old) ? to_node(old) : node_new(m);
            if (!old || is_leaf(old)) { /* split: complete before it becomes visible */
                for (unsigned k = 0; old && k < FAN; k++) {
                    slot_put(&ch->slot[k], leaf_at(old, k * (span >> BITS)));
                }
                ch->used = old ? FAN : 0;
                slot_put(&n->slot[i], (uintptr_t)ch);
                n->used += !old;
            }
            set_range(m, ch, level - 1, first, at, end, val);
            if (!ch->used) {
                slot_put(&n->slot[i], 0);
                n->used--;
                node_retire(m, ch, 0);
            }
        }
        at = end;
    }
}

/* Index of host - ram_addr; DELTAS when there is no room. */
static uint32_t delta_index(struct physmap *m, uint64_t delta)
{
    uint32_t i;

    for (i = 0; i < m->n_deltas; i++) {
        if (m->delta[i] == delta) {
            return i;
        }
    }
    if (i < DELTAS) {
        __atomic_store_n(&m->delta[i], delta, __ATOMIC_RELEASE);
        m->n_deltas++;
    }
    return i;
}

void physmap_set(struct physmap *m, uint64_t gpa, uint64_t size, uint8_t *host, uint64_t ram_addr,
                 uint32_t flags)
{
    uint64_t lo = gpa >> 12, hi, leaf = 0;

    if (lo >= PAGES_TOTAL || !size) {
        return;
    }
    hi = lo + (size >> 12);
    if (hi > PAGES_TOTAL || hi < lo) {
        hi = PAGES_TOTAL;
    }
    pthread_mutex_lock(&m->lock);
    if (host && flags) {
        uint32_t d = delta_index(m, (uint64_t)(uintptr_t)host - ram_addr);
        if (d < DELTAS) { /* otherwise left to the embedder's slow device path: still correct */
            leaf = 1 | (flags & 7u) << 1 | d << 4 | (ram_addr >> 12) << 16;
        }
    }
    set_range(m, m->root, LEVELS - 1, 0, lo, hi, leaf);
    pthread_mutex_unlock(&m->lock);
}

struct phys_page physmap_lookup(struct physmap *m, uint64_t gpa)
{
    struct phys_page r = { NULL, ~0ull, 0 };
    uint64_t page = gpa >> 12, v = 0, gen;
    unsigned shift = 0;

    if (page >= PAGES_TOTAL) {
        return r;
    }
    do {
        gen = __atomic_load_n(&m->gen, __ATOMIC_ACQUIRE);
        const struct node *n = m->root;
        for (int level = LEVELS - 1; level >= 0; level--) {
            shift = BITS * (unsigned)level;
            v = slot_get(&n->slot[(page >> shift) & (FAN - 1)]);
            if (!v || is_leaf(v)) {
                break;
            }
            n = to_node(v);
        }
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (__builtin_expect(__atomic_load_n(&m->gen, __ATOMIC_RELAXED) != gen, 0));

    if (v & 1) {
        uint64_t ram = ((v >> 16) + (page & ((1ull << shift) - 1))) << 12;
        r.ram_addr = ram;
        r.host =
            (uint8_t *)(uintptr_t)(ram + __atomic_load_n(&m->delta[v >> 4 & (DELTAS - 1)], __ATOMIC_RELAXED));
        r.flags = (uint32_t)(v >> 1) & 7u;
    }
    return r;
}
