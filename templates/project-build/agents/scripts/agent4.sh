#!/bin/sh
# Error Handling: sorts the failed requests of an access log by status and says for each whose
# matter it is and whether asking again can help.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

advise() { # sets SIDE, AGAIN and ADVICE for a status
  SIDE=server AGAIN=false
  case $1 in
    400 | 422) SIDE=client ADVICE='the request was wrong; mend the client' ;;
    401 | 403) SIDE=client ADVICE='no right to do this; check the credentials' ;;
    404 | 410) SIDE=client ADVICE='nothing there; look for dead links' ;;
    405) SIDE=client ADVICE='wrong method; compare with the OpenAPI document' ;;
    408 | 425 | 429) SIDE=client AGAIN=true ADVICE='ask again later, and less often' ;;
    4??) SIDE=client ADVICE='the request was refused; mend the client' ;;
    502 | 503 | 504) AGAIN=true ADVICE='the service was away; ask again with a growing pause' ;;
    507) ADVICE='the store is full; raise items_max or remove items' ;;
    *) ADVICE='a fault of the service; look at what changed with this release' ;;
  esac
}

classify_errors() {
  find_log
  tally=$WORK/classes.$$.txt
  while read -r time release method path status rest; do
    if [ -n "$LOG_RELEASE" ] && [ "$release" != "$LOG_RELEASE" ]; then continue; fi
    case $status in
      [45][0-9][0-9]) printf '%s\n' "$status" ;;
    esac
  done < "$LOG" | sort | uniq -c > "$tally"
  classes='' total=0 again=0
  while read -r count status; do
    advise "$status"
    total=$((total + count))
    if [ "$AGAIN" = true ]; then again=$((again + count)); fi
    quote "$ADVICE"
    classes="${classes:+$classes,}{\"status\":$status,\"count\":$count,\"side\":\"$SIDE\""
    classes="$classes,\"retry\":$AGAIN,\"advice\":$QUOTED}"
  done < "$tally"
  rm -f "$tally"
  printf '{"log":"%s","classes":[%s]}\n' "$LOG" "$classes" | replace out/errors.json

  result_begin
  result_str log "$LOG"
  result_str file out/errors.json
  result_num errors "$total"
  result_num retryable "$again"
  result_raw classes "[$classes]"
  result_end
}

begin
case $MOA_ACTION in
  classify_errors) classify_errors ;;
  *) unknown_action classify_errors ;;
esac
