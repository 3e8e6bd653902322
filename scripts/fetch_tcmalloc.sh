#!/bin/sh
# Puts tcmalloc, as this machine's Debian or Ubuntu packages it, into a folder. Needs apt and a package registry, not
# root, and changes nothing of the system: apt's lists and the package lie in a folder that is removed again.
# Usage: fetch_tcmalloc.sh FOLDER
set -eu
folder=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"

apt() {
    apt-get -qq -o APT::Sandbox::User="$(id -un)" -o Acquire::http::Timeout=10 \
        -o Dir::State::lists="$scratch/lists" -o Dir::Cache="$scratch/cache" "$@"
}

cd "$scratch"
apt update
# Since Debian 13 and Ubuntu 24.04 its name ends in t64.
apt download libtcmalloc-minimal4t64 2>/dev/null || apt download libtcmalloc-minimal4
dpkg-deb --extract libtcmalloc-minimal4*.deb package
# Written over, it would end every process that has it loaded.
cp -L package/usr/lib/*/libtcmalloc_minimal.so.4 "$folder/.libtcmalloc_minimal.so.4.new"
mv -f "$folder/.libtcmalloc_minimal.so.4.new" "$folder/libtcmalloc_minimal.so.4"
