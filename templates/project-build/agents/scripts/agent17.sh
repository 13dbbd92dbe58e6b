#!/bin/sh
# Learning Platform: learns from an access log how long each route takes (the median), keeps that
# in metrics/baseline.tsv, and says which routes have become much slower than last time.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

learn_baseline() {
  find_log
  times=$WORK/learn.$$.txt
  while read -r time release method path status ms rest; do
    case $ms in '' | *[!0-9]*) continue ;; esac
    case $path in
      /*/[0-9]*) path=${path%/*}/{id} ;;
    esac
    printf '%s %s\t%s\n' "$method" "$path" "$ms"
  done < "$LOG" | sort -t "$TAB" -k 1,1 -k 2,2n > "$times"
  cut -f 1 "$times" | uniq -c > "$times.routes"

  # What was known before this step, also when the attempt is repeated.
  before=$WORK/baseline.before
  if [ ! -f "$before" ]; then
    if [ -f metrics/baseline.tsv ]; then cat metrics/baseline.tsv; fi | replace "$before"
  fi
  slower='' routes=0 requests=0
  : > "$times.new"
  while read -r count method path; do
    routes=$((routes + 1))
    middle=$((requests + (count + 1) / 2))
    requests=$((requests + count))
    line=$(head -n "$middle" "$times" | tail -n 1)
    median=${line##*"$TAB"}
    printf '%s %s\t%s\t%s\n' "$method" "$path" "$median" "$count" >> "$times.new"
    known=$(last_median "$method $path")
    if [ -n "$known" ] && [ "$median" -gt $((known * 2 + 5)) ]; then
      quote "$method $path: $median ms, was $known ms"
      slower="${slower:+$slower,}$QUOTED"
    fi
  done < "$times.routes"
  replace metrics/baseline.tsv < "$times.new"
  rm -f "$times" "$times.routes" "$times.new"

  result_begin
  result_str log "$LOG"
  result_str file metrics/baseline.tsv
  result_num routes "$routes"
  result_num requests "$requests"
  result_raw slower "[$slower]"
  result_end
}

last_median() { # last_median ROUTE: the median known so far, or nothing
  while IFS=$TAB read -r _route _median _; do
    if [ "$_route" = "$1" ]; then printf '%s' "$_median"; fi
  done < "$before"
}

begin
case $MOA_ACTION in
  learn_baseline) learn_baseline ;;
  *) unknown_action learn_baseline ;;
esac
