#!/bin/sh
# Error Tracker: counts errors in an access log, keeps a record of what went wrong in runs.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

LINES_MAX=2000

# track_errors: the share of answers 500 and above among the last requests that the current release
# has answered (of the sample log, when nothing is deployed).
track_errors() {
  find_log
  lines=$WORK/log.$$.txt
  tail -n "$LINES_MAX" "$LOG" > "$lines"
  requests=0 errors=0 refused=0 unread=0
  : > "$lines.paths"
  while read -r time release method path status ms rest; do
    case $status in
      [1-5][0-9][0-9]) ;;
      *) unread=$((unread + 1)); continue ;;
    esac
    if [ -n "$LOG_RELEASE" ] && [ "$release" != "$LOG_RELEASE" ]; then continue; fi
    requests=$((requests + 1))
    case $status in
      5??)
        errors=$((errors + 1))
        printf '%s %s\n' "$method" "$path" >> "$lines.paths" ;;
      4??) refused=$((refused + 1)) ;;
    esac
  done < "$lines"
  worst=$(sort "$lines.paths" | uniq -c | sort -rn | head -n 1)
  set -- $worst
  rm -f "$lines" "$lines.paths"
  rate=$(ratio "$errors" "$requests")
  log "$LOG: $errors of $requests requests failed (rate $rate)"

  result_begin
  result_num error_rate "$rate"
  result_str log "$LOG"
  result_str app "$APP"
  result_num release "$RELEASE"
  result_num requests "$requests"
  result_num errors "$errors"
  result_num refused "$refused"
  result_num unread_lines "$unread"
  result_num worst_count "${1:-0}"
  result_str worst_route "${2:+$2 $3}"
  result_end
}

# log_error: keeps what is known of a failed run in logs/errors/, one file per call. A repeated
# attempt writes the same file again.
log_error() {
  file=logs/errors/$(short_key).json
  message=${MOA_PARAM_MESSAGE:-}
  if [ -z "$message" ] && request_get .inputs.error.message; then message=$VALUE; fi
  failed=${MOA_PARAM_FAILED_STEP:-}
  if [ -z "$failed" ] && request_get .inputs.error.step; then failed=$VALUE; fi
  time=$(utc_now)
  {
    quote "$time"; printf '{"time":%s' "$QUOTED"
    quote "$RUN"; printf ',"run":%s' "$QUOTED"
    quote "${MOA_WORKFLOW:-}"; printf ',"workflow":%s' "$QUOTED"
    quote "$failed"; printf ',"failed_step":%s' "$QUOTED"
    quote "$message"; printf ',"message":%s}\n' "$QUOTED"
  } | replace "$file"
  log "recorded in $file"
  set -- logs/errors/*.json

  result_begin
  result_str file "$file"
  result_num recorded "$#"
  result_end
}

begin
case $MOA_ACTION in
  track_errors) track_errors ;;
  log_error) log_error ;;
  *) unknown_action 'track_errors, log_error' ;;
esac
