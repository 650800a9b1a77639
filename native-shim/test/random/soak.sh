#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The long run of the random driver in a network namespace of its own; called by `make soak`.
# usage: soak.sh BUILD CONNECTIONS SECONDS [OPTIONS OF random...]
# Prints what both programs and the agent hold at an idle moment before and after, and fails if anything is left over.
set -u
build=$(realpath "$1")
if [ -z "${HUTONG_TEST_NS:-}" ]; then
  HUTONG_TEST_NS=1 exec unshare --net -- "$0" "$@"
fi
conns=$2 seconds=$3
shift 3
ip link set lo up
ip link add hut0 type veth peer name hut1 && ip link set hut1 up && ip link set hut0 up
ip address add 10.99.0.1/24 dev hut0
ip -6 address add fd99::1/64 dev hut0 nodad
work=$(mktemp -d)
"$build/testagent" -r "${RING:-65536}" -o "${OVERFLOW:-262144}" -b 1000 -m 1 -s "${SPIN:-20}" ${FAR:+-f "$FAR"} 10.99.0.1 fd99::1 \
  > "$work/agent" 2> /dev/null &
agent=$!
trap 'kill "$agent" 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do grep -q ready "$work/agent" && break; sleep 0.05; done
nice -n 10 timeout $((seconds + 300)) "$build/random" --conns "$conns" --seconds "$seconds" --warmup $((seconds / 20 + 2)) \
  --chaos "${CHAOS:-8000}" --stall "${STALL:-20}" --preload "$build/libhutong.so" --agent $agent --stats "$work/stats" \
  --counters ${SEED:+--seed $SEED} "$@"
