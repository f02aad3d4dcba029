/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sysamd64.c - SYSCALL and SYSENTER on an AMD processor in IA-32e mode. */
/* with: ring64.S */
/* cpu: max,vendor=AuthenticAMD,la57=off */
#include "syscall64.h"
