#!/bin/sh
# Half an hour (or so many minutes as the first argument says) of mixed load on the load balancer
# example: keep-alive, aborts, slow clients, dying origins. Ends with a verdict on memory,
# descriptors and panics. Not part of CI.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- 30
exec cargo run --release --manifest-path bench/Cargo.toml --bin soak -- "$@"
