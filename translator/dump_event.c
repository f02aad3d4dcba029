/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dump_event.c - one line of text about something that a helper does (DUMP_FAR, DUMP_MMU).
 *
 * Debugging only: parks the FP state and uses libc.
 */
#include <stdarg.h>
#include <stdio.h>

#include "translator/help.h"

void dump_event(struct guest_cpu *c, const char *format, ...)
{
    char buf[128];
    va_list args;

    fpu_park(c);
    va_start(args, format);
    vsnprintf(buf, sizeof(buf), format, args);
    va_end(args);
    if (c->host->log) {
        c->host->log(buf);
    }
}
