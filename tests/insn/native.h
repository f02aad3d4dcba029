/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * native.h - runs a snippet on the bare host: the oracle.
 *
 * The window is mapped at the very addresses the guest has.  A trap into our own signal handler loads the whole
 * register state through the signal frame; whatever ends the snippet comes back the same way, and the interrupted
 * state of the harness is restored from its own frame.
 */
#ifndef INSN_NATIVE_H
#define INSN_NATIVE_H

#include "tests/insn/state.h"

/* After xbt_signals_install(): signals that are not the snippet's are passed on. */
void native_init(void);
extern uint8_t *const native_win;
void native_run(enum snip_mode mode, const struct snip_state *in, struct snip_state *out);
/* Contents of the read-only page. */
void native_set_ro_page(const uint8_t *bytes);
/* In a forked child: a window of its own with these contents. */
void native_own_window(const uint8_t *win);
bool native_has_mode(enum snip_mode mode);

#endif
