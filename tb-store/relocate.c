/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * relocate.c - copies of host code for the same RAM at another linear address.
 *
 * Shared libraries and position-independent programs are mapped at other addresses in each process.  Their host code
 * differs in the 64-bit linear addresses in it, the slots of cross-page ids and the jumps between the hot and the cold
 * part only.  Lowering notes where those are (struct x64_fixes); a copy and these changes cost a fraction of a
 * translation.  The copy is a TB of its own: links, pages and death are as for any other.
 *
 * Linear addresses must lie where every constant derived from them has the same encoding (tb_lip_moves()).  Not copied:
 * blocks of two pages, with an x87 instruction whose address is noted at the block's end, with a linear
 * address in an encoding that others do not have, or made for breakpoints or for counting.
 */
#include "tb-store/hash.h"
#include "tb-store/store.h"
#include "translator/decode.h"

#include <sys/mman.h>

/* The last TB made of some bytes of RAM.  Direct mapped: a TB that is not found is translated.  One word, since others
 * read it without a lock: the TB's offset in the cache, and the number of flushes, at the next of which it is gone. */
#define TWIN_BITS 16
#define TWIN_TB_BITS 27u /* of at most 2 GiB in units of TB_ALIGN */
struct tb_twin {
    uint64_t v;
};

bool twins_init(struct tb_store *s)
{
    s->twin = store_reserve(sizeof(struct tb_twin) << TWIN_BITS);
    return s->twin != NULL;
}

void twins_free(struct tb_store *s)
{
    if (s->twin) {
        munmap(s->twin, sizeof(struct tb_twin) << TWIN_BITS);
        s->twin = NULL;
    }
}

static struct tb_twin *twin_slot(struct tb_store *s, const struct tb_key *k)
{
    return &s->twin[hash_step(hash_step(0, k->phys_pc), k->hflags) >> (64 - TWIN_BITS)];
}

void twin_note_locked(struct tb_store *s, struct tb *tb)
{
    xbt_assert_locked(&s->lock);
    if (tb->fix) {
        uint64_t at = (uint64_t)((uint8_t *)tb - s->base) / TB_ALIGN;

        __atomic_store_n(&twin_slot(s, &tb->key)->v, s->flushes << TWIN_TB_BITS | at, __ATOMIC_RELEASE);
    }
}

static struct tb *twin_find(struct tb_store *s, const struct tb_key *k)
{
    uint64_t v = __atomic_load_n(&twin_slot(s, k)->v, __ATOMIC_ACQUIRE);
    struct tb *tb = (struct tb *)(s->base + (v & ((1ull << TWIN_TB_BITS) - 1)) * TB_ALIGN);
    const struct tb_key *have;

    if (!v || v >> TWIN_TB_BITS != s->flushes << TWIN_TB_BITS >> TWIN_TB_BITS ||
        __atomic_load_n(&tb->invalid, __ATOMIC_ACQUIRE)) {
        return NULL;
    }
    have = &tb->key;
    return have->phys_pc == k->phys_pc && have->hflags == k->hflags && have->cs_base == k->cs_base &&
           have->cs_limit == k->cs_limit ? tb : NULL;
}

/* Code of a hot space (tlb/hostmap.h) knows bits 47..40 of operands relative to RIP. */
static bool same_window(const struct tb_key *a, const struct tb_key *b)
{
    const uint64_t reach = 2ull << 30;

    return !(a->hflags & HF_HM) || ((a->lip - reach) >> 40 == (b->lip + reach) >> 40 &&
                                    (b->lip - reach) >> 40 == (a->lip + reach) >> 40);
}

/* What is moved by how much. */
struct move {
    struct tb_store *s;
    const uint8_t *cold, *cold_end;    /* of the original */
    ptrdiff_t hot_by, cold_by;
    uint64_t lip_by;
};

static void *moved(const struct move *m, const void *p)
{
    const uint8_t *a = p;

    return !a ? NULL : (uint8_t *)a + (a >= m->cold && a < m->cold_end ? m->cold_by : m->hot_by);
}

static void set_rel(struct tb_store *s, uint8_t *site, const uint8_t *target)
{
    *(any32 *)tb_rw(s, site) = (uint32_t)(target - (site + 4));
}

/* cmp dword [cp + 4 * slot], id: the displacement in front of the id.  false: it has another length. */
static bool move_cp_slot(const struct move *m, uint8_t *cp_imm, uint64_t lip)
{
    any32 *imm = (any32 *)tb_rw(m->s, cp_imm), *disp = imm - 1;
    uint32_t old = 4u * cp_slot(lip - m->lip_by), now = 4u * cp_slot(lip);

    if (old < 0x80 || now < 0x80) {
        if (old != now) {
            return false;
        }
    } else {
        *disp = now;
    }
    *imm = 0x7fffffff;
    return true;
}

static bool move_exit(const struct move *m, struct tb_exit *x, struct tb *tb)
{
    x->from = tb;
    x->to = NULL;
    x->next_in = NULL;
    x->next_in_exit = 0;
    x->stamp = 0;
    if (x->lip == TB_NO_TARGET) {
        return true;
    }
    x->lip += m->lip_by;
    x->branch = moved(m, x->branch);
    x->branch_full = moved(m, x->branch_full);
    x->branch_noflags = moved(m, x->branch_noflags);
    x->jump = moved(m, x->jump);
    x->jump_unlinked = moved(m, x->jump_unlinked);
    x->left = moved(m, x->left);
    x->cp_imm = moved(m, x->cp_imm);
    set_rel(m->s, x->jump, x->jump_unlinked);
    if (x->branch) {
        set_rel(m->s, x->branch, x->branch_full);
    }
    return !x->cp_imm || move_cp_slot(m, x->cp_imm, x->lip);
}

static void move_fields(const struct move *m, const struct tb *tb)
{
    const any16 *f = (const any16 *)(const void *)tb->fix;

    for (unsigned kind = 0; kind < TB_FIX_KINDS; kind++) {
        uint8_t *base = tb_rw(m->s, kind & TB_FIX_COLD ? (uint8_t *)tb : tb->entry);
        uint32_t rel_by = (uint32_t)(kind & TB_FIX_COLD ? m->hot_by - m->cold_by : m->cold_by - m->hot_by);

        for (unsigned i = 0; i < tb->n_fix[kind]; i++, f++) {
            if (kind & TB_FIX_ABS) {
                *(any64 *)(base + *f) += m->lip_by;
            } else {
                *(any32 *)(base + *f) += rel_by;
            }
        }
    }
}

/* Everything behind the copy of the bytes.  false: a field cannot hold what it should. */
static bool move_tb(const struct move *m, struct tb *tb, const struct tb_key *key)
{
    struct tb *w = tb_w(m->s, tb);
    struct dec_insn *in;

    w->key = *key;
    w->lip = key->lip;
    w->entry = moved(m, tb->entry);
    w->cold = moved(m, tb->cold);
    w->exit = moved(m, tb->exit);
    w->insns = moved(m, tb->insns);
    w->state_map = moved(m, tb->state_map);
    w->fix = moved(m, tb->fix);
    w->page_next[0] = w->page_next[1] = NULL;
    w->in_first = NULL;
    w->in_first_exit = 0;
    w->exec_count = 0;
    w->invalid = w->inserted = 0;
    move_fields(m, tb);
    in = tb_rw(m->s, (struct dec_insn *)tb->insns);
    for (unsigned i = 0; i < tb->n_kept; i++) {
        in[i].ip += m->lip_by;
    }
    for (unsigned i = 0; i < tb->n_exits; i++) {
        if (!move_exit(m, tb_rw(m->s, &tb->exit[i]), tb)) {
            return false;
        }
    }
    return true;
}

static const uint8_t *cold_end(const struct tb *tb)
{
    unsigned n = 0;

    for (unsigned kind = 0; kind < TB_FIX_KINDS; kind++) {
        n += tb->n_fix[kind];
    }
    return tb->fix + 2 * n;
}

struct tb *tb_relocate(struct guest_cpu *c, const struct tb_key *key)
{
    struct tb_store *s = c->vm->store;
    struct tb *from, *tb;
    struct tb_room room;

    if (s->vm->opt.no_relocate || !tb_lip_moves(key->lip) || !(from = twin_find(s, key)) || !same_window(&from->key, key)) {
        return NULL;
    }
    size_t cold = (size_t)(cold_end(from) - (uint8_t *)from), hot = from->hot_size;
    if (cold > TB_MIN_MAX || hot > TB_MIN_MAX || !(tb = tb_alloc(c, cold > hot ? cold : hot, &room))) {
        return NULL;
    }
    size_t before = from->flags_entry ? TB_FLAGS_ENTRY : TB_CALL_ENTRY;
    uint8_t *entry = from->flags_entry ? room.code_flags : room.code;
    struct move m = {
        .s = s, .cold = (uint8_t *)from, .cold_end = cold_end(from) + 1, .cold_by = (uint8_t *)tb - (uint8_t *)from,
        .lip_by = key->lip - from->key.lip,
    };
    m.hot_by = entry ? entry - from->entry : m.cold_by;
    xbt_copy(tb_w(s, tb), from, cold);
    if (entry) {
        xbt_copy((uint8_t *)tb_rw(s, entry) - before, from->entry - before, hot + before);
    }
    if (!move_tb(&m, tb, key)) {
        tb_alloc_cancel(c, tb);
        return NULL;
    }
    tb_alloc_done(c, tb, (uint8_t *)tb + cold);
    c->stat[ST_TB_RELOCATED]++;
    return tb;
}

/* ---- for tests ---- */

/* Fields that differ between two places: rel32 into the other part, and both sites of exits (linked or not). */
static bool is_moving(const struct tb *tb, const uint8_t *at)
{
    const any16 *f = (const any16 *)(const void *)tb->fix;

    for (unsigned kind = 0; kind < TB_FIX_ABS; kind++) {
        const uint8_t *base = kind & TB_FIX_COLD ? (const uint8_t *)tb : tb->entry;

        for (unsigned i = 0; i < tb->n_fix[kind]; i++, f++) {
            if ((size_t)(at - (base + *f)) < 4) {
                return true;
            }
        }
    }
    for (unsigned i = 0; i < tb->n_exits; i++) {
        const struct tb_exit *x = &tb->exit[i];

        if ((x->branch && (size_t)(at - x->branch) < 4) || (x->jump && (size_t)(at - x->jump) < 4) ||
            (x->cp_imm && (size_t)(at - x->cp_imm) < 4)) {
            return true;
        }
    }
    return false;
}

/* The target of a rel32, by part. */
static bool same_target(const struct tb *a, const uint8_t *at_a, const struct tb *b, const uint8_t *at_b, bool to_hot)
{
    const uint8_t *to_a = at_a + 4 + (int32_t)*(const any32 *)(const void *)at_a;
    const uint8_t *to_b = at_b + 4 + (int32_t)*(const any32 *)(const void *)at_b;

    return to_hot ? to_a - a->entry == to_b - b->entry : to_a - (const uint8_t *)a == to_b - (const uint8_t *)b;
}

static bool same_bytes(const struct tb *a, const uint8_t *p, const struct tb *b, const uint8_t *q, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != q[i] && !(is_moving(a, p + i) && is_moving(b, q + i))) {
            return false;
        }
    }
    return true;
}

bool tb_same_code(const struct tb *a, const struct tb *b)
{
    const any16 *f = (const any16 *)(const void *)a->fix, *g = (const any16 *)(const void *)b->fix;
    size_t cold = a->host_size - a->hot_size;

    if (a->hot_size != b->hot_size || a->host_size != b->host_size || a->n_exits != b->n_exits ||
        a->state_map_size != b->state_map_size || a->n_kept != b->n_kept || a->guest_size != b->guest_size ||
        a->cold - (const uint8_t *)a != b->cold - (const uint8_t *)b || !a->fix || !b->fix) {
        return false;
    }
    for (unsigned kind = 0; kind < TB_FIX_KINDS; kind++) {
        if (a->n_fix[kind] != b->n_fix[kind]) {
            return false;
        }
        for (unsigned i = 0; i < a->n_fix[kind]; i++, f++, g++) {
            const uint8_t *at_a = (kind & TB_FIX_COLD ? (const uint8_t *)a : a->entry) + *f;
            const uint8_t *at_b = (kind & TB_FIX_COLD ? (const uint8_t *)b : b->entry) + *g;
            if (*f != *g || (!(kind & TB_FIX_ABS) && !same_target(a, at_a, b, at_b, kind & TB_FIX_COLD))) {
                return false;
            }
        }
    }
    for (unsigned i = 0; i < a->n_exits; i++) {
        if (a->exit[i].lip != b->exit[i].lip || a->exit[i].cross_page != b->exit[i].cross_page) {
            return false;
        }
    }
    for (unsigned i = 0; i < a->n_kept; i++) {
        if (a->insns[i].ip != b->insns[i].ip || a->insns[i].row != b->insns[i].row) {
            return false;
        }
    }
    size_t before = a->flags_entry ? TB_FLAGS_ENTRY : TB_CALL_ENTRY;

    return a->flags_entry == b->flags_entry &&
           same_bytes(a, a->entry - before, b, b->entry - before, a->hot_size + before) &&
           same_bytes(a, a->cold, b, b->cold, cold) &&
           same_bytes(a, a->state_map, b, b->state_map, a->state_map_size);
}
