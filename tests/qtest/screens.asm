; SPDX-License-Identifier: GPL-2.0-or-later
;
; A boot sector that draws, for test_screens.py: nasm -f bin -D MODE=...
; It says "1" on the serial port when the picture stands, waits for a
; character, draws over parts of it, says "2" and halts.
;
;   TEXT    80x50 text with a changed font      PLANES  640x480, 16 colours, the
;   BYTES   320x200, 256 colours                        VGA's latches and logic
;   LINEAR  640x480 in a linear frame buffer from 32-bit code, -D BYTES_PER_PIXEL=1 or 4;
;           QEMU shows the 4-byte pixels in place and converts the others

        bits 16
        org 0x7c00
start:  xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        cld

%ifidn MODE,TEXT
        mov ax, 3
        int 0x10
        mov ax, 0x1112          ; 8x8 font, 50 lines
        xor bl, bl
        int 0x10
        mov ah, 1               ; no cursor
        mov cx, 0x2000
        int 0x10
        xor ax, ax              ; glyphs 65..72 := code of this sector
        mov es, ax
        mov bp, start
        mov cx, 8
        mov dx, 65
        mov bx, 0x0800
        mov ax, 0x1100
        int 0x10
        mov ax, 0xb800
        mov es, ax
        xor di, di
        xor ax, ax
.cell:  stosw                   ; every character, every attribute
        add ax, 0x0107
        cmp di, 80 * 50 * 2
        jb .cell
        call wait_host
        mov di, 161             ; attributes only, odd addresses, two cells at a time
.more:  mov dword [es:di], 0x4e211f42
        add di, 322
        cmp di, 80 * 50 * 2 - 4
        jb .more

%elifidn MODE,BYTES
        mov ax, 0x13
        int 0x10
        mov ax, 0xa000
        mov es, ax
        xor di, di
.pixel: mov ax, di
        imul ax, di
        shr ax, 5
        xor ax, di
        stosb
        cmp di, 64000
        jb .pixel
        call wait_host
        push es
        pop ds
        mov si, 320 * 20
        mov di, 320 * 20 + 3    ; overlaps itself
        mov cx, 320 * 50
        rep movsb
        mov si, 320 * 190
        mov di, 320 * 191 + 1
        mov cx, 320 * 50
        std
        rep movsw
        cld

%elifidn MODE,PLANES
        mov ax, 0x12
        int 0x10
        mov ax, 0xa000
        mov es, ax
        mov dx, 0x3ce
        xor di, di
.line:  mov al, 0               ; set/reset chooses the colour, the mask the pixels
        mov ah, bl
        inc bl
        out dx, ax
        mov ax, 0x0f01
        out dx, ax
        mov ax, 0x5a08
        xor ax, di
        and ax, 0xff00
        mov al, 8
        out dx, ax
        mov cx, 80
.byte:  mov al, [es:di]         ; fills the latches
        stosb
        loop .byte
        cmp di, 80 * 480
        jb .line
        call wait_host
        mov ax, 0xff08
        out dx, ax
        mov ax, 0x0001
        out dx, ax
        mov ax, 0x0105          ; write mode 1: latches to memory
        out dx, ax
        push es
        pop ds
        mov si, 80 * 100
        mov di, 80 * 300 + 7
        mov cx, 80 * 90
        rep movsb
        mov ax, 0x0205          ; write mode 2: a colour per byte
        out dx, ax
        mov ax, 0x1803          ; and XOR with the latches
        out dx, ax
        mov di, 80 * 20 + 10
.box:   mov al, [es:di]
        mov byte [es:di], 0x0b
        mov al, [es:di + 33]
        mov byte [es:di + 33], 0x06
        add di, 80
        cmp di, 80 * 200
        jb .box

%elifidn MODE,LINEAR
%if BYTES_PER_PIXEL = 4
VBE_MODE equ 0x112
%else
VBE_MODE equ 0x101
%endif
LINE    equ 640 * BYTES_PER_PIXEL
        mov ax, 0x4f01
        mov cx, VBE_MODE
        mov di, 0x8000
        mov es, [zero]
        int 0x10
        mov ax, 0x4f02
        mov bx, 0x4000 + VBE_MODE
        int 0x10
        cli
        lgdt [gdt.ptr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 8:flat
        bits 32
flat:   mov ax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov edi, [0x8028]       ; ModeInfoBlock.PhysBasePtr
        mov esi, edi
        xor ebx, ebx
.pixel: mov eax, ebx
        imul eax, 0x01003f1d
        shr eax, 4
        stosd
        inc ebx
        cmp ebx, LINE * 480 / 4
        jb .pixel
        call wait_host
        lea edi, [esi + (LINE * 100 & ~4095) + 4094]
        mov ecx, LINE / 64
.cross: mov dword [edi], 0x00ff80c0     ; across the end of each page
        add edi, 4096
        loop .cross
        lea edi, [esi + LINE * 300]  ; scroll a part, reads and writes
        lea esi, [edi + LINE * 8 + 2]
        mov ecx, LINE / 4 * 100
        rep movsd
        fld1
        mov ecx, 500
.float: fst qword [esi + ecx * 8 - 4]   ; stores that are not integers
        movd mm0, ecx
        movq [esi + ecx * 8 + 8192], mm0
        loop .float
%endif

        mov al, '2'
        call say
.stop:  hlt
        jmp .stop

wait_host:
        mov al, '1'
        call say
        push edx
.get:   mov dx, 0x3fd
        in al, dx
        test al, 1
        jz .get
        mov dx, 0x3f8
        in al, dx
        pop edx
        ret

say:    push edx
        mov dx, 0x3f8
        out dx, al
        pop edx
        ret

%ifidn MODE,LINEAR
gdt:    dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
.ptr:   dw 23
        dd gdt
%endif
        times 508 - ($ - $$) db 0
zero:   dw 0
        dw 0xaa55
