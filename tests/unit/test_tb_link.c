/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tb_link.c - the bytes of both patch sites when linked and unlinked, and the incoming lists.
 */
#include "test_tb_env.h"

static void check_unlinked(const struct tb *tb, unsigned i)
{
    const struct tb_exit *e = &tb_exits(tb)[i];

    CHECK(e->to == 0 && e->next_in == 0);
    CHECK(env_target(tb_at(tb, e->jump)) == tb_at(tb, e->jump_unlinked));
    CHECK(!e->branch || env_target(tb_at(tb, e->branch)) == tb_at(tb, e->branch_full));
}

static void check_linked(const struct tb *tb, unsigned i, const struct tb *to, const uint8_t *branch)
{
    const struct tb_exit *e = &tb_exits(tb)[i];

    CHECK(tb_numbered(env_vm.store, e->to) == to);
    CHECK(env_target(tb_at(tb, e->jump)) == tb_entry(to));
    CHECK(!e->branch || env_target(tb_at(tb, e->branch)) == branch);
}

static const uint8_t *noflags_of(const struct tb *tb, unsigned i)
{
    return tb_at(tb, tb_exits(tb)[i].branch_noflags);
}

static unsigned incoming(const struct tb *tb)
{
    unsigned n = 0, e;

    for (uint32_t link = tb->in_first; link; n++) {
        const struct tb_exit *x = &tb_exits(tb_link_from(env_vm.store, link, &e))[e];

        CHECK(tb_numbered(env_vm.store, x->to) == tb);
        link = x->next_in;
    }
    return n;
}

/* Site A by needs_flags, branch_noflags, cross_page, and the flags entry with flags_live. */
static void test_targets(bool wx)
{
    struct tb_store *s = env_start(1, wx);
    struct tb *to = env_add(env_cpu, 0x2000, 8);

    for (unsigned mode = 0; mode < 64; mode++) {
        struct tb *from = env_add(env_cpu, 0x4000 + 16 * mode, 8);
        struct tb_exit *e = tb_rw(s, &tb_exits(from)[1]);
        const uint8_t *want = tb_at(from, e->branch_noflags);
        bool noflags = mode & 2, cross = mode & 4;

        tb_w(s, to)->needs_flags = mode & 1;
        tb_w(s, to)->flags_entry = (mode & 1) && (mode & 16);
        e->flags |= (mode & 32 ? TBX_FLAGS : 0) | (cross ? TBX_CROSS : 0);
        if (!noflags) {
            e->branch_noflags = 0;
            want = cross ? tb_at(from, e->branch_full) : tb_entry(to);
        }
        if (mode & 1) {
            want = (mode & 48) == 48 ? tb_entry(to) - TB_FLAGS_ENTRY : tb_at(from, e->branch_full);
        }
        if (mode & 8) {
            e->branch = 0;
        }
        check_unlinked(from, 1);
        tb_link(env_cpu, from, 1, to, 0);
        check_linked(from, 1, to, want);
        check_unlinked(from, 0);
        CHECK_EQ(incoming(to), 1);
        tb_unlink_exits(env_cpu, from);
        check_unlinked(from, 1);
        CHECK_EQ(incoming(to), 0);
    }
    CHECK_EQ(env_cpu->stat[ST_CHAIN_MADE], 64);
    env_stop();
}

/* Site A alone: the entry, or the flags entry where the flags are wanted and live. */
static void test_bare(bool wx)
{
    struct tb_store *s = env_start(1, wx);
    struct tb *to = env_add(env_cpu, 0x2000, 8);

    tb_w(s, to)->flags_entry = 1;
    for (unsigned mode = 0; mode < 4; mode++) {
        struct tb *from = env_add(env_cpu, 0x4000 + 16 * mode, 8);
        struct tb_exit *e = tb_rw(s, &tb_exits(from)[1]);
        const uint8_t *site = tb_at(from, e->branch), *jump = tb_at(from, e->jump), *left = tb_at(from, e->branch_full);
        const uint8_t *was = env_target(jump);
        unsigned exit;

        tb_w(s, to)->needs_flags = mode & 1;
        e->flags |= mode & 2 ? TBX_FLAGS : 0;
        e->jump = 0;
        e->jump_unlinked = e->branch_full;
        CHECK(tb_find_exit(s, left + TB_LEAVE, &exit) == from && exit == 1);
        tb_link(env_cpu, from, 1, to, 0);
        CHECK(env_target(site) == tb_entry(to) - (mode == 3 ? TB_FLAGS_ENTRY : 0));
        CHECK(env_target(jump) == was);
        CHECK_EQ(incoming(to), 1);
        tb_unlink_exits(env_cpu, from);
        CHECK(env_target(site) == left && env_target(jump) == was);
        CHECK_EQ(incoming(to), 0);
    }
    env_stop();
}

/* Nothing is linked from or to a TB that is dead or unpublished, nor with chaining off. */
static void test_refusals(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb *a = env_add(env_cpu, 0x1000, 8), *b = env_add(env_cpu, 0x2000, 8);
    struct tb *dead = env_add(env_cpu, 0x3000, 8), *fresh = env_make(env_cpu, 0x4000, 8, CODE_BYTES);

    tb_invalidate(env_cpu, dead, TBD_DEBUG);
    tb_link(env_cpu, a, 0, dead, 0);
    tb_link(env_cpu, dead, 0, a, 0);
    tb_link(env_cpu, a, 0, fresh, 0);
    tb_link(env_cpu, fresh, 0, a, 0);
    s->vm->opt.no_chain = true;
    tb_link(env_cpu, a, 0, b, 0);
    s->vm->opt.no_chain = false;
    ((struct tb_exit *)tb_rw(s, &tb_exits(a)[0]))->flags = 0;
    tb_link(env_cpu, a, 0, b, 0);
    check_unlinked(a, 0);
    check_unlinked(dead, 0);
    check_unlinked(fresh, 0);
    CHECK_EQ(incoming(a) + incoming(b) + incoming(dead) + incoming(fresh), 0);
    CHECK_EQ(env_cpu->stat[ST_CHAIN_MADE], 0);
    /* A second link of one exit changes nothing. */
    tb_link(env_cpu, a, 1, b, 0);
    tb_link(env_cpu, a, 1, b, 0);
    check_linked(a, 1, b, noflags_of(a, 1));
    CHECK_EQ(incoming(b), 1);
    CHECK_EQ(incoming(a), 0);
    env_stop();
}

/* To another successor, or for another page: at once when nobody else runs, else when nobody is in the exit any more. */
static void test_relink(void)
{
    struct tb_store *s = env_start(1, false);
    struct tb *a = env_add(env_cpu, 0x1000, 8), *b = env_add(env_cpu, 0x2000, 8), *d = env_add(env_cpu, 0x3000, 8);
    struct tb_exit *e = tb_rw(s, &tb_exits(a)[1]);
    const uint32_t *id = (const uint32_t *)(tb_entry(a) + 8);

    e->flags |= TBX_CROSS;
    e->cp_imm = tb_place(a, tb_entry(a) + 8);
    tb_link(env_cpu, a, 1, b, 5);
    CHECK(e->to == tb_number(s, b) && *id == 5 && !e->stamp);
    tb_link(env_cpu, a, 1, d, 6);
    CHECK(e->to == tb_number(s, d) && *id == 6);
    tb_link(env_cpu, a, 1, d, 7);
    CHECK(e->to == tb_number(s, d) && *id == 7);
    CHECK_EQ(incoming(b), 0);
    CHECK_EQ(incoming(d), 1);

    s->vm->max_cpus = 2;
    smp_busy = true;
    tb_link(env_cpu, a, 1, d, 7);
    CHECK(e->to == tb_number(s, d) && !e->stamp);
    tb_link(env_cpu, a, 1, b, 8);
    check_unlinked(a, 1);
    CHECK(*id == 7 && e->stamp);
    tb_link(env_cpu, a, 1, b, 8);
    check_unlinked(a, 1);
    smp_busy = false;
    tb_link(env_cpu, a, 1, b, 8);
    CHECK(e->to == tb_number(s, b) && *id == 8);
    env_stop();
}

/* Death of a TB in the middle: incoming, outgoing and self links all go, others stay. */
static void test_death(bool wx)
{
    env_start(1, wx);
    struct tb *mid = env_add(env_cpu, 0x1000, 8), *end = env_add(env_cpu, 0x2000, 8);
    struct tb *from[20];

    for (unsigned i = 0; i < 20; i++) {
        from[i] = env_add(env_cpu, 0x3000 + 16 * i, 8);
        tb_link(env_cpu, from[i], i & 1, mid, 0);
        tb_link(env_cpu, from[i], !(i & 1), end, 0);
    }
    tb_link(env_cpu, mid, 0, mid, 0);
    tb_link(env_cpu, mid, 1, end, 0);
    CHECK_EQ(incoming(mid), 21);
    CHECK_EQ(incoming(end), 21);
    /* A source dies: out of the middle of two lists. */
    tb_invalidate(env_cpu, from[7], TBD_DEBUG);
    CHECK_EQ(incoming(mid), 20);
    CHECK_EQ(incoming(end), 20);
    check_unlinked(from[7], 0);
    check_unlinked(from[7], 1);
    tb_invalidate(env_cpu, mid, TBD_DEBUG);
    CHECK(env.last_jc_host == tb_entry(mid) && env.last_jc_lip == mid->key.lip);
    CHECK_EQ(incoming(mid), 0);
    CHECK_EQ(incoming(end), 19);
    check_unlinked(mid, 0);
    check_unlinked(mid, 1);
    for (unsigned i = 0; i < 20; i++) {
        check_unlinked(from[i], i & 1);
        if (i != 7) {
            check_linked(from[i], !(i & 1), end, noflags_of(from[i], !(i & 1)));
        }
    }
    env_stop();
}

/* Both exits of one TB to one successor: two entries of its list. */
static void test_both_exits(void)
{
    env_start(1, false);
    struct tb *a = env_add(env_cpu, 0x1000, 8), *b = env_add(env_cpu, 0x2000, 8);
    struct tb *x = env_add(env_cpu, 0x3000, 8);

    tb_link(env_cpu, a, 0, b, 0);
    tb_link(env_cpu, x, 0, b, 0);
    tb_link(env_cpu, a, 1, b, 0);
    CHECK_EQ(incoming(b), 3);
    tb_unlink_exits(env_cpu, a);
    CHECK_EQ(incoming(b), 1);
    check_linked(x, 0, b, noflags_of(x, 0));
    tb_link(env_cpu, a, 1, b, 0);
    tb_invalidate(env_cpu, b, TBD_DEBUG);
    check_unlinked(a, 0);
    check_unlinked(a, 1);
    check_unlinked(x, 0);
    env_stop();
}

int main(void)
{
    test_bare(false);
    test_bare(true);
    test_targets(false);
    test_targets(true);
    test_refusals();
    test_relink();
    test_death(false);
    test_death(true);
    test_both_exits();
    return 0;
}
