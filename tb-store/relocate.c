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
    if (tb->movable) {
        __atomic_store_n(&twin_slot(s, &tb->key)->v, s->flushes << TWIN_TB_BITS | tb_number(s, tb), __ATOMIC_RELEASE);
    }
}

static struct tb *twin_find(struct tb_store *s, const struct tb_key *k)
{
    uint64_t v = __atomic_load_n(&twin_slot(s, k)->v, __ATOMIC_ACQUIRE);
    struct tb *tb = tb_numbered(s, v & ((1ull << TWIN_TB_BITS) - 1));
    const struct tb_key *have;

    if (!tb || v >> TWIN_TB_BITS != s->flushes << TWIN_TB_BITS >> TWIN_TB_BITS ||
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
    ptrdiff_t hot_by, cold_by;
    uint64_t lip_by;
};

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

static bool move_exit(const struct move *m, struct tb *tb, struct tb_exit *x)
{
    x->to = x->next_in = x->stamp = 0;
    if (!(x->flags & TBX_USED)) {
        return true;
    }
    if (x->jump) {
        set_rel(m->s, tb_at(tb, x->jump), tb_at(tb, x->jump_unlinked));
    }
    if (x->branch) {
        set_rel(m->s, tb_at(tb, x->branch), tb_at(tb, x->branch_full));
    }
    return !x->cp_imm || move_cp_slot(m, tb_at(tb, x->cp_imm), tb_exit_lip(tb, x));
}

static void move_fields(const struct move *m, const struct tb *tb)
{
    const any16 *n = tb_fixes(tb), *f = n + TB_FIX_KINDS;

    for (unsigned kind = 0; kind < TB_FIX_KINDS; kind++) {
        uint8_t *base = tb_rw(m->s, kind & TB_FIX_COLD ? (uint8_t *)tb : tb_entry(tb));
        uint32_t rel_by = (uint32_t)(kind & TB_FIX_COLD ? m->hot_by - m->cold_by : m->cold_by - m->hot_by);

        for (unsigned i = 0; i < n[kind]; i++, f++) {
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

    w->key = *key;
    w->entry_at += (int32_t)(m->hot_by - m->cold_by);
    w->page_next[0] = w->page_next[1] = w->in_first = 0;
    w->invalid = w->inserted = 0;
    move_fields(m, tb);
    for (unsigned i = 0; i < tb->n_kept; i++) {
        tb_kept(w)[i].ip += m->lip_by;
    }
    for (unsigned i = 0; i < tb->n_exits; i++) {
        if (!move_exit(m, tb, &tb_exits(w)[i])) {
            return false;
        }
    }
    return true;
}

static const uint8_t *cold_end(const struct tb *tb)
{
    const any16 *n = tb_fixes(tb);

    return (const uint8_t *)(n + TB_FIX_KINDS + n[0] + n[1] + n[2] + n[3]);
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
        .s = s, .cold_by = (uint8_t *)tb - (uint8_t *)from, .lip_by = key->lip - from->key.lip,
    };
    m.hot_by = entry ? entry - tb_entry(from) : m.cold_by;
    xbt_copy(tb_w(s, tb), from, cold);
    if (entry) {
        xbt_copy((uint8_t *)tb_rw(s, entry) - before, tb_entry(from) - before, hot + before);
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
    const any16 *n = tb_fixes(tb), *f = n + TB_FIX_KINDS;

    for (unsigned kind = 0; kind < TB_FIX_ABS; kind++) {
        const uint8_t *base = kind & TB_FIX_COLD ? (const uint8_t *)tb : tb_entry(tb);

        for (unsigned i = 0; i < n[kind]; i++, f++) {
            if ((size_t)(at - (base + *f)) < 4) {
                return true;
            }
        }
    }
    for (unsigned i = 0; i < tb->n_exits; i++) {
        const struct tb_exit *x = &tb_exits(tb)[i];

        if ((x->branch && (size_t)(at - tb_at(tb, x->branch)) < 4) ||
            (x->jump && (size_t)(at - tb_at(tb, x->jump)) < 4) ||
            (x->cp_imm && (size_t)(at - tb_at(tb, x->cp_imm)) < 4)) {
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

    return to_hot ? to_a - tb_entry(a) == to_b - tb_entry(b) : to_a - (const uint8_t *)a == to_b - (const uint8_t *)b;
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

static bool same_fixes(const struct tb *a, const struct tb *b)
{
    const any16 *n = tb_fixes(a), *k = tb_fixes(b), *f = n + TB_FIX_KINDS, *g = k + TB_FIX_KINDS;

    for (unsigned kind = 0; kind < TB_FIX_KINDS; kind++) {
        if (n[kind] != k[kind]) {
            return false;
        }
        for (unsigned i = 0; i < n[kind]; i++, f++, g++) {
            const uint8_t *at_a = (kind & TB_FIX_COLD ? (const uint8_t *)a : tb_entry(a)) + *f;
            const uint8_t *at_b = (kind & TB_FIX_COLD ? (const uint8_t *)b : tb_entry(b)) + *g;
            if (*f != *g || (!(kind & TB_FIX_ABS) && !same_target(a, at_a, b, at_b, kind & TB_FIX_COLD))) {
                return false;
            }
        }
    }
    return true;
}

static bool same_exit(const struct tb *a, const struct tb_exit *x, const struct tb *b, const struct tb_exit *y)
{
    return tb_exit_lip(a, x) == tb_exit_lip(b, y) && x->flags == y->flags && x->branch == y->branch &&
           x->branch_full == y->branch_full && x->branch_noflags == y->branch_noflags && x->jump == y->jump &&
           x->jump_unlinked == y->jump_unlinked && x->cp_imm == y->cp_imm;
}

bool tb_same_code(const struct tb *a, const struct tb *b)
{
    if (a->hot_size != b->hot_size || a->cold_size != b->cold_size || a->n_exits != b->n_exits ||
        a->state_map_size != b->state_map_size || a->n_kept != b->n_kept || a->guest_size != b->guest_size ||
        a->cold_at != b->cold_at || !a->movable || !b->movable || !same_fixes(a, b)) {
        return false;
    }
    for (unsigned i = 0; i < a->n_exits; i++) {
        if (!same_exit(a, &tb_exits(a)[i], b, &tb_exits(b)[i])) {
            return false;
        }
    }
    for (unsigned i = 0; i < a->n_kept; i++) {
        if (tb_kept(a)[i].ip != tb_kept(b)[i].ip || tb_kept(a)[i].row != tb_kept(b)[i].row) {
            return false;
        }
    }
    size_t before = a->flags_entry ? TB_FLAGS_ENTRY : TB_CALL_ENTRY;

    return a->flags_entry == b->flags_entry &&
           same_bytes(a, tb_entry(a) - before, b, tb_entry(b) - before, a->hot_size + before) &&
           same_bytes(a, tb_cold(a), b, tb_cold(b), a->cold_size) &&
           same_bytes(a, tb_state_map(a), b, tb_state_map(b), a->state_map_size);
}
