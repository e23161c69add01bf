#!/bin/sh
# Install the system packages that vidla needs where that is allowed; else say in one line what to install.
set -eu
missing=
for need in ffmpeg:ffmpeg espeak-ng:espeak-ng; do
    command -v "${need%%:*}" >/dev/null || missing="$missing ${need#*:}"
done
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "vidla needs Python 3.11 or later; name one with: make PYTHON=python3.11" >&2
    exit 1
}
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
command -v java >/dev/null || echo "Flink would need Java as well (openjdk-17-jre-headless); without it, its tests are skipped" >&2
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -q update && apt-get -q install -y --no-install-recommends $missing
else
    echo "first install:$missing (on Debian or Ubuntu: sudo apt-get install$missing)" >&2
    exit 1
fi
