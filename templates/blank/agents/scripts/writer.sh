#!/bin/sh
# An agent is a program. moa starts it once for each attempt of a step, in the project's folder.
#
# What it is given: the variable MOA_ACTION, one variable MOA_PARAM_NAME for each param, and the
# whole request as JSON on stdin. What it gives back: its result as JSON in the file $MOA_OUTPUT.
# What it prints to stderr is the attempt's log: `moa runs logs`.
#
# How it ends: 0 = done; 75 = "try me again later"; 64 to 74 = "no use trying again".
set -eu

# quote TEXT: prints TEXT as a JSON string. Quotes and backslashes are escaped, and control
# characters, which may not stand in JSON, become spaces.
quote() {
  rest=$(printf '%s' "$1" | tr '\000-\037\177' ' ')
  printf '"'
  while :; do
    part=${rest%%[\\\"]*}
    printf '%s' "$part"
    rest=${rest#"$part"}
    [ -n "$rest" ] || break
    printf '\\%.1s' "$rest"
    rest=${rest#?}
  done
  printf '"'
}

case $MOA_ACTION in
  # Writes a letter to a file. Called twice it writes the same file twice, so it does no harm when
  # an attempt is repeated after a crash: every action should be like that.
  write)
    file=out/letter.txt
    mkdir -p out
    # Written beside it and then moved: nobody finds half a letter. The name is this process's own,
    # for other runs may write the letter at the same time.
    {
      printf 'Dear %s,\n\n' "$MOA_PARAM_NAME"
      printf 'this letter was written by attempt %s of the step %s\n' "$MOA_ATTEMPT" "$MOA_STEP"
      printf 'of the run %s.\n' "$MOA_RUN_ID"
    } > "$file.tmp.$$"
    mv -f "$file.tmp.$$" "$file"
    echo "wrote $file" >&2
    {
      printf '{"to":'
      quote "$MOA_PARAM_NAME"
      printf ',"file":"%s"}\n' "$file"
    } > "$MOA_OUTPUT"
    ;;

  # Counts the words of a file and refuses one that isn't there.
  count)
    if [ ! -f "$MOA_PARAM_FILE" ]; then
      echo "error: there is no $MOA_PARAM_FILE" >&2
      exit 66
    fi
    words=$(wc -w < "$MOA_PARAM_FILE")
    printf '{"words":%d}\n' "$words" > "$MOA_OUTPUT"
    ;;

  *)
    echo "error: the action '$MOA_ACTION' is not known here; known: write, count" >&2
    exit 64
    ;;
esac
