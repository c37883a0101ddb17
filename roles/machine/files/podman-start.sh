#!/bin/sh
# podman-start.sh NAME TIMEOUT [ACCOUNT HOST_KEY AUTHORIZED_KEY...]
#
# Starts a container and waits until it has booted, at most TIMEOUT seconds. One that has just been made is first given,
# as a cloud does it, the keys that may log in as ACCOUNT and its own ssh host key (a path; empty: keys of its own making),
# so that known_hosts is right before anybody has asked.
set -eu
name=$1 timeout=$2

if [ $# -gt 2 ]; then
    account=$3 host_key=$4
    shift 4
    authorized_keys=$(printf '%s\n' "$@")
    # Three words, to be split: user, group, home.
    # shellcheck disable=SC2046
    set -- $(podman cp "$name:/etc/passwd" - | tar -xO | awk -F: -v account="$account" '$1 == account {print $3, $4, $6}')
    if [ $# -ne 3 ]; then
        echo "the image of $name has no account $account: name another image, or set machine_account" >&2
        exit 1
    fi
    seed=$(mktemp -d)
    trap 'rm -rf "$seed"' EXIT
    mkdir -p "$seed/etc/ssh"
    if [ -n "$host_key" ]; then
        install -m 600 "$host_key" "$seed/etc/ssh/ssh_host_ed25519_key"
        install -m 644 "$host_key.pub" "$seed/etc/ssh/ssh_host_ed25519_key.pub"
    else
        ssh-keygen -q -A -f "$seed"
    fi
    podman cp "$seed/etc/ssh/." "$name:/etc/ssh"
    install -d -m 700 -o "$1" -g "$2" "$seed/home" "$seed/home/.ssh"
    printf '%s\n' "$authorized_keys" >"$seed/home/.ssh/authorized_keys"
    chown "$1:$2" "$seed/home/.ssh/authorized_keys"
    podman cp --archive=false "$seed/home/." "$name:$3"
fi

podman start "$name"
deadline=$(($(date +%s) + timeout))
# --wait needs the bus, which is not there in the first moment; a unit that failed is not this script's affair.
until state=$(podman exec "$name" systemctl is-system-running --wait 2>&1) || [ "$state" = degraded ]; do
    if [ "$(date +%s)" -ge "$deadline" ]; then
        echo "$name did not boot within $timeout s: $state" >&2
        podman exec "$name" systemctl list-jobs --no-pager >&2 || podman logs --tail 20 "$name" >&2
        exit 1
    fi
    sleep 0.2
done
