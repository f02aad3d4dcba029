/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring64.S - as ring32.S in IA-32e mode: run code of any size in any ring, and record how it ended.  See ring64.h.
 */
    .text
    .code64
    .globl ring_go, ring_stubs, ring_done
ring_go:
    pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    pushfq
    movq %rsp, ring_rsp(%rip)
    leaq start(%rip), %r15
    pushq 0x48(%r15)                /* SS RSP RFLAGS CS RIP */
    pushq 0x40(%r15)
    pushq 0x60(%r15)
    pushq 0x50(%r15)
    pushq 0x58(%r15)
    movl 0x70(%r15), %eax
    movw %ax, %es
    movl 0x78(%r15), %eax
    movw %ax, %fs
    movl 0x80(%r15), %eax
    movw %ax, %gs
    movl 0x68(%r15), %eax
    movw %ax, %ds
    movl $0xc0000100, %ecx          /* bases of FS and GS other than the selectors', when the test gives one */
    movq 0x88(%r15), %rax
    call set_base
    incl %ecx
    movq 0x90(%r15), %rax
    call set_base
    movq 0x00(%r15), %rax
    movq 0x08(%r15), %rbx
    movq 0x10(%r15), %rcx
    movq 0x18(%r15), %rdx
    movq 0x20(%r15), %rsi
    movq 0x28(%r15), %rdi
    movq 0x30(%r15), %rbp
    movq 0x38(%r15), %r11
    iretq

set_base:
    testq %rax, %rax
    jz 1f
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
1:  ret

    .balign 16
ring_stubs:
    .set v, 0
    .rept 256
    .balign 16
    .if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21)
    pushq $0
    .endif
    pushq $v
    jmp caught
    .set v, v + 1
    .endr

caught:
    pushq %rax; pushq %rcx; pushq %rdx; pushq %rbx; pushq %rbp; pushq %rsi; pushq %rdi; pushq %r11
    movl %ds, %eax
    pushq %rax
    movl %es, %eax
    pushq %rax
    movl %fs, %eax
    pushq %rax
    movl %gs, %eax
    pushq %rax
    movl %ss, %eax
    movl %eax, ring_ss
    cld
    movq %rsp, %rsi
    movq %rsp, out_rsp
    movl $out, %edi
    movl $19, %ecx
    rep movsq
ring_done:
    movl $0x10, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movq ring_rsp, %rsp
    popfq
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx
    ret

    .bss
    .globl start, out, out_rsp, ring_ss, ring_rsp
    .balign 16
start:
    .skip 0x98
out:
    .skip 19 * 8
out_rsp:
    .skip 8
ring_rsp:
    .skip 8
ring_ss:
    .skip 8
