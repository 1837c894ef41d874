#!/bin/sh
# Offers the bundles of this release to the store in the volume, each once, and runs. A bundle that fails its check
# frames is never switched to; one that serves badly is left for the one before, by pose-run itself, and not offered
# again when the container restarts.
set -eu

home=${POSE_HOME:-/var/lib/jetpose}
store=$home/bundles
offered=$home/offered

for archive in "${POSE_BUNDLES:-/bundles}"/*.tar.gz; do
    [ -e "$archive" ] || continue
    name=$(pose-bundle install "$archive" --store "$store")
    if [ "$(cat "$offered" 2>/dev/null)" = "$name" ]; then continue; fi
    if pose-bundle activate "$name" --store "$store" --device "${POSE_DEVICE:-auto}"; then
        pose-bundle prune --store "$store" --keep "${POSE_KEEP:-2}"
    else
        echo "start: $name is refused; the bundle before goes on" >&2
    fi
    printf '%s\n' "$name" >"$offered.new"
    mv "$offered.new" "$offered" # after the switch: a power cut before it repeats the offer
done

exec pose-run --config "${POSE_CONFIG:-/etc/jetpose/camera.toml}" "$@"
