#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run the programs of a suite, one after the other; the same on the host and in
# a guest.  Each line of DIR/list is
#
#   NAME SECONDS COMMAND...
#
# and COMMAND runs in DIR.  OUT/NAME.out gets what it printed, OUT/status one
# line "NAME STATUS" for each (124: it had to be ended).
#
#   usage: run-list.sh DIR OUT

dir=$1
out=$2
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$dir" || exit 1
: >"$out/status"
total=$(wc -l <list)
count=0
while read -r name seconds command; do
    count=$((count + 1))
    timeout -k 5 "$seconds" sh -c "$command" </dev/null >"$out/$name.out" 2>&1
    status=$?
    echo "$name $status" >>"$out/status"
    echo "SUITE $count/$total $name $status"
done <list
