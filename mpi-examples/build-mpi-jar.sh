#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the Open MPI Java bindings (mpi.jar) for the libopenmpi-dev that is installed, from Debian's source package of
# that very version: Debian ships libmpi_java.so but not the jar. The machine's apt sources stay as they are.
# Usage: build-mpi-jar.sh OUT.jar
set -eu

if [ $# -ne 1 ]; then
  echo "usage: $0 OUT.jar" >&2
  exit 2
fi
out=$(realpath -m "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

version=$(dpkg-query -W -f='${source:Version}' libopenmpi-dev)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The archive that this machine already uses for binary packages serves the sources too.
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$' || true)
if [ -z "$archive" ]; then
  echo "$0: apt knows no Debian archive (run apt-get update first)" >&2
  exit 1
fi

mkdir -p "$work/lists/partial" "$work/source" "$work/classes/META-INF"
cat > "$work/source.sources" <<SOURCES
Types: deb-src
URIs: $archive
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES

fetch() {
  apt-get -qq -o Dir::Etc::SourceList="$work/source.sources" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$work/lists" -o APT::Sandbox::User=root "$@"
}
fetch update
(cd "$work/source" && fetch source --download-only "openmpi=$version")

tar -xJf "$work"/source/openmpi_*.orig.tar.xz -C "$work" --strip-components=1 --wildcards \
  'openmpi-*/ompi/mpi/java/java/*.java' 'openmpi-*/LICENSE'
cp "$work/LICENSE" "$work/classes/META-INF/"
javac --release 17 -nowarn -Xlint:none -d "$work/classes" "$work"/ompi/mpi/java/java/*.java

mkdir -p "$(dirname "$out")"
# Renamed into place: an interrupted run leaves no half jar behind.
jar --create --file "$out.$$" --date=2026-01-01T00:00:00Z -C "$work/classes" .
mv "$out.$$" "$out"
