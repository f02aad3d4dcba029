; SPDX-License-Identifier: GPL-2.0-or-later
;
; A firmware for test_gdb.py to debug: nasm -f bin, 128 KiB for -bios.  Every label is a place to stop at; the
; map that nasm writes says where it is.  One way through all modes, without interrupts until `interrupts:`
;
;   real mode in ROM -> 32-bit -> payload copied to 1 MiB -> 16-bit protected -> v86 -> paging -> 64-bit ->
;   compatibility mode -> data accesses -> code that is written -> debug registers -> interrupts -> HLT -> busy loop
;
; Linear is physical below 8 MiB; the 2 MiB at 40000000h are those at 200000h again, in 4 KiB pages, the second of
; which is not present until the guest maps it.

[map symbols gdb.map]

DATA    equ 0x203000            ; a page of data and the next one
TABLES  equ 0x300000            ; page tables
V86TSS  equ 0x310000
STACK   equ 0x320000
VIRT    equ 0x40000000

        section .payload start=0 vstart=0x100000
        bits 32
payload:
        mov esp, STACK
        call fill               ; near calls and returns
        mov ecx, 5
loop32: add eax, ecx
loop32b:
        dec ecx
        jnz loop32
after32:
        mov eax, 0x11223344
        cdq
        push eax
        pop edx

; ---- 16-bit protected mode, base 100000h ----
        jmp dword 0x20:(code16 - payload)
        bits 16
code16: mov ax, 0x28
        mov ds, ax
        mov bx, data16 - payload
        inc word [bx]
in16:   add ax, [bx]
        push ax
        pop cx
        jmp dword 8:(back32 - payload + 0x100000)
        bits 32
back32: mov ax, 0x10
        mov ds, ax

; ---- v86 ----
        mov dword [V86TSS + 4], STACK
        mov dword [V86TSS + 8], 0x10
        mov word [V86TSS + 102], 0x68
        mov ax, 0x30
        ltr ax
        lidt [idt32_ptr]
        mov esi, v86_code
        mov edi, 0x9000
        mov ecx, v86_end - v86_code
        rep movsb
        xor eax, eax
        mov ebx, 0x20
        mov edx, 1
        push dword 0            ; gs fs ds es ss sp flags cs ip
        push dword 0
        push dword 0x900
        push dword 0
        push dword 0x800
        push dword 0x400
        push dword 0x20202
        push dword 0x900
        push dword 0
        iretd
        bits 16
v86_code:
        mov ax, 0x1234
        mov [bx], ax
        push ax
        pop dx
        add dx, [bx]
        cli                     ; #GP: back to 32-bit mode
v86_end:
        bits 32
v86_gp: mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov esp, STACK

; ---- paging, PAE, long mode ----
        mov edi, TABLES
        xor eax, eax
        mov ecx, 0x6000 / 4
        rep stosd
        mov dword [TABLES], TABLES + 0x1007
        mov dword [TABLES + 0x1000], TABLES + 0x2007
        mov dword [TABLES + 0x1008], TABLES + 0x3007
        mov dword [TABLES + 0x1018], TABLES + 0x5007     ; 4th GiB: the last 2 MiB, firmware
        mov dword [TABLES + 0x5ff8], 0xffe00087
        mov dword [TABLES + 0x5fb8], 0xfee00087          ; local APIC
        mov dword [TABLES + 0x2000], 0x000087
        mov dword [TABLES + 0x2008], 0x200087
        mov dword [TABLES + 0x2010], 0x400087
        mov dword [TABLES + 0x2018], 0x600087
        mov dword [TABLES + 0x3000], TABLES + 0x4007
        mov edi, TABLES + 0x4000
        mov eax, 0x200007
        mov ecx, 512
pages:  mov [edi], eax
        add eax, 0x1000
        add edi, 8
        loop pages
long_mode:
        mov dword [TABLES + 0x4008], 0
        mov eax, cr4
        or eax, 0x620
        mov cr4, eax
        mov eax, TABLES
        mov cr3, eax
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x100
        wrmsr
        mov eax, cr0
        or eax, 0x80010020
        mov cr0, eax
paging: jmp dword 0x18:(code64 - payload + 0x100000)

        bits 64
code64: mov rsp, STACK
        lidt [idt64_ptr]
        mov rax, 0x123456789abcdef0
        mov r8, rax
        mov r9, 9
        mov r10, 10
        mov r11, 11
        mov r15, 15
        movq xmm0, rax
        pshufd xmm9, xmm0, 0x4e
        fldpi
        fld1
        mov ecx, 4
loop64: lea rdx, [rdx + rcx]
        loop loop64
after64:
        call sub64
        cmp rax, rdx
        push rax
        pop rbx

; a page that is mapped later: the subroutine at VIRT + 1000h + 10h
        mov dword [TABLES + 0x4008], 0x201007
        mov dword [0x201010], 0xc3c0ff48        ; inc rax; ret
        mov rbx, VIRT + 0x1010
        xor eax, eax
        call rbx
later:  mov byte [0x201012], 0xc8               ; dec rax
        call rbx
later2: nop

; ---- compatibility mode ----
        jmp far dword [rel to_compat]
to_compat:
        dd compat
        dw 8
        bits 32
compat: mov eax, 0x55
        add eax, eax
        push eax
        pop ecx
        jmp dword 0x18:(data - payload + 0x100000)

; ---- data accesses: `at_NAME` is behind the instruction of that name ----
        bits 64
data:   mov ebx, DATA
        xor eax, eax
        xor edx, edx
        mov r12, 8
%macro op 1+
%assign n n + 1
        %1
at_%[n]: nop
%endmacro
%assign n 0
        op mov dword [rbx + 0x10], 1            ; 1
        op mov eax, [rbx + 0x10]                ; 2
        op add dword [rbx + 0x10], 5            ; 3
        op mov byte [rbx + 0x13], 1             ; 4
        op mov [rbx + 0xe], rax                 ; 5
        op movups [rbx + 0xc], xmm0             ; 6
        op movups xmm1, [rbx + 1]               ; 7
        op fstp tword [rbx + 8]                 ; 8
        op lock xadd [rbx + 0x10], eax          ; 9
        op xchg [rbx + 0x10], edx               ; 10
        op cmp dword [rbx + 0x10], 3            ; 11
        op bt dword [rbx + 8], 66               ; 12
        op lea rax, [rbx + 0x10]                ; 13
        op mov [rbx + 0xffe], eax               ; 14: two pages
        op mov rax, [rbx + 0xffc]               ; 15
        mov ecx, 8
        lea rdi, [rbx + 0x0c]
        op rep stosb                            ; 16
        mov ecx, 8
        lea rsi, [rbx + 0x0c]
        lea rdi, [rbx + 0x40]
        op rep movsb                            ; 17
        mov ecx, 3
        lea rsi, [rbx]
        lea rdi, [rbx + 0xff0]
        op rep movsq                            ; 18
        lea rsp, [rbx + 0x18]
        op push rax                             ; 19
        op pop rax                              ; 20
        lea rsp, [rbx + 0x18]
        op call sub64                           ; 21
        mov rsp, STACK
        op inc qword [rbx + r12 + 0x1000 - 0xc] ; 22: two pages
        mov edi, VIRT + 0x3010
        op mov dword [rdi], 7                   ; 23: the same memory elsewhere
        op fxsave [rbx + 0x200]                 ; 24
        op cmpxchg16b [rbx + 0x10]              ; 25
        op movnti [rbx + 0x10], eax             ; 26
        op stmxcsr [rbx + 0x10]                 ; 27
        op sgdt [rbx + 0x10]                    ; 28
        op not byte [rbx + 0x11]                ; 29
data_end:

; ---- a loop that is one block, stores in it ----
        mov ecx, 100
        xor eax, eax
store_loop:
        mov [rbx + rcx * 4], ecx
        add eax, ecx
        dec ecx
        jnz store_loop
store_done:

; ---- code that a debugger changes ----
        mov ecx, 3
        xor eax, eax
patch_loop:
        call patched
        dec ecx
        jnz patch_loop
patch_done:

; ---- debug registers ----
        lea rax, [rel dr_target]
        mov dr0, rax
        lea rax, [rel dr_data]
        mov dr1, rax
        mov eax, 0x400 | 1 | 4 | 0xd00000       ; DR0 execution, DR1 4 bytes written
        mov dr7, rax
        xor ecx, ecx
dr_before:
        nop
dr_target:
        inc ecx
dr_store:
        mov dword [rel dr_data], 5
        lea rax, [rel ss_data]
        mov dr2, rax
        mov eax, 0x400 | 0x10 | 0x7000000       ; DR2 2 bytes read: the #DB waits for the instruction after MOV SS
        mov dr7, rax
dr_ss:  mov ss, [rel ss_data]
dr_ss2: nop
dr_ss3: nop
dr_after:
        nop
        xor eax, eax
        mov dr7, rax
        pushfq
        or dword [rsp], 0x100
dr_popf:
        popfq
tf_1:   nop
tf_2:   nop
        pushfq
        and dword [rsp], ~0x100
        popfq
tf_off: nop
        int3
after_int3:
        ud2                     ; the handler goes on behind it
after_ud2:

; ---- interrupts ----
interrupts:
        mov eax, 0xfee00350     ; LINT0: what the PICs ask for
        mov dword [rax], 0x700
        mov al, 0x11            ; both PICs, vectors from 20h, only IRQ 0
        out 0x20, al
        out 0xa0, al
        mov al, 0x20
        out 0x21, al
        mov al, 0x28
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfe
        out 0x21, al
        mov al, 0xff
        out 0xa1, al
        mov al, 0x34
        out 0x43, al
        mov al, 0x00            ; about 1 kHz
        out 0x40, al
        mov al, 4
        out 0x40, al
        xor ebp, ebp
ticks_on:
        sti
wait_tick:
        cmp ebp, 3
        jb wait_tick
ticked: nop
        nop
steps:  mov ecx, 1000
step_loop:
        inc rax
        dec rcx
        jnz step_loop
halting:
        hlt
halted: nop
        cli
        mov edx, 1
        xor eax, eax
busy:   inc rax
        lea rcx, [rax + 1]
        inc rcx
        jmp busy
        cli
sleep:  hlt
asleep: jmp sleep

; ---- other processors (a debugger comes here) ----
smp:    mov esi, ap_code
        mov edi, 0x8000
        mov ecx, ap_end - ap_code
        rep movsb
        mov ebx, 0xfee00000
        mov dword [rbx + 0xf0], 0x1ff
        mov dword [rbx + 0x300], 0xc4500        ; INIT and start-up, vector 8, to all others
        mov dword [rbx + 0x300], 0xc4608
        xor eax, eax
smp_bsp:
        inc dword [0x5000]
smp_bsp2:
        inc rax
        jmp smp_bsp
        bits 16
ap_code:
        xor eax, eax
        mov ds, ax
        mov ecx, 1
        lock xadd [0x5004], ecx
ap_loop:
        lock inc dword [0x5008]
ap_loop2:
        inc eax
        jmp ap_loop
ap_end:
        bits 64

sub64:  mov eax, 0x77
sub64b: ret
        align 64
patched:
        add eax, 1
        ret
        align 16
dr_data dq 0
ss_data dw 0x10
        align 8
data16  dw 7
fill:   mov edi, DATA
        xor eax, eax
        mov ecx, 0x800
        rep stosd
fill_ret:
        ret

; ---- exceptions of 64-bit code: counted in r13 (#DB), r14 (others) ----
db_handler:
        inc r13
        mov rax, dr6
        xor eax, eax
        mov dr6, rax
        or dword [rsp + 16], 0x10000
db_iret:
        iretq
bp_handler:
        inc r14
        iretq
ud_handler:
        inc r14
        add qword [rsp], 2
        iretq
tick_handler:
        inc ebp
        push rax
        mov al, 0x20
        out 0x20, al
        pop rax
tick_iret:
        iretq

%macro gate64 1
        dw %1 - payload
        dw 0x18
        dw 0x8e00
        dw 0x10                 ; the payload's 64 KiB begin at 100000h
        dq 0
%endmacro
        align 16
idt64:  dq 0, 0
        gate64 db_handler
        dq 0, 0
        gate64 bp_handler
        dq 0, 0, 0, 0
        gate64 ud_handler
        times 25 * 2 dq 0
        gate64 tick_handler
idt64_end:
idt64_ptr:
        dw idt64_end - idt64 - 1
        dq idt64
        align 16
idt32:  times 13 dq 0
        dw v86_gp - payload, 8, 0x8e00, 0x10
idt32_ptr:
        dw idt32_ptr - idt32 - 1
        dd idt32
payload_end:

        section .boot start=0x1f000 vstart=0xff000
        bits 16
start16:
        cli
        xor ax, ax
        mov ss, ax
        mov sp, 0x7000
        mov ax, 0x123
        mov ds, ax
        mov word [0x10], 0x55aa
real_store:
        call near real_sub
real_back:
        mov cx, 3
real_loop:
        inc word [0x10]
        loop real_loop
real_done:
        mov ax, cs
        mov ds, ax
        o32 lgdt [gdt_ptr - start16 + 0xf000]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp dword 8:(start32 - start16 + 0xff000)
real_sub:
        push ax
        pop bx
        ret

        bits 32
start32:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x80000
        mov esi, 0xfffe0000
        mov edi, 0x100000
        mov ecx, 0x10000 / 4
        cld
        rep movsd
to_payload:
        mov eax, 0x100000
        jmp eax

        align 16
gdt:    dq 0
        dq 0x00cf9b000000ffff           ; 08 code 32
        dq 0x00cf93000000ffff           ; 10 data
        dq 0x00af9b000000ffff           ; 18 code 64
        dq 0x00009b100000ffff           ; 20 code 16, base 100000h
        dq 0x000093100000ffff           ; 28 data 16, base 100000h
        dq 0x0000893100000067           ; 30 TSS
        dq 0x00affb000000ffff           ; 38 user's code 64
        dq 0x00cff3000000ffff           ; 40 user's data
gdt_ptr:
        dw gdt_ptr - gdt - 1
        dd gdt

        times 0xff0 - ($ - $$) db 0xf4
reset:  db 0xea              ; jmp f000:start16
        dw 0xf000, 0xf000
        times 0x1000 - ($ - $$) db 0
