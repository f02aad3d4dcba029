/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * priv32.c - segments, gates, tasks, virtual-8086 mode and real-address mode (SDM vol. 3, ch. 5 to 7, 20).
 */
#define SYS_MAIN
#include "sys.h"

extern u8 gdt[], idt[];
extern u32 v86_esp;
void enter_v86(u32 cs, u32 ip, u32 flags);
void v86_leave(void);
void real_mode(void);

static u32 base, resume, resume_esp;

static void put_seg(const char *name, u32 v)
{
    put(name);
    put_hex(v & 0xffff);
}

static void v86_frame(struct frame *f)
{
    const u32 *segs = (const u32 *)(f + 1);     /* ES DS FS GS */

    put_seg(" es ", segs[0]);
    put_seg(" ds ", segs[1]);
    put_seg(" fs ", segs[2]);
    put_seg(" gs ", segs[3]);
    put_seg(" ss ", f->ss);
    put_seg(" sp ", f->sp);
    put_seg(" ax ", f->eax);
    put("\n");
    if (f->vector == 0x80 || (f->vector == 13 && *(u16 *)((f->cs << 4) + f->ip) == 0x80cd)) {
        __asm__ volatile("jmp v86_leave");
    }
    f->ip += f->vector == 6 ? 3 : 0;
    if (f->vector == 13) {
        u8 op = *(u8 *)((f->cs << 4) + f->ip);
        f->ip += op == 0xcd || op == 0xe6 ? 2 : 1;
    }
}

void trap(struct frame *f)
{
    put("  #");
    put_hex(f->vector);
    put(" err ");
    put_hex(f->error);
    put(" at ");
    put_hex(f->flags & 0x20000 ? f->ip : f->ip - base);
    put_seg(" cs ", f->cs);
    put(f->flags & 0x10000 ? " RF" : "");
    put(f->flags & 0x4000 ? " NT" : "");
    if (f->flags & 0x20000) {
        v86_frame(f);
        return;
    }
    if (f->cs & 3) {
        put_seg(" ss ", f->ss);
        put(f->sp > 0x70000 && f->sp <= 0x7f000 ? "" : " sp?");
    }
    put("\n");
    if (f->vector < 32 && f->vector != 1 && f->vector != 3 && f->vector != 2) {
        if (f->cs & 3) {
            __asm__ volatile("mov %0, %%esp; mov $16, %%eax; mov %%eax, %%ds; mov %%eax, %%es; jmp *%1"
                             : : "r"(resume_esp), "r"(resume));
        }
        f->ip = resume;
    } else if (f->vector == 0x81) {
        __asm__ volatile("mov %0, %%esp; mov $16, %%eax; mov %%eax, %%ds; mov %%eax, %%es; jmp *%1"
                         : : "r"(resume_esp), "r"(resume));
    }
}

#define RUN(code)                                                                                             \
    __asm__ volatile("pusha; movl $9f, %0; movl $8f, %1; mov %%esp, %2; 8: " code                            \
                     "; 9: mov %2, %%esp; mov $16, %%eax; mov %%eax, %%ds; mov %%eax, %%es; mov %%eax, %%ss;" \
                     "xor %%eax, %%eax; mov %%eax, %%fs; mov %%eax, %%gs; popa"                              \
                     : "=m"(resume), "=m"(base), "=m"(resume_esp) : : "memory", "cc")
/* The code in ring 3 on a stack of its own. */
#define USER(code) RUN("push $0x1b; push $0x7c000; pushf; push $0x23; push $1f; iret; 1: " code "; int $0x81")

static void gate(u8 *at, u32 sel, u32 off, u32 type)
{
    ((u32 *)at)[0] = sel << 16 | (off & 0xffff);
    ((u32 *)at)[1] = (off & 0xffff0000u) | type;
}

static void test_segments(void)
{
    put("segments\n");
    RUN("mov $0x58, %%eax; mov %%eax, %%fs; mov %%fs:0xffc, %%ecx; mov %%fs:0xffd, %%ecx");
    RUN("mov $0x60, %%eax; mov %%eax, %%fs; mov %%fs:0x1000, %%ecx; mov %%fs:0xfff, %%ecx");
    RUN("mov $0x68, %%eax; mov %%eax, %%fs");
    RUN("mov $0x68, %%eax; mov %%eax, %%ss");
    RUN("mov $0x70, %%eax; mov %%eax, %%fs; mov %%fs:0, %%ecx; mov %%ecx, %%fs:0");
    RUN("xor %%eax, %%eax; mov %%eax, %%fs; mov %%fs:0, %%ecx");
    RUN("xor %%eax, %%eax; mov %%eax, %%ss");
    RUN("mov $0x1000, %%eax; mov %%eax, %%es");
    RUN("mov $8, %%eax; mov %%eax, %%ss");
    RUN("mov $0x58, %%eax; mov %%eax, %%ds; movups 0xff4, %%xmm0");
    RUN("mov %%cs:0x100000, %%eax; mov %%eax, %%cs:0x100000");
    RUN("ljmp $0x10, $0");
    RUN("ljmp $0x68, $0");
    RUN("lcall $0x1008, $0");
    RUN("int $0xff; bound %%eax, 0x7fff0; nop");
    put("lar lsl verr\n");
    for (u32 sel = 0; sel <= 0x88; sel += 8) {
        u32 lar = 0, lsl = 0;
        u8 r, w;
        __asm__ volatile("lar %2, %0; lsl %2, %1" : "+r"(lar), "+r"(lsl) : "r"(sel) : "cc");
        __asm__ volatile("verr %2; setz %0; verw %2; setz %1" : "=q"(r), "=q"(w) : "r"((u16)sel) : "cc");
        put_hex(sel);
        put(" ");
        put_hex(lar & 0xf0ff00);
        put(" ");
        put_hex(lsl);
        put(r ? " r" : " -");
        put(w ? "w\n" : "-\n");
    }
}

static void test_user(void)
{
    put("ring 3\n");
    USER("nop");
    USER("hlt");
    USER("cli");
    USER("in $0x60, %%al");
    USER("mov %%cr0, %%eax");
    USER("lgdt 0");
    USER("int $0x44; nop");
    USER("mov $0x10, %%eax; mov %%eax, %%ds");
    USER("ljmp $0x80, $1f; 1: mov %%cs, %%eax; ud2");
    USER("mov $0x100, %%eax; pushf; or %%eax, (%%esp); popf; nop");
    idt[0x45 * 8 + 5] = 0x8e;
    USER("int $0x45; nop");
    USER("mov $0x8b, %%eax; mov %%eax, %%ss; mov $0x1000, %%esp; push %%eax; mov $0x1004, %%esp; push %%eax");
    USER("mov $0x8b, %%eax; mov %%eax, %%ss; mov $0xffe, %%esp; pop %%eax");
    USER("mov $0x8b, %%eax; mov %%eax, %%ss; mov $0xff8, %%ebp; mov 4(%%ebp), %%eax; mov 5(%%ebp), %%eax");
    put("call gate\n");
    gate(gdt + 0x40, 8, 0, 0xec02);
    {
        u32 at;
        __asm__("movl $1f, %0; jmp 2f; 1: mov 8(%%esp), %%ecx; mov 12(%%esp), %%edx; int $0x46; lret $8; 2:"
                : "=r"(at));
        gate(gdt + 0x40, 8, at, 0xec02);
    }
    USER("push $0x1234; push $0x5678; lcall $0x43, $0; mov %%esp, %%eax; cmp $0x7c000, %%eax; je 7f; ud2; 7: nop");
    gdt[0x45] = 0x8c;
    USER("lcall $0x43, $0");
}

static volatile u32 task_count;

__attribute__((used)) static void task_note(u32 error)
{
    u16 tr;

    __asm__ volatile("str %0" : "=r"(tr));
    task_count++;
    put_seg("  task ", tr);
    put_seg(" link ", *(volatile u32 *)0x6100);
    put_seg(" err ", error);
    put_seg(" busy ", gdt[0x2d]);
    put_seg(" ", gdt[0x35]);
    put("\n");
}

void task_code(void);
__asm__(".text; task_code: 1: pushl (%esp); call task_note; addl $4, %esp; iret; jmp 1b; "
        "task_fault: 2: pushl (%esp); call task_note; addl $8, %esp; movl resume, %eax; movl %eax, 0x6020; iret;"
        "jmp 2b");
void task_fault(void);

static void make_task(u32 at, void (*entry)(void), u32 sp)
{
    volatile u32 *t = (volatile u32 *)at;

    t[8] = (u32)entry;
    t[9] = 2;
    t[14] = sp;
    t[18] = t[20] = t[21] = 0x10;
    t[19] = 8;
    t[25] = 0x680000;
}

static void test_task(void)
{
    put("task switch\n");
    make_task(0x6100, task_code, 0x79000);
    RUN("lcall $0x30, $0");
    RUN("lcall $0x38, $0");
    RUN("pushf; pop %%eax; mov %%cr0, %%ecx; clts; int $0x47");
    put("task gate for #gp\n");
    make_task(0x6100, task_fault, 0x79000);
    gate(idt + 13 * 8, 0x30, 0, 0x8500);
    RUN("mov $0x1234, %%eax; mov %%eax, %%fs");
    gate(idt + 13 * 8, 8, *(u32 *)(idt + 12 * 8) & 0xffff, 0x8e00);
    *(u16 *)(idt + 13 * 8) = (u16)(*(u16 *)(idt + 12 * 8) + 16);
    *(u16 *)(idt + 13 * 8 + 6) = *(u16 *)(idt + 12 * 8 + 6);
    RUN("mov $0x1234, %%eax; mov %%eax, %%fs");
    put("bad tss\n");
    RUN("ljmp $0x28, $0");
}

static void test_v86(void)
{
    static const u8 code[] = { 0xb8, 0x34, 0x12,        /* mov ax, 1234 */
                               0x50, 0x9c, 0x58, 0x5b,  /* push ax; pushf; pop ax; pop bx */
                               0xfa, 0xf4,              /* cli; hlt */
                               0xcd, 0x21,              /* int 21 */
                               0xe6, 0x80,              /* out 80, al */
                               0x0f, 0x00, 0xc8,        /* str ax */
                               0xcd, 0x80 };
    u8 *at = (u8 *)0x20000;

    for (u32 i = 0; i < sizeof(code); i++) {
        at[i] = code[i];
    }
    put("v86, iopl 3\n");
    enter_v86(0x2000, 0, 0x3000);
    put("v86, iopl 0\n");
    enter_v86(0x2000, 7, 0);
    put("back\n");
}

/* Real-address mode: the code runs at 0x7c00. */
__asm__(".text; .code16; .globl real_start, real_end; real_start:"
        "xorw %ax, %ax; movw %ax, %ds; movw %ax, %es; movw %ax, %ss; movw $0x7a00, %sp;"
        "movw $0x7c00 + real_int - real_start, 0x180; movw $0, 0x182;"            /* vector 60 */
        "movw $0x7c00 + real_fault - real_start, 0x34; movw $0, 0x36;"            /* 13 */
        "movw $0x7c00 + real_fault - real_start, 0x30; movw $0, 0x32;"            /* 12 */
        "movw $0x7c00 + real_fault - real_start, 0x18; movw $0, 0x1a;"            /* 6 */
        "movw $0x7c00 + real_fault - real_start, 0; movw $0, 2;"                  /* 0 */
        "movb $'i', %al; int $0x60;"
        "movb $'j', %al; pushf; lcall $0, $0x7c00 + real_int - real_start;"
        "movw $0x7c00 + 1f - real_start, %bp; movw 0xffff, %ax; 1:"
        "movw $0x7c00 + 1f - real_start, %bp; movl 0xfffe, %eax; 1:"
        "movw $0x7c00 + 1f - real_start, %bp; ud2; 1:"
        "movw $0x7c00 + 1f - real_start, %bp; xorw %cx, %cx; divw %cx; 1:"
        "movw $0x7c00 + 1f - real_start, %bp; movl $0x10000, %esi; addr32 movb (%esi), %al; 1:"
        "movw $0x7c00 + 1f - real_start, %bp; lldt %ax; 1:"
        "movw $0xffff, %ax; movw %ax, %fs; movb %fs:0x10, %al;"
        "movw $1, %sp; movw $0x7c00 + 1f - real_start, %bp; 1: movw $0x7a00, %sp;"
        "movl %cr0, %eax; orb $1, %al; movl %eax, %cr0; ljmpl $8, $real_back;"
        "real_int: movw $0x3f8, %dx; outb %al, %dx; movb $'\\n', %al; outb %al, %dx; iret;"
        "real_fault: movw $0x3f8, %dx; movb $'f', %al; outb %al, %dx; movw %sp, %si; movw (%si), %ax; "
        "subw $0x7c00, %ax; movw $0x3f8, %dx; pushw %ax; andb $15, %al; addb $'a', %al; outb %al, %dx; popw %ax;"
        "shrw $4, %ax; andb $15, %al; addb $'a', %al; outb %al, %dx; movb $'\\n', %al; outb %al, %dx;"
        "movw %bp, (%si); iret;"
        "real_end: .code32");

static void test_real(void)
{
    /* 16-bit code at 0x7b00 clears CR0.PE and jumps to 0:7c00. */
    static const u8 code[] = { 0xb8, 0x50, 0x00, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8,
                               0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xea, 0x00, 0x7c, 0x00, 0x00 };

    for (u32 i = 0; i < sizeof(code); i++) {
        ((u8 *)0x7b00)[i] = code[i];
    }
    put("real mode\n");
    real_mode();
    put("back\n");
}

__attribute__((used)) void test_main(void)
{
    __asm__ volatile("mov %%cr4, %%eax; or $0x600, %%eax; mov %%eax, %%cr4" ::: "eax");
    test_segments();
    test_user();
    test_task();
    test_v86();
    test_real();
}
