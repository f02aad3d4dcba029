/* SPDX-License-Identifier: GPL-2.0-or-later */
/* state.c - the XSAVE image of a snippet's state; see state.h. */
#include <string.h>

#include "tests/insn/state.h"

bool snip_ldt;
const char *const snip_mode_names[SM_COUNT] = { "64", "compat", "32", "16", "real", "v86" };

void ximg_init(uint8_t *img)
{
    memset(img, 0, XIMG_SIZE);
    img[0] = 0x7f;
    img[1] = 0x03;
    img[24] = 0x80;
    img[25] = 0x1f;
    img[512] = 7;
}

void ximg_normalize(uint8_t *img)
{
    uint8_t bv = img[512];

    if (!(bv & 1)) {
        memset(img, 0, 6);
        memset(img + 32, 0, 128);
        img[0] = 0x7f;
        img[1] = 0x03;
    }
    if (!(bv & 2))
        memset(img + 160, 0, 256);
    if (!(bv & 4))
        memset(img + 576, 0, 256);
    if (!(img[2] & 0x80))
        memset(img + 6, 0, 18);             /* FOP, FIP, FDP */
    memset(img + 28, 0, 4);                 /* MXCSR_MASK */
    for (unsigned i = 0; i < 8; i++)
        memset(img + 32 + 16 * i + 10, 0, 6);
    memset(img + 416, 0, 160);
    img[512] = 7;
}
