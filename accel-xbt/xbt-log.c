/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-log.c - where the engine's debug text goes.
 *
 * The sink is QEMU's log (-D, -d); without one, stderr.  QEMU's -d categories
 * switch on the same dumps as the property dump=: in_asm guest, op ir, out_asm
 * host, exec exec, cpu exit (the state at each return to the loop); int logs every
 * exception and interrupt that is delivered.  nochain is chain=off,jump-cache=off.
 * cpu_reset, guest_errors, unimp and tid are QEMU's own business; page, strace and
 * plugin say nothing about a machine without TCG.
 *
 * The monitor can change all that at any time: a vCPU looks at its next event.
 */
#include "qemu/osdep.h"
#include "accel-xbt/xbt-accel.h"

unsigned xbt_dump_property;

void xbt_log_text(const char *text)
{
    FILE *f = qemu_log_trylock();

    if (f) {
        fputs(text, f);
        qemu_log_unlock(f);
    } else {
        fputs(text, stderr);
    }
}

/* QEMU's -dfilter; it lets everything pass when it was not given. */
bool xbt_log_wanted(uint64_t lip)
{
    return qemu_log_in_addr_range(lip);
}

unsigned xbt_log_dump_flags(void)
{
    static const struct { int category; unsigned dump; } map[] = {
        { CPU_LOG_TB_IN_ASM, DUMP_GUEST }, { CPU_LOG_TB_OP, DUMP_IR }, { CPU_LOG_TB_OUT_ASM, DUMP_HOST },
        { CPU_LOG_TB_OP_OPT, DUMP_IR }, { CPU_LOG_TB_OP_IND, DUMP_IR },
        { CPU_LOG_EXEC, DUMP_EXEC }, { CPU_LOG_TB_CPU, DUMP_EXIT }, { CPU_LOG_TB_FPU, DUMP_FPU },
        { CPU_LOG_PCALL, DUMP_FAR }, { CPU_LOG_MMU, DUMP_MMU },
    };
    unsigned dump = xbt_dump_property;

    for (size_t i = 0; unlikely(qemu_loglevel) && i < ARRAY_SIZE(map); i++) {
        if (qemu_loglevel_mask(map[i].category)) {
            dump |= map[i].dump;
        }
    }
    return dump;
}

static int level_seen;
static bool nochain, chain_property, jc_property;

/* Blocks that are chained already go. */
static void set_nochain(struct xbt_cpu *x, bool on)
{
    struct xbt_options *o = &xbt_vm.opt;

    if (!nochain) {
        chain_property = o->no_chain;
        jc_property = o->no_jc;
    }
    nochain = on;
    o->no_chain = on || chain_property;
    o->no_jc = on || jc_property;
    cpu_kick(x->c, XREQ_CACHE_FLUSH);
}

bool xbt_log_changed(void)
{
    return qatomic_read(&qemu_loglevel) != qatomic_read(&level_seen);
}

void xbt_log_enter(struct xbt_cpu *x)
{
    qatomic_set(&level_seen, qemu_loglevel);
    xbt_vm.opt.dump = xbt_log_dump_flags();
    if (unlikely(nochain != qemu_loglevel_mask(CPU_LOG_TB_NOCHAIN))) {
        set_nochain(x, !nochain);
    }
}

static const char *const exception_name[32] = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",   "#TS",
    "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
};

void xbt_log_interrupt(struct guest_cpu *c, int vector, uint32_t error, bool has_error, bool soft)
{
    static unsigned count;
    const char *name = vector >= 0 && vector < 32 ? exception_name[vector] : NULL;
    char err[24] = "";

    if (!qemu_loglevel_mask(CPU_LOG_INT)) {
        return;
    }
    if (has_error) {
        snprintf(err, sizeof(err), " e=%04x", error);
    }
    qemu_log("%6u: v=%02x%s %s%s%s i=%d cpl=%d IP=%04x:%016" PRIx64 " SP=%04x:%016" PRIx64 " CR2=%016" PRIx64
             " EFL=%08x\n", count++, vector, err, soft ? "INT" : name ? "exception " : "interrupt",
             !soft && name ? name : "", vector == EXC_PF ? " (page fault)" : "", soft, c->cpl,
             c->seg[S_CS].sel, c->rip, c->seg[S_SS].sel, GPR(c, R_RSP), c->cr[2], cpu_get_eflags(c));
}
