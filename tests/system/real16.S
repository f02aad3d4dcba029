/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * real16.S - real-address mode: interrupts and exceptions, far transfers, limits and wraps, flags, big segments,
 * changes of CR0.PE with and without a far jump, A20.  Runs at 0:7c00.
 *
 * T(name, code): runs the code; then the line tells whether it came through ("-") or which exception it met, the
 * saved IP as distance from the code, and AX, CX, SP.  (SDM vol. 3, 9.8, 9.9, 20.1; vol. 1, 3.3.5; vol. 2.)
 */
#define A(label) (label - real_start + 0x7c00)

#define T(name, ...)                                                                                     \
    call begin; .byte A(91f) & 0xff, A(91f) >> 8, A(92f) & 0xff, A(92f) >> 8; .asciz #name;              \
91: __VA_ARGS__;                                                                                         \
92: call came_through

    .text
    .code16
    .globl real_start, real_end
real_start:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7a00, %sp
    movw $A(vectors), %bx           /* vectors 0 to 16 come to fault, with their number */
    xorw %di, %di
1:  movw %bx, (%di)
    movw $0, 2(%di)
    addw $4, %bx
    addw $4, %di
    cmpw $4 * 17, %di
    jne 1b
    movw $A(int60), 0x180
    movw $0, 0x182
    movw $A(int61), 0x184
    movw $0, 0x186

    /* interrupts and exceptions */
    T(int, sti; int $0x60)
    T(int_flags, pushl $0x40ed7; popfl; int $0x61; pushl $2; popfl)
    T(iretd, pushl $0x244ed7 | 0x10000; pushl $0; pushl $A(93f); iretl; ud2; 93: pushfl; popl %eax;
      movl %eax, %ecx; shrl $16, %ecx)
    T(iretd_high, pushl $2; pushl $0; pushl $0x10000; iretl)
    T(divide, xorw %cx, %cx; divw %cx)
    T(invalid, ud2)
    T(bound, movw $5, %ax; boundw %ax, A(zeros))
    T(into, movb $0x7f, %al; incb %al; into)
    T(limit, movw 0xffff, %ax)
    T(limit32, movl 0xfffd, %eax)
    T(limit_ok, movl 0xfffc, %eax; xorw %ax, %ax)
    T(stack_limit, movw $0xffff, %bp; movw (%bp), %ax)
    T(idt_limit, lidtl A(short_idt); int $0x60)
    T(idt_moved, movl 0x180, %eax; movl %eax, 0x1180; lidtl A(moved_idt); movw $0xbad, 0x180; int $0x60;
      lidtl A(normal_idt); movw $A(int60), 0x180)
    T(int3, int3)

    /* instructions that do not exist here */
    T(lldt, lldt %ax)
    T(str, str %ax)
    T(lar, lar %ax, %ax)
    T(verr, verr %ax)
    T(arpl, arpl %ax, %ax)
    T(mov_cs, .byte 0x8e, 0xc8)
    T(lds_reg, .byte 0xc5, 0xc0)
    T(seg_6, .byte 0x8e, 0xf0)
    T(lock, .byte 0xf0, 0x8b, 0x07)
    T(sysenter, sysenter)
    T(too_long, .fill 15, 1, 0x66; nop)
    T(length_15, .fill 14, 1, 0x66; nop)

    /* far transfers */
    T(call_far, lcallw $0, $A(retf16))
    T(call_far32, lcalll $0, $A(retf32))
    T(call_far_seg, lcallw $0x100, $A(retf16) - 0x1000)
    T(call_high, lcalll $0, $0x10000)
    T(jmp_high, ljmpl $0x10, $0x12345)
    T(retf_imm, pushw $0x1111; pushw $0x2222; lcallw $0, $A(retf_4))
    T(retf_high, pushl $0; pushl $0x10000; lretl)
    T(call_near32, calll 94f; jmp 95f; 94: retl; 95:)
    T(jmp_mem, movw $A(96f), A(zeros) + 8; ljmpw *A(zeros) + 8; ud2; 96: nop)
    T(jmp_ind_high, movl $0x10000, %eax; jmpl *%eax)
    T(ret_high, pushl $0x18000; retl)

    /* wraps */
    T(ea_wrap, movw $0xfff0, %bx; movw $A(zeros) + 0x10, %si; movw $0x4321, A(zeros); movw (%bx, %si), %ax)
    T(ea_no_wrap, movl $0xfff0, %ebx; movl $0x20, %esi; addr32 movw (%ebx, %esi), %ax)
    T(lods_wrap, movw $0xffff, %si; lodsb; movw %si, %cx; xorb %ah, %ah; movb $0, %al)
    T(movs_limit, movw $0xffff, %si; movw $0x7000, %di; movsw)
    T(rep_wrap, movw $0xfffe, %si; movw $0x7000, %di; movw $3, %cx; rep movsw)
    T(push_wrap, movw $0, %sp; pushw $0x5a5a; movw 0xfffe, %ax; movw %sp, %cx; movw $0x7a00, %sp)
    T(ip_end, movw $0x9090, 0xfffe; movw $0xfffe, %ax; jmp *%ax)
    T(jmp_wrap, movb $0xe9, 0xfffd; movw $A(98f), 0xfffe; movw $0xfffd, %ax; jmp *%ax; ud2; 98: nop)
    T(above_1m, movw $0xffff, %ax; movw %ax, %fs; movw %fs:0x10, %ax; xorw %ax, %ax)

    /* flags */
    T(popf, pushw $0x7ed5; popfw; pushfw; popw %ax; pushw $2; popfw)
    T(popfd, pushl $0x3f4ed5; popfl; pushfl; popl %eax; movl %eax, %ecx; shrl $16, %ecx; pushl $2; popfl)
    T(cli_sti, sti; pushfw; popw %ax; cli; pushfw; popw %cx)

    /* machine status and tables */
    T(smsw, smsww %ax)
    T(lgdt16, sgdtl A(saved_gdt); lgdtw A(high_table); sgdtl A(zeros) + 16; movw A(zeros) + 18, %ax;
      movw A(zeros) + 20, %cx; lgdtl A(saved_gdt))
    T(sgdt16, sgdtl A(saved_gdt); lgdtl A(high_table); sgdtw A(zeros) + 16; movw A(zeros) + 18, %ax;
      movw A(zeros) + 20, %cx; lgdtl A(saved_gdt))

    /* big segments: limits and the stack's size stay when CR0.PE goes off */
    call to_protected
    movw $0x10, %ax
    movw %ax, %fs
    movw %ax, %gs
    movw $0x58, %ax                 /* limit fff */
    movw %ax, %es
    call to_real
    T(big_write, movl $0x200000, %esi; movw $0x1357, %ax; addr32 movw %ax, %fs:(%esi); xorw %ax, %ax;
      addr32 movw %gs:(%esi), %ax)
    T(big_reload, movw $0x100, %ax; movw %ax, %fs; movl $0x200000 - 0x1000, %esi; addr32 movw %fs:(%esi), %ax)
    T(big_ds, movl $0x200000, %esi; addr32 movw (%esi), %ax)
    T(small_es, movw %es:0xfff, %ax)
    T(small_es_ok, movw %es:0xffe, %ax; xorw %ax, %ax)
    T(small_reload, xorw %ax, %ax; movw %ax, %es; movw %es:0xfff, %ax)
    T(small_stos, movw $0x1000, %di; stosb)
    call to_protected
    movw $0x50, %ax
    movw %ax, %es
    call to_real
    xorw %ax, %ax
    movw %ax, %es
    call to_protected
    movw $0x10, %ax                 /* a 32-bit stack in real mode: ESP counts */
    movw %ax, %ss
    movl $0x7a00, %esp
    call to_real
    T(big_stack, movl %esp, %ebx; movl $0x210000, %esp; pushw $0x2468; movl $0x20fffe, %esi;
      addr32 movw %fs:-0x1000(%esi), %ax; movl %esp, %ecx; shrl $16, %ecx; movl %ebx, %esp)
    T(big_stack_int, movl %esp, %ebx; movl $0x210000, %esp; int $0x60; xorw %ax, %ax; movl %esp, %ecx;
      shrl $16, %ecx; movl %ebx, %esp)
    xorw %ax, %ax
    movw %ax, %ss
    T(stack_stays_big, movl %esp, %ebx; movl $0x210000, %esp; pushw $0; movl %esp, %ecx; movl %ebx, %esp)
    call to_protected
    movw $0x50, %ax
    movw %ax, %ss
    movw %ax, %ds
    call to_real
    xorw %ax, %ax
    movw %ax, %ss
    movw %ax, %ds

    /* CR0.PE on without a far jump: still this code segment; with 32-bit code, and off again in it */
    T(pe_no_jump, movl %cr0, %eax; orb $1, %al; movl %eax, %cr0; movw %cs, %cx; andb $0xfe, %al;
      movl %eax, %cr0; xorw %ax, %ax)
    T(pe_selector, movl %cr0, %eax; orb $1, %al; movl %eax, %cr0; movw $0x10, %bx; movw %bx, %gs;
      andb $0xfe, %al; movl %eax, %cr0; movw %gs, %cx; xorw %ax, %ax; movw %ax, %gs)
    T(lmsw, smsww %ax; orb $1, %al; lmsw %ax; xorb $1, %al; lmsw %ax; smsww %cx; movl %cr0, %eax;
      andb $0xfe, %al; movl %eax, %cr0)
    T(pe_32, movl %cr0, %eax; orb $1, %al; movl %eax, %cr0; ljmpl $8, $A(code32); back_from_32: nop)
    T(pg_no_pe, movl %cr0, %eax; orl $0x80000000, %eax; movl %eax, %cr0)
    T(nw_no_cd, movl %cr0, %eax; andl $0xbfffffff, %eax; orl $0x20000000, %eax; movl %eax, %cr0)
    T(cs_write, movw $0x1111, %cs:A(zeros); movw A(zeros), %ax)

    /* A20: code and data, by port 92 and by the keyboard controller */
    movw $0xffff, %bx
    movw %bx, %fs
    movl $0x90cb02b0, %fs:0xffe0    /* MOV AL, 2; RETF above 1 MiB, MOV AL, 1; RETF below */
    movl $0x90cb01b0, 0xffd0
    T(a20_on, call read_both)
    T(a20_call, call call_both)
    call port92_off
    T(a20_off, call read_both)
    T(a20_off_call, call call_both)
    T(a20_off_write, movb $5, %fs:0xffe1; call read_both)
    T(a20_off_call2, call call_both)
    call port92_on
    T(a20_on_again, call read_both)
    T(a20_call_again, call call_both)
    call kbd_off
    T(kbd_off, call read_both)
    T(kbd_off_call, call call_both)
    call kbd_on
    T(kbd_on, call read_both)
    T(kbd_call, call call_both)

    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $real_back

/* ---- pieces that the tests call ---- */

retf16:
    movw $0x1616, %ax
    lretw
retf32:
    movw $0x3232, %ax
    lretl
retf_4:
    lretw $4

to_protected:
    pushl %eax
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    popl %eax
    ret
to_real:
    pushl %eax
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    popl %eax
    ret

    .code32
code32:                             /* CS.D = 1 stays when PE goes off */
    andb $0xfe, %al
    movl %eax, %cr0
    movl $0x12345678, %ecx
    movl %ecx, A(zeros)
    movl A(zeros), %edx
    movw %cs, %cx
    orb $1, %al
    movl %eax, %cr0
    ljmp $0x48, $A(leave32)
    .code16
leave32:
    andb $0xfe, %al
    movl %eax, %cr0
    ljmpw $0, $A(out32)
out32:
    movw %dx, %ax
    jmp back_from_32

read_both:
    movb %fs:0xffe1, %al
    movb 0xffd1, %ah
    ret
call_both:
    lcallw $0xffff, $0xffe0
    movb %al, %ah
    lcallw $0, $0xffd0
    xchgb %al, %ah
    ret

port92_on:
    inb $0x92, %al
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92
    ret
port92_off:
    inb $0x92, %al
    andb $0xfc, %al
    outb %al, $0x92
    ret
kbd_wait:
    inb $0x64, %al
    testb $2, %al
    jnz kbd_wait
    ret
kbd_on:
    movb $0xdf, %ah
    jmp 1f
kbd_off:
    movb $0xdd, %ah
1:  call kbd_wait
    movb $0xd1, %al
    outb %al, $0x64
    call kbd_wait
    movb %ah, %al
    outb %al, $0x60
    call kbd_wait
    ret

/* ---- the frame of a test ---- */

begin:                              /* behind the CALL: start, end, name */
    popw %si
    movw (%si), %ax
    movw %ax, A(this_start)
    movw 2(%si), %ax
    movw %ax, A(this_end)
    addw $4, %si
1:  movb (%si), %al
    incw %si
    testb %al, %al
    jz 2f
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 1b
2:  movl %esp, A(this_esp)
    xorl %eax, %eax
    xorl %ecx, %ecx
    jmp *%si

came_through:
    addw $2, %sp
    pushw %ax
    movb $'-', %al
    call put_char
    popw %ax
    jmp report

fault:                              /* number and the interrupt's frame on the stack */
    popw %dx
    popw %si                        /* IP */
    addw $4, %sp
    pushw %ax
    movb $'#', %al
    call put_char
    movw %dx, %ax
    call put_hex
    movb $'+', %al
    call put_char
    movw %si, %ax
    subw A(this_start), %ax
    call put_hex
    popw %ax
report:
    pushw %cx
    pushw %ax
    movb $' ', %al
    call put_char
    popw %ax
    call put_hex
    movb $' ', %al
    call put_char
    popw %ax
    call put_hex
    movb $' ', %al
    call put_char
    movw %sp, %ax
    subw A(this_esp), %ax
    call put_hex
    movb $10, %al
    call put_char
    pushl $2
    popfl
    movl A(this_esp), %esp
    movw A(this_end), %bx
    addw $3, %bx                    /* behind CALL came_through */
    jmp *%bx

put_char:
    pushw %dx
    movw $0x3f8, %dx
    outb %al, %dx
    popw %dx
    ret
put_hex:
    pushw %cx
    pushw %ax
    movw %ax, %cx
    movb $12, A(shift)
1:  movw %cx, %ax
    pushw %cx
    movb A(shift), %cl
    shrw %cl, %ax
    popw %cx
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 2f
    addb $'a' - '0' - 10, %al
2:  call put_char
    subb $4, A(shift)
    jns 1b
    popw %ax
    popw %cx
    ret

vectors:
    .set v, 0
    .rept 17
    pushw $v                        /* 2 bytes */
    jmp 1f                          /* 2 bytes */
    .set v, v + 1
    .endr
1:  jmp fault

int60:
    pushw %bp
    movw %sp, %bp
    movw 6(%bp), %ax                /* flags in the frame */
    popw %bp
    pushfw
    popw %cx
    iretw
int61:
    pushw %bp
    movw %sp, %bp
    movw 6(%bp), %ax
    popw %bp
    pushfl
    popl %ecx
    shrl $8, %ecx                   /* AC, IF, TF */
    iretw

    .balign 8
zeros:
    .skip 64
normal_idt:
    .word 0x3ff
    .long 0
short_idt:
    .word 0x180 + 2
    .long 0
moved_idt:
    .word 0x3ff
    .long 0x1000
high_table:
    .word 0x1234
    .long 0x89abcdef
saved_gdt:
    .skip 8
this_start:
    .word 0
this_end:
    .word 0
this_esp:
    .long 0
shift:
    .byte 0
    .balign 4
real_end:
