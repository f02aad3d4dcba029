/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rewrite.c - code whose immediates are written again and again.
 *
 * Programs that patch themselves mostly change a constant in an instruction.  Where a store has killed a block twice,
 * the next translation loads the immediate from guest memory when it runs (IR_LDC) instead of containing it; the
 * immediate's bytes are then a hole in the block: a store to them kills nothing.  Transmeta's Code Morphing Software
 * called this stylized self-modifying code (Dehnert and others, CGO 2003).
 *
 * Left to others: what a hole means for the page's maps (pages.c), which instructions can do with one (lift.c).
 */
#include "tb-store/store.h"

#define REWRITES 2   /* kills before an immediate counts as rewritten */

static inline struct tb_rewrite *slot(struct tb_store *s, uint64_t ram_addr)
{
    return &s->rewrite[(ram_addr ^ ram_addr >> 12) & (REWRITE_SLOTS - 1)];
}

/* Readers take no lock: one word.  The RAM address in bits 0..39, the length in 48..55, the count in 56..63. */
#define LEN_SHIFT   48
#define COUNT_SHIFT 56
#define ADDR(v)     ((v) & ((1ull << RAM_ADDR_BITS) - 1))
#define LEN(v)      ((unsigned)((v) >> LEN_SHIFT & 0xff))
#define COUNT(v)    ((unsigned)((v) >> COUNT_SHIFT))

void rewrite_note_locked(struct tb_store *s, struct tb_page *d, uint64_t ram_addr, unsigned len)
{
    struct tb_rewrite *r = slot(s, ram_addr);
    unsigned count = ADDR(r->v) == ram_addr ? COUNT(r->v) : 0;

    xbt_assert_locked(&s->lock);
    __atomic_store_n(&r->v, ram_addr | (uint64_t)(len < 255 ? len : 255) << LEN_SHIFT |
                     (uint64_t)(count < 255 ? count + 1 : 255) << COUNT_SHIFT, __ATOMIC_RELAXED);
    __atomic_store_n(&d->rewritten, 1, __ATOMIC_RELAXED);
}

bool tb_is_rewritten(struct tb_store *s, uint64_t ram_addr, unsigned len)
{
    const struct tb_page *d = page_get(s, ram_addr);

    if (!d || !__atomic_load_n(&d->rewritten, __ATOMIC_RELAXED)) {
        return false;
    }
    for (unsigned i = 0; i < len; i++) {
        uint64_t v = __atomic_load_n(&slot(s, ram_addr + i)->v, __ATOMIC_RELAXED);

        if (ADDR(v) == ram_addr + i && COUNT(v) >= REWRITES && i + LEN(v) <= len) {
            return true;
        }
    }
    return false;
}

bool tb_in_hole(const struct tb *tb, unsigned which, unsigned lo, unsigned hi)
{
    unsigned start = tb->key.phys_pc & (PAGE_BYTES - 1);

    for (unsigned i = 0; which == 0 && i < tb->n_holes; i++) {
        unsigned a = start + tb_holes(tb)[i].off;

        if (lo >= a && hi < a + tb_holes(tb)[i].len) {
            return true;
        }
    }
    return false;
}
