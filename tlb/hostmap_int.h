/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hostmap_int.h - what hostmap.c (pages) and hostmap_space.c (spaces) share; nobody else includes it.
 * Owner: the vCPU thread, also in its signal handler.
 */
#ifndef XBT_HOSTMAP_INT_H
#define XBT_HOSTMAP_INT_H

#include "tlb/hostmap.h"
#include "tlb/tlb_int.h"

#define WINDOW_BITS 40
#define WINDOW_BYTES (1ull << WINDOW_BITS)
#define GUARD_BYTES (1ull << 32)         /* more than a displacement and the drift of its register */
#define WINDOWS 24u
#define SPACES 24u                       /* page tables known, in use or not: more than TLB_SPACES */
#define REGION_BITS 21
#define REGIONS_IN_WINDOW (1u << (WINDOW_BITS - REGION_BITS))
#define REGIONS 8192u
#define PAGES 512u
#define REV_SLOTS 65536u
#define RUN_MAX 32u                      /* pages mapped at once, of 4 KiB pages */
#define CALLS_MAX 20000u                 /* mappings that may exist: vm.max_map_count is 65530 */
#define TICK_MAX_NS 10000000ull
#define FAULTS_MAX 32u                   /* in one tick: then the space runs with the tables for the rest of it */
#define CALLS_TICK 48u                   /* mappings made at a tick: at most a tenth of the time between two */
#define CALLS_FIRST 192u                 /* ... and when a space becomes hot */
#define PAUSE_MAX 4u                     /* ticks without mappings after too many faults in a row */
#define NO_REGION 0xffffu
#define LAST_32 0xfffffu                 /* this page is never mapped: 32-bit operands that run on behind it fault otherwise */

/* 2 MiB of linear addresses.  Chains link the pages of one RAM page's hash: region * PAGES + page + 1. */
struct hm_region {
    uint8_t window;
    bool large;                          /* one entry maps it all: upper[2] */
    uint16_t next;                       /* in the window, or free */
    uint32_t index;                      /* in the window */
    uint32_t n;                          /* pages mapped */
    uint64_t upper[3];                   /* PML4E, PDPTE, PDE */
    uint64_t mapped[PAGES / 64], written[PAGES / 64];
    uint64_t pte[PAGES];
    uint32_t ram[PAGES];                 /* ram_addr >> 12 */
    uint32_t chain[PAGES];
};

struct hm_window {
    uint64_t base, host;                 /* guest-linear start, where it is */
    uint8_t *reservation;                /* NULL: never made */
    uint16_t *region;                    /* REGIONS_IN_WINDOW numbers + 1; 0 = none */
    struct hm_space *space;              /* NULL: free */
    uint16_t first;
};

/* A page table, by its address.  Attached to the TLB's space that runs on it, or waiting to be used again: Linux gives a
 * PCID to another process after six, and without PCIDs all share one space. */
struct hm_space {
    uint64_t cr3;
    bool used, hot, attached;
    uint64_t heat;                       /* ns of CPL 3 time seen while it was not hot */
    uint64_t lru;
    uint32_t faults;                     /* since the last tick */
    uint32_t pause, wait;                /* ticks with the tables after too many of them; those left */
};

struct hostmap {
    struct hm_window win[WINDOWS];
    struct hm_space space[SPACES];
    uint64_t clock;
    unsigned max_windows;                /* for this vCPU */
    uint32_t max_calls;
    struct hm_region *region;
    uint32_t *rev;
    uint16_t free;                       /* list of regions that were used before */
    uint32_t n_regions;                  /* [n_regions, REGIONS) were never used */
    uint32_t calls;
    uint64_t last_tick;
    struct hm_space *shown;              /* whose windows are in hm_add[] */
};

static inline unsigned window_number(uint64_t lin) { return (unsigned)(lin >> WINDOW_BITS) & 255; }

/*
 * Where an address of a window that is not in use leads: into the upper half, which is the host kernel's, canonical
 * also when a displacement leads out of the window, and never to the host's vsyscall page.  The values tell the handler
 * of the fault what was added.
 */
#define NOT_0 ((~0ull << 47) + WINDOW_BYTES)
#define NOT_64 ((~0ull << 47) - WINDOW_BYTES)
#define NOT_128 WINDOW_BYTES
#define NOT_254 (0 - WINDOW_BYTES)
static inline uint64_t hm_no_window(unsigned number)
{
    return number < 64 ? NOT_0 : number < 128 ? NOT_64 : number < 254 ? NOT_128 : NOT_254;
}

static inline bool is_no_window(uint64_t addend)
{
    return addend == NOT_0 || addend == NOT_64 || addend == NOT_128 || addend == NOT_254;
}

static inline bool bit_get(const uint64_t *w, unsigned i) { return w[i / 64] >> (i % 64) & 1; }
static inline void bit_set(uint64_t *w, unsigned i) { w[i / 64] |= 1ull << (i % 64); }
static inline void bit_clear(uint64_t *w, unsigned i) { w[i / 64] &= ~(1ull << (i % 64)); }

/* ---- hostmap.c ---- */
/* Anonymous memory that costs nothing until it is touched; by system call.  NULL: refused. */
void *hm_reserve(uint64_t bytes, int prot);
/* cpu->hm_add[] := the windows of s; NULL: of nobody. */
void hm_show(struct guest_cpu *c, struct hm_space *s);
struct hm_window *hm_window_of(struct hostmap *h, const struct hm_space *s, uint64_t lin);
struct hm_region *hm_region_of(const struct hostmap *h, const struct hm_window *w, uint64_t lin);
/* The guest's paging mode is one that pages can be mapped in. */
bool hm_mode_ok(const struct guest_cpu *c);
/* Drop what is not as in the page table any more. */
void hm_compare(struct guest_cpu *c, const struct hm_space *s);
/* Cold, nothing mapped. */
void hm_cool(struct guest_cpu *c, struct hm_space *s);
/* Free what the windows hold. */
void hm_windows_free(struct hostmap *h);

#endif
