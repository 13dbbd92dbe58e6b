#!/bin/sh
# Error Tracker: counts errors in the service's log, and keeps track of incidents.
. "${0%/*}/lib.sh"
. "${0%/*}/service.sh"

# begin_of_window SECONDS: prints the time that many seconds before NOW.
begin_of_window() {
  awk -v now="$NOW" -v back="$1" '
    function days(y, m, d,  era, yoe, doy) {
      if (m <= 2) y--
      era = int(y / 400); yoe = y - era * 400
      doy = int((153 * ((m + 9) % 12) + 2) / 5) + d - 1
      return era * 146097 + yoe * 365 + int(yoe / 4) - int(yoe / 100) + doy - 719468
    }
    BEGIN {
      split(now, t, /[-T:Z.]/)
      at = days(t[1] + 0, t[2] + 0, t[3] + 0) * 86400 + t[4] * 3600 + t[5] * 60 + t[6] - back
      z = int(at / 86400) + 719468; s = at % 86400
      era = int(z / 146097); doe = z - era * 146097
      yoe = int((doe - int(doe / 1460) + int(doe / 36524) - int(doe / 146096)) / 365)
      doy = doe - (365 * yoe + int(yoe / 4) - int(yoe / 100)); mp = int((5 * doy + 2) / 153)
      d = doy - int((153 * mp + 2) / 5) + 1; m = mp < 10 ? mp + 3 : mp - 9
      y = yoe + era * 400 + (m <= 2)
      printf "%04d-%02d-%02dT%02d:%02d:%02dZ", y, m, d, s / 3600, s / 60 % 60, s % 60
    }'
}

# track_errors: the share of answers 500 and above among those that the live release gave in the last
# minutes.
track_errors() {
  take_now
  window=${MOA_PARAM_WINDOW:-300}
  whole_number window "$window" 1 86400
  find_live
  since=$(begin_of_window "$window")
  set --
  for day in "${since%%T*}" "$TODAY"; do
    if [ -f "logs/access-$day.log" ] && [ "${1:-}" != "logs/access-$day.log" ]; then
      set -- "$@" "logs/access-$day.log"
    fi
  done
  requests=0 errors=0 refused=0 unread=0 worst_count=0 worst=''
  if [ "$#" -gt 0 ]; then
    # A line that a crash cut off counts as unread.
    awk -v since="$since" -v now="$NOW" -v live="$LIVE" '
      NF != 6 || $5 !~ /^[1-5][0-9][0-9]$/ { unread++; next }
      $1 < since || $1 > now || $2 != live { next }
      { requests++ }
      $5 >= 500 { errors++; path = $4; sub(/\?.*/, "", path); key = $3 " " path; count[key]++ }
      $5 >= 400 && $5 < 500 { refused++ }
      END {
        for (k in count) if (count[k] > most || (count[k] == most && k < worst)) {
          most = count[k]; worst = k
        }
        printf "%d %d %d %d %d %s\n", requests, errors, refused, unread, most, worst
      }' "$@" > "$WORK/errors.$$"
    read -r requests errors refused unread worst_count worst < "$WORK/errors.$$"
    rm -f "$WORK/errors.$$"
  fi
  rate=$(ratio "$errors" "$requests")
  log "${LIVE:-nothing} since $since: $errors of $requests requests failed (rate $rate)"
  result_begin
  result_num error_rate "$rate"
  result_str version "$LIVE"
  result_str since "$since"
  result_num requests "$requests"
  result_num errors "$errors"
  result_num refused "$refused"
  result_num unread_lines "$unread"
  result_num worst_count "$worst_count"
  result_str worst_route "$worst"
  result_end
}

# kind_of PROBLEM: sets KIND, what stands before its colon, as a safe name.
kind_of() {
  KIND=$(printf '%s' "${1%%:*}" | tr -c 'a-z0-9-' '-')
}

# sync_incidents: opens an incident for each problem that has none, and closes those whose problem is
# gone. Who is told of what is opened and closed is told once, however long it lasts.
sync_incidents() {
  take_now
  mkdir -p incidents/open
  note=$WORK/incidents-$(short_key)
  if [ ! -f "$note" ]; then
    compare_incidents > "$note.tmp"
    mv -f "$note.tmp" "$note"
  fi
  # What was decided is done now; a repeated attempt does the same.
  opened=''
  closed=''
  while IFS=$TAB read -r what kind text; do
    quote "$text"
    case $what in
      open)
        printf '%s\t%s\n' "$NOW" "$text" | replace "incidents/open/$kind"
        opened=${opened:+$opened,}$QUOTED ;;
      close)
        rm -f "incidents/open/$kind"
        closed=${closed:+$closed,}$QUOTED ;;
    esac
    log "$what: $text"
    if ! grep -qs "^$(short_key)$TAB$what$TAB$kind$TAB" incidents/log.tsv; then
      printf '%s\t%s\t%s\t%s\t%s\n' "$(short_key)" "$what" "$kind" "$NOW" "$text" >> incidents/log.tsv
    fi
  done < "$note"
  _open=0
  for _one in incidents/open/*; do
    [ ! -f "$_one" ] || _open=$((_open + 1))
  done
  result_begin
  result_raw opened "[$opened]"
  result_raw closed "[$closed]"
  result_num open "$_open"
  result_end
}

# compare_incidents: prints what is to be opened and closed.
compare_incidents() {
  : > "$WORK/present.$$"
  n=0
  while request_get ".params.problems.$n"; do
    n=$((n + 1))
    kind_of "$VALUE"
    printf '%s\n' "$KIND" >> "$WORK/present.$$"
    [ -f "incidents/open/$KIND" ] || printf 'open\t%s\t%s\n' "$KIND" "$VALUE"
  done
  for file in incidents/open/*; do
    [ -f "$file" ] || continue
    kind=${file##*/}
    case $kind in *.tmp.*) continue ;; esac
    grep -qx -e "$kind" "$WORK/present.$$" ||
      printf 'close\t%s\t%s\n' "$kind" "$(cut -f 2 "$file")"
  done
  rm -f "$WORK/present.$$"
}

# daily_report: what a day was like; old measurements, logs and reports are removed.
daily_report() {
  take_now
  day=${MOA_PARAM_DAY:-}
  if [ -z "$day" ]; then
    day=$(begin_of_window 86400)
    day=${day%%T*}
  fi
  case $day in
    [12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]) ;;
    *) usage "param 'day' is '$day'; a day is 2026-03-01" ;;
  esac
  set --
  for file in "logs/access-$day.log" "metrics/$day.csv" incidents/log.tsv service/history; do
    if [ -f "$file" ]; then set -- "$@" "$file"; fi
  done
  awk -v day="$day" -f "${0%/*}/report.awk" "$@" /dev/null > "$WORK/report.md"
  replace "reports/$day.md" < "$WORK/report.md"
  keep=${MOA_PARAM_KEEP_DAYS:-30}
  whole_number keep_days "$keep" 1 3650
  limit=$(begin_of_window $((keep * 86400)))
  removed=0
  for file in logs/access-*.log metrics/*.csv reports/*.md; do
    [ -f "$file" ] || continue
    of=${file##*/}
    of=${of#access-}
    if awk -v a="${of%%.*}" -v b="${limit%%T*}" 'BEGIN { exit !(a < b) }'; then
      rm -f "$file"
      removed=$((removed + 1))
    fi
  done
  if [ -f incidents/log.tsv ]; then
    tail -n 1000 incidents/log.tsv > "$WORK/log.tsv"
    replace incidents/log.tsv < "$WORK/log.tsv"
  fi
  log "see reports/$day.md"
  result_begin
  result_str report "reports/$day.md"
  result_num removed "$removed"
  result_end
}

begin
case $MOA_ACTION in
  track_errors) track_errors ;;
  sync_incidents) sync_incidents ;;
  daily_report) daily_report ;;
  *) unknown_action 'track_errors, sync_incidents, daily_report' ;;
esac
