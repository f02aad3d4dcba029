/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-compat.h - what differs between QEMU versions, and nowhere else.
 *
 * Purpose:  the files of accel-xbt/ use the names of this header; a QEMU
 *           release that renames, moves or drops something changes only this file.
 * Owner:    accel-xbt/.  Includes QEMU's headers, so it comes right after
 *           "qemu/osdep.h" and before xbt-engine.h.
 *
 * Names defined here: xbt_bql_lock/unlock/locked (the big QEMU lock),
 * xbt_bql_auto_lock/unlock (only when this thread does not hold it),
 * xbt_wait_io_event, XBT_QMP_REGISTER.
 */
#ifndef XBT_COMPAT_H
#define XBT_COMPAT_H

#include "qemu/osdep.h"
#include "cpu.h"
#include "hw/core/cpu.h"

#if QEMU_VERSION_MAJOR > 7 || (QEMU_VERSION_MAJOR == 7 && QEMU_VERSION_MINOR != 2) || QEMU_VERSION_MAJOR < 7
#error "this QEMU version is not known to xbt-compat.h; 7.2 is"
#endif

#include "qapi/error.h"
#include "qemu/accel.h"
#include "qemu/error-report.h"
#include "qemu/guest-random.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/config-file.h"
#include "qemu/option.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "exec/gdbstub.h"
#include "exec/memory.h"
#include "exec/ramlist.h"
#include "hw/boards.h"
#include "hw/core/accel-cpu.h"
#include "hw/i386/apic.h"
#include "hw/i386/apic_internal.h"
#include "hw/i386/x86.h"
#include "hw/irq.h"
#include "migration/vmstate.h"
#include "sysemu/accel-ops.h"
#include "sysemu/cpus.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/hw_accel.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"
#include "target/i386/cpu-internal.h"

static inline void xbt_bql_lock(void)
{
    qemu_mutex_lock_iothread();
}

static inline void xbt_bql_unlock(void)
{
    qemu_mutex_unlock_iothread();
}

static inline bool xbt_bql_locked(void)
{
    return qemu_mutex_iothread_locked();
}

/* For callbacks that may come with or without the lock held: remember what was done. */
static inline bool xbt_bql_auto_lock(void)
{
    bool held = xbt_bql_locked();

    if (!held) {
        xbt_bql_lock();
    }
    return !held;
}

static inline void xbt_bql_auto_unlock(bool taken)
{
    if (taken) {
        xbt_bql_unlock();
    }
}

static inline void xbt_wait_io_event(CPUState *cs)
{
    qemu_wait_io_event(cs);
}

/* The core does not create these for us in 7.2 (it does from 9.x on). */
static inline void xbt_alloc_thread_objects(CPUState *cs)
{
    cs->thread = g_new0(QemuThread, 1);
    cs->halt_cond = g_new0(QemuCond, 1);
    qemu_cond_init(cs->halt_cond);
}

static inline void xbt_allow_io(CPUState *cs)
{
    cs->can_do_io = 1;
}

#define XBT_QMP_REGISTER(name, fn) qmp_register_command(&qmp_commands, name, fn, 0, 0)

#endif
