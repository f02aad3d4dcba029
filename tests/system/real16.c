/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * real16.c - real-address mode; the code is real16.S.
 */
/* with: real16.S */
#define SYS_MAIN
#include "sys.h"

void real_mode(void);

__attribute__((used)) void test_main(void)
{
    /* 16-bit code at 7b00, in a code segment with base 0 and limit ffff: data segments alike, CR0.PE off, to 0:7c00. */
    static const u8 code[] = { 0xb8, 0x50, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8,
                               0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xea, 0x00, 0x7c, 0x00, 0x00 };

    for (u32 i = 0; i < sizeof(code); i++) {
        ((u8 *)0x7b00)[i] = code[i];
    }
    real_mode();
    put("back\n");
}
