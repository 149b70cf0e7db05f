#!/bin/sh
# Refuse files over 1 MB: tools/check-size.sh FILE...
set -eu
status=0
for file; do
    size=$(wc -c <"$file")
    if [ "$size" -gt 1000000 ]; then
        echo "$file: $size bytes; at most 1000000 belong into the repository" >&2
        status=1
    fi
done
exit $status
