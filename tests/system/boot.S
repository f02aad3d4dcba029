/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * boot.S - the firmware of a system test: the last 4 KiB of a 128 KiB image given to QEMU with -bios.
 *
 * From the reset vector to 32-bit protected mode; copies the rest of the image to 1 MiB and jumps there.
 */
    .code16
    .text
start16:
    cli
    movw %cs, %ax
    movw %ax, %ds
    lgdtl gdt_ptr - start16 + 0xf000
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $start32 - start16 + 0xff000
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
gdt_ptr:
    .word 23
    .long gdt - start16 + 0xff000

    .code32
start32:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x80000, %esp
    movl $0xfffe0000, %esi
    movl $0x100000, %edi
    movl $0x1f000 / 4, %ecx
    cld
    rep movsl
    movl $0x100000, %eax
    jmp *%eax

    .code16
    .org 0xff0
    ljmp $0xf000, $0xf000
    .org 0x1000
