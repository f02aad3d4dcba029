/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * entry64.S - payload entry of a 64-bit test: identity-mapped long mode, an IDT whose 256 entries come to trap() in C.
 */
    .section .entry, "ax"
    .code32
    .globl _start
_start:
    movl $0x200000, %edi            /* PML4, PDPT, PD, then page tables for the first 4 MiB: cleared */
    xorl %eax, %eax
    movl $0x8000 / 4, %ecx
    rep stosl
    movl $0x201007, 0x200000
    movl $0x202007, 0x201000
    movl $0x203007, 0x202000
    movl $0x204007, 0x202008
    movl $0x203000, %edi
    movl $0x007, %eax
    movl $1024, %ecx
1:  movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 1b
    movl $0x4001e7, 0x202010        /* 4..6 MiB: one large page */
    movl $0x200000, %eax
    movl %eax, %cr3
    movl $0x620 | 8, %eax           /* PAE, OSFXSR, OSXMMEXCPT, DE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax                /* SCE, LME, NXE */
    wrmsr
    movl $0x80050033, %eax          /* PG, AM, WP, NE, ET, MP, PE */
    movl %eax, %cr0
    lgdtl gdt64_ptr
    ljmpl $8, $start64

    .code64
start64:
    movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x7f000, %esp
    movl $0x28, %eax
    ltr %ax
    xorl %ecx, %ecx                 /* IDT */
    leaq idt(%rip), %rdi
    leaq stubs(%rip), %rsi
2:  movw %si, (%rdi)
    movw $8, 2(%rdi)
    movb $0, 4(%rdi)
    movb $0xee, 5(%rdi)
    movl %esi, %eax
    shrl $16, %eax
    movw %ax, 6(%rdi)
    movq $0, 8(%rdi)
    addq $16, %rdi
    addq $16, %rsi
    incl %ecx
    cmpl $256, %ecx
    jne 2b
    lidtq idt_ptr(%rip)
    call test_main
    xorl %edi, %edi
    call sys_exit

    .balign 16
stubs:
    .set v, 0
    .rept 256
    .balign 16
    .if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21)
    pushq $0
    .endif
    pushq $v
    jmp common
    .set v, v + 1
    .endr
common:
    pushq %rax; pushq %rcx; pushq %rdx; pushq %rbx; pushq %rbp; pushq %rsi; pushq %rdi
    pushq %r8; pushq %r9; pushq %r10; pushq %r11; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    call trap
    movq %rbx, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %r11; popq %r10; popq %r9; popq %r8
    popq %rdi; popq %rsi; popq %rbp; popq %rbx; popq %rdx; popq %rcx; popq %rax
    addq $16, %rsp
    iretq

    .data
    .balign 16
    .globl gdt64, tss64
    .weak trap                      /* tests with exits of their own have none */
gdt64:
    .quad 0
    .quad 0x00af9b000000ffff        /* 08 code 64 */
    .quad 0x00cf93000000ffff        /* 10 data */
    .quad 0x00cff3000000ffff        /* 18 user data */
    .quad 0x00affb000000ffff        /* 20 user code 64 */
    .quad 0x0000890000000067 + ((tss64_lo) << 16)   /* 28 TSS; fixed address */
    .quad 0
    .quad 0x00cf9b000000ffff        /* 38 code 32 */
    .quad 0x00cffb000000ffff        /* 40 user code 32 */
gdt64_ptr:
    .word . - gdt64 - 1
    .long gdt64
    .set tss64_lo, 0x6000
idt_ptr:
    .word 4095
    .quad idt
    .bss
    .balign 16
    .globl idt
idt:
    .skip 4096
