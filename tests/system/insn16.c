/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * insn16.c - instructions in real-address mode against models of the manual's operation sections (SDM vol. 2; vol. 3,
 * chapter 21): what test suites for older processors ask.
 */
/* with: insn16.S */
/* with: insn16_arith.c */
#define SYS_MAIN
#include "insn16.h"

extern u8 insn16_start[], insn16_end[], insn16_stubs[];
void run16(void);

static u32 cases, bad;

void trap(struct frame *f)
{
    line("unexpected exception", f->vector);
    line("at", f->ip);
    sys_exit(1);
}

void check(int ok, u32 got, u32 want)
{
    cases++;
    if (ok) {
        return;
    }
    if (bad++ < 4) {
        put("  got ");
        put_hex(got);
        put(" want ");
        put_hex(want);
        put(" vector ");
        put_hex(R->vector);
        put(" ip ");
        put_hex(R->ip);
        put(" case ");
        put_hex(cases);
        put("\n");
    }
}

void report(const char *name)
{
    put(name);
    put(": ");
    put_hex(cases);
    put(" checks, ");
    put_hex(bad);
    put(" differ\n");
    cases = bad = 0;
}

void insn16_init(void)
{
    volatile u32 *vectors = (volatile u32 *)0;
    volatile u8 *to = (volatile u8 *)0x7c00;

    for (u8 *p = insn16_start; p < insn16_end; p++) {
        *to++ = *p;
    }
    __asm__ volatile("" : "+r"(vectors));
    for (u32 v = 0; v <= END; v++) {
        vectors[v] = 0x7c00 + (u32)(insn16_stubs - insn16_start) + 16 * v;
    }
}

static u32 code_len;

void set_bytes(const char *code, u32 n)
{
    volatile u32 *r = (volatile u32 *)R;

    for (u32 i = 0; i < n; i++) {
        if (CODE[i] != (u8)code[i]) {
            CODE[i] = (u8)code[i];
        }
    }
    CODE[n] = 0xcd;
    CODE[n + 1] = END;
    code_len = n;
    for (u32 i = 0; i < 8; i++) {
        r[i] = 0x11111111 * (i + 1);
    }
    R->esp = 0x1000;
    R->es = 0x3000;
    R->ss = 0x4000;
    R->ds = 0x2000;
    R->fs = R->gs = 0;
    R->cs = 0x1000;
    R->ip = 0;
    R->flags = 2;
    R->vector = 0xff;
}

void go(void)
{
    run16();
}

/* Ended by INT 60h behind the code / by an exception at offset `ip`. */
static void done(void)
{
    eq(R->vector, END);
    eq(R->ip, code_len + 2);
}

static void faults(u32 vector, u32 ip)
{
    eq(R->vector, vector);
    eq(R->ip, ip);
}

static void test_stack(void)
{
    /* PUSHA and POPA with SP wrapping between two words. */
    for (u32 sp = 2; sp <= 0x14; sp += 2) {
        set("\x60");
        R->esp = sp;
        go();
        done();
        eq(R->esp & 0xffff, (sp - 16) & 0xffff);
        for (u32 i = 0; i < 8; i++) {
            static const u16 want[8] = { 0x1111, 0x2222, 0x3333, 0x4444, 0, 0x6666, 0x7777, 0x8888 };
            eq(get16(STACK + ((sp - 2 - 2 * i) & 0xffff)), i == 4 ? sp : want[i]);
        }
        set("\x61");
        R->esp = (sp - 16) & 0xffff;
        R->eax = R->edi = 0;
        go();
        done();
        eq(R->esp & 0xffff, sp);
        eq(R->edi, 0x8888);
        eq(R->eax, 0x1111);
    }
    set("\x54\x5b");                /* push sp; pop bx: the old value since the 286 */
    go();
    done();
    eq(R->ebx & 0xffff, 0x1000);
    set("\x5c");                    /* pop sp */
    put16(STACK + 0x1000, 0x2468);
    go();
    done();
    eq(R->esp & 0xffff, 0x2468);
    set("\xff\x36\x10\x00\x8f\x06\x12\x00");  /* push [10]; pop [12] */
    put16(DATA + 0x10, 0xbeef);
    go();
    done();
    eq(get16(DATA + 0x12), 0xbeef);
    set("\x68\x34\x12\x6a\xfe\x66\x6a\xfd");  /* push 1234; push -2; push dword -3 */
    go();
    done();
    eq(get16(STACK + 0xffe), 0x1234);
    eq(get16(STACK + 0xffc), 0xfffe);
    eq(get16(STACK + 0xffa), 0xffff);
    eq(get16(STACK + 0xff8), 0xfffd);
    set("\x50");                    /* a word that would straddle FFFF: #SS */
    R->esp = 0xffff;
    go();
    done();                         /* SP - 2 = FFFD: fits */
    set("\x58");
    R->esp = 0xffff;
    go();
    faults(12, 0);
    for (u32 level = 0; level < 36; level++) {
        u32 l = level & 31;
        set("\xc8\x08\x00\x00");
        CODE[3] = (u8)level;
        R->ebp = 0x2000;
        for (u32 i = 1; i < 32; i++) {
            put16(STACK + 0x2000 - 2 * i, 0x5000 + i);
        }
        go();
        done();
        eq(get16(STACK + 0xffe), 0x2000);
        eq(R->ebp & 0xffff, 0xffe);
        eq(R->esp & 0xffff, 0x1000 - 2 - 2 * l - 8);
        for (u32 i = 1; i < l; i++) {
            eq(get16(STACK + 0xffe - 2 * i), 0x5000 + i);
        }
        if (l) {
            eq(get16(STACK + 0xffe - 2 * l), 0xffe);
        }
    }
    set("\xc9");                    /* leave */
    R->ebp = 0x800;
    put16(STACK + 0x800, 0x1357);
    go();
    done();
    eq(R->esp & 0xffff, 0x802);
    eq(R->ebp & 0xffff, 0x1357);
    report("stack");
}

static void test_limits(void)
{
    static const struct { const char *code; u32 n, vector, eax; } list[] = {
        { "\xa1\xff\xff", 3, 13, 0 },              /* mov ax, [ffff] */
        { "\xa0\xff\xff", 3, END, 0 },             /* a byte there */
        { "\x66\xa1\xfd\xff", 4, 13, 0 },          /* dword at fffd */
        { "\x66\xa1\xfc\xff", 4, END, 0 },
        { "\x89\x06\xff\xff", 4, 13, 0 },          /* the same for a store */
        { "\x36\xa1\xff\xff", 4, 12, 0 },          /* through SS */
        { "\x67\x8a\x03", 3, 13, 0 },              /* [ebx] = 44444444 */
        { "\x67\x8a\x44\x24\x00", 5, END, 0 },     /* [esp] */
        { "\xc4\x06\xfe\xff", 4, END, 0 },         /* les: the selector's word is at 0000 */
        { "\x62\x06\xfe\xff", 4, 5, 0 },           /* bound: the same; 1111 is not within 0..0 */
        { "\xd7", 1, END, 0 },                     /* xlat wraps */
        { "\x0f\x0b", 2, 6, 0 },                   /* ud2 */
        { "\xf0\x90", 2, 6, 0 },                   /* lock nop */
        { "\x0f\x00\xc0", 3, 6, 0 },               /* sldt */
        { "\x63\xc0", 2, 6, 0 },                   /* arpl */
        { "\xc5\xc0", 2, 6, 0 },                   /* lds ax, ax */
        { "\x8e\xc8", 2, 6, 0 },                   /* mov cs, ax */
    };

    for (u32 i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        set_bytes(list[i].code, list[i].n);
        put16(DATA + 0xfffe, 0);
        put16(DATA, 0);
        go();
        eq(R->vector, list[i].vector);
        eq(R->ip, list[i].vector == END ? list[i].n + 2 : 0);
        eq(R->esp & 0xffff, 0x1000);
    }
    /* Repeated prefixes: 15 bytes run, 16 do not. */
    set("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x90");
    go();
    done();
    set("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x90");
    go();
    faults(13, 0);
    report("limits");
}

static void test_strings(void)
{
    static const struct { const char *code; u32 n; } movs[] = {
        { "\xf3\xa4", 2 }, { "\xf3\xa5", 2 }, { "\xf3\x66\xa5", 3 }, { "\xf3\x26\xa4", 3 }, { "\x67\xf3\xa5", 3 },
    };

    for (u32 i = 0; i < sizeof(movs) / sizeof(movs[0]); i++) {
        u32 size = i == 0 || i == 3 ? 1 : i == 2 ? 4 : 2;
        for (u32 down = 0; down < 2; down++) {
            volatile u8 *from = i == 3 ? EXTRA : DATA;
            u32 step = down ? -size : size;
            set_bytes(movs[i].code, movs[i].n);
            R->flags = down ? DF | 2 : 2;
            R->esi = i == 4 ? 0x200 : 0x77770200;
            R->edi = i == 4 ? 0x400 : 0x88880400;
            R->ecx = i == 4 ? 5 : 0x99990005;
            for (u32 k = 0; k < 0x80; k++) {
                from[0x1c0 + k] = (u8)(k * 7 + i);
                EXTRA[0x3c0 + k] = 0;
            }
            go();
            done();
            eq(R->ecx & 0xffff, 0);
            eq(R->esi & 0xffff, (0x200 + 5 * step) & 0xffff);
            eq(R->edi & 0xffff, (0x400 + 5 * step) & 0xffff);
            for (u32 k = 0; k < 5 * size; k++) {
                u32 at = down ? size - 1 - k : k;
                eq(EXTRA[0x400 + at], from[0x200 + at]);
            }
        }
    }
    set("\xf3\xaa");                /* rep stosb over the end of the segment: DI wraps */
    R->edi = 0xfffe;
    R->ecx = 4;
    go();
    done();
    eq(R->edi & 0xffff, 2);
    eq(get16(EXTRA), 0x1111);
    set("\xf3\xab");                /* rep stosw: the word at FFFF faults after one */
    R->edi = 0xfffd;
    R->ecx = 4;
    go();
    faults(13, 0);
    eq(R->ecx & 0xffff, 3);
    eq(R->edi & 0xffff, 0xffff);
    set("\xf2\xae");                /* repne scasb */
    for (u32 k = 0; k < 8; k++) {
        EXTRA[0x100 + k] = k == 5 ? 0x11 : 0x22;
    }
    R->edi = 0x100;
    R->ecx = 8;
    go();
    done();
    eq(R->edi & 0xffff, 0x106);
    eq(R->ecx & 0xffff, 2);
    eq(R->flags & ZF, ZF);
    set("\xf3\xa6");                /* repe cmpsb */
    for (u32 k = 0; k < 8; k++) {
        EXTRA[0x100 + k] = (u8)(k == 3 ? 9 : k);
        DATA[0x100 + k] = (u8)k;
    }
    R->esi = R->edi = 0x100;
    R->ecx = 8;
    go();
    done();
    eq(R->edi & 0xffff, 0x104);
    eq(R->flags & (ZF | CF | SF), CF | SF);
    set("\xf3\xa4");                /* CX = 0 */
    R->ecx = 0xffff0000;
    go();
    done();
    eq(R->esi, 0x77777777);
    set("\x3e\x64\xac");            /* lodsb fs: the last override counts */
    R->fs = 0x3000;
    R->esi = 0x100;
    EXTRA[0x100] = 0x5a;
    go();
    done();
    eq(R->eax & 0xff, 0x5a);
    report("strings");
}

static void test_loops(void)
{
    static const u8 op[] = { 0xe0, 0xe1, 0xe2, 0xe3 };

    for (u32 i = 0; i < 4; i++) {
        for (u32 zf = 0; zf < 2; zf++) {
            for (u32 wide = 0; wide < 2; wide++) {
                static const u32 counts[] = { 0, 1, 2, 0x10000, 0x10001, 0xffff };
                for (u32 k = 0; k < 6; k++) {
                    u32 mask = wide ? 0xffffffff : 0xffff, cx = counts[k], left = (cx - (i < 3)) & mask;
                    int taken = i == 3 ? !(cx & mask) : left && (i == 2 || zf == (i == 1));
                    /* 67? LOOP +2; inc al; ...: AL counts when it falls through */
                    set("\x90\xe2\x02\xfe\xc0\x90");
                    CODE[0] = wide ? 0x67 : 0x90;
                    CODE[1] = op[i];
                    R->ecx = cx;
                    R->flags = zf ? ZF | 2 : 2;
                    go();
                    done();
                    eq(R->eax & 0xff, taken ? 0x11 : 0x12);
                    eq(R->ecx, i == 3 ? cx : (cx & ~mask) | left);
                }
            }
        }
    }
    report("loops");
}

static void test_far(void)
{
    set("\xea\x10\x00\x00\x10\x90");        /* jmp 1000:0010 */
    put16(CODE + 0x10, 0x60cd);
    go();
    eq(R->vector, END);
    eq(R->ip, 0x12);
    set("\xea\x00\x00\x01\x10");            /* the same place by another selector: 1001:0000 */
    go();
    eq(R->cs, 0x1001);
    eq(R->ip, 2);
    set("\x9a\x10\x00\x00\x10");
    put16(CODE + 0x10, 0x60cd);
    go();
    eq(get16(STACK + 0xffc), 5);
    eq(get16(STACK + 0xffe), 0x1000);
    set("\xca\x06\x00");
    put16(STACK + 0x1000, 0x10);
    put16(STACK + 0x1002, 0x1000);
    go();
    eq(R->ip, 0x12);
    eq(R->esp & 0xffff, 0x100a);
    set("\xff\x2e\x20\x00");                /* jmp far [20] */
    put16(DATA + 0x20, 0x10);
    put16(DATA + 0x22, 0x1000);
    put16(CODE + 0x10, 0x60cd);
    go();
    eq(R->ip, 0x12);
    set("\xc5\x1e\x20\x00");                /* lds bx, [20] */
    put16(DATA + 0x22, 0x1234);
    go();
    done();
    eq(R->ds, 0x1234);
    eq(R->ebx & 0xffff, 0x10);
    set("\x0f\xb2\x26\x20\x00");            /* lss sp, [20] */
    put16(DATA + 0x20, 0x800);
    put16(DATA + 0x22, 0x3000);
    go();
    eq(R->ss, 0x3000);
    eq(R->esp & 0xffff, 0x800);
    set("\x8e\xc0\x8c\xc3");                /* mov es, ax; mov bx, es: any value */
    R->eax = 0xfff3;
    go();
    done();
    eq(R->ebx & 0xffff, 0xfff3);
    set("\xe8\x0b\x00");                    /* near call, ret 2 at 0e */
    CODE[0xe] = 0xc2;
    put16(CODE + 0xf, 2);
    go();
    done();
    eq(R->esp & 0xffff, 0x1002);
    report("far");
}

static void test_interrupts(void)
{
    set("\xcd\x21");
    R->flags = 0x7ad7;                      /* IOPL, NT, IF: pushed as they are */
    go();
    faults(0x21, 2);
    eq(R->flags, 0x7ad7);
    set("\xcc");
    go();
    faults(3, 1);
    set("\xce");
    go();
    done();
    set("\xce");
    R->flags = OF | 2;
    go();
    faults(4, 1);
    set("\x62\x06\x30\x00");                /* bound ax, [30] */
    put16(DATA + 0x30, 0x8000);
    put16(DATA + 0x32, 0x1111);
    go();
    done();
    put16(DATA + 0x32, 0x1110);
    set("\x62\x06\x30\x00");
    go();
    faults(5, 0);
    set("\xcf");                            /* iret */
    put16(STACK + 0x1000, 0x20);
    put16(STACK + 0x1002, 0x1000);
    put16(STACK + 0x1004, 0x7cd5);
    put16(CODE + 0x20, 0x60cd);
    go();
    eq(R->ip, 0x22);
    eq(R->flags, 0x7cd7);
    eq(R->esp & 0xffff, 0x1006);
    set("\x9c\x58\x50\x9d\x9c\x5b");        /* pushf; pop ax; push ax; popf; pushf; pop bx */
    R->flags = 0x34d7;
    go();
    done();
    eq(R->eax & 0xffff, 0x34d7);
    eq(R->ebx & 0xffff, 0x34d7);
    set("\x68\x02\x01\x9d\x90\x90");        /* popf sets TF: the trap is after the next instruction */
    go();
    faults(1, 5);
    set("\x68\x02\x01\x9d\x8e\xd0\x90\x90"); /* MOV SS, AX there: after one more */
    R->eax = 0x4000;
    go();
    eq(R->vector, 1);
    eq(R->ip, 7);
    set("\xfb\xfa\x9c\x58");                /* sti; cli; pushf; pop ax */
    go();
    done();
    eq(R->eax & IF, 0);
    report("interrupts");
}

static void test_ports(void)
{
    set("\xb0\x0d\xe6\x70\xe4\x71\xb4\x00"); /* CMOS register D: bit 7, battery */
    go();
    done();
    eq(R->eax & 0x80, 0x80);
    set("\xf3\x6e");                        /* rep outsb to the serial port */
    DATA[0x50] = 'o';
    DATA[0x51] = 'k';
    DATA[0x52] = '\n';
    R->esi = 0x50;
    R->edx = 0x3f8;
    R->ecx = 3;
    go();
    done();
    eq(R->esi & 0xffff, 0x53);
    set("\xf3\x26\x6c");                    /* rep insb es: line status register, ES cannot be overridden */
    R->edi = 0x60;
    R->edx = 0x3fd;
    R->ecx = 2;
    EXTRA[0x60] = EXTRA[0x61] = 0;
    go();
    done();
    eq(R->edi & 0xffff, 0x62);
    eq(EXTRA[0x60] & 0x20, 0x20);
    eq(EXTRA[0x61] & 0x20, 0x20);
    report("ports");
}

__attribute__((used)) void test_main(void)
{
    insn16_init();
    test_arith();
    test_stack();
    test_limits();
    test_strings();
    test_loops();
    test_far();
    test_interrupts();
    test_ports();
}
