# What the tests share. Every test file reads this one first.
# `same WHAT EXPECTED ACTUAL` and `yes WHAT COMMAND…` each are one check.

PASSED=0
FAILED=0

same() {
  if [ "$2" = "$3" ]; then
    PASSED=$((PASSED + 1))
  else
    FAILED=$((FAILED + 1))
    printf 'not ok: %s\n  expected: %s\n  actual:   %s\n' "$1" "$2" "$3"
  fi
}

yes() {
  _what=$1
  shift
  if "$@"; then
    PASSED=$((PASSED + 1))
  else
    FAILED=$((FAILED + 1))
    printf 'not ok: %s\n' "$_what"
  fi
}

no() {
  _what=$1
  shift
  if "$@"; then
    FAILED=$((FAILED + 1))
    printf 'not ok: %s\n' "$_what"
  else
    PASSED=$((PASSED + 1))
  fi
}

# finish: the last line of every test file; says how many checks passed and failed.
finish() {
  printf 'passed %d failed %d\n' "$PASSED" "$FAILED"
  [ "$FAILED" -eq 0 ]
}
