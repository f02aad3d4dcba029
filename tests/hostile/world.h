/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * world.h - a machine in which everything may happen: a small RAM between guard pages, ROM that the host has mapped
 * read-only, device memory and ports that answer anything and do what devices do: interrupts, NMIs, INIT, writes to
 * memory, remapping, A20, dirty logging.
 *
 * A round is a pure function of its number: random choices come from world.rng only, and the engine starts with empty
 * caches.  The timer only ends rounds that take too long.
 */
#ifndef HOSTILE_WORLD_H
#define HOSTILE_WORLD_H

#include "translator/help.h"
#include "tests/insn/runner.h"

#define W_RAM_SIZE   0x200000u          /* guest-physical 0 */
#define W_HIGH_GPA   0x100000000ull     /* the first 64 KiB of RAM once more, above 4 GiB */
#define W_VGA        0xa0000u           /* 128 KiB of device memory */
#define W_SHADOW     0xc0000u           /* RAM, ROM or device memory, as devices please: 192 KiB */
#define W_ROM        0xf0000u           /* 64 KiB of ROM, also below 4 GiB */
#define W_ROM_SIZE   0x10000u
#define W_RAM_ID     0x100000000ull
#define W_ROM_ID     0x200000000ull

struct world {
    struct xbt_vm vm;
    struct guest_cpu *c;
    uint8_t *ram, *rom;
    struct runner rng;                  /* its rng member only; gen_encode() wants a runner */
    unsigned events;                    /* device events of this round */
    unsigned pending;                   /* POLL_* */
    uint8_t dirty[W_RAM_SIZE >> 12], watched[W_RAM_SIZE >> 12];
    uint32_t shadow_flags;              /* what W_SHADOW is now */
    uint64_t constants;                 /* checksum of what a guest can never change */
};

extern struct world world;

uint64_t w_rand(void);
static inline unsigned w_pick(unsigned n)
{
    return (unsigned)(w_rand() >> 33) % n;
}
static inline bool w_chance(unsigned percent)
{
    return w_pick(100) < percent;
}

/* Once per process; exits with a message when the engine cannot start. */
void world_init(const char *machine);
/* Begin a round: random RAM, memory map as at power-up, empty caches. */
void world_reset(uint64_t round);
/* Run until it halts, shuts down or takes too long. */
enum vcpu_exit world_run(void);
/* Nothing but RAM has changed, and all that the engine would access is RAM or ROM.  Aborts with a message. */
void world_check(void);

/* ---- guest.c: a random processor state, tables and code, in RAM and registers ---- */
extern unsigned guest_kind;             /* of the last guest_make(), for messages */
extern const char *const guest_kinds[];
void guest_make(void);
/* Somewhere else in the same code, after a halt or a shutdown. */
void guest_again(void);

/* ---- vmcb.c ---- */
/* At this physical address: a nested guest like the current one that starts at rip. */
void vmcb_make(uint32_t at, uint64_t tables, uint64_t rip);

/* ---- code.c ---- */
void code_init(void);
/* n bytes of random, real or valid but random code for 0 = 16, 1 = 32, 2 = 64-bit mode. */
void code_fill(uint8_t *p, unsigned n, unsigned mode);

#endif
