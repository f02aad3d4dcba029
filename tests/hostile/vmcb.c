/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmcb.c - a VMCB (APM vol. 2, appendix B) of the guest that guest.c has made, a little damaged; see world.h. */
#include <string.h>

#include "tests/hostile/world.h"
#include "translator/svm.h"

static uint8_t *page;

static void put(unsigned at, uint64_t v, unsigned n)
{
    memcpy(page + at, &v, n);
}

static void put_segment(unsigned at, const struct guest_seg *s)
{
    put(at, s->sel, 2);
    put(at + 2, (s->attr >> 8 & 0xff) | (s->attr >> 12 & 0xf00), 2);
    put(at + 4, s->limit, 4);
    put(at + 8, s->base, 8);
}

static void put_control(uint64_t tables)
{
    for (unsigned i = 0; i < 5; i++)
        put(VMCB_INTERCEPT + 4 * i, w_rand() & w_rand() & w_rand(), 4);
    put(VMCB_INTERCEPT + 16, 1 | (w_rand() & 0x7f), 4);     /* VMRUN must be intercepted */
    put(VMCB_IOPM, w_chance(80) ? 0x70000 : w_rand(), 8);
    put(VMCB_MSRPM, w_chance(80) ? 0x74000 : w_rand(), 8);
    put(VMCB_ASID, 1 + w_pick(3), 4);
    put(VMCB_TLB_CONTROL, w_pick(8), 1);
    put(VMCB_INT_CTL, w_chance(50) ? 0 : w_rand(), 4);
    put(VMCB_INT_VECTOR, w_pick(256), 4);
    put(VMCB_NP_ENABLE, w_pick(2), 8);
    put(VMCB_EVENTINJ, w_chance(70) ? 0 : w_rand() | EVENT_VALID, 8);
    put(VMCB_NCR3, w_chance(90) ? tables : w_rand(), 8);
}

void vmcb_make(uint32_t at, uint64_t tables, uint64_t rip)
{
    static const uint16_t segs[6] = { VMCB_ES, VMCB_CS, VMCB_SS, VMCB_DS, VMCB_FS, VMCB_GS };
    const struct guest_cpu *c = world.c;

    page = world.ram + at;
    memset(page, 0, 4096);
    put_control(tables);
    for (unsigned i = 0; i < 6; i++)
        put_segment(segs[i], &c->seg[i]);
    put_segment(VMCB_LDTR, &c->seg[S_LDT]);
    put_segment(VMCB_TR, &c->seg[S_TR]);
    put(VMCB_GDTR + 4, c->gdt.limit, 4);
    put(VMCB_GDTR + 8, c->gdt.base, 8);
    put(VMCB_IDTR + 4, c->idt.limit, 4);
    put(VMCB_IDTR + 8, c->idt.base, 8);
    put(VMCB_CPL, c->cpl, 1);
    put(VMCB_EFER, c->efer | EFER_SVME, 8);
    put(VMCB_CR0, c->cr[0], 8);
    put(VMCB_CR3, c->cr[3], 8);
    put(VMCB_CR4, c->cr[4], 8);
    put(VMCB_DR6, 0xffff0ff0, 8);
    put(VMCB_DR7, 0x400, 8);
    put(VMCB_RFLAGS, cpu_get_eflags(c), 8);
    put(VMCB_RIP, rip, 8);
    put(VMCB_RSP, c->gpr_mem[R_RSP], 8);
    put(VMCB_G_PAT, 0x0007040600070406ull, 8);
    for (unsigned k = w_chance(50) ? 0 : w_pick(8); k; k--)
        page[w_chance(50) ? w_pick(0x100) : 0x400 + w_pick(0x280)] = (uint8_t)w_rand();
}
