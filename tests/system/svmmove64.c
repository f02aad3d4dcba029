/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svmmove64.c - the guest of svm_move.py: a nested guest under nested paging waits for a byte from the serial port, while
 * the machine moves to another QEMU.  Its memory is not where the host's is.
 */
#define SYS_MAIN
#include "svm.h"

void trap(struct frame *f)
{
    line("trap", f->vector);
    sys_exit(1);
}

__attribute__((used)) void test_main(void)
{
    svm_on();
    clear(NPT, 0x5000);
    *(volatile u64 *)NPT = NPT + 0x1007;
    *(volatile u64 *)(NPT + 0x1000) = NPT + 0x2007;
    *(volatile u64 *)(NPT + 0x2000) = NPT + 0x3007;
    *(volatile u64 *)(NPT + 0x2008) = NPT + 0x4007;
    for (u32 i = 0; i < 1024; i++) {
        *(volatile u64 *)(NPT + 0x3000 + 8 * i) = (u64)i << 12 | 7;
    }
    *(volatile u64 *)(NPT + 0x3000 + 8 * (SCRATCH >> 12)) = (SCRATCH + 0x1000) | 7;
    *(volatile u64 *)SCRATCH = 1;
    *(volatile u64 *)(SCRATCH + 0x1000) = 2;
    GUEST("mov $'>', %%al; mov $0x3f8, %%edx; outb %%al, %%dx;"
          "1: mov $0x3fd, %%edx; inb %%dx, %%al; test $1, %%al; jz 1b; mov 0x340000, %%rcx");
    V64(C_NP) = 1;
    V64(C_NCR3) = NPT;
    V8(C_TLB) = 1;
    V64(C_TSC) = 1ull << 62;
    V32(C_INTCTL) = 0x010f0105;     /* V_INTR_MASKING, a virtual interrupt that IF does not let through, TPR 5 */
    vmrun();
    put("\n");
    line("exit", V64(C_CODE));
    line("int_ctl", V32(C_INTCTL));
    line("rcx", guest_rcx);
    line("cr0", READ_CR(0));
    line("gif and hsave", rdmsr(0xc0010117));
}
