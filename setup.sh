#!/bin/sh
# Install the system packages that vidla needs, or, without the right to, print in one line what to install.
set -eu
missing=
for need in ffmpeg:ffmpeg espeak-ng:espeak-ng; do
    command -v "${need%%:*}" >/dev/null || missing="$missing ${need#*:}"
done
"${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "vidla needs Python 3.11 or later; select one with: make PYTHON=python3.11" >&2
    exit 1
}
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
command -v java >/dev/null || echo "Java (openjdk-17-jre-headless) is not installed: it is needed to run on Flink, and the tests of Flink are skipped" >&2
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -q update && apt-get -q install -y --no-install-recommends $missing
else
    echo "install these first:$missing (on Debian or Ubuntu: sudo apt-get install$missing)" >&2
    exit 1
fi
