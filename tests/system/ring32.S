/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring32.S - run code in any ring or in virtual-8086 mode, and record how it ended.
 *
 * ring_go() starts what `start` describes by an IRET; the next exception or interrupt, whatever its kind, stores the
 * state in `out` and returns from ring_go().  INT 81h is the ordinary end.  See ring32.h.
 */
    .text
    .code32
    .globl ring_go, ring_stubs, ring_done
ring_go:
    pushal
    pushfl
    movl %esp, ring_esp
    testl $0x20000, start+48
    jnz 1f
    testl $3, start+40
    jnz 2f
    movl start+24, %esp             /* ring 0: its own stack, three items */
    movl start+28, %eax
    movw %ax, %ss
    jmp 3f
1:  pushl start+64                  /* GS FS DS ES of virtual-8086 mode */
    pushl start+60
    pushl start+52
    pushl start+56
2:  pushl start+28                  /* SS ESP */
    pushl start+24
3:  pushl start+48                  /* EFLAGS CS EIP */
    pushl start+40
    pushl start+44
    movl start+60, %eax
    movl start+64, %ecx
    testl $0x20000, start+48
    jnz 4f
    movw %ax, %fs
    movw %cx, %gs
    movl start+56, %eax
    movw %ax, %es
4:  movl start, %eax
    movl start+4, %ebx
    movl start+8, %ecx
    movl start+12, %edx
    movl start+16, %esi
    movl start+20, %edi
    movl start+32, %ebp
    testl $0x20000, start+48
    jnz 5f
    cmpl $0x10, start+52
    je 5f
    pushl start+52
    popl %ds
5:  iretl

    .balign 16
ring_stubs:
    .set v, 0
    .rept 256
    .balign 16
    .if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21)
    pushl $0
    .endif
    pushl $v
    jmp caught
    .set v, v + 1
    .endr

caught:
    pushal
    pushl %ds
    pushl %es
    pushl %fs
    pushl %gs
    movl $0x10, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ss, ring_ss
    cld
    movl %esp, %esi                 /* copied as if SS were flat: handlers' stacks are */
    movl %esp, out_esp
    movl $out, %edi
    movl $23, %ecx
    rep movsl
ring_done:
    movl $0x10, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl ring_esp, %esp
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    popfl
    popal
    ret

    .bss
    .globl start, out, out_esp, ring_ss
    .balign 4
start:
    .skip 68
out:
    .skip 92
out_esp:
    .skip 4
ring_esp:
    .skip 4
ring_ss:
    .skip 4
