/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * one_cpu.h - translator/smp.c for programs that link a part of the engine only: there is nobody to wait for.
 */
#ifndef TEST_ONE_CPU_H
#define TEST_ONE_CPU_H

#include "translator/smp.h"

unsigned smp_rest_slow(struct guest_cpu *c, unsigned phase)
{
    (void)c;
    return phase;
}
void smp_wake_slow(struct guest_cpu *c, unsigned old)
{
    (void)c;
    (void)old;
}
bool smp_seize(struct guest_cpu *c, unsigned phase)
{
    (void)c;
    (void)phase;
    return true;
}
void smp_release(struct guest_cpu *c) { (void)c; }
uint32_t smp_stamp(struct xbt_vm *vm) { return ++vm->smp_clock; }
static bool smp_busy; /* other vCPUs have not been at the top of their loops */
bool smp_over(const struct xbt_vm *vm, uint32_t stamp)
{
    (void)vm;
    (void)stamp;
    return !smp_busy;
}

#endif
