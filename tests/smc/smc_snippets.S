/* SPDX-License-Identifier: GPL-2.0-or-later */
/* smc_snippets.S - the cases of test_smc.c.  r12 = address of the snippet, r13 = its alias. */
    .macro CASE name
    .section .rodata.names, "aS", @progbits
7:  .asciz "\name"
    .section .snippets, "a", @progbits
    .long 7b - .
    .long 0
    .long 0
    .long 8f - .
    .long 9f - .
    .section .rodata.code, "a", @progbits
    .code64
8:
    .endm
    .macro END
9:
    .endm

    .section .snippets, "a", @progbits
    .globl snippets_start, snippets_end
    .hidden snippets_start, snippets_end
snippets_start:

    CASE running_block_ahead            /* the very next instructions */
    incb 1f+1(%rip)
1:  mov $0x10, %al
    add %al, %dl
    incb 1b+1(%rip)
    mov 1b+1(%rip), %cl
    END
    CASE running_block_behind
1:  add $1, %eax
    incb 1b+2(%rip)
    add %eax, %edx
    END
    CASE running_block_itself           /* a store over itself: the old bytes are executed */
1:  movb $0x05, 1b+6(%rip)
    mov 1b+6(%rip), %al
    END
    CASE flags_survive
    mov $-1, %ecx
    add $1, %ecx                        /* CF ZF AF */
    movb $3, 1f+1(%rip)
1:  mov $7, %al
    adc $0, %al
    sbb %edx, %edx
    END
    CASE flags_of_the_store
    mov $0xff, %bl
    movb $0xfd, 1f+1(%rip)
    addb $3, 1f+1(%rip)                 /* writes flags and code: ZF CF */
1:  mov $7, %cl
    setz %al
    setc %dl
    END
    CASE next_block
    incb 1f+1(%rip)
    jmp 1f
    ud2
1:  mov $0x20, %al
    jmp 2f
2:  add %al, %dl
    END
    CASE linked_loop                    /* the block is linked to itself when it changes */
    mov $20, %ecx
1:  mov $1, %al
    add %al, %dl
    cmp $10, %ecx
    jne 2f
    movb $5, 1b+1(%rip)
2:  dec %ecx
    jnz 1b
    movb $1, 1b+1(%rip)
    END
    CASE callee                         /* a function is changed between calls */
    mov $10, %ecx
1:  call 3f
    add %eax, %edx
    incb 3f+1(%rip)
    dec %ecx
    jnz 1b
    jmp 4f
3:  mov $0, %eax
    ret
4:  nop
    END
    CASE indirect_callee
    lea 3f(%rip), %rsi
    mov $6, %ecx
1:  call *%rsi
    add %eax, %edx
    addb $3, 1(%rsi)
    dec %ecx
    jnz 1b
    jmp 4f
3:  mov $0, %eax
    ret
4:  nop
    END
    CASE behind_the_call                /* what a return goes back to is changed by the function */
    mov $6, %ecx
1:  call 3f
2:  mov $1, %al
    add %al, %dl
    dec %ecx
    jnz 1b
    jmp 4f
3:  incb 2b+1(%rip)
    ret
4:  nop
    END
    CASE the_call_itself                /* the block that called is gone when the function returns */
    mov $6, %ecx
1:  mov $1, %al
    call 3f
    add %al, %dl
    dec %ecx
    jnz 1b
    jmp 4f
3:  incb 1b+1(%rip)
    ret
4:  nop
    END
    CASE return_elsewhere               /* every other time */
    mov $8, %ecx
1:  call 3f
    add $1, %dl
2:  add $0x10, %dl
    dec %ecx
    jnz 1b
    jmp 4f
3:  test $1, %cl
    jz 5f
    addq $2b-1b-5, (%rsp)
5:  ret
4:  nop
    END
    CASE return_to_the_callers_caller
    mov $8, %ecx
1:  call 2f
    add $1, %dl
    dec %ecx
    jnz 1b
    jmp 5f
2:  call 3f
    add $0x10, %dl
    ret
3:  test $1, %cl
    jz 4f
    lea 8(%rsp), %rsp
4:  ret
5:  nop
    END
    CASE return_twice                   /* to one address from one place on the stack, without a call */
    mov $5, %ecx
1:  call 3f
2:  add $1, %dl
    lea 2b(%rip), %rax
    dec %ecx
    js 4f
    push %rax
3:  ret
4:  nop
    END
    CASE return_with_other_flags        /* the function leaves DF set every other time */
    mov $8, %ecx
    lea 4f+16(%rip), %rsi
1:  call 3f
    lodsb
    cld
    add %al, %dl
    dec %ecx
    jnz 1b
    jmp 5f
3:  test $2, %cl
    jz 2f
    std
2:  ret
4:  .byte 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
5:  nop
    END
    CASE return_and_release             /* RET imm16, call through memory */
    mov $6, %ecx
    lea 3f(%rip), %rax
1:  push %rcx
    push %rax
    call *(%rsp)
    add %ecx, %edx
    dec %ecx
    jnz 1b
    jmp 4f
3:  add 16(%rsp), %dl
    ret $16
4:  nop
    END
    CASE recursion
    mov $30, %ecx
1:  call 2f
    jmp 5f
2:  dec %ecx
    jz 4f
    test $1, %cl
    jz 3f
    call 2b
    add $1, %edx
    ret
3:  call 2b
    lea (%rdx, %rdx, 2), %edx
4:  ret
5:  nop
    END
    CASE in_front_of_the_block          /* which went on there by a jump */
    mov $6, %ecx
    jmp 2f
1:  mov $1, %al
    add %al, %dl
    jmp 3f
2:  add $1, %dh
    jmp 1b
3:  incb 1b+1(%rip)
    dec %ecx
    jnz 2b
    END
    CASE behind_a_jump                  /* the target, from the block that has it; bytes that are jumped over */
    mov $6, %ecx
1:  jmp 2f
    nop
    nop
2:  mov $1, %al
    add %al, %dl
    incb 2b+1(%rip)
    incb 1b+2(%rip)
    dec %ecx
    jnz 1b
    END
    CASE the_jump_itself                /* leads elsewhere every time */
    mov $3, %ecx
    movb $0, 1f+1(%rip)
1:  jmp 2f
2:  add $1, %dl
    add $1, %dl
    add $1, %dl
    addb $3, 1b+1(%rip)
    dec %ecx
    jnz 1b
    END
    CASE jumps_to_and_fro               /* through the block's own instructions, and a fault in front of its start */
    mov $4, %ecx
    lea -8(%rsp), %rsi
    jmp 3f
1:  mov %rcx, (%rsi)
    add $1, %dl
    jmp 4f
2:  mov (%rsi), %rax
    jmp 5f
3:  add $2, %dl
    jmp 1b
4:  sub %rcx, (%rsi)
    jmp 2b
5:  dec %ecx
    jnz 3b
    xor %esi, %esi
    stc
    jmp 1b
    END
    CASE alias                          /* through another linear address */
8:  mov $8, %ecx
1:  mov $1, %eax
    add %eax, %edx
    incb (1b-8b)+1(%r13)
    dec %ecx
    jnz 1b
    END
    CASE alias_ahead
8:  incb (1f-8b)+1(%r13)
1:  mov $0x10, %al
    add %al, %dl
    END
    CASE run_in_alias                   /* executed through the alias, changed through the window */
8:  mov $5, %ecx
    lea (2f-8b)(%r13), %rsi
1:  call *%rsi
    add %eax, %edx
    incb (2f-8b)+1(%r12)
    dec %ecx
    jnz 1b
    jmp 3f
2:  mov $1, %eax
    ret
3:  nop
    END
    CASE push_into_code                 /* the stack is in the code */
    lea 2f+8(%rip), %rsi
    xchg %rsi, %rsp
    movabs $0x9090909004b09090, %rax    /* nop nop; mov $4, %al; nop... */
    push %rax
    xchg %rsi, %rsp
2:  mov $1, %al
    nop
    nop
    nop
    nop
    nop
    nop
    add %al, %dl
    END
    CASE string_into_code
    lea 2f(%rip), %rdi
    mov $0x90, %al
    mov $5, %ecx
    rep stosb
2:  mov $0x12345678, %edx
    movb $0xba, 2b(%rip)
    END
    CASE movs_into_code
    lea 3f(%rip), %rsi
    lea 2f(%rip), %rdi
    mov $5, %ecx
    rep movsb
2:  mov $0x12345678, %edx
    jmp 4f
3:  mov $0x11223344, %edx
4:  nop
    END
    CASE vector_store_into_code
    movups 2f(%rip), %xmm0
    movups %xmm0, 1f(%rip)
1:  mov $1, %al
    mov $1, %cl
    mov $1, %dl
    nop
    nop
    nop
    nop
    nop
    nop
    nop
    nop
    nop
    nop
    jmp 3f
2:  .byte 0xb0, 7, 0xb1, 8, 0xb2, 9, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90
3:  nop
    END
    CASE locked_into_code
    mov $1, %eax
    lock xadd %eax, 1f+1(%rip)
1:  mov $0x10, %edx
    lock decl 1b+1(%rip)
    END
    CASE jump_displacement
    movb $2f-1f-2, 1f+1(%rip)
1:  jmp 3f
2:  mov $2, %edx
3:  movb $3f-1b-2, 1b+1(%rip)
    END
    CASE opcode_becomes_ud
    movw $0x0b0f, 1f(%rip)
1:  nop
    nop
    nop
    END
    CASE data_between_code              /* data next to code in a page: no harm */
    jmp 2f
1:  .quad 0, 0, 0, 0
2:  mov $50, %ecx
3:  add %rcx, 1b(%rip)
    mov 1b(%rip), %rdx
    mov %rdx, 1b+8(%rip)
    dec %ecx
    jnz 3b
    END

    CASE rewritten_registers            /* immediates that change each time: they are loaded from memory then */
    mov $9, %ecx
1:  mov %ecx, 2f+1(%rip)
    lea (%rcx,%rcx,8), %rax
    neg %rax
    mov %eax, 3f+3(%rip)
    imul $0x12345679, %rax, %rax
    mov %rax, 4f+2(%rip)
    mov %ax, 5f+2(%rip)
    mov %al, 6f+1(%rip)
    mov %ah, 7f+1(%rip)
    mov %al, 8f+2(%rip)
    movl $0x55, %ebp
    jmp 2f
2:  mov $0x11111111, %ebx
3:  movq $0x11111111, %rdi
4:  movabs $0x1111111111111111, %r9
    jmp 5f
5:  mov $0x2222, %bp
    jmp 6f
6:  mov $0x33, %bl
    jmp 7f
7:  mov $0x44, %dh
    jmp 8f
8:  mov $0x55, %r10b
    add %rbx, %rdx
    add %rdi, %rdx
    add %r9, %rdx
    lea (%rdx,%rbp,2), %rdx
    add %r10, %rdx
    dec %ecx
    jnz 1b
    END
    CASE rewritten_stores               /* ... in what is stored or pushed */
    mov $9, %ecx
    mov %rsp, %rbp
1:  mov %ecx, 2f+5(%rip)
    lea (%rcx,%rcx,2), %eax
    neg %eax
    mov %eax, 3f+5(%rip)
    mov %al, 4f+1(%rip)
    mov %eax, 5f+1(%rip)
    mov %ax, 6f+5(%rip)
    jmp 2f
2:  movl $0x11111111, %cs:-64(%rsp)
3:  movq $0x11111111, -64-8(%rsp)
    jmp 4f
4:  push $0x11
5:  push $0x11111111
    jmp 6f
6:  movw $0x1111, -128(%rsp)
    add -64(%rbp), %rdx
    add -72(%rbp), %rdx
    add -8(%rbp), %rdx
    add -16(%rbp), %rdx
    add -144(%rbp), %dx
    mov %rbp, %rsp
    dec %ecx
    jnz 1b
    END
    CASE rewritten_in_its_own_block     /* the store, the immediate and the loop are one block */
    mov $12, %ecx
1:  mov %ecx, 2f+1(%rip)
    nop
2:  mov $0x11111111, %eax
    add %eax, %edx
    mov %edx, 2b+1(%rip)
    dec %ecx
    jnz 1b
    mov 2b+1(%rip), %ebx
    END
    CASE rewritten_opcode_too           /* the same bytes, then others, then a part of the immediate and what follows */
    mov $24, %ecx
1:  movb $0xb8, 2f(%rip)
    mov %ecx, 2f+1(%rip)
    test $7, %cl
    jnz 3f
    movb $0xbb, 2f(%rip)
3:  test $3, %cl
    jnz 4f
    movw $0xc301, 2f+4(%rip)
    movw $0xda01, 2f+5(%rip)
4:  mov $5, %ebx
    jmp 2f
2:  mov $0x11111111, %eax
    add %ebx, %edx
    add %eax, %edx
    movw $0xda01, 2b+5(%rip)
    dec %ecx
    jnz 1b
    END
    CASE rewritten_by_rmw_and_alias     /* stores of other kinds into the immediate */
snippet_rmw:
    mov $20, %ecx
1:  mov %ecx, 2f+1-snippet_rmw(%r13)
    addb $7, 2f+2(%rip)
    lock incl 2f+1(%rip)
    mov %ecx, %eax
    xchg %al, 2f+4(%rip)
    movd %ecx, %xmm0
    movss %xmm0, 3f+1(%rip)
    jmp 2f
2:  mov $0x11111111, %eax
3:  mov $0x11111111, %ebx
    add %eax, %edx
    add %ebx, %edx
    lea 2b+1(%rip), %rdi
    mov $0x21, %al
    stosb
    dec %ecx
    jnz 1b
    END
    CASE equal_stores                   /* what is stored is there already, also in the running block */
    mov $6, %ecx
1:  movb $0x83, 2f(%rip)
    mov 2f(%rip), %rax
    mov %rax, 2f(%rip)
2:  add $3, %edx
    nop
    nop
    nop
    nop
    nop
    mov 3f(%rip), %eax
    xor $0x1000, %eax                   /* the source register */
    mov %eax, 3f(%rip)
3:  add %ecx, %edx
    nop
    nop
    dec %ecx
    jnz 1b
    END

    .section .snippets, "a", @progbits
snippets_end:
    .section .note.GNU-stack, "", @progbits
