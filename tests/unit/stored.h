/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stored.h - what the TB store does about a store, for programs that stand in for it: in terms of their own
 * tb_range_has_code() and tb_invalidate_range().
 */
#ifndef TEST_STORED_H
#define TEST_STORED_H

#include "tb-store/tb.h"

bool tb_stored(struct guest_cpu *cpu, uint64_t ram_addr, unsigned len, enum tb_death why)
{
    bool hit = false;

    if (tb_range_has_code(cpu->vm->store, ram_addr, len)) {
        tb_invalidate_range(cpu, ram_addr, len, why, &hit);
    }
    return hit;
}
void tb_note_writer_slow(struct guest_cpu *cpu, uint64_t ram_addr)
{
    (void)cpu;
    (void)ram_addr;
}

#endif
