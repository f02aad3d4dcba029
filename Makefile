# SPDX-License-Identifier: GPL-2.0-or-later
#
# The commands of the README.  Everything is made below build/; meson does
# the work, this file only puts the steps in order.

# The distribution's python and meson, whatever else PATH offers.
export PATH := /usr/bin:/bin:$(PATH)

BUILD := build
MESON_BUILD := $(BUILD)/meson
ACCEL ?= xbt
MESON_OPTIONS ?=

.PHONY: help boot build check check-options check-sanitize check-tsan stress fuzz fuzz-guest bench bench-all guest guest32 rootfs matrix suites long-migrate check-leaks deps headers clean distclean
.DEFAULT_GOAL := help

help:
	@echo "make boot       boot a small Linux guest with -accel xbt: a shell on"
	@echo "                the serial console, or a self-test when stdin is not"
	@echo "                a terminal (ACCEL=tcg boots it under TCG)"
	@echo "make build      build the module; leaves $(BUILD)/qemu-xbt ready to use"
	@echo "make check      build and run the whole test suite"
	@echo "make check-options"
	@echo "                the tests again with each optimisation switched off, with all"
	@echo "                off and all on (scripts/check-options -h)"
	@echo "make check-sanitize"
	@echo "                the engine's tests under ASan and UBSan"
	@echo "make check-tsan the engine's threads under ThreadSanitizer, longer than in make check"
	@echo "make stress     several CPUs under load for an hour or two (SCALE=, SECONDS_EACH=, SMP=, ONLY=:"
	@echo "                scripts/stress.sh)"
	@echo "make fuzz       random programs against the bare host until stopped"
	@echo "                (SEED=, COUNT=, MODE=, MACHINE=: scripts/fuzz.sh)"
	@echo "make fuzz-guest hostile guests until stopped (SEED=, COUNT=)"
	@echo "make bench      run the benchmarks: xbt beside TCG and native"
	@echo "make bench-all  also the long ones: JIT programs, a whole Debian, growth (root)"
	@echo "make guest      make the guest's kernel and initramfs (guest32: i386)"
	@echo "make rootfs     make the Debian root file system that tests and bench use"
	@echo "make matrix     run the table of guests in docs/guests.md (an hour; downloads"
	@echo "                600 MB of packages; root for two of its rows)"
	@echo "make suites     run others' test suites, SUITES= of qemu valgrind gcc kselftest"
	@echo "                i686 (hours; downloads 700 MB; docs/suites.md)"
	@echo "make long-migrate"
	@echo "                1000 migrations of a guest that writes all the time (ROUNDS=)"
	@echo "make check-leaks"
	@echo "                start and quit under valgrind: no leak, no error of ours"
	@echo "make clean      remove what was built (headers and guest stay)"
	@echo "make distclean  remove $(BUILD)/ with all downloads"

deps:
	@scripts/install-deps.sh

headers: deps
	@scripts/qemu-headers.sh $(BUILD)

$(MESON_BUILD)/build.ninja: | headers
	meson setup $(MESON_OPTIONS) $(MESON_BUILD)

build: headers $(MESON_BUILD)/build.ninja
	@ninja -C $(MESON_BUILD)
	@ln -sfn meson/loader/qemu-xbt $(BUILD)/qemu-xbt

guest: deps
	@scripts/make-guest.sh $(BUILD)

guest32: deps
	@scripts/make-guest.sh $(BUILD) 686

rootfs: guest
	@scripts/make-rootfs.sh $(BUILD)

boot: build guest
	@scripts/boot.sh $(BUILD) $(ACCEL)

check: build guest guest32 rootfs
	@scripts/check.sh $(MESON_BUILD)

check-options: build guest rootfs
	@ninja -C $(MESON_BUILD) tests/hostile/hostile >/dev/null
	@scripts/check-options

check-sanitize: deps
	@scripts/check-sanitize.sh $(BUILD)

check-tsan: build
	@scripts/check.sh $(MESON_BUILD) --suite tsan --repeat 10

stress: build guest rootfs
	@scripts/stress.sh $(BUILD)

fuzz: build
	@scripts/fuzz.sh $(MESON_BUILD)

fuzz-guest: build guest
	@scripts/fuzz-guest.sh $(BUILD)

bench: build guest
	@bench/run

bench-all: build guest
	@bench/run all

matrix: build guest
	@scripts/guest-matrix

suites: build guest rootfs
	@scripts/suites.sh $(BUILD) $(SUITES)

ROUNDS ?= 1000
long-migrate: build
	@XBT_DIRTY_ROUNDS=$(ROUNDS) XBT_BUILD=$(BUILD) /usr/bin/python3 tests/qtest/test_dirty.py -v

check-leaks: build
	@XBT_LAUNCHER=$(abspath $(BUILD))/qemu-xbt /usr/bin/python3 scripts/check-leaks.py

clean:
	rm -rf $(MESON_BUILD) $(BUILD)/qemu-xbt

distclean:
	rm -rf $(BUILD)
