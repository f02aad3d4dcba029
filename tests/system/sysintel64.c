/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sysintel64.c - SYSCALL and SYSENTER on an Intel processor in IA-32e mode. */
/* with: ring64.S */
/* cpu: max,vendor=GenuineIntel,la57=off */
#include "syscall64.h"
