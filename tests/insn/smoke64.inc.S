/* SPDX-License-Identifier: GPL-2.0-or-later */
    CASE mov, 0
    mov %rax, %rcx
    mov %r8, %rdx
    mov %rcx, %r9
    mov %al, %ah
    mov %ch, %dl
    mov %r10b, %sil
    mov $0x1234, %r11w
    mov $0x89abcdef, %r10d
    mov $-5, %rax
    movabs $0x1122334455667788, %r8
    mov (%rbx), %rbp
    mov %rbp, 8(%rbx)
    mov %r8, -16(%rsi)
    movzbl (%rsi), %edx
    movsbq 3(%rsi), %r9
    movswl 5(%rsi), %r12d
    movslq 9(%rsi), %rcx
    END
    CASE add, 0
    add %rax, %rcx
    adc %edx, %r8d
    add $5, %al
    add $0x12345678, %rdx
    add (%rbx), %r9
    add %r9, 8(%rbx)
    adc $1, %r10w
    sub %rcx, %rax
    sbb %r8, %r9
    cmp %r9d, 4(%rbx)
    END
    CASE logic, 0, FL_AF
    and %rax, %rcx
    or %r8, %r9
    xor (%rbx), %edx
    not %r10
    neg %r11
    test %r11, %rax
    END
    CASE inc, 0
    stc
    inc %eax
    dec %r8
    incb (%rbx)
    decq 8(%rbx)
    END
    CASE push, 0
    push %rax
    push %r9
    pushw %cx
    push $-3
    push $0x12345678
    push (%rbx)
    pop 8(%rbx)
    pop %r10
    popw %dx
    push %rsp
    pop %r11
    push %rbp
    pop %rsp
    END
    CASE pushf, 0
    add %rax, %rcx
    pushf
    pop %rdx
    and $0xcd5, %edx
    sub %rax, %rcx
    push %rdx
    popf
    setc %al
    cld
    END
    CASE call, 0
    call 1f
    jmp 2f
1:  add %rax, %rcx
    push %rcx
    pop %rdx
    ret
2:  lea 3f(%rip), %rax
    call *%rax
    jmp 4f
3:  ret
4:  nop
    END
    CASE jcc, 0
    mov $100, %ecx
    xor %eax, %eax
1:  add %rcx, %rax
    test $1, %cl
    jz 2f
    xor %rcx, %rax
2:  cmp $50, %ecx
    jg 3f
    lea 7(%rax, %rax, 2), %rax
3:  dec %ecx
    jnz 1b
    END
    CASE loop, 0
    mov $10, %ecx
1:  add %rcx, %rdx
    loop 1b
    mov $10, %ecx
2:  cmp %ecx, %edx
    loopne 2b
    jrcxz 3f
    nop
3:  mov $0x10000000a, %rcx
4:  inc %r8
    addr32 loop 4b
    END
    CASE lea, 0
    lea (%rax, %rcx, 4), %rdx
    lea 0x1234(%r8, %r9, 8), %r10
    lea (%eax, %ecx, 2), %rsi
    lea -8(%rsp), %r11
    lea 0x100(%rip), %r12
    lea (%rax, %rax), %ax
    END
    CASE cmov, 0
    cmp %rax, %rcx
    cmova %rdx, %r8
    cmovb (%rbx), %r9
    cmovg %eax, %r10d
    cmovs %r11, %rax
    seto %al
    setbe (%rbx)
    setl %r8b
    setge %dh
    END
    CASE shift, 0, 0x810
    shl $3, %rax
    shr $1, %r8
    sar %cl, %rdx
    rol $5, %r9w
    ror %cl, %r10d
    shlq %cl, (%rbx)
    shld $7, %rax, %rdx
    shrd %cl, %r8, %r9
    END
    CASE rcl, 0, 0x800
    rcl $3, %rax
    rcr $1, %r8
    rcl %cl, %edx
    rcrq %cl, (%rbx)
    END
    CASE mul, 0, UND_MUL
    mul %rcx
    imul %r8
    imul %r9, %r10
    imul $100, (%rbx), %rdx
    mulb %al
    imul $3, %r11d, %r11d
    END
    CASE div, 0, UND_DIV
    xor %edx, %edx
    or $1, %ecx
    div %rcx
    mov %ecx, %edx
    shr $1, %edx
    div %ecx
    mov $17, %eax
    mov $3, %cl
    idiv %cl
    END
    CASE div_by_zero, 0, UND_DIV
    add %rax, %rdx
    xor %ecx, %ecx
    div %rcx
    END
    CASE xchg, 0
    xchg %rax, %rcx
    xchg %r8, %r9
    xchg %al, %ah
    xchg %rdx, (%rbx)
    xadd %rax, %r10
    xadd %r8, (%rbx)
    lock xadd %eax, 8(%rbx)
    lock incl (%rbx)
    cmpxchg %rcx, %rdx
    lock cmpxchg %r9, (%rbx)
    bswap %rax
    bswap %r10d
    END
    CASE cmpxchg16b, 0
    and $-16, %rbx
    lock cmpxchg16b (%rbx)
    mov (%rbx), %rax
    mov 8(%rbx), %rdx
    lock cmpxchg16b (%rbx)
    cmpxchg8b (%rbx)
    END
    CASE bits, 0, 0x894
    bt %rax, %rcx
    bts $5, %r8
    btr %ecx, %edx
    END
    CASE bitmem, 0, 0x894
    and $0x3fff, %eax
    sub $0x2000, %rax
    bt %rax, (%rbx)
    bts %rax, (%rbx)
    btrl $9, (%rbx)
    lock btc %eax, (%rbx)
    mov $-100, %r9w
    bts %r9w, (%rbx)
    END
    CASE bsf, 0, 0x8d5
    or $0x100, %rax
    bsf %rax, %rcx
    bsr %rax, %r8
    tzcnt %r9, %rdx
    lzcnt (%rbx), %r10
    popcnt %r11, %rax
    END
    /* OF of LZCNT and TZCNT is undefined: whatever the host makes of the old one. */
    CASE lzcnt_overflow, 0, 0xd4
    mov $0x7fffffff, %edx
    add $1, %edx
    lzcnt (%rbx), %r10
    seto 8(%rbx)
    add $0x7fffffff, %edx
    lzcnt %r10, %r9
    seto 9(%rbx)
    mov $0x7fffffff, %eax
    add $1, %eax
    tzcnt 16(%rbx), %rcx
    seto 10(%rbx)
    mov $0x7fffffff, %eax
    add $1, %eax
    mov (%rbx), %rbp
    tzcnt %edx, %r8d
    END
    CASE string, 0
    mov $20, %ecx
    rep movsb
    movsq
    mov $5, %ecx
    rep stosq
    lodsb
    mov $100, %ecx
    repne scasb
    std
    mov $7, %ecx
    repe cmpsb
    movsl
    cld
    END
    CASE x87, 0
    fninit
    fldl (%rbx)
    fld1
    faddp
    fldpi
    fmul %st(1), %st
    fstpl 8(%rbx)
    fildl 16(%rbx)
    fsqrt
    fistpll 24(%rbx)
    fxch
    fnstsw %ax
    fnstcw 32(%rbx)
    fcomi %st(1), %st
    END
    CASE sse, 0
    and $-16, %rbx
    movaps (%rbx), %xmm0
    movups 1(%rbx), %xmm8
    addps %xmm1, %xmm2
    mulpd (%rbx), %xmm9
    pxor %xmm3, %xmm4
    movd %eax, %xmm5
    movq %xmm6, %r9
    movq %r10, %xmm7
    cvtsi2sd %r8, %xmm10
    cvttsd2si %xmm11, %r11
    cvttss2si (%rbx), %ecx
    movmskps %xmm1, %r9d
    pmovmskb %xmm2, %eax
    pshufd $0x1b, %xmm3, %xmm12
    movaps %xmm12, 16(%rbx)
    movss %xmm1, 3(%rbx)
    comisd %xmm1, %xmm2
    pextrw $3, %xmm1, %r8d
    pinsrw $2, %r9d, %xmm14
    END
    CASE sse_unaligned, 0
    or $1, %rbx
    add %rax, %rcx
    movaps (%rbx), %xmm0
    END
    CASE avx, 0
    vaddps %ymm1, %ymm2, %ymm3
    vmovups (%rbx), %ymm4
    vmulpd 8(%rbx), %ymm5, %ymm6
    vpxor %xmm8, %xmm9, %xmm10
    vmovd %r9d, %xmm1
    vmovq %xmm2, %r10
    vextractf128 $1, %ymm3, 32(%rbx)
    vperm2f128 $0x31, %ymm1, %ymm2, %ymm11
    vfmadd231pd %ymm1, %ymm2, %ymm3
    vpaddd (%rbx), %ymm12, %ymm13
    vzeroupper
    vcvtsi2sd %r8, %xmm3, %xmm5
    andn %rax, %r8, %r9
    bextr %rax, %r8, %r10
    shlx %rcx, %r9, %r11
    pdep %r8, %r9, %rax
    mulx %r10, %r8, %r9
    rorx $7, %r11, %rdx
    END
    CASE mmx, 0
    movq (%rbx), %mm0
    paddd %mm1, %mm0
    movd %eax, %mm2
    movq %mm0, 8(%rbx)
    pmovmskb %mm3, %r9d
    emms
    END
    CASE fault_read, 0
    add %rax, %rcx
    mov %rdx, 8(%rbx)
    mov 0x40000000, %eax
    add 0x4010f000, %rcx
    END
    CASE fault_write, 0
    sub %rax, %rcx
    mov %rcx, 0x40120010
    END
    CASE fault_rmw, 0
    stc
    adc %rcx, 0x40114000
    END
    CASE fault_rmw_crossing, 0
    stc
    adc %rcx, 0x40113ffc
    END
    CASE fault_write_crossing, 0
    mov %rcx, 0x4011fffc
    END
    CASE crossing, 0
    mov $0x40110ffd, %ebx
    mov (%rbx), %rax
    mov %rcx, (%rbx)
    add %rdx, 0x1000(%rbx)
    movups 0x2000-8(%rbx), %xmm0
    movups %xmm1, -4(%rbx)
    lock add %r8d, (%rbx)
    push 0x1000(%rbx)
    END
    CASE noncanonical, 0
    add %rax, %rcx
    movabs $0x1234567800000000, %rbx
    mov %rax, (%rbx)
    END
    CASE noncanonical_stack, 0
    add %rax, %rcx
    movabs $0x8000000000000000, %rsp
    push %rax
    END
    CASE invalid, 0
    cmp %rax, %rcx
    ud2
    END
    CASE privileged, 0
    cmp %rax, %rcx
    hlt
    END
    CASE fs, 0
    mov %fs:8, %rax
    mov %rax, %gs:16
    rdfsbase %rcx
    add $8, %rcx
    wrgsbase %rcx
    mov %gs:(0), %edx
    END
    CASE flags, 0
    stc
    cmc
    lahf
    mov %ah, %al
    mov $0xff, %ah
    sahf
    pushf
    pop %rcx
    clc
    std
    pushf
    pop %rdx
    cld
    END
    CASE enter, 0
    enter $32, $0
    mov %rax, -8(%rbp)
    leave
    enter $16, $3
    leave
    END
    CASE ret_imm, 0
    lea 1f(%rip), %rax
    push %rcx
    push %rax
    ret $8
1:  cqo
    cwtl
    cltq
    END
    CASE ind_mem, 0
    lea 1f(%rip), %r9
    mov %r9, (%rbx)
    jmp *(%rbx)
    ud2
1:  lea 2f(%rip), %r9
    mov %r9, 8(%rbx)
    call *8(%rbx)
    jmp 3f
2:  ret
3:  nop
    END
    CASE smc_self, 0
    movb $0x5, 1f+1(%rip)
1:  mov $0x77, %al
    movb $0x77, 1b+1(%rip)
    END
    /* A store opens a window, a load takes it to a read-only page, a store must not follow there. */
    CASE store_behind_load_in_window, 0
    mov $0x40120000, %esi
    lea 0x1000(%rsi), %rbx
    mov (%rsi), %edx
    mov %eax, (%rbx)
    mov -8(%rbx), %ecx
    mov %eax, -16(%rbx)
    END
