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

void rewrite_note_locked(struct tb_store *s, struct tb_page *d, uint64_t ram_addr, unsigned len)
{
    struct tb_rewrite *r = slot(s, ram_addr);

    xbt_assert_locked(&s->lock);
    if (r->ram_addr != ram_addr) {
        *r = (struct tb_rewrite){ .ram_addr = ram_addr };
    }
    r->len = (uint8_t)(len < 255 ? len : 255);
    r->count += r->count < 255;
    d->rewritten = 1;
}

bool tb_is_rewritten(struct tb_store *s, uint64_t ram_addr, unsigned len)
{
    const struct tb_page *d = page_get(s, ram_addr);

    if (!d || !d->rewritten) {
        return false;
    }
    for (unsigned i = 0; i < len; i++) {
        const struct tb_rewrite *r = slot(s, ram_addr + i);

        if (r->ram_addr == ram_addr + i && r->count >= REWRITES && i + r->len <= len) {
            return true;
        }
    }
    return false;
}

bool tb_in_hole(const struct tb *tb, unsigned which, unsigned lo, unsigned hi)
{
    unsigned start = tb->key.phys_pc & (PAGE_BYTES - 1);

    for (unsigned i = 0; which == 0 && i < tb->n_holes; i++) {
        unsigned a = start + tb->hole[i].off;

        if (lo >= a && hi < a + tb->hole[i].len) {
            return true;
        }
    }
    return false;
}
