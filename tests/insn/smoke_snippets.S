/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smoke_snippets.S - hand-written snippets for test_smoke.c.  Never executed where they are linked: the bytes are data.
 * At the start: rbx, rsi, rdi point into data (64-byte aligned or not: masked by the snippet when it matters), rbp and
 * rsp into the stack; all else is random.
 */
    .macro CASE name, mode, ignore=0
    .section .rodata.names, "aS", @progbits
7:  .asciz "\name"
    .section .snippets, "a", @progbits
    .long 7b - .
    .long \mode
    .long \ignore
    .long 8f - .
    .long 9f - .
    .section .rodata.code, "a", @progbits
    .if \mode == 0
    .code64
    .else
    .code32
    .endif
8:
    .endm
    .macro END
9:
    .endm

    .set FL_AF, 0x10
    .set UND_MUL, 0xd4      /* SF ZF AF PF */
    .set UND_DIV, 0x8d5
    .section .snippets, "a", @progbits
    .globl snippets_start, snippets_end
    .hidden snippets_start, snippets_end
snippets_start:

#include "smoke64.inc.S"
#include "smoke32.inc.S"

    .section .snippets, "a", @progbits
snippets_end:
    .section .note.GNU-stack, "", @progbits
