#!/bin/sh
# Integration Hub: uses the live release from outside as a client would, a whole story long: create,
# read, list, remove, and what must be refused. Its items go to a data folder of their own.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

expect() { # expect WHAT STATUS TEXT-IN-BODY
  checks=$((checks + 1))
  case $HTTP_STATUS:$HTTP_BODY in
    "$2":*"$3"*) log "ok: $1" ;;
    *)
      log "not ok: $1: $HTTP_STATUS $HTTP_BODY"
      quote "$1: $HTTP_STATUS"
      failures="${failures:+$failures,}$QUOTED" ;;
  esac
}

smoke_test() {
  find_deployed
  [ "$RELEASE" -gt 0 ] || not_found 'nothing is deployed; run the workflow build-project first'
  live=$DEPLOY/releases/$RELEASE
  REQUEST_DATA=$WORK/smoke.$$
  REQUEST_LOG=$REQUEST_DATA/log
  mkdir -p "$REQUEST_DATA"
  trap 'rm -rf "$REQUEST_DATA"' EXIT
  checks=0 failures=''

  request "$live" GET /health
  expect 'it is healthy' 200 '"status":"ok"'
  request "$live" POST /items '{"name":"ink \"blue\""}'
  expect 'an item is created' 201 '"id":1'
  request "$live" GET /items/1
  expect 'it can be read' 200 'ink \"blue\"'
  request "$live" POST /items '{}'
  expect 'an item without a name is refused' 400 '"error"'
  request "$live" GET /items
  expect 'the list has it' 200 '"items":[{"id":1'
  request "$live" DELETE /items/1
  expect 'it is removed' 200 '"deleted":1'
  request "$live" GET /items/1
  expect 'and is gone' 404 '"error"'
  request "$live" PUT /items
  expect 'a wrong method is refused' 405 '"error"'

  passed=true
  if [ -n "$failures" ]; then passed=false; fi
  result_begin
  result_bool passed "$passed"
  result_str app "$APP"
  result_num release "$RELEASE"
  result_num checks "$checks"
  result_raw failures "[$failures]"
  result_end
}

begin
case $MOA_ACTION in
  smoke_test) smoke_test ;;
  *) unknown_action smoke_test ;;
esac
