/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hash.h - the hash of a TB key.
 *
 * Each step is an odd 64-bit multiply and a fold of the high half into the low one: the high bits of a
 * product depend on all bits of its factors.  The result is masked (hash_builtin.c),
 * so the last step folds once more.
 */
#ifndef XBT_TB_HASH_H
#define XBT_TB_HASH_H

#include "tb-store/tb.h"

static inline uint64_t hash_step(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15ull;
    return h ^ (h >> 32);
}

static inline uint32_t tb_key_hash(const struct tb_key *k)
{
    uint64_t h = hash_step(0x5851f42d4c957f2dull, k->phys_pc);

    h = hash_step(h, k->lip);
    h = hash_step(h, k->cs_base);
    h = hash_step(h, (uint64_t)k->cs_limit << 32 | k->hflags);
    return (uint32_t)(h ^ (h >> 29));
}

#endif
