#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Checks the models exhaustively with spin: what is built must hold, and what breaks one thing must be found out.
# usage: check.sh BUILD [NAME]   prints a line a property; last line "N passed, M failed".  With NAME (the first column
# as printed), only those; the trace of an error is left in BUILD and printed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
build=$(realpath "$1")
only=${2:-}

# expectation | model | property | flags
properties() {
  cat <<'LIST'
holds |wakeup|one writer, one reader                                 |-DN=6
holds |wakeup|overflow; the reader takes half and computes           |-DSLOW -DTAKE=4 -DN=8
holds |wakeup|two readers, one of which takes one byte               |-DFAST -DREADERS=2 -DN=3
holds |wakeup|the same with overflow                                 |-DSLOW -DREADERS=2 -DN=4
holds |wakeup|two writers                                            |-DFAST -DWRITERS=2 -DN=4
breaks|wakeup|conn_arm_waits() without its fence                     |-DNO_FENCE_WAIT
breaks|wakeup|ring_publish() without its fence                       |-DNO_FENCE_PUBLISH
breaks|wakeup|ring_take() without its fence                          |-DNO_FENCE_TAKE
breaks|wakeup|no look between the flag and the sleep                 |-DNO_LOOK
breaks|wakeup|a reader that drains the bell does not ring on         |-DNO_RING_ON -DREADERS=2 -DN=3
breaks|wakeup|a writer that drains the bell does not ring on         |-DNO_RING_ON -DFAST -DWRITERS=2 -DN=4
breaks|wakeup|the threshold knows nothing of the overflow            |-DSMALL_ONLY -DSLOW -DTAKE=4 -DN=8
breaks|wakeup|a look without the lock poisons                        |-DNO_LOCKED_LOOK -DFAST -DREADERS=2 -DN=4
holds |start |a reader on TCP and the start of a round               |
holds |start |with the second look alone                             |-DNO_RING_AT_START
holds |start |with the ring alone                                    |-DNO_LOOK_AGAIN
breaks|start |with neither                                           |-DNO_RING_AT_START -DNO_LOOK_AGAIN
holds |switch|three rounds, close at any step                        |-DN=5 -DROUNDS=3
holds |switch|the narrowest ring and TCP                             |-DN=5 -DROUNDS=3 -DRS=1 -DTS=1
holds |switch|a wide ring, two rounds                                |-DN=6 -DROUNDS=2 -DRS=3 -DTS=1
holds |switch|the producer is killed at any step                     |-DN=4 -DROUNDS=3 -DKILL
holds |switch|the producer computes for ever at any step             |-DN=5 -DROUNDS=2 -DIDLE
holds |switch|a second thread judges bytes on the wrong path         |-DN=4 -DROUNDS=2 -DCHECK
holds |switch|the consumer leaves                                    |-DN=4 -DROUNDS=2 -DLEAVE
holds |switch|the consumer leaves, the producer is killed            |-DN=4 -DROUNDS=2 -DLEAVE -DKILL
breaks|switch|nothing is taken from the ring after the end of TCP    |-DN=4 -DROUNDS=2 -DNO_SALVAGE
breaks|switch|the same, killed                                       |-DN=4 -DROUNDS=2 -DNO_SALVAGE -DKILL
breaks|switch|a round is armed before the last one is done           |-DN=4 -DROUNDS=2 -DIGNORE_DONE
breaks|switch|the producer ends a round that was not taken up        |-DN=4 -DROUNDS=2 -DNO_TAKE_UP
breaks|switch|a stopped consumer cannot claim                        |-DN=4 -DROUNDS=2 -DIDLE -DNO_CLAIM
breaks|switch|the round is noted after the look at the path          |-DN=4 -DROUNDS=2 -DCHECK -DNOTE_LATE
breaks|switch|SHUT without a fence                                   |-DN=4 -DROUNDS=2 -DLEAVE -DNO_FENCE_SHUT
breaks|switch|LEFT without a fence                                   |-DN=4 -DROUNDS=2 -DLEAVE -DNO_FENCE_LEFT
breaks|switch|leaving does not look for a round that was just ended  |-DN=4 -DROUNDS=2 -DLEAVE -DNO_LOOK_AGAIN
breaks|switch|leaving forgets the ring before S is reached           |-DN=4 -DROUNDS=2 -DLEAVE -DLEFT_IN_RING_ONLY
LIST
}

one() { # EXPECTATION MODEL PROPERTY FLAGS
  local dir states found=holds good=ok trace= optimize=-O2
  [ "$1" = holds ] || optimize=-O1 # few states: the compiler takes the longer time
  dir=$build/$(printf '%s %s' "$2" "$4" | tr -c 'A-Za-z0-9_=\n' .)
  rm -rf "$dir" && mkdir -p "$dir" && cd "$dir" || return
  # shellcheck disable=SC2086
  if ! { spin -a $4 "$here/$2.pml" && gcc $optimize -DSAFETY -DMEMLIM=1900 -o pan pan.c; } > log 2>&1; then
    echo "FAIL $1 $2: $3: does not build: $(tail -1 log)"; return
  fi
  timeout 1200 ./pan -m300000 > out 2>&1 || good=FAIL
  states=$(awk '/states, stored/ {print $1}' out)
  grep -qE '^pan:1: (assertion violated|invalid end state)' out && found=breaks
  # Exhaustive means: no error, no truncated search, no lack of memory.
  if [ $found = holds ]; then
    { grep -q 'errors: 0$' out && ! grep -qE 'max search depth too small|reached -DMEMLIM|Search not completed' out; } || good=FAIL
  fi
  [ "$found" = "$1" ] || good=FAIL
  printf '%-4s %-6s %s: %s: %s states\n' $good "$1" "$2" "${3%"${3##*[! ]}"}" "${states:-no}"
  if [ $good = FAIL ]; then
    grep -hE '^pan:' out | head -3
    trace=$(ls ./*.trail 2>/dev/null)
    # shellcheck disable=SC2086
    [ -n "$trace" ] && spin -k "$trace" -t -p -g -l $4 "$here/$2.pml" > trace.txt 2>&1 && echo "trace: $dir/trace.txt"
  else
    rm -f pan* ./*.trail
  fi
}

if [ "$only" = --one ]; then
  shift 2
  one "$@"
  exit
fi
properties | while IFS='|' read -r expect model property flags; do
  expect=${expect%% *} model=${model%% *}
  case "$model: $property" in *"$only"*) ;; *) continue ;; esac
  printf '%s\0%s\0%s\0%s\0' "$expect" "$model" "$property" "$flags"
done | xargs -0 -n 4 -P 2 "$0" "$build" --one | tee "$build/results"
passed=$(grep -c '^ok ' "$build/results") failed=$(grep -c '^FAIL ' "$build/results")
total=$(properties | wc -l)
[ -n "$only" ] || [ $((passed + failed)) = "$total" ] || failed=$((failed + total - passed - failed))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
