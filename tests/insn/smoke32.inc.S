/* SPDX-License-Identifier: GPL-2.0-or-later */
    CASE alu32, 2
    add %eax, %ecx
    adc %edx, (%ebx)
    sub $5, %al
    inc %eax
    dec %edx
    incl (%ebx)
    sbb %ch, %dl
    cmp (%ebx), %edx
    mov 0x40110100, %eax
    mov %al, 0x40110108
    END
    CASE push32, 2
    push %eax
    push $-3
    pushw %cx
    popw %dx
    push (%ebx)
    pop 4(%ebx)
    pop %ecx
    pushal
    popal
    pushf
    pop %eax
    push %esp
    pop %edx
    push %ds
    pop %eax
    END
    CASE call32, 2
    call 1f
    jmp 2f
1:  add %eax, %ecx
    ret
2:  call 3f
3:  pop %eax
    add $(4f-3b), %eax
    jmp *%eax
    ud2
4:  nop
    END
    CASE bcd, 2, 0x8c4
    daa
    aaa
    aas
    das
    END
    CASE aam, 2, 0x811
    aam
    aad
    END
    CASE string32, 2
    mov $20, %ecx
    rep movsb
    mov $5, %ecx
    rep stosl
    lodsb
    repne scasb
    END
    CASE fault32, 2
    add %eax, %ecx
    mov %ecx, 0x4010fffe
    END
    CASE wrap32, 2
    mov $0xffffffff, %eax
    mov 0x40110101(%eax), %ecx
    mov %ecx, 0x40110201(%eax)
    END
    CASE addr16, 2
    movzwl %bx, %ebx
    lea 0x10(%bx, %si), %eax
    END
    CASE sse32, 2
    movups (%ebx), %xmm0
    addps %xmm1, %xmm2
    movd %eax, %xmm3
    cvtsi2sd %ecx, %xmm4
    vaddps %ymm1, %ymm2, %ymm3
    END
    CASE x87_32, 2
    fninit
    fldl (%ebx)
    fld1
    faddp
    fstpt 16(%ebx)
    fnstcw 32(%ebx)
    END
    CASE loop32, 2
    mov $10, %ecx
1:  add %ecx, %edx
    loop 1b
    mov $0x20005, %ecx
2:  inc %eax
    addr16 loop 2b
    jecxz 3f
    nop
3:  bound %eax, (%ebx)
    END
