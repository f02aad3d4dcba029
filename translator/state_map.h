/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state_map.h - host PC -> guest state at a precise-state site.
 *
 * Each TB carries a byte string of records sorted by host offset:
 *   varint host offset delta, varint guest offset (from the TB's first byte), kind byte,
 *   SK_RECIPE: op | size << 4, dst, src, [varint zigzag imm when src is IR_NOREG],
 *   SK_F_X87 in the kind byte: varint guest offset, FOP (2 bytes), segment (1 byte) of the last x87 instruction.
 * GPRs need no record: generated code keeps each in its home, and every way out spills all of them.
 */
#ifndef XBT_STATE_MAP_H
#define XBT_STATE_MAP_H

#include "translator/ir.h"

/* The last x87 instruction that sets the pointers, while cpu->fptr does not know of it yet. */
struct x87_last {
    uint16_t at;             /* its guest offset + 1; 0 = cpu->fptr is up to date */
    uint16_t fop;
    uint8_t seg;             /* segment + 1 of the last memory operand since cpu->fptr was right; 0 = none */
};
#define SK_F_X87 0x80
#define SK_F_DIRECT 0x40     /* the last operand went through the host's MMU (ir_op.hostmap) */
#define SK_F_R10    0x20     /* ... and its addend is in r10, not in r11 */

struct state_rec {
    uint32_t host_off;
    uint16_t guest_off;
    uint8_t kind;
    bool direct, r10;        /* as SK_F_DIRECT, SK_F_R10 */
    struct x87_last x87;
    struct recipe rc;
};

/* Sort and encode; returns bytes written to out (rw address) or 0 when it does not fit in max. */
size_t state_map_encode(struct state_rec *recs, unsigned n, uint8_t *out, size_t max);
/* The record for host_off; false when there is none. */
bool state_map_find(const uint8_t *map, size_t size, uint32_t host_off, struct state_rec *out);
/* Flags by recipe from register values in c. */
uint16_t recipe_flags(struct guest_cpu *c, const struct recipe *rc);

#endif
