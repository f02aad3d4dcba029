/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_util.h - small things shared by the helper files.
 */
#ifndef XBT_HELP_UTIL_H
#define XBT_HELP_UTIL_H

#include "tb-store/tb.h"
#include "translator/desc.h"
#include "translator/help.h"

/* Leave to the loop with the instruction done. */
static inline int help_leave(struct guest_cpu *c, const struct dec_insn *in)
{
    c->rip = dec_next_ip(in);
    return HELP_LOOP;
}

/*
 * A helper that stores takes a mark first and returns help_stored(): when one of its stores went to a
 * page with translated code, the block it was called from may be gone, and the loop has to look it up
 * again.
 */
static inline uint64_t help_mark(const struct guest_cpu *c)
{
    return c->stat[ST_SLOW_WRITE_CODE];
}
static inline bool help_code_written(const struct guest_cpu *c, uint64_t mark)
{
    return c->stat[ST_SLOW_WRITE_CODE] != mark;
}
static inline int help_stored(struct guest_cpu *c, const struct dec_insn *in, uint64_t mark)
{
    return __builtin_expect(help_code_written(c, mark), 0) ? help_leave(c, in) : HELP_NEXT;
}

/* Look at device writes to code pages; then go on, or leave when the running block may be a victim. */
static inline int help_after_io(struct guest_cpu *c, const struct dec_insn *in)
{
    uint64_t pages = c->stat[ST_DMA_PAGES];

    tb_check_dma(c);
    if (c->exit_request || c->stat[ST_DMA_PAGES] != pages)
        return help_leave(c, in);
    return HELP_NEXT;
}

static inline uint64_t size_mask(unsigned size)
{
    return size >= 8 ? ~0ull : (1ull << (size * 8)) - 1;
}

/* Implicit register of the address size: RSI, RDI, RCX of string instructions. */
static inline uint64_t addr_reg(struct guest_cpu *c, unsigned reg, unsigned adsize)
{
    return GPR(c, reg) & size_mask(adsize);
}
static inline void addr_reg_set(struct guest_cpu *c, unsigned reg, unsigned adsize, uint64_t val)
{
    uint64_t *p = &GPR(c, reg);

    if (adsize == 8)
        *p = val;
    else if (adsize == 4)
        *p = (uint32_t)val;
    else
        *p = (*p & ~0xffffull) | (val & 0xffff);
}

/* Segment of an implicit DS operand (string source, XLAT, MASKMOV). */
static inline unsigned implicit_seg(const struct dec_insn *in)
{
    return in->seg_override ? in->seg : S_DS;
}

#endif
