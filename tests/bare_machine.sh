#!/bin/bash
# tests/bare_machine.sh [SUITE...]   make run, and make test, in a bare Debian (bookworm and trixie), by an ordinary user and by root.
#
# Needs root, debootstrap and systemd-container. Takes the last commit of this checkout. What it finds it prints, a line each; it exits
# with 1 if anything failed. Settings by environment:
#   TEST=no         leaves make test out;  TEST="tests/runtime"  runs those tests only (all of them take some ten minutes each time)
#   BY="root"       make test by root only, not by an ordinary user as well;  BY="user"
#   FOLDER=...      where the Debians are made and removed again, and where each check's log stays (else a temporary folder)
#   KEEP=yes        leaves the Debians there
set -uo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "only root can run a container" >&2; exit 2; }
suites=("$@"); [ $# = 0 ] && suites=(bookworm trixie)
folder="${FOLDER:-$(mktemp -d)}"
mkdir -p "$folder"
by=" ${BY:-root user} "
failed=0 checks=0
port=$((20000 + RANDOM % 10000))

# The tests boot a container in it, which must set up its own network.
nspawn=(systemd-nspawn --quiet --register=no --pipe --capability=CAP_NET_ADMIN)
[ -d /run/systemd/system ] || nspawn+=(--keep-unit)
[ -n "${PIP_CERT:-}" ] && nspawn+=("--bind-ro=$PIP_CERT:/etc/pip-ca.pem" --setenv=PIP_CERT=/etc/pip-ca.pem)
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1

inside() { "${nspawn[@]}" -D "$root" bash -c "$1" </dev/null 2>&1; }  # as root
# systemd-analyze needs the folder, which every Debian has that was booted.
as_user() { inside "mkdir -p /run/systemd; runuser -u meter -- env HOME=/home/meter bash -c $(printf %q "cd; $1")"; }

# check WHAT COMMAND...: the command's output goes to a log of its own, its last lines are shown where it fails.
check() {
    local what="$1" began=$SECONDS; shift
    checks=$((checks + 1)) log="$folder/$suite-$checks.log"
    if "$@" > "$log" 2>&1; then
        echo "ok      $suite: $what ($((SECONDS - began)) s)"
    else
        echo "FAILED  $suite: $what ($((SECONDS - began)) s)"; tail -n "${LINES_SHOWN:-25}" "$log" | sed 's/^/        /'
        failed=1
    fi
}

# How many tests did what, by the last check's log.
counts() { grep -E "^[0-9]+ (passed|failed).* in " "$log" | sed 's/^/        /'; }

# says PATTERN COMMAND...: it fails, and says so.
says() { local pattern="$1" out; shift; out="$("$@")" && { echo "$out"; return 1; }; echo "$out"; grep -q -- "$pattern" <<< "$out"; }

# make run until the third meter is computed, then Ctrl-C.
run_until_computed="
    set -m; rm -f run.log
    make run PORT=$port STATE=\"\$PWD/../my state\" > run.log 2>&1 & job=\$!
    for _ in \$(seq 400); do grep -q '(computed)' run.log && break; kill -0 \$job 2>/dev/null || break; sleep 1; done
    kill -INT -- -\$job; wait \$job
    tail -5 run.log; grep -q '(computed)' run.log && test -e '../my state/readings.sqlite'"
clone='rm -rf "my checkout"; git clone -q /cenergyd.bundle "my checkout"; cd "my checkout"'
enabled='! ls /etc/systemd/system/*.wants /etc/rc?.d/S* 2>/dev/null | grep -E "influx|mosquitto|nginx|prometheus"'

for suite in "${suites[@]}"; do
    root="$folder/$suite"
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase "$suite" "$root" > "$folder/debootstrap.log" 2>&1 || { tail "$folder/debootstrap.log"; exit 1; }
    git bundle create -q "$root/cenergyd.bundle" HEAD && chmod 644 "$root/cenergyd.bundle"
    echo "127.0.0.1 localhost" > "$root/etc/hosts"  # as Debian's installer does
    inside "useradd --create-home meter" > /dev/null
    check "apt-get update" inside "apt-get update -qq"
    check "make and python3 alone" inside "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends make git python3"
    check "make run without python3-venv names it, to a user without sudo" \
        says "apt-get install -y --no-install-recommends python3-venv" as_user "$clone; make run"
    line="$(sed -n 's/^    \(apt-get install -y make .*\)/\1/p' README.md)"
    check "README's line: $line" inside "DEBIAN_FRONTEND=noninteractive $line"
    check "make run by a user, spaces in both paths" as_user "$clone; $run_until_computed"
    check "make run after the checkout was moved" as_user "mv 'my checkout' moved; cd moved; $run_until_computed"
    check "make run by root with umask 077" inside "umask 077; cd /root; $clone; $run_until_computed"
    if [ "${TEST:-}" != no ]; then
        words="TESTS=$(printf %q "${TEST:-}")"
        check "make test names its packages, to a user without sudo" \
            says "apt-get install -y --no-install-recommends chromium" as_user "cd moved; make test"
        if [[ $by == *" root "* ]]; then
            LINES_SHOWN=60 check "make test by root ${TEST:-}" inside "cd '/root/my checkout'; make test $words"
            counts
        else
            # A user without sudo needs an administrator for the packages.
            check "Debian's packages by root" inside "cd '/root/my checkout'; make .venv/.debian"
        fi
        if [[ $by == *" user "* ]]; then
            LINES_SHOWN=60 check "make test by a user ${TEST:-}" as_user "cd moved; make test $words"
            counts
        fi
        check "nothing is enabled by make test" inside "$enabled"
        check "nothing in the home folders" inside '! ls -d /root/.config/chromium /home/meter/.config/chromium 2>/dev/null'
    fi
    [ "${KEEP:-}" = yes ] || rm -rf --one-file-system "$root"
done
[ -n "${FOLDER:-}" ] || [ "${KEEP:-}" = yes ] || rm -rf "$folder"
exit $failed
