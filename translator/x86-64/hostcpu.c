/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hostcpu.c - what this host's CPU can do, by CPUID, once. */
#include <cpuid.h>

#include "translator/x86-64/lower.h"

static struct host_features features;

static uint32_t read_xcr0(void)
{
    uint32_t lo, hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

__attribute__((constructor)) static void detect(void)
{
    uint32_t a, b, c, d, family;
    char vendor0;

    __cpuid(0, a, b, c, d);
    vendor0 = (char)(b & 0xff);                 /* 'A'uthenticAMD, 'G'enuineIntel */
    __cpuid(1, a, b, c, d);
    family = (a >> 8 & 15) + ((a >> 8 & 15) == 15 ? a >> 20 & 255 : 0);
    features.xsave = (c >> 26 & 1) && (c >> 27 & 1);
    features.xcr0 = features.xsave ? read_xcr0() : 3;
    features.avx = (c >> 28 & 1) && (features.xcr0 & 6) == 6;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        features.bmi1 = b >> 3 & 1;
        features.bmi2 = b >> 8 & 1;
    }
    /* PEXT is microcoded on AMD before Zen 3 (family 19h). */
    features.fast_pext = features.bmi2 && (vendor0 != 'A' || family >= 0x19);
}

const struct host_features *host_features(void)
{
    return &features;
}
