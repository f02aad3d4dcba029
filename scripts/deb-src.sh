#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian source packages by a private list: sourced by the scripts that fetch
# one (qemu-headers.sh, suites.sh).  The machine's apt configuration is read,
# never written; nothing below /etc or /var changes.
#
#   write_source_lists DIR     lists below DIR; then private_apt may be used
#   private_apt TOOL ARGS...   apt-get or apt-cache with these lists only
#
# The including script defines die().

# The machine's own archives as deb-src entries: those that carry a Debian
# suite of this release with component main.  Options, keys and mirrors stay
# as the administrator wrote them.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

one_line_sources()
{
    awk -v codename="$codename" '
        /^[[:space:]]*deb(-src)?[[:space:]]/ {
            sub(/#.*/, "")
            options = ""
            line = $0
            sub(/^[[:space:]]*deb(-src)?[[:space:]]+/, "", line)
            if (match(line, /^\[[^]]*\][[:space:]]*/)) {
                options = substr(line, 1, RLENGTH)
                line = substr(line, RLENGTH + 1)
                sub(/arch=[^] ]*/, "", options)
                if (options ~ /^\[[[:space:]]*\]/)
                    options = ""
            }
            n = split(line, f)
            base = f[2]
            sub(/[-\/].*/, "", base)
            if (base != codename && base !~ /^(old)*stable$/ &&
                base != "testing" && base != "unstable" && base != "sid")
                next
            has_main = 0
            for (i = 3; i <= n; i++)
                if (f[i] == "main")
                    has_main = 1
            if (has_main)
                print "deb-src " options f[1], f[2], "main"
        }' "$@"
}

deb822_sources()
{
    awk -v codename="$codename" '
        function flush_stanza(   i, n, s, base, ok) {
            ok = 0
            n = split(suites, s)
            for (i = 1; i <= n; i++) {
                base = s[i]
                sub(/[-\/].*/, "", base)
                if (base == codename || base ~ /^(old)*stable$/ ||
                    base == "testing" || base == "unstable" || base == "sid")
                    ok = 1
            }
            if (ok && enabled && (" " components " ") ~ / main /)
                printf "Types: deb-src\nComponents: main\n%s\n", text
            text = suites = components = ""
            enabled = 1
            field = ""
        }
        BEGIN { enabled = 1 }
        FNR == 1 { flush_stanza() }
        /^#/ { next }
        /^[[:space:]]*$/ { flush_stanza(); next }
        /^[^[:space:]]/ {
            field = tolower($0)
            sub(/:.*/, "", field)
            value = $0
            sub(/^[^:]*:[[:space:]]*/, "", value)
            if (field == "enabled" && tolower(value) ~ /^(no|false|0|off)/)
                enabled = 0
        }
        /^[[:space:]]/ { value = $0 }
        {
            if (field == "suites")
                suites = suites " " value
            if (field == "components") {
                components = components " " value
                gsub(/[[:space:]]+/, " ", components)
            } else if (field != "types" && field != "architectures" &&
                       field != "enabled")
                text = text $0 "\n"
        }
        END { flush_stanza() }' "$@"
}

write_source_lists()
{
    apt_dir=$1
    rm -rf "$apt_dir/sources.list.d"
    mkdir -p "$apt_dir/sources.list.d" "$apt_dir/lists/partial" \
             "$apt_dir/cache/archives/partial"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        if [ -r "$file" ]; then
            one_line_sources "$file"
        fi
    done | sort -u >"$apt_dir/sources.list.d/xbt.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        if [ -r "$file" ]; then
            deb822_sources "$file"
        fi
    done >"$apt_dir/sources.list.d/xbt.sources"
    grep -q deb-src "$apt_dir/sources.list.d/"* ||
        die "no archive with suite '$codename' and component main in" \
            "/etc/apt/sources.list or /etc/apt/sources.list.d"
}

# apt with the private list; proxies, keys and mirrors' passwords are still
# the machine's own.
private_apt()
{
    tool=$1
    shift
    "$tool" -q \
        -o Dir::Etc::SourceList=/dev/null \
        -o Dir::Etc::SourceParts="$apt_dir/sources.list.d" \
        -o Dir::State::Lists="$apt_dir/lists" \
        -o Dir::Cache="$apt_dir/cache" \
        -o Dir::Cache::Archives="$apt_dir/cache/archives" \
        -o APT::Sandbox::User=root \
        -o APT::Get::List-Cleanup=true \
        -o Acquire::Languages=none \
        -o Acquire::Retries=3 \
        "$@"
}
