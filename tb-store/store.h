/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h - the inside of the TB store; only files of tb-store/ include it.
 *
 * Locks: `lock` protects TB links, page lists, hand-out of regions, the watch list and the counters.
 * Read without it:
 *   region->n_tbs and what it publishes (release/acquire), tb_page.map and .watch, the node pointers of
 *   the page radix, the watch list (checked by watch_seq).  A region's `free` pointer belongs to the
 *   vCPU that owns the region.
 *   A function named *_locked is called with the lock held.
 */
#ifndef XBT_STORE_H
#define XBT_STORE_H

#include "tb-store/lock.h"
#include "tb-store/stats.h"
#include "tb-store/tb.h"
#include "translator/host.h"
#include "translator/mem.h"

#define TB_ALIGN 16u
#define TB_HEADER ((sizeof(struct tb) + TB_ALIGN - 1) & ~(size_t)(TB_ALIGN - 1))
#define TB_MAX_VCPUS 256u

/* ---- regions (region.c) ---- */
#define REGION_MIN_SHIFT 16
#define REGION_MAX_SHIFT 22
#define TB_MIN_HOT 64u     /* on average; a region with more TBs than that allows counts as full */

/* Finished TBs of a region, ascending. */
struct tb_index {
    uint32_t at;           /* this TB's part in the region: offset from its start */
    uint32_t tb;           /* struct tb: offset from the cache's start */
};

struct tb_region {
    uint8_t *start, *end;  /* rx */
    uint8_t *free;         /* first free byte; written by the owner */
    uint8_t *touched;      /* the host has memory below it, or has been asked for it */
    struct tb_index *index;
    uint32_t n_tbs;        /* published with release after index[n_tbs - 1] and the TB were written */
    bool cold;             /* holds struct tb; otherwise code only */
};

/* ---- page descriptors (pages.c) ---- */
#define PAGE_BITS 12
#define PAGE_BYTES (1u << PAGE_BITS)
#define RAM_ADDR_BITS 40
#define NODE_BITS 14                                   /* pages per node: 64 MiB of RAM */
#define NODE_BYTES ((uint64_t)PAGE_BYTES << NODE_BITS)
#define NODE_COUNT (1u << (RAM_ADDR_BITS - PAGE_BITS - NODE_BITS))
#define GROUP_BITS 6                                   /* pages per DMA mark word */
#define GROUPS_PER_NODE (1u << (NODE_BITS - GROUP_BITS))

enum page_watch { PW_NONE, PW_STARTING, PW_ON };

struct tb_page {
    struct tb *first;  /* live TBs, tagged with which of their pages this is (tb_untag(), tb_tag()) */
    uint64_t map;      /* bit n: some TB may overlap bytes [64 n, 64 n + 64) */
    uint32_t gen;      /* changes when the page is written while watched */
    uint8_t watch;     /* enum page_watch */
    uint8_t rewritten; /* rewrite.c knows bytes of this page */
    uint16_t fine;     /* 0, or index of the page's tb_store.fine: until the next flush */
};

/*
 * One bit per byte of a page: some TB overlaps it.  Made for a page at the first store next to code that `map` cannot
 * tell from a store into code; from then on such stores need neither the lock nor the list of TBs.
 */
struct tb_fine {
    uint64_t bits[PAGE_BYTES / 64];
    uint64_t page;
};
#define FINE_MAX 8192u

/* What a store changed that killed blocks. */
struct tb_rewrite {
    uint64_t v;        /* rewrite.c */
};
#define REWRITE_SLOTS 1024u

struct tb_page_node {
    struct tb_page page[1u << NODE_BITS];
    uint16_t writers[1u << NODE_BITS];      /* vCPUs (modulo 16) that may have the page in a write table */
    uint32_t watch_index[GROUPS_PER_NODE];  /* index into the watch list + 1; 0 = none */
};

static inline struct tb *tb_untag(struct tb *t)
{
    return (struct tb *)((uintptr_t)t & ~(uintptr_t)1);
}
static inline unsigned tb_tag(struct tb *t)
{
    return (uintptr_t)t & 1;
}

/* ---- the watch list (watch.c): one entry per 64 pages that hold watched pages ---- */
struct tb_watch {
    const uint64_t *word;  /* the machine's marks; all ones where pages must be asked for one by one */
    uint64_t mask;         /* the watched pages among the 64 */
    uint64_t group;        /* ram_addr >> (PAGE_BITS + GROUP_BITS) */
};
#define WATCH_CHUNK 512u
#define WATCH_CHUNKS ((1u << (RAM_ADDR_BITS - PAGE_BITS - GROUP_BITS)) / WATCH_CHUNK)

/* Pages to be unwatched once the lock is released. */
#define OFFS_MAX 8
struct tb_offs {
    unsigned n;
    uint64_t page[OFFS_MAX];
};

#define SEEN_MAX 4u
struct tb_vcpu {
    struct tb_region *hot, *cold;
    struct tb *open;
    unsigned n_seen;  /* pages passed to tb_watch_code() since the last tb_insert() */
    struct {
        uint64_t page;
        uint32_t gen;
    } seen[SEEN_MAX];
};

struct tb_store {
    struct xbt_vm *vm;
    const struct tb_hash_ops *ops;
    void *hash;

    /* region.c */
    uint8_t *base;  /* rx */
    size_t size;
    ptrdiff_t rw_delta;
    unsigned region_shift, n_regions;
    unsigned n_hot, n_cold;         /* handed out from the start, from the end */
    struct tb_region *regions;
    struct tb_index *index_mem;
    size_t index_bytes, per_region; /* per_region: length of a region's index */
    uint64_t used, high_water;  /* used: atomic */

    struct tb_twin *twin;         /* relocate.c */

    struct xbt_lock lock;
    struct tb_page_node **node;
    struct tb_fine *fine;         /* [1, n_fine] are in use */
    uint32_t n_fine;
    struct tb_rewrite rewrite[REWRITE_SLOTS];
    struct tb_watch **watch_chunk;
    uint32_t n_watch, watch_seq;  /* seq: odd while entries move */
    uint32_t dma_busy;            /* vCPUs that have taken a mark and have not invalidated yet */
    uint64_t live, made, flushes, code_bytes, guest_insns, invalidated[TBD_CAUSES];
    uint64_t made_since_flush;    /* made, guest_insns, made_since_flush: atomic */

    struct tb_vcpu vcpu[TB_MAX_VCPUS];
};

/* The writable view of a TB. */
static inline struct tb *tb_w(const struct tb_store *s, struct tb *tb)
{
    return (struct tb *)((uint8_t *)tb + s->rw_delta);
}

/* TBs and exits as numbers that are not 0. */
static inline uint32_t tb_number(const struct tb_store *s, const struct tb *tb)
{
    return tb ? (uint32_t)((size_t)((const uint8_t *)tb - s->base) / TB_ALIGN) + 1 : 0;
}
static inline struct tb *tb_numbered(const struct tb_store *s, uint32_t n)
{
    return n ? (struct tb *)(s->base + (size_t)(n - 1) * TB_ALIGN) : NULL;
}
#define LINK_BITS 4u          /* TB_EXITS fit */
static inline uint32_t tb_link_number(const struct tb_store *s, const struct tb *tb, unsigned exit)
{
    return tb_number(s, tb) << LINK_BITS | exit;
}
static inline struct tb *tb_link_from(const struct tb_store *s, uint32_t link, unsigned *exit)
{
    *exit = link & ((1u << LINK_BITS) - 1);
    return tb_numbered(s, link >> LINK_BITS);
}
/* The next in the list of a page, both tagged. */
static inline struct tb *tb_next(const struct tb_store *s, struct tb *e)
{
    uint32_t n = tb_untag(e)->page_next[tb_tag(e)];

    return (struct tb *)((uintptr_t)tb_numbered(s, n >> 1) | (n & 1));
}
static inline void tb_set_next(const struct tb_store *s, struct tb *e, struct tb *next)
{
    tb_w(s, tb_untag(e))->page_next[tb_tag(e)] = tb_number(s, tb_untag(next)) << 1 | tb_tag(next);
}

/* Before calls of the hash: it may be code that uses vector registers. */
static inline void hash_prepare(struct tb_store *s, struct guest_cpu *c)
{
    if (s->ops->uses_vector_regs) {
        fpu_park(c);
    }
}

static inline struct guest_cpu *vm_cpu(struct xbt_vm *vm, unsigned i)
{
    return __atomic_load_n(&vm->cpus[i], __ATOMIC_ACQUIRE);
}

/* region.c: zeroed memory that costs nothing until touched; NULL when refused. */
void *store_reserve(size_t bytes);
/* All of this is about to be written: one call instead of a page fault for each page.  A host that does not know the
 * call makes the pages as they are touched. */
void store_populate(void *p, size_t bytes);
bool regions_init(struct tb_store *s, const char **why);
void regions_free(struct tb_store *s);
void regions_reset_locked(struct tb_store *s);

/* relocate.c */
bool twins_init(struct tb_store *s);
void twins_free(struct tb_store *s);
void twin_note_locked(struct tb_store *s, struct tb *tb);

/* pages.c */
bool pages_init(struct tb_store *s);
void pages_free(struct tb_store *s);
struct tb_page_node *page_node(const struct tb_store *s, uint64_t ram_addr);
struct tb_page_node *page_node_make_locked(struct tb_store *s, uint64_t ram_addr);
struct tb_page *page_get(const struct tb_store *s, uint64_t ram_addr);
void tb_part(const struct tb *tb, unsigned which, unsigned *lo, unsigned *hi);
uint64_t page_bits(unsigned lo, unsigned hi);
void pages_add_locked(struct tb_store *s, struct tb *tb);
void pages_forget_fine_locked(struct tb_store *s);
/* Drop the invalid TBs from the list.  If the page is then empty and offs holds less than `cap`, end
 * its watch. */
void page_sweep_locked(struct tb_store *s, uint64_t page, struct tb_page *d, struct tb_offs *offs,
                       unsigned cap);

/* rewrite.c */
void rewrite_note_locked(struct tb_store *s, struct tb_page *d, uint64_t ram_addr, unsigned len);
/* Do the bytes [lo, hi] of the TB's page `which` lie in one of its holes? */
bool tb_in_hole(const struct tb *tb, unsigned which, unsigned lo, unsigned hi);

/* watch.c */
bool watch_init(struct tb_store *s);
void watch_free(struct tb_store *s);
bool watch_add_locked(struct guest_cpu *c, struct tb_store *s, uint64_t page, const uint64_t *word);
void watch_remove_locked(struct tb_store *s, uint64_t page);
void watch_off(struct guest_cpu *c, struct tb_store *s, const struct tb_offs *offs);
void watch_forget_locked(struct tb_store *s);
void watch_reset(struct guest_cpu *c, struct tb_store *s);

/* link.c */
void unlink_out_locked(struct tb_store *s, struct tb *tb);
void unlink_in_locked(struct tb_store *s, struct tb *tb);

#endif
