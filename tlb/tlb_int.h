/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tlb_int.h - what the files of tlb/ share; nobody else includes it.
 *
 * Owner:   the vCPU thread.  Nothing here is touched by another thread.
 * Model:
 *   - A vCPU has up to TLB_SPACES address spaces, one per ASID and PCID (one in all while CR4.PCIDE = 0 and
 *     SVM is not used; ASID 0 is the host's).
 *   - A space has six tables (mode x read/write) in the format of tlb.h, two fill logs and a set of
 *     "touched" regions.
 *   - Every table entry that is filled is recorded in a fill log: log[0] for non-global mappings, log[1] for
 *     global ones.  A flush walks the log and clears just those entries.  A record may be stale (its entry
 *     cleared by INVLPG, or replaced); clearing once more is harmless.
 *   - Records of write entries are also on the chain of their RAM page (rev[]), doubly linked, so that
 *     tlb_unwrite_page() visits the mappings of that page only.  Chains are hashed: a collision costs a
 *     refill.
 *   - Flat tables: one 4 KiB page of a table covers a 2 MiB region of linear addresses.  touched[] is the
 *     exact set of (region, table) pairs whose table page may be resident; it bounds host memory and lets
 *     INVLPG skip what was never touched.
 *   - A code context (struct tlb_cc) holds what execution needs: jump cache, cross-page ids, code pages.
 *     Each space has two for CPL 3 (the other one while it is hot, hostmap.h); the vCPU has one for CPL < 3, whose non-global contents are dropped when
 *     CR3 is written, and another one for CPL < 3 of the nested guest that ran last.
 */
#ifndef XBT_TLB_INT_H
#define XBT_TLB_INT_H

#include "tlb/hostmap.h"
#include "tlb/tlb.h"
#include "tb-store/stats.h"
#include "tb-store/tb.h"
#include "translator/help.h"
#include "translator/host.h"
#include "translator/mem.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define PAGE_SIZE 4096ull
#define PAGE_MASK (~0xfffull)
#define FLAT_PAGES (1ull << 36)
#define FLAT_INDEX(lin) (((lin) >> 12) & (FLAT_PAGES - 1))
#define EA_MASK_FLAT 0x0000fffffffff000ull
#define EA_MASK_TAGGED ((TLB_TAGGED_SIZE - 1ull) << 12)
#define TAG_INVALID 1ull

/* Page-table entries (SDM vol. 3, tables 4-14 to 4-20). */
#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_G 0x100ull
#define PTE_PKEY (15ull << 59)
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

/* Six ASIDs with a kernel and a user PCID each is what Linux with page-table isolation rotates through. */
#define TLB_SPACES 12
#define TLB_TABLES (MMU_MODES * 2)
static inline unsigned tlb_table(enum mmu_mode mode, bool write) { return (unsigned)mode * 2 + write; }

/* Host memory bounds per vCPU (flat format). */
#define TOUCH_SLOTS 8192u              /* hash slots per space */
#define TOUCH_REGIONS_MAX 6000u        /* regions per space before its tables are given back */
#define TOUCH_PAGES_MAX 8192u          /* resident table pages of all spaces: 32 MiB */
#define LOG_CAP_FLAT (1u << 18)        /* records per log */
#define LOG_CAP_TAGGED (1u << 13)
#define LOG_TOTAL_MAX (1u << 20)       /* records of all logs: 16 MiB */
#define LOG_KEEP 4096u                 /* records whose memory is kept after a flush */

struct fill_rec {
    uint64_t key;     /* (lin >> 12) << 4 | table */
    uint32_t next;    /* reverse chain: reference of the next record, 0 = end */
    uint32_t prev;    /* reference of the previous one; REV_HEAD | bucket; 0 = not on a chain */
};
#define REC_TABLE(key) ((unsigned)(key) & 15u)
#define REC_LIN(key) (((key) >> 4) << 12)
#define REV_BITS 16
#define KEYED_MAX 64u
#define REV_HEAD 0x80000000u
#define LOG_BITS 18                    /* a reference is (space * 2 + log) << LOG_BITS | index, plus 1 */

/* Bit filters over hashed addresses: "no" is exact, "yes" may be a collision. */
#define FILTER_BITS 4096u
struct filter { uint64_t w[FILTER_BITS / 64]; bool any; };

/* Where large pages were filled: lin >> 21 for 2 and 4 MiB pages, lin >> 30 for 1 GiB pages. */
struct large_filter { struct filter mega, giga; };

struct tlb_log {
    struct fill_rec *rec;
    uint32_t count;
    struct large_filter large;
};

#define JC_LIST 512u
#define JC_PAGES 8192u
#define CODE_ENTRIES 4096u
struct code_entry { uint64_t key; struct code_page page; };  /* key: page address | 1; 0 = empty */

/* Which slots of a large cache were filled since it was cleared, as long as they are few. */
#define DIRTY_LIST 512u
struct dirty {
    uint32_t n;                      /* above DIRTY_LIST: the list is incomplete */
    uint16_t slot[DIRTY_LIST];
};
static inline void dirty_add(struct dirty *d, unsigned slot)
{
    if (d->n < DIRTY_LIST) {
        d->slot[d->n] = (uint16_t)slot;
    }
    d->n += d->n <= DIRTY_LIST;
}

struct tlb_cc {
    /* jump cache */
    struct jc_entry *jc;             /* 32-byte aligned */
    bool jc_turn;                    /* which of two slots is overwritten next */
    uint64_t key_cs_base;
    uint32_t key_hflags, key_cs_limit;
    uint32_t jc_count;               /* inserted slots; above JC_LIST: the list is incomplete */
    bool jc_nonglobal;
    uint16_t jc_list[JC_LIST];
    uint64_t jc_pages[JC_PAGES / 64]; /* filter of pages that have entries */
    /* cross-page ids */
    bool cp_nonglobal;
    struct dirty cp_dirty;
    uint32_t cp[CP_SLOTS];
    /* code pages */
    bool code_nonglobal;
    struct dirty code_dirty;
    struct large_filter large;       /* of the code pages since the last clear */
    struct code_entry code[CODE_ENTRIES];
};

/* What translations of one address space depend on besides CR3: a nested guest's is the hypervisor's to change. */
struct tlb_sig {
    uint64_t cr0, cr4, efer, ncr3, host_cr4, host_efer;
    uint32_t pkru, pkrs;
};

struct tlb_space {
    uint64_t *tab[TLB_TABLES];
    uint8_t id;
    bool mapped;           /* tables and logs exist */
    bool live;             /* assigned to a PCID */
    uint16_t pcid;
    uint32_t asid;
    struct tlb_sig sig;
    uint64_t cr3_base;
    uint64_t lru;
    struct tlb_log log[2]; /* 0: non-global, 1: global */
    uint64_t *touched;     /* region << 8 | mask of tables; 0 = free slot */
    uint32_t n_regions, n_pages;
    uint32_t n_keyed;      /* above KEYED_MAX: the list is incomplete */
    uint64_t keyed[KEYED_MAX]; /* pages filled with a protection key other than 0: page address | key; may be stale */
    struct tlb_cc user[2]; /* [1]: with HF_HM */
    struct hm_space *hm;   /* hostmap.h; NULL: none */
    uint32_t hm_seen;      /* records of log[0] that the last batch of mappings looked at */
};

/* Stores into pages with code always come through the slow path: remember the outcome of their walk. */
#define CW_ENTRIES 64u
struct cw_entry { uint64_t key, ram_addr; uint8_t *host; uint64_t gen; };

/* Where page tables are in host memory.  gpa: page address; 1 = empty. */
#define PT_PAGES 256u
struct pt_page {
    uint64_t gpa;
    uint8_t *host;
};

/* Guest-physical pages of the nested guest, and where the nested tables put them.  gpa 1 = empty. */
#define NPT_PAGES 256u
struct npt_page {
    uint64_t gpa, to;
    bool writable, exec;
};

/* A world (host, nested guest) as it was left. */
struct tlb_world {
    uint32_t asid;
    uint64_t cr3;
    struct tlb_sig sig;
};

struct tlb_vcpu {
    enum tlb_format format;
    uint32_t log_cap;
    uint32_t n_mapped, max_spaces;
    uint32_t log_total;     /* records in all logs */
    uint32_t touch_total;   /* resident table pages of all spaces */
    uint64_t tick;
    uint64_t gen;           /* changes with every flush */
    struct tlb_cc *cc;      /* context in force */
    struct tlb_cc *sup;     /* that of CPL < 3: &kernel or &guest */
    struct tlb_cc kernel;
    struct tlb_cc guest;    /* jc NULL until the first VMRUN */
    bool nested;            /* there was a VMRUN */
    struct tlb_world world[2]; /* host, nested guest */
    struct npt_page npt[NPT_PAGES];
    struct filter global;   /* regions (lin >> 21) of all global fills */
    struct large_filter global_large;
    uint32_t *rev;          /* 1 << REV_BITS chain heads */
    struct cw_entry cw[CW_ENTRIES];
    struct pt_page pt[PT_PAGES];
    struct tlb_space space[TLB_SPACES];
};

/* ---- small helpers ---- */
static inline bool tlb_canonical(const struct guest_cpu *c, uint64_t lin)
{
    if (!cpu_lma(c)) {
        return true;
    }
    unsigned sh = c->cr[4] & CR4_LA57 ? 7 : 16;
    return (uint64_t)((int64_t)(lin << sh) >> sh) == lin;
}

static inline uint64_t phys_limit_mask(const struct guest_cpu *c)
{
    unsigned bits = c->model.phys_bits ? c->model.phys_bits : 40;
    return bits >= 52 ? PTE_ADDR | 0xfff : (1ull << bits) - 1;
}

static inline uint64_t tlb_lin(const struct guest_cpu *c, uint64_t lin)
{
    return cpu_lma(c) ? lin : (uint32_t)lin;
}

static inline unsigned filter_hash(uint64_t v)
{
    return (unsigned)(v ^ (v >> 12) ^ (v >> 24)) & (FILTER_BITS - 1);
}

static inline void filter_add(struct filter *f, uint64_t v)
{
    unsigned h = filter_hash(v);
    f->w[h / 64] |= 1ull << (h % 64);
    f->any = true;
}
static inline bool filter_has(const struct filter *f, uint64_t v)
{
    unsigned h = filter_hash(v);
    return f->any && (f->w[h / 64] >> (h % 64) & 1);
}
static inline void filter_clear(struct filter *f)
{
    if (f->any) {
        xbt_zero(f, sizeof(*f));
    }
}

static inline void large_clear(struct large_filter *f)
{
    filter_clear(&f->mega);
    filter_clear(&f->giga);
}
static inline void tlb_note_size(struct large_filter *f, uint64_t lin, uint64_t page_size)
{
    if (likely(page_size == PAGE_SIZE)) {
        return;
    }
    if (page_size == 1ull << 30) {
        filter_add(&f->giga, lin >> 30);
    } else {
        filter_add(&f->mega, lin >> 21);
        filter_add(&f->mega, lin >> 21 ^ 1);   /* the other half of a 4 MiB page */
    }
}
/* May a large page have been filled around lin?  The shift of the range to drop, or 0. */
static inline unsigned tlb_large_near(const struct large_filter *f, uint64_t lin)
{
    return filter_has(&f->giga, lin >> 30) ? 30 : filter_has(&f->mega, lin >> 21) ? 22 : 0;
}

/* Fast lookup from C: the host address for lin, or NULL. */
static inline uint8_t *tlb_hit(const struct guest_cpu *c, uint64_t lin, enum mmu_mode mode, bool write)
{
    const uint64_t *t = c->space->tab[tlb_table(mode, write)];

    if (likely(c->tlb->format == TLB_FLAT)) {
        if (unlikely((uint64_t)((int64_t)(lin << 16) >> 16) != lin)) {
            return NULL;
        }
        uint64_t e = t[FLAT_INDEX(lin)];
        return e ? (uint8_t *)(uintptr_t)(lin + e) : NULL;
    }
    const struct tlb_tagged *g = (const void *)t;
    unsigned i = (lin >> 12) & (TLB_TAGGED_SIZE - 1);
    return g->tag[i] == (lin & PAGE_MASK) ? (uint8_t *)(uintptr_t)(lin + g->addend[i]) : NULL;
}

/* ---- tlb.c ---- */
/* TiB of the host's address space that this vCPU may reserve besides its tables. */
unsigned tlb_spare_tib(const struct guest_cpu *c);
bool tlb_space_map(struct guest_cpu *c, struct tlb_space *s);
void tlb_space_unmap(struct guest_cpu *c, struct tlb_space *s);
struct tlb_space *tlb_space_find(struct guest_cpu *c, unsigned pcid); /* of the current ASID; NULL = none */
void tlb_space_select(struct guest_cpu *c);   /* c->space for the current CR3, CR4.PCIDE */

void tlb_pt_clear(struct tlb_vcpu *v);        /* forget where page tables are */
void tlb_npt_clear(struct tlb_vcpu *v);

/* ---- fill.c ---- */
/* Note that a table page of the current space was looked at by an access that missed; may give memory back.
 * */
void tlb_touch(struct guest_cpu *c, uint64_t lin, unsigned table);
uint32_t tlb_touched_mask(const struct tlb_space *s, uint64_t region);
/* Fill one entry of the current space.  ram_addr is used for write tables only. */
void tlb_fill(struct guest_cpu *c, uint64_t lin, unsigned table, uint8_t *host, const struct walk_result *w,
              uint64_t ram_addr);
/* Drop the log and clear its entries. */
void tlb_log_flush(struct guest_cpu *c, struct tlb_space *s, unsigned which);
void tlb_space_flush(struct guest_cpu *c, struct tlb_space *s);
/* Give the table memory of a space back to the host (it ends up empty). */
void tlb_space_reclaim(struct guest_cpu *c, struct tlb_space *s);
void tlb_entry_clear(struct tlb_vcpu *v, struct tlb_space *s, unsigned table, uint64_t lin);

/* ---- code.c ---- */
void tlb_cc_init(struct tlb_cc *cc, struct jc_entry *jc);
void tlb_cc_clear(struct tlb_cc *cc);
static inline void tlb_user_clear(struct tlb_space *s)
{
    tlb_cc_clear(&s->user[0]);
    tlb_cc_clear(&s->user[1]);
}
void tlb_cc_clear_nonglobal(struct tlb_cc *cc);
void tlb_cc_clear_page(struct tlb_cc *cc, uint64_t lin);
void tlb_cc_jc_clear(struct tlb_cc *cc);
struct jc_entry *tlb_jc_none(void);   /* a jump cache that is always empty */

/* ---- slow.c ---- */
struct tlb_part {
    uint64_t lin, gpa, ram_addr;
    uint8_t *host;       /* directly accessible for this access; NULL: device or ROM store */
    uint8_t *rom;        /* of a ROM store: where the old data is */
    uint32_t len;
    bool code;           /* store to a page that holds translated code */
};
/* A walk that is not ok: #PF, or a nested page fault. */
_Noreturn void tlb_raise_walk(struct guest_cpu *c, uint64_t lin, const struct walk_result *w);
_Noreturn void tlb_raise_pf(struct guest_cpu *c, uint64_t lin, uint32_t error);
_Noreturn void tlb_raise_noncanonical(struct guest_cpu *c);
/* Translate [lin, lin + size), at most two pages, for acc; fills the tables; raises the guest's fault before
 * anything is changed.  Returns the number of parts. */
unsigned tlb_resolve(struct guest_cpu *c, uint64_t lin, uint32_t size, enum access acc, enum mmu_mode mode,
                     struct tlb_part part[2]);
void tlb_part_read(struct guest_cpu *c, const struct tlb_part *p, void *buf);
void tlb_part_write(struct guest_cpu *c, const struct tlb_part *p, const void *buf);
/* Invalidate the blocks that a store to this part overlaps; true if the running one was hit. */
bool tlb_part_smc(struct guest_cpu *c, const struct tlb_part *p);
void tlb_mmio_read(struct guest_cpu *c, uint64_t gpa, void *buf, uint32_t len);
void tlb_mmio_write(struct guest_cpu *c, uint64_t gpa, const void *buf, uint32_t len);
/* Is there any data breakpoint, of the guest (debug.c) or of a debugger (debugger.c)?  Then: is one in the page / does
 * the access meet one?  Hits are reported there, which may not return. */
static inline bool tlb_watching(const struct guest_cpu *c) { return ((c->dr[7] & 0xff) | c->gdb_watch) != 0; }
bool tlb_watched(const struct guest_cpu *c, uint64_t lin);
bool tlb_watch_hit(struct guest_cpu *c, uint64_t lin, uint32_t size, bool write);

#endif
