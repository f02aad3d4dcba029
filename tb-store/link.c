/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * link.c - chaining: direct exits jump straight into the successor's code.
 *
 * A link is changed by storing one rel32 while other vCPUs may run the code.  The field lies in one
 * aligned 8-byte word (the lowering sees to that, in a machine of more than one vCPU), so a fetch sees the old or the new
 * target (SDM vol. 3, 9.1.3 asks for a serialising instruction only where the new code must be seen at
 * once; both targets are always right). Order: site B is made good before site A can lead to it, and
 * site A is turned away before site B goes bad.
 *
 * A stub may test something (a cross-page id), or not save the flags, because of the successor that it led to: another
 * vCPU that is between site A and site B must not get to a successor for which that was wrong. So an exit that was
 * unlinked is linked again only when no vCPU can be in between any more (smp_over()).
 *
 * A successor keeps a list of the exits that lead to it, threaded through the exits themselves.
 */
#include "tb-store/store.h"
#include "translator/smp.h"

static void patch(struct tb_store *s, uint8_t *site, const uint8_t *target)
{
    int64_t rel = target - (site + 4);

    XBT_ASSERT((((uintptr_t)site & 7) <= 4 || s->vm->max_cpus <= 1) && rel == (int32_t)rel);
    __atomic_store_n((int32_t *)tb_rw(s, site), (int32_t)rel, __ATOMIC_RELEASE);
}

static void patch_linked(struct tb_store *s, const struct tb *from, const struct tb_exit *e, const struct tb *to)
{
    if (!e->jump) {
        bool save = to->needs_flags && (e->flags & TBX_FLAGS);

        XBT_ASSERT(!save || to->flags_entry);
        patch(s, tb_at(from, e->branch), tb_entry(to) - (save ? TB_FLAGS_ENTRY : 0));
        return;
    }
    patch(s, tb_at(from, e->jump), tb_entry(to) - (e->flags & TBX_CALL ? TB_CALL_ENTRY : 0));
    if (e->branch) {
        const uint8_t *target = tb_at(from, e->branch_full);

        if (e->flags & TBX_LOOP) {
            target = to == from ? tb_at(from, e->branch_noflags) : target;
        } else if (!to->needs_flags && e->branch_noflags) {
            target = tb_at(from, e->branch_noflags);
        } else if (!to->needs_flags && !(e->flags & TBX_CROSS)) {
            target = tb_entry(to);
        } else if (to->flags_entry && (e->flags & TBX_FLAGS)) {
            target = tb_entry(to) - TB_FLAGS_ENTRY;
        }
        patch(s, tb_at(from, e->branch), target);
    }
}

static void patch_unlinked(struct tb_store *s, const struct tb *from, struct tb_exit *e)
{
    if (e->branch) {
        patch(s, tb_at(from, e->branch), tb_at(from, e->branch_full));
    }
    if (e->jump) {
        patch(s, tb_at(from, e->jump), tb_at(from, e->jump_unlinked));
    }
    if (smp_on(s->vm)) {
        e->stamp = smp_stamp(s->vm);
    }
}

static bool alive(const struct tb *tb)
{
    return tb->inserted && !tb->invalid;
}

/* Take (from, exit) out of the incoming list of its successor. */
static void forget_incoming(struct tb_store *s, struct tb *from, unsigned exit)
{
    struct tb_exit *e = tb_rw(s, &tb_exits(from)[exit]);
    uint32_t *at = &tb_w(s, tb_numbered(s, e->to))->in_first;
    const uint32_t me = tb_link_number(s, from, exit);

    while (*at) {
        unsigned n;
        struct tb *other = tb_link_from(s, *at, &n);
        struct tb_exit *in = tb_rw(s, &tb_exits(other)[n]);

        if (*at == me) {
            *at = in->next_in;
            break;
        }
        at = &in->next_in;
    }
    e->to = 0;
    e->next_in = 0;
}

static void link_locked(struct guest_cpu *c, struct tb *from, unsigned exit, struct tb *to, uint32_t cp_id)
{
    struct tb_store *s = c->vm->store;
    struct tb_exit *w = tb_rw(s, &tb_exits(from)[exit]);

    if ((w->flags & TBX_CROSS) && w->cp_imm) {
        __atomic_store_n((any32 *)tb_rw(s, tb_at(from, w->cp_imm)), cp_id, __ATOMIC_RELEASE);
    }
    w->to = tb_number(s, to);
    w->next_in = to->in_first;
    tb_w(s, to)->in_first = tb_link_number(s, from, exit);
    patch_linked(s, from, w, to);
    c->stat[ST_CHAIN_MADE]++;
}

void tb_link(struct guest_cpu *c, struct tb *from, unsigned exit, struct tb *to, uint32_t cp_id)
{
    struct tb_store *s = c->vm->store;
    const struct tb_exit *e = &tb_exits(from)[exit];

    XBT_ASSERT(exit < from->n_exits);
    if (s->vm->opt.no_chain || __atomic_load_n(&from->invalid, __ATOMIC_RELAXED)) {
        return;
    }
    xbt_lock(&s->lock);
    if (alive(from) && alive(to) && (e->flags & TBX_USED)) {
        bool same_id = !(e->flags & TBX_CROSS) || !e->cp_imm || *(any32 *)tb_rw(s, tb_at(from, e->cp_imm)) == cp_id;

        if (e->to && (e->to != tb_number(s, to) || !same_id)) {
            patch_unlinked(s, from, tb_rw(s, &tb_exits(from)[exit]));
            forget_incoming(s, from, exit);
        }
        if (!e->to && (!e->stamp || smp_over(s->vm, e->stamp))) {
            link_locked(c, from, exit, to, cp_id);
        }
    }
    xbt_unlock(&s->lock);
}

/* Outgoing links: the TB itself leaves to the loop at its next exit. */
void unlink_out_locked(struct tb_store *s, struct tb *tb)
{
    xbt_assert_locked(&s->lock);
    for (unsigned i = 0; i < tb->n_exits; i++) {
        if (tb_exits(tb)[i].to) {
            patch_unlinked(s, tb, tb_rw(s, &tb_exits(tb)[i]));
            forget_incoming(s, tb, i);
        }
    }
}

/* Incoming links: nobody gets here any more. */
void unlink_in_locked(struct tb_store *s, struct tb *tb)
{
    xbt_assert_locked(&s->lock);
    while (tb->in_first) {
        unsigned i;
        struct tb *from = tb_link_from(s, tb->in_first, &i);
        struct tb_exit *e = tb_rw(s, &tb_exits(from)[i]);

        patch_unlinked(s, from, e);
        tb_w(s, tb)->in_first = e->next_in;
        e->to = 0;
        e->next_in = 0;
    }
}

struct tb *tb_find_exit(struct tb_store *s, const void *left, unsigned *exit)
{
    struct tb *tb = tb_find_host_pc(s, left);

    for (*exit = 0; *exit + 1 < tb->n_exits; ++*exit) {
        const struct tb_exit *x = &tb_exits(tb)[*exit];

        if ((x->flags & TBX_USED) &&
            tb_at(tb, x->jump_unlinked) + (x->flags & TBX_CALL ? TB_LEAVE_CALL : TB_LEAVE) == left) {
            break;
        }
    }
    return tb;
}

void tb_unlink_exits(struct guest_cpu *c, struct tb *tb)
{
    struct tb_store *s = c->vm->store;

    xbt_lock(&s->lock);
    unlink_out_locked(s, tb);
    xbt_unlock(&s->lock);
}
