/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * link.c - chaining: direct exits jump straight into the successor's code.
 *
 * A link is changed by storing one rel32 while other vCPUs may run the code.  The field lies in one
 * aligned 8-byte word (the lowering sees to that), so a fetch sees the old or the new
 * target (SDM vol. 3, 9.1.3 asks for a serialising instruction only where the new code must be seen at
 * once; both targets are always right). Order: site B is made good before site A can lead to it, and
 * site A is turned away before site B goes bad.
 *
 * A stub may test something (a cross-page id), or not save the flags, because of the successor that it led to: another
 * vCPU that is between site A and site B must not get to a successor for which that was wrong. So an exit that was
 * unlinked is linked again only when no vCPU can be in between any more (smp_over()).
 *
 * A successor keeps a list of the exits that lead to it: (tb, exit number) pairs threaded through the
 * exits themselves.
 */
#include "tb-store/store.h"
#include "translator/smp.h"

static void patch(struct tb_store *s, uint8_t *site, const uint8_t *target)
{
    int64_t rel = target - (site + 4);

    XBT_ASSERT(((uintptr_t)site & 7) <= 4 && rel == (int32_t)rel);
    __atomic_store_n((int32_t *)tb_rw(s, site), (int32_t)rel, __ATOMIC_RELEASE);
}

static void patch_linked(struct tb_store *s, const struct tb_exit *e, const struct tb *to)
{
    patch(s, e->jump, to->entry - (e->call ? TB_CALL_ENTRY : 0));
    if (e->branch) {
        const uint8_t *target = e->branch_full;

        if (!to->needs_flags && e->branch_noflags) {
            target = e->branch_noflags;
        } else if (!to->needs_flags && !e->cross_page) {
            target = to->entry;
        } else if (to->flags_entry && e->flags_live) {
            target = to->entry - TB_FLAGS_ENTRY;
        }
        patch(s, e->branch, target);
    }
}

static void patch_unlinked(struct tb_store *s, struct tb_exit *e)
{
    if (e->branch) {
        patch(s, e->branch, e->branch_full);
    }
    patch(s, e->jump, e->jump_unlinked);
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
    struct tb_exit *e = tb_rw(s, &from->exit[exit]);
    struct tb **at = &tb_w(s, e->to)->in_first;
    uint8_t *at_exit = &tb_w(s, e->to)->in_first_exit;

    while (*at) {
        struct tb_exit *in = tb_rw(s, &(*at)->exit[*at_exit]);

        if (*at == from && *at_exit == exit) {
            *at_exit = in->next_in_exit;
            *at = in->next_in;
            break;
        }
        at = &in->next_in;
        at_exit = &in->next_in_exit;
    }
    e->to = NULL;
    e->next_in = NULL;
}

static void link_locked(struct guest_cpu *c, struct tb *from, unsigned exit, struct tb *to, uint32_t cp_id)
{
    struct tb_store *s = c->vm->store;
    struct tb_exit *w = tb_rw(s, &from->exit[exit]);

    if (w->cross_page && w->cp_imm) {
        __atomic_store_n((any32 *)tb_rw(s, w->cp_imm), cp_id, __ATOMIC_RELEASE);
    }
    w->to = to;
    w->next_in = to->in_first;
    w->next_in_exit = to->in_first_exit;
    tb_w(s, to)->in_first = from;
    tb_w(s, to)->in_first_exit = (uint8_t)exit;
    patch_linked(s, w, to);
    c->stat[ST_CHAIN_MADE]++;
}

void tb_link(struct guest_cpu *c, struct tb *from, unsigned exit, struct tb *to, uint32_t cp_id)
{
    struct tb_store *s = c->vm->store;
    const struct tb_exit *e = &from->exit[exit];

    XBT_ASSERT(exit < from->n_exits);
    if (s->vm->opt.no_chain || __atomic_load_n(&from->invalid, __ATOMIC_RELAXED)) {
        return;
    }
    xbt_lock(&s->lock);
    if (alive(from) && alive(to) && e->lip != TB_NO_TARGET && e->jump) {
        bool same_id = !e->cross_page || !e->cp_imm || *(any32 *)tb_rw(s, e->cp_imm) == cp_id;

        if (e->to && (e->to != to || !same_id)) {
            patch_unlinked(s, tb_rw(s, &from->exit[exit]));
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
        if (tb->exit[i].to) {
            patch_unlinked(s, tb_rw(s, &tb->exit[i]));
            forget_incoming(s, tb, i);
        }
    }
}

/* Incoming links: nobody gets here any more. */
void unlink_in_locked(struct tb_store *s, struct tb *tb)
{
    xbt_assert_locked(&s->lock);
    while (tb->in_first) {
        struct tb_exit *e = tb_rw(s, &tb->in_first->exit[tb->in_first_exit]);

        patch_unlinked(s, e);
        tb_w(s, tb)->in_first_exit = e->next_in_exit;
        tb_w(s, tb)->in_first = e->next_in;
        e->to = NULL;
        e->next_in = NULL;
    }
}

struct tb_exit *tb_find_exit(struct tb_store *s, const void *left)
{
    const struct tb *tb = tb_find_host_pc(s, left);
    struct tb_exit *x = tb->exit;

    while (x->left != left) {
        x++;
        XBT_ASSERT(x < tb->exit + tb->n_exits);
    }
    return x;
}

void tb_unlink_exits(struct guest_cpu *c, struct tb *tb)
{
    struct tb_store *s = c->vm->store;

    xbt_lock(&s->lock);
    unlink_out_locked(s, tb);
    xbt_unlock(&s->lock);
}
