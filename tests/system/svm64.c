/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * svm64.c - a mini hypervisor: each intercept, events and their injection, GIF, virtual interrupts, illegal states
 * (APM vol. 2, 15.5 to 15.21).  Nested paging is in svmnpt64.c.
 */
#define SYS_MAIN
#include "svm.h"

static volatile u64 resume, step;

void trap(struct frame *f)
{
    static int traps;

    if (++traps > 200) {
        put("lost\n");
        sys_exit(1);
    }
    put("  #");
    put_hex(f->vector);
    put(" err ");
    put_hex(f->error);
    if (f->ip >= guest_entry && f->ip < guest_entry + 0x80) {
        put(" at ");
        put_hex(f->ip - guest_entry);
    }
    put("\n");
    if (f->vector == 0x40) {
        *apic(0xb0) = 0;
    }
    if (f->vector < 32 && f->vector != 2 && f->vector != 1 && f->vector != 3) {
        f->ip = step ? f->ip + step : resume;
    }
    f->flags &= ~0x100ull;
}

/* Code of the host that may fault. */
#define TRY(name, code)                                                                             \
    do {                                                                                            \
        put(name);                                                                                  \
        put("\n");                                                                                  \
        step = 0;                                                                                   \
        __asm__ volatile("lea 9f(%%rip), %%rax; mov %%rax, %0; " code "; 9:"                        \
                         : "=m"(resume) : : "rax", "rbx", "rcx", "rdx", "memory", "cc");            \
    } while (0)

static void rules(void)
{
    u64 efer = rdmsr(0xc0000080);

    line("VM_CR", rdmsr(0xc0010114));
    wrmsr(0xc0000080, efer & ~0x1000ull);
    TRY("vmrun without SVME", "mov $0x301000, %%eax; vmrun");
    TRY("stgi without SVME", "stgi");
    TRY("vmmcall without SVME", "vmmcall");
    TRY("vmcall without SVME", ".byte 0x0f, 0x01, 0xc1");
    wrmsr(0xc0000080, efer);
    TRY("vmmcall", "vmmcall");
    TRY("vmcall", ".byte 0x0f, 0x01, 0xc1");
    TRY("skinit", "xor %%eax, %%eax; skinit");
    TRY("vmrun of a bad address", "mov $0x301800, %%eax; vmrun");
    TRY("vmload of a bad address", "mov $0x301008, %%eax; vmload");
    TRY("vmsave beyond memory addresses", "mov $1, %%rax; shl $53, %%rax; vmsave");
    TRY("hsave: bad address", "mov $0xc0010117, %%ecx; mov $8, %%eax; xor %%edx, %%edx; wrmsr");
    TRY("clgi, stgi", "clgi; stgi");
    TRY("invlpga", "xor %%eax, %%eax; mov $1, %%ecx; invlpga");
}

/* Each instruction: intercepted it stops at itself; without the intercept it runs to the VMMCALL. */
#define ICPT(name, off, bit, code)                 \
    do {                                           \
        GUEST(code);                               \
        V32(off) |= 1u << (bit);                   \
        run(name);                                 \
    } while (0)

static void instructions(void)
{
    step = 2; /* what is not intercepted and faults has two bytes */
    ICPT("sidt", C_MISC1, 6, "sidt -32(%%rsp)");
    ICPT("sgdt", C_MISC1, 7, "sgdt -32(%%rsp)");
    ICPT("sldt", C_MISC1, 8, "sldt %%eax");
    ICPT("str", C_MISC1, 9, "str %%eax");
    ICPT("lidt", C_MISC1, 10, "lidt (%%rsp)");
    ICPT("lgdt", C_MISC1, 11, "lgdt (%%rsp)");
    ICPT("lldt", C_MISC1, 12, "lldt %%ax");
    ICPT("ltr", C_MISC1, 13, "ltr %%ax");
    ICPT("rdtsc", C_MISC1, 14, "rdtsc");
    ICPT("rdpmc", C_MISC1, 15, "xor %%ecx, %%ecx; rdpmc");
    ICPT("pushf", C_MISC1, 16, "pushfq");
    ICPT("popf", C_MISC1, 17, "push $2; popfq");
    ICPT("cpuid", C_MISC1, 18, "xor %%eax, %%eax; cpuid");
    ICPT("rsm", C_MISC1, 19, "rsm");
    ICPT("iret", C_MISC1, 20, "nop; iretq");
    ICPT("int n", C_MISC1, 21, "int $0x50");
    ICPT("int n not intercepted", C_MISC1, 20, "nop; int $0x50");
    ICPT("invd", C_MISC1, 22, "invd");
    ICPT("pause", C_MISC1, 23, "pause");
    ICPT("pause not intercepted", C_MISC1, 22, "pause");
    ICPT("hlt", C_MISC1, 24, "hlt");
    ICPT("invlpg", C_MISC1, 25, "invlpg (%%rsp)");
    ICPT("invlpga", C_MISC1, 26, "invlpga");
    ICPT("vmmcall", C_MISC2, 1, "vmmcall");
    ICPT("vmrun", C_MISC2, 0, "mov $0x301000, %%eax; vmrun");
    ICPT("vmload", C_MISC2, 2, "mov $0x301000, %%eax; vmload");
    ICPT("vmsave", C_MISC2, 3, "mov $0x301000, %%eax; vmsave");
    ICPT("stgi", C_MISC2, 4, "stgi");
    ICPT("clgi", C_MISC2, 5, "clgi");
    ICPT("skinit", C_MISC2, 6, "skinit");
    ICPT("rdtscp", C_MISC2, 7, "rdtscp");
    ICPT("icebp", C_MISC2, 8, ".byte 0xf1");
    ICPT("wbinvd", C_MISC2, 9, "wbinvd");
    ICPT("monitor", C_MISC2, 10, "mov %%rsp, %%rax; xor %%ecx, %%ecx; xor %%edx, %%edx; monitor");
    ICPT("mwait", C_MISC2, 11, "xor %%ecx, %%ecx; xor %%eax, %%eax; mwait");
}

static void registers(void)
{
    ICPT("read cr0", C_CR, 0, "mov %%cr0, %%rax");
    ICPT("read cr3", C_CR, 3, "mov %%cr3, %%rax");
    ICPT("read cr8", C_CR, 8, "mov %%cr8, %%rax");
    ICPT("smsw", C_CR, 0, "smsw %%eax");
    ICPT("write cr0", C_CR, 16, "mov %%cr0, %%rax; mov %%rax, %%cr0");
    ICPT("write cr4", C_CR, 20, "mov %%cr4, %%rax; mov %%rax, %%cr4");
    ICPT("write cr8", C_CR, 24, "xor %%eax, %%eax; mov %%rax, %%cr8");
    ICPT("clts", C_CR, 16, "clts");
    ICPT("lmsw", C_CR, 16, "smsw %%eax; lmsw %%ax");
    ICPT("selective: MP", C_MISC1, 5, "mov %%cr0, %%rax; xor $2, %%al; mov %%rax, %%cr0");
    ICPT("selective: AM", C_MISC1, 5, "mov %%cr0, %%rax; btc $18, %%rax; mov %%rax, %%cr0");
    ICPT("selective: lmsw", C_MISC1, 5, "smsw %%eax; lmsw %%ax");
    GUEST("mov %%cr0, %%rax; btc $18, %%rax; mov %%rax, %%cr0");
    V32(C_MISC1) = 1u << 5;
    V32(C_CR) = 1u << 16;
    run("selective and not");
    ICPT("read dr3", C_DR, 3, "mov %%dr3, %%rax");
    ICPT("write dr7", C_DR, 23, "mov $0x400, %%eax; mov %%rax, %%dr7");
    ICPT("read dr4 before #UD", C_DR, 4, "mov %%db4, %%rax");
}

static void ports_and_msrs(void)
{
    *(volatile u8 *)(IOPM + 0x80 / 8) = 1;
    *(volatile u8 *)(IOPM + 0x8f3 / 8) = 1 << 3;
    *(volatile u8 *)(IOPM + 0x2000) = 1;
    ICPT("in al", C_MISC1, 27, "in $0x80, %%al");
    ICPT("in eax at another port", C_MISC1, 27, "in $0x84, %%eax");
    ICPT("in eax across", C_MISC1, 27, "mov $0x8f0, %%edx; in %%dx, %%eax");
    ICPT("out ax", C_MISC1, 27, "mov $0x80, %%edx; out %%ax, %%dx");
    ICPT("out past the last port", C_MISC1, 27, "mov $0xfffd, %%edx; out %%eax, %%dx");
    ICPT("insb", C_MISC1, 27, "mov $0x80, %%edx; lea -64(%%rsp), %%rdi; insb");
    ICPT("rep outsl fs", C_MISC1, 27, "mov $2, %%ecx; mov $0x80, %%edx; mov %%rsp, %%rsi; .byte 0x64; rep outsl");
    ICPT("no bitmap", C_MISC1, 26, "in $0x80, %%al");
    *(volatile u8 *)(MSRPM + 0x10 / 4) = 1;                          /* TSC: read */
    *(volatile u8 *)(MSRPM + 0x800 + 0x81 / 4) = 2 << (2 * (0x81 & 3)); /* STAR: write */
    *(volatile u8 *)(MSRPM + 0x1000 + 0x117 / 4) = 1 << (2 * 3);     /* VM_HSAVE_PA: read */
    ICPT("rdmsr tsc", C_MISC1, 28, "mov $0x10, %%ecx; rdmsr");
    ICPT("rdmsr star", C_MISC1, 28, "mov $0xc0000081, %%ecx; rdmsr");
    ICPT("wrmsr star", C_MISC1, 28, "mov $0xc0000081, %%ecx; rdmsr; wrmsr");
    ICPT("rdmsr hsave", C_MISC1, 28, "mov $0xc0010117, %%ecx; rdmsr");
    ICPT("rdmsr outside of the ranges", C_MISC1, 28, "mov $0x4000, %%ecx; rdmsr");
    ICPT("rdmsr, no bitmap", C_MISC1, 27, "mov $0x10, %%ecx; rdmsr");
}

static void exceptions(void)
{
    ICPT("#UD", C_EXC, 6, "ud2");
    ICPT("#DE", C_EXC, 0, "xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx");
    ICPT("#BP", C_EXC, 3, "nop; int3");
    ICPT("#GP", C_EXC, 13, "mov $0x80, %%eax; mov %%eax, %%ds");
    GUEST("mov 0x600000, %%eax");
    V32(C_EXC) = 1u << 14;
    V64(S_CR2) = 0x1234;
    run("#PF");
    line("  cr2", V64(S_CR2));
    step = 7;
    GUEST("mov 0x600000, %%eax");
    V64(S_CR2) = 0x1234;
    run("#PF to the guest");
    line("  cr2", V64(S_CR2));
    step = 2;
    ICPT("#UD to the guest", C_EXC, 0, "ud2");
    GUEST("nop; nop");
    V32(C_EXC) = 2;
    V64(S_RFLAGS) |= 0x100;
    run("single step");
    line("  dr6", V64(S_DR6));
    ICPT("icebp to #DB", C_EXC, 1, ".byte 0xf1");
    /* A fault on the way to a handler, and one on the way to that. */
    GUEST("ud2");
    V32(C_EXC) = 1u << 13;
    V32(S_IDTR + 4) = 16 * 6 - 1;
    run("#GP on the way to #UD");
    GUEST("int $0x50");
    V32(C_EXC) = 1u << 13;
    V32(S_IDTR + 4) = 16 * 0x50 - 1;
    run("#GP on the way to int 0x50");
    GUEST("ud2");
    V32(C_EXC) = 1u << 8;
    V32(S_IDTR + 4) = 16 * 6 - 1;
    run("#DF");
    GUEST("ud2");
    V32(C_MISC1) = 1u << 31;
    V32(S_IDTR + 4) = 0;
    run("shutdown");
}

#define VALID 0x80000000ull
static void injection(void)
{
    step = 0;
    GUEST("nop");
    V64(C_INJECT) = VALID | 0x50;
    run("inject interrupt");
    line("  inject", V64(C_INJECT));
    GUEST("nop");
    V64(C_INJECT) = VALID | 0x202;
    run("inject nmi");
    GUEST("int $0x51");
    V64(C_INJECT) = VALID | 0x451;
    V64(C_NRIP) = guest_entry + 2;
    run("inject int n");
    GUEST("int3");
    V64(C_INJECT) = VALID | 0x303;
    V64(C_NRIP) = guest_entry + 1;
    run("inject int3");
    GUEST("nop");
    resume = guest_entry;
    V64(C_INJECT) = VALID | 0xb0d | 0x18ull << 32;
    run("inject #GP");
    GUEST("nop");
    V64(C_INJECT) = VALID | 0x302;
    run("inject exception 2");
    GUEST("nop");
    V64(C_INJECT) = VALID | 0x150;
    run("inject type 1");
    GUEST("nop");
    V64(C_INJECT) = VALID | 0x60;
    V32(S_IDTR + 4) = 16 * 0x60 - 1;
    V32(C_EXC) = 1u << 13;
    run("#GP on the way of an injected interrupt");
    GUEST("nop");
    resume = guest_entry;
    V64(C_INJECT) = VALID | 0x306;
    V32(C_EXC) = 1u << 6;
    run("an injected exception is not intercepted");
}

static void send(u32 icr) { *apic(0x300) = icr; }

static void interrupts(void)
{
    *apic(0xf0) = 0x1ff;
    step = 0;
    /* physical */
    GUEST("nop; nop; sti; nop; nop; cli");
    __asm__ volatile("cli");
    send(0x40040);
    run("pending, guest opens");
    GUEST("nop; sti; nop; nop; cli");
    V32(C_MISC1) = 1;
    send(0x40040);
    run("intr intercept");
    __asm__ volatile("sti; nop; cli");
    GUEST("nop; sti; nop; nop; cli");
    V32(C_MISC1) = 1;
    V32(C_INTCTL) = 1u << 24;
    send(0x40040);
    run("masked by the host's IF");
    __asm__ volatile("sti; nop; cli");
    send(0x40040);
    GUEST("nop");
    V32(C_MISC1) = 1;
    V32(C_INTCTL) = 1u << 24;
    __asm__ volatile("clgi; sti");
    run("not masked by the guest's IF");
    __asm__ volatile("nop; cli");
    GUEST("mov $0xfee00300, %%eax; movl $0x40400, (%%rax)");
    V32(C_MISC1) = 2;
    run("nmi intercept");
    GUEST("mov $0xfee00300, %%eax; movl $0x40400, (%%rax)");
    run("nmi");
    put("GIF\n");
    __asm__ volatile("clgi");
    send(0x40400);
    put("  NMI is held\n");
    __asm__ volatile("stgi; nop; nop");
    put("  was taken\n");
    /* virtual */
    GUEST("nop; sti; nop; nop; cli");
    V32(C_INTCTL) = 1u << 24 | 1u << 8 | 15u << 16;
    V32(C_VECTOR) = 0x55;
    run("virtual");
    line("  int_ctl", V32(C_INTCTL));
    GUEST("nop; sti; nop; nop; cli");
    V32(C_INTCTL) = 1u << 24 | 1u << 8 | 15u << 16;
    V32(C_VECTOR) = 0x55;
    V32(C_MISC1) = 1u << 4;
    run("vintr intercept");
    line("  int_ctl", V32(C_INTCTL));
    GUEST("sti; nop; mov $3, %%eax; mov %%rax, %%cr8; nop; mov %%cr8, %%rcx; cli");
    V32(C_INTCTL) = 1u << 24 | 1u << 8 | 8u << 16 | 9;
    V32(C_VECTOR) = 0x55;
    run("virtual tpr");
    line("  int_ctl", V32(C_INTCTL));
    line("  cr8", guest_rcx);
    line("  host's cr8", READ_CR(8));
    GUEST("sti; nop; nop; cli");
    V32(C_INTCTL) = 1u << 24 | 1u << 8 | 1u << 20 | 9;
    V32(C_VECTOR) = 0x55;
    run("virtual, tpr ignored");
    GUEST("nop; nop");
    V32(C_INTCTL) = 1u << 24 | 1u << 8 | 15u << 16;
    V32(C_VECTOR) = 0x55;
    V64(S_RFLAGS) = 0x202;
    V64(C_STATE) = 1;
    run("virtual, shadow at the start");
    GUEST("sti; nop; nop; stgi; nop; clgi; nop");
    V32(C_INTCTL) = 1u << 25 | 1u << 24 | 1u << 8 | 15u << 16;
    V32(C_VECTOR) = 0x55;
    run("virtual gif");
    line("  int_ctl", V32(C_INTCTL));
    GUEST("cli; sti; hlt");
    V32(C_MISC1) = 1u << 24;
    run("hlt in the shadow of sti");
}

/* VMRUN refuses these. */
#define BAD(name, stmt)    \
    do {                   \
        GUEST("nop");      \
        stmt;              \
        run(name);         \
    } while (0)
static void illegal(void)
{
    BAD("fine", (void)0);
    BAD("asid 0", V32(C_ASID) = 0);
    BAD("no vmrun intercept", V32(C_MISC2) = 2);
    BAD("efer.svme", V64(S_EFER) &= ~0x1000ull);
    BAD("efer reserved", V64(S_EFER) |= 1ull << 33);
    BAD("cr0 nw without cd", V64(S_CR0) |= 1u << 29);
    BAD("cr0 upper half", V64(S_CR0) |= 1ull << 40);
    BAD("cr3 upper bits", V64(S_CR3) |= 1ull << 60);
    BAD("cr4 reserved", V64(S_CR4) |= 1ull << 31);
    BAD("long mode without pae", V64(S_CR4) &= ~0x20ull);
    BAD("long mode without pe", V64(S_CR0) &= ~1ull);
    BAD("cs.l and cs.d", V16(S_CS + 2) |= 0x400);
    BAD("dr6 upper half", V64(S_DR6) |= 1ull << 32);
    BAD("dr7 upper half", V64(S_DR7) |= 1ull << 32);
    BAD("non-canonical ds base", V64(S_DS + 8) = 1ull << 60);
}

static void rest(void)
{
    u64 v;

    /* VMLOAD and VMSAVE */
    GUEST("nop");
    v = V64(S_FS + 8);
    V64(S_FS + 8) = 1ull << 47;
    V64(S_KGS) = 0x123456789abcull;
    __asm__ volatile("vmload" : : "a"(VMCB) : "memory");
    line("vmload fs base", rdmsr(0xc0000100));
    line("vmload kernel gs base", rdmsr(0xc0000102));
    wrmsr(0xc0000100, 0x55555);
    __asm__ volatile("vmsave" : : "a"(VMCB) : "memory");
    line("vmsave fs base", V64(S_FS + 8));
    wrmsr(0xc0000100, v);
    /* the time-stamp counter */
    GUEST("rdtsc; shl $32, %%rdx; or %%rdx, %%rax; mov %%rax, %%rcx");
    V64(C_TSC) = 1ull << 60;
    run("tsc offset");
    line("  sum", guest_rcx >> 56);
    __asm__ volatile("rdtsc; shl $32, %%rdx; or %%rdx, %%rax" : "=a"(v) : : "rdx");
    line("  host's", v >> 56);
    /* VMRUN under single step: the trap comes behind it */
    GUEST("nop");
    put("single-stepped vmrun\n");
    __asm__ volatile("push %%rbp; pushfq; orl $0x100, (%%rsp); lea 1f(%%rip), %%rcx; mov %%rcx, %1; clgi; vmload; popfq;"
                     "vmrun; 1: nop; vmsave; stgi; pop %%rbp" : : "a"(VMCB), "m"(guest_entry)
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "memory", "cc");
    /* the guest's control registers do not stay */
    GUEST("mov %%cr0, %%rax; btc $18, %%rax; mov %%rax, %%cr0; mov %%cr4, %%rax; xor $8, %%rax; mov %%rax, %%cr4");
    v = READ_CR(0);
    run("cr0 and cr4");
    line("  of the guest", V64(S_CR0) ^ v);
    line("  of the host", READ_CR(0) ^ v);
    line("  dr7", ({ u64 d; __asm__ volatile("mov %%dr7, %0" : "=r"(d)); d; }));
}

__attribute__((used)) void test_main(void)
{
    svm_on();
    rules();
    instructions();
    registers();
    ports_and_msrs();
    exceptions();
    injection();
    interrupts();
    illegal();
    rest();
}
