#!/bin/sh
# Runs every tests/*.test.sh in a shell of its own. Exit 1 when a check fails.
cd "${0%/*}" || exit 1
LC_ALL=C
export LC_ALL
passed=0
failed=0

for test in tests/*.test.sh; do
  out=$(sh "$test" 2>&1)
  last=${out##*'
'}
  case $last in
    'passed '*' failed '*)
      set -- $last
      passed=$((passed + $2))
      failed=$((failed + $4)) ;;
    *) failed=$((failed + 1)) ;;
  esac
  printf '== %s\n%s\n' "$test" "$out"
done

printf 'passed %d failed %d\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
