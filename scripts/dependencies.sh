#!/bin/sh
# Checks licences, sources and banned crates with cargo-deny, which is built once and kept in the cache directory.
set -eu

version=0.20.2
cache=${DESKRUN_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/deskrun}
tool=$cache/cargo-deny-$version/bin/cargo-deny
if [ ! -x "$tool" ]; then
    echo "building cargo-deny $version once, into $cache"
    cargo install --quiet --locked --root "$cache/cargo-deny-$version" "cargo-deny@$version"
fi
# It looks at every platform, the build at this one alone.
cargo fetch --quiet --locked
exec "$tool" --offline --all-features check --hide-inclusion-graph bans licenses sources
