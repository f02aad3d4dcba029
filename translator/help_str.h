/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * help_str.h - how string instructions address memory (help_string.c, help_io.c).
 *
 * An operand is segment:offset with the offset in an implicit register, truncated to the address size,
 * moving up or down by the element size.  A "run" is the number of elements that can be handled through
 * one host pointer: it ends at the page, at the wrap of the offset and at the segment's limit.
 */
#ifndef XBT_HELP_STR_H
#define XBT_HELP_STR_H

#include "translator/help_util.h"

/* Work done without a look at exit_request, in bytes (elements for ports). */
#define STR_BUDGET    65536u
#define STR_IO_BUDGET 1024u

struct str_op {
    uint8_t reg, seg, write, checked; /* checked: the segment is not known to be flat */
};

static inline struct str_op str_operand(const struct guest_cpu *c, unsigned reg, unsigned seg, bool write)
{
    /* HF_SEGS speaks of DS, ES and SS only; FS and GS always have a base, and CS may have one. */
    bool flat = !(c->hflags & HF_SEGS) && (seg == S_DS || seg == S_ES || seg == S_SS);

    return (struct str_op){ (uint8_t)reg, (uint8_t)seg, write, !flat };
}

/* Linear address of the current element, with the segment's checks. */
static inline uint64_t str_lin(struct guest_cpu *c, struct str_op o, uint64_t off, unsigned size)
{
    if (o.checked || (!cpu_code64(c) && off > 0x100000000ull - size))
        return seg_lin(c, o.seg, off, size, o.write);
    return off;
}

/* Would str_lin() return? */
static inline bool str_fits(const struct guest_cpu *c, struct str_op o, uint64_t off, unsigned size)
{
    const struct guest_seg *s = &c->seg[o.seg];

    return !o.checked || cpu_code64(c) ||
           (off >= (o.write ? s->w_lo : s->r_lo) && off + size - 1 <= (o.write ? s->w_hi : s->r_hi));
}

/* Elements from `off` (at lin) up or down that lie in one page and pass the checks str_lin() made. */
static inline uint64_t str_run(const struct guest_cpu *c, struct str_op o, uint64_t off, uint64_t lin,
                               unsigned size, unsigned adsize, bool down)
{
    uint64_t in_page = lin & 0xfff, last, k;
    bool limits = o.checked && !cpu_code64(c);

    if (in_page + size > 4096)
        return 0;
    if (down) {
        uint64_t lo = limits ? (o.write ? c->seg[o.seg].w_lo : c->seg[o.seg].r_lo) : 0;

        k = in_page < off - lo ? in_page : off - lo;
        return k / size + 1;
    }
    last = size_mask(adsize) - off; /* bytes after the one at off, less one each */
    if (limits) {
        uint64_t hi = o.write ? c->seg[o.seg].w_hi : c->seg[o.seg].r_hi;

        if (hi - off < last)
            last = hi - off;
    }
    k = 4095 - in_page;
    return ((k < last ? k : last) + 1) / size;
}

/* Is the instruction repeated by a count? */
static inline bool str_repeated(const struct dec_insn *in)
{
    return in->rep != 0;
}

#endif
