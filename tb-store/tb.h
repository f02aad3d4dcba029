/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tb.h - where host code lives, is found, linked and dies.
 *
 * Memory: one reserved code cache divided into regions; a vCPU thread owns at
 *   most two open regions and allocates from them without a lock.  What a TB
 *   executes often is in one, closely packed with that of others; the rest,
 *   [struct tb][exits, instructions][cold code][state map], in the other. Regions
 *   of the first kind are handed out from the cache's start, the others from its
 *   end.  When no region is left, tb_alloc() fails and the caller calls tb_flush(),
 *   with all vCPUs out of generated code.
 * W^X: with opt.wx the cache is mapped twice (memfd): execution address rx,
 *   write address rw = rx + a constant (0 otherwise).  Pointers in struct tb
 *   are rx addresses; write through tb_rw().
 * Locks (ranks in lock_ranks.inc): a TB's links and page lists are protected by
 *   store->lock; the hash is concurrent.  Invalid TBs (tb->invalid) are never
 *   linked to.  TB memory is reclaimed only by tb_flush().
 */
#ifndef XBT_TB_H
#define XBT_TB_H

#include "tlb/tlb.h"
#include "translator/mem.h"

struct dec_insn;

struct tb_key {
    uint64_t phys_pc;   /* ram_addr of the first byte */
    uint64_t cs_base;
    uint32_t hflags;
    uint32_t cs_limit;  /* 0xffffffff when flat or 64-bit */
    uint64_t lip;       /* linear address of the first byte: host code holds RIP values and cp ids, so
                         * another alias of the same RAM gets its own TB.  Always set. */
};
static inline bool tb_key_eq(const struct tb_key *a, const struct tb_key *b)
{
    return a->phys_pc == b->phys_pc && a->lip == b->lip && a->cs_base == b->cs_base &&
           a->hflags == b->hflags && a->cs_limit == b->cs_limit;
}

#define TB_HOLES 4
/* Bytes of the first page between a TB's first and last that it does not depend on: immediates that it loads when it
 * runs (rewrite.c). */
struct tb_hole {
    uint16_t off;             /* from the TB's first byte */
    uint8_t len;
};

#define TB_EXITS 12               /* direct exits of one TB, at most */
/*
 * A direct exit.  Two patchable rel32 sites, see docs/pipeline.md.  Places in the TB's code are tb_host_off() + 1, 0
 * for none (tb_at()); TBs are numbers (tb_number()).
 */
struct tb_exit {
    uint32_t lip_by;          /* linear address of the target minus the TB's, bits 31..0 (tb_exit_lip()) */
    int8_t lip_by_high;       /* ... and 39..32 */
    uint8_t flags;            /* TBX_* */
    uint16_t branch;          /* rel32 field of the branch inside the block (site A), may be none */
    uint16_t branch_full;     /* site A's target when the successor needs the flags saved (or unlinked) */
    uint16_t branch_noflags;  /* site A's target when it does not; none = go straight to the successor */
    uint16_t jump;            /* rel32 field of the stub's final jump (site B); none: site A leads to successors itself,
                               * and all of the stub is what it leads to while unlinked */
    uint16_t jump_unlinked;   /* site B's target while unlinked, or that of site A where it is alone */
    uint16_t cp_imm;          /* imm32 of the cp id comparison (TBX_CROSS only), patched before linking */
    uint32_t stamp;           /* smp_stamp() when it was last unlinked; 0 = never */
    uint32_t to;              /* linked successor, or 0 */
    uint32_t next_in;         /* next in the successor's incoming list: an exit's tb_link_number(), or 0 */
};
#define TBX_USED  1u          /* it has a target */
#define TBX_CROSS 2u          /* cp id check is part of the stub (target not in the TB's pages) */
#define TBX_TAKEN 4u          /* the target of a branch, not the next instruction */
#define TBX_CALL  8u          /* site B is a host CALL: it leads to the successor's call entry */
#define TBX_FLAGS 16u         /* at site A the flags are in the host's register and nothing has to be checked: it can
                               * lead to a successor's flags entry */
#define TBX_LOOP  32u         /* branch_noflags is for a link to its own TB, and for that alone */

/* Code of `jump_unlinked`: the return address of the call in it tells the exit (tb_find_exit()). */
#define TB_LEAVE      4u      /* call [thunk] */
#define TB_LEAVE_CALL 9u      /* TBX_CALL: takes the return address of the host CALL off before that */

/* In front of a TB's entry: takes the return address of a host CALL into cpu->ret[] (x86-64/lower_call.c). */
#define TB_CALL_ENTRY 8u
/* In front of that, where the block needs the flags: saves those of the host's register in cpu->fl and goes on at `entry`. */
#define TB_FLAGS_ENTRY (TB_CALL_ENTRY + 16u)

/* In memory: struct tb, exits, holes, [exec_count], kept instructions, [hot code], cold code, state map, [fixes]. */
struct tb {
    struct tb_key key;
    int32_t entry_at;          /* from struct tb on; status flags in cpu->fl there, or anywhere when !needs_flags */
    uint32_t page_next[2];     /* lists of the page descriptors: twice the number, plus tb_tag() */
    uint32_t in_first;         /* incoming links: tb_link_number() */
    uint32_t page2;            /* ram_addr >> 12 of the second page */
    uint32_t second_cp_id;     /* n_pages 2: the cp id its entry checks for (0 otherwise) */
    uint16_t cold_at;          /* the rest of the code, from struct tb on */
    uint16_t insns_at;         /* kept instructions, likewise */
    uint16_t hot_size;         /* bytes of host code at the entry */
    uint16_t cold_size;        /* those of the cold part */
    uint16_t guest_size;       /* bytes of guest code, and what lies between where the block follows jumps */
    uint16_t guest_before;     /* of that what is in front of lip, besides guest_size */
    uint16_t state_map_size;   /* behind the cold part: host PC -> guest state records (translator/state_map.h) */
    uint8_t n_insns;
    uint8_t n_kept;            /* decoded insns that helpers refer to */
    uint8_t n_exits;
    uint8_t n_holes;
    uint8_t n_pages;           /* 1 or 2 (0 for code executed from MMIO: never hashed) */
    uint8_t needs_flags;       /* 0: all status flags are overwritten before anything can see them */
    uint8_t flags_entry;       /* there is a flags entry, TB_FLAGS_ENTRY bytes in front of the entry */
    uint8_t invalid;
    uint8_t inserted;          /* tb_insert() published it (it stays set when the TB dies) */
    uint8_t movable;           /* it can be copied: behind the state map is what a copy must change (tb_fixes()) */
};

static inline uint8_t *tb_entry(const struct tb *tb) { return (uint8_t *)tb + tb->entry_at; }
static inline uint8_t *tb_cold(const struct tb *tb) { return (uint8_t *)tb + tb->cold_at; }
static inline uint32_t tb_host_size(const struct tb *tb) { return (uint32_t)tb->hot_size + tb->cold_size; }
static inline struct tb_exit *tb_exits(const struct tb *tb) { return (struct tb_exit *)(tb + 1); }
static inline struct tb_hole *tb_holes(const struct tb *tb) { return (struct tb_hole *)(tb_exits(tb) + tb->n_exits); }
static inline struct dec_insn *tb_kept(const struct tb *tb) { return (void *)((uint8_t *)tb + tb->insns_at); }
static inline const uint8_t *tb_state_map(const struct tb *tb) { return tb_cold(tb) + tb->cold_size; }
/* With opt.profile only. */
static inline uint64_t *tb_exec_count(const struct tb *tb) { return (uint64_t *)((uint8_t *)tb + tb->insns_at) - 1; }
/* ram_addr of a page. */
static inline uint64_t tb_page(const struct tb *tb, unsigned which)
{
    return which ? (uint64_t)tb->page2 << 12 : tb->key.phys_pc & ~0xfffull;
}
static inline uint64_t tb_exit_lip(const struct tb *tb, const struct tb_exit *x)
{
    return tb->key.lip + ((uint64_t)(int64_t)x->lip_by_high << 32 | x->lip_by);
}
static inline void tb_exit_set_lip(const struct tb *tb, struct tb_exit *x, uint64_t lip)
{
    x->lip_by = (uint32_t)(lip - tb->key.lip);
    x->lip_by_high = (int8_t)((lip - tb->key.lip) >> 32);
}

/* Kinds of fields, to be added up.  Offsets are from the entry, and from struct tb for those in the cold memory. */
#define TB_FIX_COLD  1u  /* it is in the cold memory */
#define TB_FIX_ABS   2u  /* 64-bit linear address; else a rel32 from one part into the other */
#define TB_FIX_KINDS 4u
/* For each kind the number of fields, then the offsets of those of the first kind, of the second... */
static inline const any16 *tb_fixes(const struct tb *tb)
{
    return (const any16 *)(const void *)(tb_state_map(tb) + tb->state_map_size);
}

struct tb_store;

/* The hash interface. */
struct tb_hash_ops {
    void *(*create)(void);
    void (*destroy)(void *h);
    /* returns a TB with equal key (tb_key_eq()), not invalid */
    struct tb *(*lookup)(void *h, uint32_t hash, const struct tb_key *key);
    void (*insert)(void *h, uint32_t hash, struct tb *tb);
    void (*remove)(void *h, uint32_t hash, struct tb *tb);
    void (*reset)(void *h);
    bool uses_vector_regs;  /* then the store calls fpu_park() around it */
};
/* hash_builtin.c; general registers only */
extern const struct tb_hash_ops tb_hash_builtin;

/* Create; size_mib is opt.tb_size_mib; NULL with *why when the reservation fails. */
struct tb_store *tb_store_new(struct xbt_vm *vm, const struct tb_hash_ops *ops, const char **why);
void tb_store_free(struct tb_store *s);
/* rx -> writable address */
void *tb_rw(struct tb_store *s, void *rx);

/* ---- allocation ---- */
/* Where a TB's memory is: [code, code_limit) and, behind struct tb, [cold, cold_limit). With opt.no_split the first is
 * empty and all goes to the second.  In front of `code` there is room for the call entry. */
struct tb_room {
    uint8_t *code, *code_limit;
    uint8_t *code_flags;       /* `code` of a TB with a flags entry */
    uint8_t *cold, *cold_limit;
};
/* Start a TB in c's regions: returns a zeroed struct tb (rw view is tb_rw()) and the room for code; NULL
 * = cache full (or opt.flush_every TBs were made): call tb_flush() and try again.  min: bytes that must
 * be free in each part, at most TB_MIN_MAX. Only one TB per vCPU is open at a time.  All addresses are rx: write the
 * struct and the code through tb_rw(). */
#define TB_MIN_MAX (48u << 10)
struct tb *tb_alloc(struct guest_cpu *c, size_t min, struct tb_room *room);
/* Reserve room behind the open TB for so many exits, all unused, holes and instructions, and note them.  Returns the
 * address behind them, which may be beyond the room's limit: then only exits and holes may be touched. */
uint8_t *tb_place_parts(struct guest_cpu *c, struct tb *tb, unsigned n_exits, unsigned n_holes, unsigned n_kept);
/* Code is at these rx addresses.  False: it is too much for a TB. */
bool tb_place_code(struct guest_cpu *c, struct tb *tb, const uint8_t *entry, size_t hot, const uint8_t *cold,
                   size_t n_cold);
/* The open TB is complete: its parts are in place, its cold memory ends at rx address `end`.  Aligns for the next one.
 * From here on tb_find_host_pc() finds it.  Counts ST_TB_MADE and ST_TB_INSNS. */
void tb_alloc_done(struct guest_cpu *c, struct tb *tb, uint8_t *end);
/* Give the open TB back. */
void tb_alloc_cancel(struct guest_cpu *c, struct tb *tb);

/* ---- find ---- */
uint32_t tb_hash(const struct tb_key *k);
/* Counts ST_LOOKUP_HASH or ST_LOOKUP_MISS. */
struct tb *tb_lookup(struct guest_cpu *c, const struct tb_key *k);
/* Before the first byte of a RAM page is read for translation: take the page out of all write tables
 * and start the DMA watch, so that no write between reading the bytes and tb_insert() is missed.
 * Idempotent, cheap when done already. false: the page cannot be tracked (no memory, or ram_addr >=
 * 2^40); its TBs will not be kept. */
bool tb_watch_code(struct guest_cpu *c, uint64_t ram_addr);
/* Publish: hash and page lists; marks pages as having code: first TB in a page => tlb_unwrite_page() on
 * all vCPUs and host->code_page_watch(on), unless tb_watch_code() has done that.  A TB that cannot be
 * kept (n_pages 0, page not trackable, or its page was written since tb_watch_code()) comes back with
 * tb->invalid = 1: it may be run once, but not put into the jump cache.  tb_link() refuses it by
 * itself. */
void tb_insert(struct guest_cpu *c, struct tb *tb);
/* The TB whose code contains this host PC (rx; the end of each part included: a return address), or NULL. Also
 * finds invalidated TBs until the next flush. Signal safe, no lock. */
struct tb *tb_find_host_pc(struct tb_store *s, const void *pc);
/* The TB and number of the exit that was left with this return address. */
struct tb *tb_find_exit(struct tb_store *s, const void *left, unsigned *exit);
/* Where this host PC is in the TB's code; the cold part counts as following the other at a distance of one byte. */
static inline uint32_t tb_host_off(const struct tb *tb, uint64_t pc)
{
    uint64_t off = pc - (uintptr_t)tb_entry(tb);

    return (uint32_t)(off <= tb->hot_size ? off : pc - (uintptr_t)tb_cold(tb) + tb->hot_size + 1);
}
static inline uint8_t *tb_at(const struct tb *tb, uint16_t place)
{
    unsigned off = place - 1u;

    return !place ? NULL : off <= tb->hot_size ? tb_entry(tb) + off : tb_cold(tb) + (off - tb->hot_size - 1);
}
static inline uint16_t tb_place(const struct tb *tb, const uint8_t *at)
{
    return at ? (uint16_t)(tb_host_off(tb, (uintptr_t)at) + 1) : 0;
}
bool tb_is_code_addr(struct tb_store *s, const void *pc);

/* ---- the same RAM at another linear address: relocate.c ---- */
/* Linear addresses that code may be moved between: whatever a block adds to them, they have the same encoding. */
static inline bool tb_lip_moves(uint64_t lip)
{
    return lip - (8ull << 30) < (1ull << 47) - (16ull << 30);
}
/* A copy for `key` of a live TB that differs from it in the linear address only, complete but not inserted; NULL: there
 * is none, or no room.  tb_watch_code() has been called. */
struct tb *tb_relocate(struct guest_cpu *c, const struct tb_key *key);
/* For tests: do both TBs, for one key, hold the same code? */
bool tb_same_code(const struct tb *a, const struct tb *b);

/* ---- chaining ---- */
/* Chain exit `exit` of `from` to `to`.  Does nothing when that must not be: opt.no_chain, a TB that is
 * invalid or not inserted, an unused or already linked exit.  Counts ST_CHAIN_MADE.
 * linked:   jump := to's entry (the call entry in front of it for a `call` exit); then
 *           branch := to->needs_flags ? branch_full : branch_noflags, or to's entry when that is none
 *           (branch_full if TBX_CROSS: the cp check must not be jumped over).
 * unlinked: branch := branch_full; then jump := jump_unlinked.
 * cp_id: what a TBX_CROSS exit compares with; an exit that is linked for another one is unlinked first, or left alone
 * until no vCPU can be inside of it (smp.h). */
void tb_link(struct guest_cpu *c, struct tb *from, unsigned exit, struct tb *to, uint32_t cp_id);
void tb_unlink_exits(struct guest_cpu *c, struct tb *tb);

/* ---- death ---- */
enum tb_death { TBD_SMC_SELF, TBD_SMC_OTHER, TBD_DMA, TBD_MEMMAP, TBD_FLUSH, TBD_DEBUG, TBD_HOSTMAP, TBD_CAUSES };
void tb_invalidate(struct guest_cpu *c, struct tb *tb, enum tb_death why);
/* Invalidate every TB that overlaps [ram_addr, +len). Returns their number; *hit_running (may be NULL)
 * = the TB containing c->unwind_pc was hit.  The slow store path calls it for every store to a page
 * with tb_page_has_code(): one bitmap test when no TB is near.  When the last TB of a page goes,
 * tb_page_has_code() becomes false and the page may be put into the write tables again. */
unsigned tb_invalidate_range(struct guest_cpu *c, uint64_t ram_addr, unsigned len, enum tb_death why,
                             bool *hit_running);
/* After a store to [ram_addr, +len) of a page with code: no block made from the old bytes will be published, and those
 * that there are die.  True: the one containing c->unwind_pc was among them. */
bool tb_stored(struct guest_cpu *c, uint64_t ram_addr, unsigned len, enum tb_death why);
/* Machines of several vCPUs: c is about to look whether it may enter the page into a write table; it has none such
 * entry any more; may it have?  Lock free; false negatives never. */
void tb_note_writer_slow(struct guest_cpu *c, uint64_t ram_addr);
static inline void tb_note_writer(struct guest_cpu *c, uint64_t ram_addr)
{
    if (c->vm->max_cpus > 1) {
        tb_note_writer_slow(c, ram_addr);
    }
}
void tb_clear_writer(struct guest_cpu *c, uint64_t ram_addr);
bool tb_is_writer(const struct guest_cpu *c, uint64_t ram_addr);
/* Invalidate every TB that contains one of these n linear addresses, in whatever address space. */
void tb_invalidate_lin(struct guest_cpu *c, const uint64_t *lin, unsigned n, enum tb_death why);
/* Does this RAM page hold translated code, or is some being made of it (tb_watch_code())?  Then it must
 * not be in a write table.  Lock free. */
bool tb_page_has_code(struct tb_store *s, uint64_t ram_addr);
/* Has a store to (part of) these bytes, and nothing around them, killed blocks repeatedly? */
bool tb_is_rewritten(struct tb_store *s, uint64_t ram_addr, unsigned len);
/* Does any live TB depend on these bytes? */
bool tb_range_has_code(struct tb_store *s, uint64_t ram_addr, unsigned len);
/* Look at every watched page that may have been written by a device (host->code_dma_word,
 * code_page_dma) and invalidate. Called at points where DMA can have become visible. No callback and no
 * fpu_park() when nothing was written. */
void tb_check_dma(struct guest_cpu *c);
/* The same for one page: at a code-TLB fill. */
void tb_check_dma_page(struct guest_cpu *c, uint64_t ram_addr);
/* Drop everything. All vCPUs are out of generated code, no TB is open. Clears jump caches. */
void tb_flush(struct guest_cpu *c);

/* ---- for queries ---- */
/* tbs_live, code_bytes: now; tbs_made, guest_insns: since the start. */
struct tb_store_info {
    uint64_t size, used, high_water, regions, regions_used;
    uint64_t tbs_live, tbs_made, flushes, code_bytes, guest_insns;
    uint64_t invalidated[TBD_CAUSES];
};
void tb_store_info(struct tb_store *s, struct tb_store_info *out);
/* Live TBs, under the store's lock: fn must not call back into the store. */
void tb_foreach(struct tb_store *s, void (*fn)(struct tb *tb, void *arg), void *arg);

#endif
