/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smpap.S - what a start-up IPI starts: real mode at SMP_BOOT, then 32-bit, then 64-bit mode, then ap_main(CPU) in C.
 *
 * ap_boot..ap_boot_end is copied to where the start-up vector points.  The CPU's number is its APIC id of CPUID.
 */
    .globl ap_boot, ap_boot_end
    .text
    .code16
ap_boot:
    cli
    movw %cs, %ax                   /* notes for the test: CS, IP's page, EDX and CR0 as INIT left them */
    movw %ax, %ds
    movl %edx, %ss:0x5818
    movw %cs, %ss:0x5810
    movl %cr0, %ebx
    movl %ebx, %ss:0x5814
    lgdtl ap_gdt_ptr - ap_boot
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x38, $ap32
ap_gdt_ptr:
    .word 0x47
    .long gdt64
ap_boot_end:

    .code32
ap32:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x200000, %eax
    movl %eax, %cr3
    movl $0x628, %eax
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax
    wrmsr
    movl $0x80050033, %eax
    movl %eax, %cr0
    ljmpl $8, $ap64

    .code64
ap64:
    movl $0x10, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $1, %eax
    cpuid
    shrl $24, %ebx
    movl %ebx, %edi
    incl %ebx
    shll $14, %ebx
    leaq 0x20000(%rbx), %rsp
    lidtq ap_idt_ptr(%rip)
    call ap_main
1:  hlt
    jmp 1b
ap_idt_ptr:
    .word 4095
    .quad idt
