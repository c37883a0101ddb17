#!/bin/sh
# What makes this machine what it is, one fact a line, sorted: two machines of one kind print the same.
# Left out: what belongs to one machine only (its names, its own keys and ids) and what programs write as they run.
set -eu
export LC_ALL=C
{
    dpkg-query --show --showformat='package ${Package} ${Version} ${db:Status-Status}\n'
    systemctl list-unit-files --state=enabled --no-legend --plain | awk '{print "enabled", $1}'
    systemctl list-units --state=active --type=service,socket,timer --no-legend --plain | awk '$1 !~ /@|^session|^user|^run-/ {print "active", $1}'
    ss --listening --tcp --udp --numeric --no-header | awk '{sub(/.*:/, "", $5); print "listening", $1, $5}'
    find /etc /usr/local -xdev -type f \
        ! -path '/etc/ssh/ssh_host_*' ! -path /etc/machine-id ! -path /etc/hostname ! -path /etc/hosts ! -path /etc/resolv.conf \
        ! -path '/etc/haproxy/certificates/*' ! -regex '/etc/[^/]*/config/[0-9a-f]+' ! -path /etc/mtab ! -path '/etc/*-' \
        ! -path /etc/.pwd.lock ! -path /etc/ld.so.cache ! -path '*/__pycache__/*' \
        -printf 'file %p %m %u %g ' -exec sh -c 'sha256sum <"$1"' _ {} \;
    # One that signs itself has a key of its own; the name of each says what it was made from.
    [ ! -d /etc/haproxy/certificates ] || find /etc/haproxy/certificates -type f -printf 'file %p %m %u %g\n'
    # Which applications are in maintenance. Since when and why may differ between two load balancers.
    [ ! -f /var/lib/tossable/maintenance.map ] || awk '!/^#/ && NF == 2 {print "maintenance", $1}' /var/lib/tossable/maintenance.map
    # The feature flags that are live, which are not the host's own to choose.
    [ ! -f /var/lib/tossable/flags/flags.json ] || find /var/lib/tossable/flags/flags.json \
        -printf 'file %p %m %u %g ' -exec sh -c 'sha256sum <"$1"' _ {} \;
    find /etc/systemd /srv -xdev -type l -printf 'link %p %l\n' -o -path '/srv/*/releases/*/*' -prune
} | sort -u
