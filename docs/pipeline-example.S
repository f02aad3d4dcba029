/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest of docs/pipeline.md: a boot sector that enters 64-bit mode (SDM vol. 3, 10.8.5) and runs one
 * loop with an ADD from memory and two conditional jumps.
 *
 *   gcc -c -o example.o docs/pipeline-example.S
 *   ld -N -Ttext=0x7c00 --oformat binary -o example.img example.o
 *   build/qemu-xbt -accel xbt,... -display none -device isa-debug-exit -drive file=example.img,format=raw
 */
        .code16
        .globl _start
_start: cli
        xor %ax, %ax
        mov %ax, %ds
        mov %ax, %es
        mov %ax, %ss
        mov $0x7c00, %sp
        /* page tables at 0x1000..0x3fff: 2 MiB at 0 */
        mov $0x1000, %edi
        mov %edi, %cr3
        xor %eax, %eax
        mov $3072, %ecx
        cld
        rep stosl
        movl $0x2003, 0x1000
        movl $0x3003, 0x2000
        movl $0x0083, 0x3000
        mov $0x20, %eax                 /* CR4.PAE */
        mov %eax, %cr4
        mov $0xc0000080, %ecx           /* EFER.LME */
        rdmsr
        or $0x100, %eax
        wrmsr
        lgdt gdtr
        mov $0x80000001, %eax           /* CR0.PG, PE */
        mov %eax, %cr0
        ljmp $8, $long

        .code64
long:   xor %eax, %eax
        mov %eax, %ss
        mov $0x5000, %ebx
        movq $-3, 8(%rbx)
        xor %edx, %edx
        mov $1000000, %ecx
        jmp 1f
        .balign 16
1:      add 8(%rbx), %rax
        jnc 2f
        inc %rdx
2:      sub $1, %ecx
        jnz 1b
        xor %eax, %eax                  /* isa-debug-exit: status 1 */
        mov $0x501, %dx
        out %al, %dx
3:      hlt
        jmp 3b

        .balign 8
gdt:    .quad 0, 0x00209a0000000000
gdtr:   .word gdtr - gdt - 1
        .long gdt
        .org 510
        .word 0xaa55
