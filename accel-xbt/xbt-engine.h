/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xbt-engine.h - the engine's headers inside a file that also sees QEMU's.
 *
 * Both sides know a CPU, and a few names meet: registers R_R8..R_R15 (other
 * numbers!), HF_CPL_MASK and its kin, cpu_reset(), cpu_interrupt().  This header
 * renames the engine's while its headers are read; QEMU's keep their meaning.
 * Include it after all QEMU headers.
 *
 * The linker sees only the engine's cpu_reset() and cpu_interrupt() here (they
 * are hidden symbols of the module), so code in this folder must call neither:
 * the names are poisoned below.
 */
#ifndef XBT_ENGINE_H
#define XBT_ENGINE_H

#pragma push_macro("HF_CPL_MASK")
#pragma push_macro("HF_IOPL_SHIFT")
#pragma push_macro("HF_IOPL_MASK")
#undef HF_CPL_MASK
#undef HF_IOPL_SHIFT
#undef HF_IOPL_MASK
#undef REG_RIP
#define R_R8  ENGINE_R8
#define R_R9  ENGINE_R9
#define R_R10 ENGINE_R10
#define R_R11 ENGINE_R11
#define R_R12 ENGINE_R12
#define R_R13 ENGINE_R13
#define R_R14 ENGINE_R14
#define R_R15 ENGINE_R15
#define cpu_reset engine_cpu_reset
#define cpu_interrupt engine_cpu_interrupt

#include "translator/guest_cpu.h"
#include "translator/debugger.h"
#include "translator/fpu_ptr.h"
#include "translator/host.h"
#include "tlb/tlb.h"
#include "tb-store/tb.h"
#include "tb-store/stats.h"
#include "translator/help.h"
#include "translator/smp.h"

#undef R_R8
#undef R_R9
#undef R_R10
#undef R_R11
#undef R_R12
#undef R_R13
#undef R_R14
#undef R_R15
#undef cpu_reset
#undef cpu_interrupt
#pragma pop_macro("HF_CPL_MASK")
#pragma pop_macro("HF_IOPL_SHIFT")
#pragma pop_macro("HF_IOPL_MASK")
#pragma GCC poison cpu_reset cpu_interrupt

#endif
