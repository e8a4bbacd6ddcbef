#!/bin/sh
# Plants each fault of mutants.txt and expects its test to fail. Prints what survived; status 1 if any did.
# Usage: mutants.sh BUILD_DIR [PATTERN | --failed]: all, those whose line has the pattern, or what was not found last
# time. CC defaults to gcc.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
core=$here/../../src/fastaudio/c
build=$1
pattern=${2:-.}
CC=${CC:-gcc}
flags_of() { # gcc expands a small memcpy without the thread sanitizer's instrumentation
  case $1 in
    thread) echo "-fsanitize=thread -fno-builtin-memcpy" ;;
    address) echo "-fsanitize=address" ;;
    *) echo "" ;;
  esac
}

one() {
  IFS='|' read -r name sanitizer unit file change <<LINE
$(printf '%s' "$1" | sed 's/ *| */|/g')
LINE
  dir=$build/mutant-$name
  rm -rf "$dir" && mkdir -p "$dir"
  extra=""
  objects=$(ls "$build/objects-$sanitizer"/*.o)
  if [ "$file" = - ]; then
    extra=$change
  else
    perl -0pe "$change" "$core/$file" >"$dir/$file"
    if cmp -s "$core/$file" "$dir/$file"; then echo "$name: the change matches nothing in $file"; return 1; fi
    case $file in
      *.c)
        $CC -std=c11 -D_GNU_SOURCE -O1 -g $(flags_of "$sanitizer") -I"$core" -c "$dir/$file" -o "$dir/mutant.o" || return 1
        objects="$(echo "$objects" | grep -v "/${file%.c}\.o$") $dir/mutant.o"
        ;;
    esac
  fi
  test=${unit%% *}
  argument=${unit#"$test"}
  $CC -std=c11 -D_GNU_SOURCE -O1 -g $(flags_of "$sanitizer") $extra -I"$dir" -I"$core" -I"$here" \
    "$here/test_$test.c" $objects -lm -lpthread -o "$dir/test" || return 1
  if timeout 60 "$dir/test" $argument >"$dir/log" 2>&1; then echo "$name: survived test_$unit"; return 1; fi
  [ "$sanitizer" != thread ] || grep -q "ThreadSanitizer: data race" "$dir/log" || { echo "$name: no data race reported"; return 1; }
  rm -rf "$dir"
}

if [ "$pattern" = --one ]; then
  one "$3" && exit
  name=${3%%[ |]*}
  echo "^$name *|" >"$build/survived-$name"
  exit 1
fi
for sanitizer in - thread address; do
  mkdir -p "$build/objects-$sanitizer"
  for source in "$core"/*.c; do
    object=$build/objects-$sanitizer/$(basename "$source" .c).o
    echo "$CC -std=c11 -D_GNU_SOURCE -O1 -g $(flags_of "$sanitizer") -I$core -c $source -o $object"
  done
done | tr '\n' '\0' | xargs -0 -P "${JOBS:-2}" -I{} sh -c '{}'
list=$(grep -v '^#' "$here/mutants.txt")
if [ "$pattern" = --failed ]; then
  list=$(printf '%s\n' "$list" | grep -f "$build/survived")
else
  list=$(printf '%s\n' "$list" | grep -e "$pattern")
fi
rm -f "$build"/survived-*
printf '%s\n' "$list" | tr '\n' '\0' | xargs -0 -P "${JOBS:-2}" -I{} "$0" "$build" --one {} || {
  cat "$build"/survived-* >"$build/survived"
  exit 1
}
echo "$(printf '%s\n' "$list" | wc -l) faults planted, all found"
