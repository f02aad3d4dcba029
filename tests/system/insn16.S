/* SPDX-License-Identifier: GPL-2.0-or-later */
/* insn16.S - into real-address mode with all registers from 7000h, and back when something interrupts. */
    .set EAX, 0x7000
    .set ECX, 0x7004
    .set EDX, 0x7008
    .set EBX, 0x700c
    .set ESP_, 0x7010
    .set EBP_, 0x7014
    .set ESI, 0x7018
    .set EDI, 0x701c
    .set ES_, 0x7020
    .set SS_, 0x7022
    .set DS_, 0x7024
    .set FS_, 0x7026
    .set GS_, 0x7028
    .set IP_, 0x702a
    .set CS_, 0x702c
    .set FLAGS_, 0x702e
    .set VECTOR, 0x7030
    .set STUB, 16
    .text
    .code32
    .globl run16, insn16_start, insn16_end, insn16_stubs
run16:
    pushal
    movl %esp, saved_esp
    sidt saved_table
    lidt real_table
    ljmp $0x48, $0x7c00             /* 16-bit code segment */
back16:
    movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    movl saved_esp, %esp
    lidt saved_table
    popal
    ret

    /* From here on copied to 7c00. */
    .code16
insn16_start:
    movw $0x50, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $0, $0x7c00 + 1f - insn16_start
1:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movl $0x7a00, %esp
    pushw FLAGS_
    popfw
    movw ES_, %es
    movw FS_, %fs
    movw GS_, %gs
    movl EAX, %eax
    movl ECX, %ecx
    movl EDX, %edx
    movl EBX, %ebx
    movl EBP_, %ebp
    movl ESI, %esi
    movl EDI, %edi
    movw SS_, %ss
    movl ESP_, %esp
    movw DS_, %ds
    ljmp *%cs:IP_
common:
    movl %eax, %cs:EAX
    movl %ecx, %cs:ECX
    movl %edx, %cs:EDX
    movl %ebx, %cs:EBX
    movl %ebp, %cs:EBP_
    movl %esi, %cs:ESI
    movl %edi, %cs:EDI
    movw %es, %cs:ES_
    movw %ss, %cs:SS_
    movw %ds, %cs:DS_
    movw %fs, %cs:FS_
    movw %gs, %cs:GS_
    movl %esp, %cs:ESP_
    movw %sp, %bp
    movw (%bp), %ax
    movw %ax, %cs:IP_
    movw 2(%bp), %ax
    movw %ax, %cs:CS_
    movw 4(%bp), %ax
    movw %ax, %cs:FLAGS_
    addw $6, %cs:ESP_
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $back16
    .balign STUB
insn16_stubs:                       /* 61h of them */
    .set v, 0
    .rept 0x61
    .balign STUB
    movb $v, %cs:VECTOR
    jmp common
    .set v, v + 1
    .endr
insn16_end:
    .data
real_table:
    .word 0x3ff
    .long 0
saved_table:
    .word 0
    .long 0
saved_esp:
    .long 0
    .section .note.GNU-stack, "", @progbits
