/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * entry32.S - payload entry of a 32-bit test: descriptor tables, an IDT whose 256 entries come to trap() in C, and the
 * ways into virtual-8086 and real-address mode.
 */
    .section .entry, "ax"
    .code32
    .globl _start
_start:
    lgdt gdt_ptr
    ljmp $8, $1f
1:  movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movl $0x7f000, %esp
    movl $0x6000, %edi              /* TSSs at 6000, 6100, 6200 */
    movl $0x300 / 4, %ecx
    rep stosl
    movl $0x7a000, 0x6004
    movl $0x10, 0x6008
    movl $0x680000, 0x6064            /* I/O map behind the limit: no ports */
    movl $0x28, %eax
    ltr %ax
    xorl %ecx, %ecx
    movl $idt, %edi
    movl $stubs, %esi
2:  movw %si, (%edi)
    movw $8, 2(%edi)
    movw $0xee00, 4(%edi)
    movl %esi, %eax
    shrl $16, %eax
    movw %ax, 6(%edi)
    addl $8, %edi
    addl $16, %esi
    incl %ecx
    cmpl $256, %ecx
    jne 2b
    lidt idt_ptr
    call test_main
    pushl $0
    call sys_exit

    .balign 16
stubs:
    .set v, 0
    .rept 256
    .balign 16
    .if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21)
    pushl $0
    .endif
    pushl $v
    jmp common
    .set v, v + 1
    .endr
common:
    pushal
    movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    cld
    movl %esp, %ebx
    pushl %ebx
    call trap
    movl %ebx, %esp
    testl $0x20000, 48(%esp)        /* from v86: its data segments come back with IRET */
    popal
    leal 8(%esp), %esp
    iretl

/* void enter_v86(u32 cs, u32 ip, u32 flags); returns when trap() says so through v86_leave */
    .globl enter_v86, v86_leave
enter_v86:
    pushal
    movl %esp, v86_esp
    movl 36(%esp), %eax
    movl 40(%esp), %ecx
    movl 44(%esp), %edx
    pushl $0x1111                   /* GS FS DS ES */
    pushl $0x2222
    pushl $0
    pushl $0
    pushl $0x5000                   /* SS:SP = 5000:0100 */
    pushl $0x100
    orl $0x20002, %edx
    pushl %edx
    pushl %eax
    pushl %ecx
    iretl
v86_leave:
    movl v86_esp, %esp
    movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    popal
    ret

/* void real_mode(void): copies the code between real_start and real_end of the test to 0x7c00, runs it, comes back */
    .globl real_mode
    .weak real_start, real_end, trap    /* tests without real-mode code or with exits of their own */
real_mode:
    pushal
    movl $real_start, %esi
    movl $0x7c00, %edi
    movl $real_end, %ecx
    subl %esi, %ecx
    rep movsb
    movl %esp, v86_esp
    sidt saved_idt
    lidt real_idt
    ljmp $0x48, $0x7b00
    .globl real_back
real_back:
    movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl v86_esp, %esp
    lidt saved_idt
    popal
    ret

    .data
    .balign 16
    .globl gdt, v86_esp
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        /* 08 code */
    .quad 0x00cf93000000ffff        /* 10 data */
    .quad 0x00cff3000000ffff        /* 18 user data */
    .quad 0x00cffb000000ffff        /* 20 user code */
    .quad 0x0000890060000067        /* 28 TSS */
    .quad 0x0000890061000067        /* 30 second task */
    .quad 0x0000850000300000        /* 38 task gate to 30 */
    .quad 0x0000000000000000        /* 40 call gate, made by the test */
    .quad 0x00009b000000ffff        /* 48 16-bit code */
    .quad 0x000093000000ffff        /* 50 16-bit data */
    .quad 0x0040930000000fff        /* 58 data, limit fff */
    .quad 0x0040970000000fff        /* 60 data, expand down, limit fff */
    .quad 0x0040130000000fff        /* 68 data, not present */
    .quad 0x0040910000000fff        /* 70 data, read-only */
    .quad 0x0000890062000067        /* 78 third task */
    .quad 0x00cf9f000000ffff        /* 80 conforming code */
    .quad 0x0040f30000000fff        /* 88 user data, limit fff */
gdt_ptr:
    .word . - gdt - 1
    .long gdt
idt_ptr:
    .word 2047
    .long idt
real_idt:
    .word 0x3ff
    .long 0
saved_idt:
    .word 0
    .long 0
v86_esp:
    .long 0
    .bss
    .balign 16
    .globl idt
idt:
    .skip 2048
