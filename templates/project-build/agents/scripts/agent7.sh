#!/bin/sh
# Code Quality: reads every source of an application and counts what should not be there.
# The score starts at 100; a syntax error costs 50, a file without a comment at its top 5, any
# other finding 1. A score below the param `min_score` (80) fails the step.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

LINE_MAX=100
SHOWN_MAX=50

finding() { # finding COST FILE LINE WHAT
  score=$((score - $1))
  found=$((found + 1))
  [ "$found" -le "$SHOWN_MAX" ] || return 0
  log "$2:$3: $4"
  quote "${2#"$APP_DIR"/}"
  _file=$QUOTED
  quote "$4"
  findings="${findings:+$findings,}{\"file\":$_file,\"line\":$3,\"what\":$QUOTED}"
}

check_file() {
  number=0
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    if [ "${#line}" -gt "$LINE_MAX" ] && [ "$1" != "${1%.sh}" ]; then
      long_lines=$((long_lines + 1))
      finding 1 "$1" "$number" "longer than $LINE_MAX bytes"
    fi
    case $line in
      *[\ $TAB])
        trailing_blanks=$((trailing_blanks + 1))
        finding 1 "$1" "$number" 'blanks at the end of the line' ;;
    esac
    case $line in
      *TODO* | *FIXME*)
        todos=$((todos + 1))
        finding 1 "$1" "$number" 'something is left to do' ;;
    esac
  done < "$1"
  lines=$((lines + number))
}

check_shell() {
  if ! message=$(sh -n "$1" 2>&1); then
    syntax_errors=$((syntax_errors + 1))
    finding 50 "$1" 1 "syntax error: $message"
  fi
  case $(head -n 2 "$1") in
    *'#'*) ;;
    *) finding 5 "$1" 1 'no comment at the top says what the file is for' ;;
  esac
}

code_quality_check() {
  find_app
  min_score=${MOA_PARAM_MIN_SCORE:-80}
  whole_number min_score "$min_score" 0 100
  score=100 found=0 findings='' files=0 lines=0
  syntax_errors=0 trailing_blanks=0 long_lines=0 todos=0 sources=0 tests=0

  list_files "$APP_DIR" > "$WORK/quality.$$.txt"
  while read -r file; do
    case $file in
      "$APP_DIR"/dist/*) continue ;;
      *.test.sh) tests=$((tests + 1)) ;;
      *.sh) sources=$((sources + 1)); check_shell "$file" ;;
      *.html | *.md | *.conf | *.ts) ;;
      *) continue ;;
    esac
    files=$((files + 1))
    check_file "$file"
  done < "$WORK/quality.$$.txt"
  rm -f "$WORK/quality.$$.txt"
  [ "$files" -gt 0 ] || bad_data "$APP_DIR has no sources"
  if [ "$score" -lt 0 ]; then score=0; fi
  if [ "$score" -lt "$min_score" ]; then
    bad_data "the score of $APP_DIR is $score, and $min_score is needed; the findings are above"
  fi

  result_begin
  result_str app "$APP"
  result_str path "$APP_DIR"
  result_num score "$score"
  result_num files "$files"
  result_num lines "$lines"
  result_num sources "$sources"
  result_num tests "$tests"
  result_num syntax_errors "$syntax_errors"
  result_num trailing_blanks "$trailing_blanks"
  result_num long_lines "$long_lines"
  result_num todos "$todos"
  result_raw findings "[$findings]"
  result_end
}

begin
case $MOA_ACTION in
  code_quality_check | quality_check) code_quality_check ;;
  *) unknown_action 'code_quality_check, quality_check' ;;
esac
