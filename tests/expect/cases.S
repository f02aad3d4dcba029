/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cases.S - what test_expect.c has translated: bytes only, never executed here. */
    .macro CASE name, mode
    .section .rodata.names, "aS", @progbits
7:  .asciz "\name"
    .section .snippets, "a", @progbits
    .long 7b - .
    .long \mode
    .long 0
    .long 8f - .
    .long 9f - .
    .section .rodata.code, "a", @progbits
    .if \mode == 0
    .code64
    .else
    .code32
    .endif
8:
    .endm
    .macro END
9:
    .endm

    .section .snippets, "a", @progbits
    .globl snippets_start, snippets_end
    .hidden snippets_start, snippets_end
snippets_start:

    CASE register_only, 0
    add %rax, %rcx
    mov %r12, %rdx
    END
    CASE guest_r8, 0                /* lives in memory */
    add %r8, %rcx
    add %ecx, %r9d
    lea 4(%r10, %r11, 2), %rax
    END
    CASE rsp_is_r8, 0
    lea 16(%rsp), %rax
    sub $32, %rsp
    END
    CASE load, 0
    mov (%rbx), %rax
    END
    CASE load_byte, 0
    movzbl 3(%rsi), %eax
    END
    CASE store, 0
    mov %eax, 8(%rbx)
    END
    CASE read_modify_write, 0
    addl $1, (%rdi)
    END
    CASE stack, 0
    push %rbx
    pop %rbp
    END
    CASE same_page, 0               /* the second access reuses the first one's page */
    mov 8(%rbx), %rax
    mov 16(%rbx), %rcx
    END
    CASE flags_dead, 0              /* nothing is saved */
    add %rax, %rcx
    mov (%rbx), %rdx
    sub %rdx, %rcx
    END
    CASE flags_across_load, 0       /* the load clobbers the host's flags */
    add %rax, %rcx
    mov (%rbx), %rdx
    adc $0, %rcx
    END
    CASE compare_and_branch, 0
    cmp %rax, %rcx
    je . + 0x20
    END
    CASE high_byte, 0
    mov %ah, %bl
    END
    CASE high_byte_with_rex, 0
    mov (%rsi), %ah
    END
    CASE vector, 0
    addps (%rsi), %xmm1
    movaps %xmm1, %xmm9
    END
    CASE call, 0
    call . + 0x40
    END
    CASE return, 0
    ret
    END
    CASE waiting_loop, 0            /* leaving it looks at exit_request as well */
    cmp (%rbx), %eax
    je . - 2
    END
    CASE x87, 0                     /* FDP behind the load; FIP, FOP and the segment once at the end */
    fldl (%rbx)
    fadd %st(1), %st
    END
    CASE code32, 2
    add (%ebx), %eax
    inc %ecx
    END
    CASE segment32, 2
    mov %gs:(0x10), %eax
    END

    .section .snippets, "a", @progbits
snippets_end:
    .section .note.GNU-stack, "", @progbits
