/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stats.h - the index of guest_cpu.stat[], generated from stats.inc.
 *
 * c->stat[ST_x] is written by the owning vCPU thread only and read by anyone (a query may see it one
 * event old).
 */
#ifndef XBT_STATS_H
#define XBT_STATS_H

#include "translator/guest_cpu.h"

enum xbt_stat {
#define STAT(id, name, text) ST_##id,
#include "tb-store/stats.inc"
#undef STAT
    ST_COUNT
};

_Static_assert(ST_COUNT <= sizeof(((struct guest_cpu *)0)->stat) / sizeof(uint64_t),
               "guest_cpu.stat[] is too small");

#endif
